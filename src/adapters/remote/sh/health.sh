# How a machine does. Afterwards: check NUMBER SECONDS LINE, one for each command of the operator's.

# Units that failed. 64 are enough to compare; a manager that does not answer is not one that says "none".
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then
    if units=$(systemctl list-units --all --state=failed --plain --no-legend --no-pager 2>/dev/null </dev/null); then
        say failed
        printf '%s\n' "$units" | sed -n 's/^[^[:alnum:]]*\([^[:space:]]\{1,\}\).*/\1/p' | head -n 64 | quoted
    fi
elif command -v rc-status >/dev/null 2>&1 && [ -e /run/openrc/softlevel ]; then
    # It ends with 1 where nothing crashed, so what it prints is all that tells.
    say failed
    rc-status --nocolor --crashed 2>/dev/null </dev/null | sed -n 's/^[[:space:]]*\([^[:space:]]\{1,\}\).*/\1/p' | head -n 64 | quoted
fi

# Sockets that wait: TCP in state 0A, UDP in state 07 without another side. 512 of each kind; numbers as the kernel writes them.
if [ -r /proc/net/tcp ]; then
    for kind in tcp tcp6 udp udp6; do
        case $kind in
        tcp*) state=0A ;;
        *) state=07 ;;
        esac
        say "$kind"
        awk -v state="$state" '$4 == state { print $2 }' "/proc/net/$kind" 2>/dev/null </dev/null | sort -u | head -n 512 | quoted
    done
    say ephemeral "$(cat /proc/sys/net/ipv4/ip_local_port_range 2>/dev/null)"
fi

# Runs $3 in a shell for at most $2 seconds, then kills it with all that it started, and says as number $1 how it ended and which line
# it printed last. The watch is a session of its own: it goes on where the connection that this came over is cut. What it runs gets the
# rights and the environment that this script has, but for the settings of the prelude.
check() {
    if ! work=$(mktemp -d 2>/dev/null); then
        say "check.$1" "none"
        return
    fi
    own=
    if command -v setsid >/dev/null 2>&1; then
        own=setsid
    fi
    if ! mkfifo "$work/out"; then
        rm -rf "$work"
        say "check.$1" "none"
        return
    fi
    tail -c 4096 <"$work/out" >"$work/last" 2>/dev/null &
    reader=$!
    $own /bin/sh -c "$3" >"$work/out" 2>&1 </dev/null &
    command=$!
    # shellcheck disable=SC2016 # the inner shell's
    $own /bin/sh -c 'sleep "$1"
: >"$4/late"
kill -s KILL -- "-$2" 2>/dev/null || kill -9 "$2" 2>/dev/null
sleep 1
kill -9 "$3" 2>/dev/null' watch "$2" "$command" "$reader" "$work" >/dev/null 2>&1 </dev/null &
    watch=$!
    wait "$command" 2>/dev/null
    status=$?
    # What it left running keeps the line open that it writes to.
    kill -s KILL -- "-$command" 2>/dev/null
    wait "$reader" 2>/dev/null
    if [ -e "$work/late" ]; then
        status=late
    fi
    kill -s KILL -- "-$watch" 2>/dev/null || kill -9 "$watch" 2>/dev/null
    wait "$watch" 2>/dev/null
    say "check.$1" "$status"
    sed -n '/[^[:space:]]/p' "$work/last" | tail -n 1 | quoted
    rm -rf "$work"
}
