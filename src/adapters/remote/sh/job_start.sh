# Starts a job detached, or finds that it is there. Set before: $job, $runner and $work (the text of the two scripts).
for part in /var/lib/proxmaint "$base"; do
    if [ ! -e "$part" ] && [ ! -L "$part" ]; then
        # Another start may make it first: what counts is what is there afterwards.
        mkdir "$part" 2>/dev/null || [ -d "$part" ] || finish failed "could not create $part"
    fi
    trusted "$part"
done
mkdir "$dir" 2>/dev/null || [ -d "$dir" ] || finish failed "could not create $dir"
trusted "$dir"

newest_slot
case $record in
run*) finish start already ;;
esac
next=$((slot + 1))
if [ "$next" -gt 64 ]; then
    finish failed "the start of $job was given up $slot times"
fi

# Both scripts are the same whoever writes them, and appear whole: a concurrent start does no harm here.
{
    printf '%s\n' "$runner" >"$dir/.run.$$" && mv -f "$dir/.run.$$" "$dir/run" &&
        printf '%s\n' "$work" >"$dir/.work.$$" && mv -f "$dir/.work.$$" "$dir/work" &&
        : >"$dir/try.$next"
} 2>"$dir/.error.$$" || finish failed "could not write to $dir: $(head -n 1 "$dir/.error.$$" 2>/dev/null)"
rm -f "$dir/.error.$$"

# Under systemd in a unit of its own, so that neither the end of a session nor a restart of sshd or of the agent ends it. An
# upgrade may well ask for that unit itself to be restarted (needrestart does, after a new libc): stopping it must therefore kill
# nothing (a harmless signal, to the runner alone, never followed by SIGKILL), and starting it again finds the slot filled.
launched=no
if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then
    if systemd-run --unit="$job" --collect --quiet -p KillMode=process -p KillSignal=SIGCONT -p SendSIGKILL=no \
        -p TimeoutStopSec=5s /bin/sh "$dir/run" "$dir" "$next" "$$" </dev/null >"$dir/.launch.$$" 2>&1; then
        launched=yes
    elif await "$next" 20; then
        # A concurrent start had the unit first.
        launched=yes
    fi
fi
# Without systemd, or where it could not be asked: a session of its own. The slot keeps a second runner from doing anything.
if [ "$launched" = no ]; then
    if command -v setsid >/dev/null 2>&1; then
        nohup setsid /bin/sh "$dir/run" "$dir" "$next" "$$" </dev/null >/dev/null 2>>"$dir/.launch.$$" &
    else
        nohup /bin/sh "$dir/run" "$dir" "$next" "$$" </dev/null >/dev/null 2>>"$dir/.launch.$$" &
    fi
fi

if ! await "$next" 200 && fill "$next" void; then
    finish late "the runner of $job did not start within 20 s: $(head -n 1 "$dir/.launch.$$" 2>/dev/null)"
fi
rm -f "$dir/.launch.$$"
newest_slot
case $record in
"run $$ "*) finish start started ;;
run*) finish start already ;;
void*) finish start void ;;
esac
# A claim that nobody here writes: whether anything works can't be told.
finish start "slot $slot is damaged"
