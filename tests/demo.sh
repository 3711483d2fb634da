#!/bin/sh
# The demo: a simulated fleet is maintained, proxmaint is killed in the middle of it, and goes on from the very step
# where it stopped. Everything runs on loopback in a temporary directory, and nothing is left behind.
set -eu

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

say "A fleet comes up: a cluster of three nodes and two that stand alone, with 20 guests"
mkfifo "$dir/ready"
"$lab" serve --fleet demo --dir "$dir" >"$dir/ready" 2>"$dir/lab.log" &
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
proxmaint() { "$proxmaint" "$@"; }
echo "Real HTTPS APIs and SSH servers on this machine's loopback; the manifest is proxmox-hosts.toml."

# One guest of the fleet is locked for good: ten minutes, as one would wait on a real node, are long for a demonstration.
sed -i 's/^\[defaults\]$/[defaults]\nlock_wait = "2s"/' proxmox-hosts.toml

say "What would be done? A dry run changes nothing, not even package lists"
show proxmaint run --dry-run || [ $? -eq 3 ]

say "The maintenance begins, two hosts at a time. It will be killed in the middle of an upgrade"
echo '$ proxmaint run --parallel-hosts 2'
"$proxmaint" run --parallel-hosts 2 </dev/null 2>&1 &
run_pid=$!
await '"act":"upgrade"' "an upgrade to begin"
kill -KILL "$run_pid"
wait "$run_pid" 2>/dev/null || true
run_pid=
echo "*** killed with SIGKILL: no chance to tidy up or to write anything down ***"

say "Where did it stand? The journal knows, and says what is in doubt"
show proxmaint status

say "The same command goes on: it looks at what was in doubt, and attaches to upgrades that went on without it"
show proxmaint run --parallel-hosts 2 </dev/null 2>&1 || [ $? -eq 3 ]

say "What changed on one of the hosts, package by package"
show proxmaint status --host edge1

say "The fleet kept a ledger of every change that it was asked for. Was anything done twice, or left out?"
echo "$ proxmaint-lab ledger --check"
"$lab" ledger --dir "$dir" --check

say "And once more: is there anything left to do?"
show proxmaint run --dry-run || [ $? -eq 3 ]

say "That was it: killed at the worst moment, and nothing was done twice and nothing forgotten"
echo "Two guests of pve2 were left alone on purpose: one can't be protected without being suspended, one is locked."
