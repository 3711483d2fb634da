# What the scripts about detached jobs share. Set before: $job, a name that was checked.
umask 077
base=/var/lib/proxmaint/jobs
dir=$base/$job

# Ends the script with an answer.
finish() {
    say "$1" "${2-}"
    say end
    exit 0
}

# Ends the script where a directory could be written to by someone else: what it holds would be run as root.
trusted() {
    if [ -L "$1" ]; then
        finish unsafe "$1 is a symbolic link"
    fi
    if [ ! -d "$1" ]; then
        finish unsafe "$1 is not a directory"
    fi
    # shellcheck disable=SC2046 # the fields are wanted as words: mode, links, uid, gid, ...
    set -- "$1" $(ls -ldn "$1")
    if [ "${4-}" != "$(id -u)" ]; then
        finish unsafe "$1 belongs to uid ${4-unknown}"
    fi
    case $2 in
    ?????w* | ????????w*) finish unsafe "$1 can be written by others ($2)" ;;
    esac
}

# Finds the newest slot that is filled: its number in $slot (0: none), what it holds in $record.
newest_slot() {
    slot=0 record=
    while [ "$slot" -lt 64 ] && [ -e "$dir/slot.$((slot + 1))" ]; do
        slot=$((slot + 1))
    done
    if [ "$slot" -gt 0 ]; then
        record=$(cat "$dir/slot.$slot")
    fi
}

# Fills slot $1 with $2, once and for all: link(2) makes the full content appear at once and fails where the slot is filled.
fill() {
    printf '%s\n' "$2" >"$dir/.fill.$$" && ln "$dir/.fill.$$" "$dir/slot.$1" 2>/dev/null
    filled=$?
    rm -f "$dir/.fill.$$"
    return "$filled"
}

# Waits until slot $1 is filled, at most $2 tenths of a second.
await() {
    waited=0
    while [ ! -e "$dir/slot.$1" ]; do
        if [ "$waited" -ge "$2" ]; then
            return 1
        fi
        waited=$((waited + 1))
        # A sleep that knows no fractions counts as ten.
        sleep 0.1 2>/dev/null || {
            sleep 1
            waited=$((waited + 9))
        }
    done
}
