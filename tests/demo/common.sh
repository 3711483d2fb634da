# What the demos share: a fleet of the lab's in a temporary directory, shown commands, and nothing left behind. Sourced by them
# with the fleet's name in $fleet.
bin="${CARGO_TARGET_DIR:-target}/debug"
case "$bin" in /*) ;; *) bin="$PWD/$bin" ;; esac
proxmaint="$bin/proxmaint"
lab="$bin/proxmaint-lab"
dir=$(mktemp -d "${TMPDIR:-/tmp}/proxmaint-demo.XXXXXX")
lab_pid=
run_pid=

cleanup() {
    status=$?
    trap - EXIT INT TERM
    [ -z "$run_pid" ] || kill -KILL "$run_pid" 2>/dev/null || true
    if [ -n "$lab_pid" ]; then
        kill -TERM "$lab_pid" 2>/dev/null || true
        wait "$lab_pid" 2>/dev/null || true
    fi
    rm -rf "$dir"
    exit "$status"
}
trap cleanup EXIT INT TERM

say() {
    printf '\n== %s\n\n' "$*"
}

# Runs a command, shown as an operator would type it.
show() {
    printf '$ %s\n' "$*"
    "$@"
}

# Runs a command that must end with the exit status $1.
ends_with() {
    wanted=$1
    shift
    status=0
    show "$@" </dev/null 2>&1 || status=$?
    if [ "$status" -ne "$wanted" ]; then
        echo "the demo wanted exit status $wanted, and got $status" >&2
        exit 1
    fi
}

# Waits until the lab's ledger has something, looking ten times a second for at most 30 s.
await() {
    tries=0
    until "$lab" ledger --dir "$dir" --json | grep -q "$1"; do
        tries=$((tries + 1))
        if [ "$tries" -ge 300 ]; then
            echo "the demo waited 30 s in vain for: $2" >&2
            exit 1
        fi
        sleep 0.1
    done
}

# Kills what runs in the background, at once and without a word.
kill_run() {
    kill -KILL "$run_pid"
    wait "$run_pid" 2>/dev/null || true
    run_pid=
    echo "*** killed with SIGKILL: no chance to tidy up or to write anything down ***"
}

proxmaint() { "$proxmaint" "$@"; }

# Starts the fleet and goes to where its manifest is.
begin() {
    mkfifo "$dir/ready"
    "$lab" serve --fleet "$fleet" --dir "$dir" >"$dir/ready" 2>"$dir/lab.log" &
    lab_pid=$!
    if ! read -r _ <"$dir/ready"; then
        echo "the lab did not start:" >&2
        cat "$dir/lab.log" >&2
        exit 1
    fi
    . "$dir/lab.env"
    cd "$dir"
    HOME="$dir"
    export HOME
    unset SSH_AUTH_SOCK PROXMAINT_STATE_DIR
    echo "Real HTTPS APIs and SSH servers on this machine's loopback; the manifest is proxmox-hosts.toml."
}
