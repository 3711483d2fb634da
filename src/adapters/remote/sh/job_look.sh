# Finds out how a job stands: $state becomes absent, running, finished or lost.

# Whether process $1 is the one that started at $2 (clock ticks since boot) and still works.
alive() {
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # shellcheck disable=SC2086
    set -- "$2" ${stat##*) }
    case $2 in
    Z | X) return 1 ;;
    esac
    [ "${21}" = "$1" ]
}

# Whether anything that the job started still works, its runner being gone: a process of session $1 that carries the job's name.
survivors() {
    wanted=$1
    for process in /proc/[0-9]*; do
        { read -r stat <"$process/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${stat##*) }
        if [ "$4" = "$wanted" ] && [ "$1" != Z ] && [ "$1" != X ] &&
            { tr '\000' '\n' <"$process/environ"; } 2>/dev/null | grep -Fqx "PROXMAINT_JOB=$job"; then
            return 0
        fi
    done
    return 1
}

look() {
    state=absent
    for part in /var/lib/proxmaint "$base" "$dir"; do
        if [ ! -e "$part" ] && [ ! -L "$part" ]; then
            return
        fi
        trusted "$part"
    done
    if [ -e "$dir/status" ]; then
        state=finished
        return
    fi
    newest_slot
    case $record in
    run*) ;;
    *)
        # Nothing has begun. Where a start got as far as launching a runner, that one may still come: it gets a moment, and then
        # its slot is given up, so that what is said here stays true.
        next=$((slot + 1))
        if [ ! -e "$dir/try.$next" ]; then
            return
        fi
        if ! await "$next" 30 && fill "$next" void; then
            return
        fi
        newest_slot
        case $record in
        run*) ;;
        *) return ;;
        esac
        ;;
    esac
    # shellcheck disable=SC2086 # the fields: run STARTER PID START SESSION BOOT
    set -- $record
    if [ "${6-}" = "$(cat /proc/sys/kernel/random/boot_id)" ]; then
        if alive "$3" "$4"; then
            state=running
            return
        fi
        # The status is there before its runner ends: looking again now can't miss it.
        if [ ! -e "$dir/status" ] && survivors "$5"; then
            state=running
            return
        fi
    fi
    if [ -e "$dir/status" ]; then
        state=finished
    else
        state=lost
    fi
}

# Says how the job stands, with the end of its output.
tell() {
    case $state in
    running) say job "running $( (wc -c <"$dir/log") 2>/dev/null)" ;;
    finished) say job "finished $(cat "$dir/status")" ;;
    *) say job "$state" ;;
    esac
    case $state in
    finished | lost)
        say log
        if [ -e "$dir/log" ]; then
            tail -c 4096 "$dir/log" | quoted
        fi
        ;;
    esac
}
