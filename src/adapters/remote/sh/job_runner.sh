# Runs one job of proxmaint: run DIRECTORY SLOT STARTER. Written by its start; reads nothing from its surroundings but /proc.
#
# Filling the slot is what claims the execution: it succeeds for one runner only, is durable before any work begins, and says
# which process works. A runner that comes late, or twice, or after a probe has given the slot up, ends here without a trace.
set -u
umask 077
dir=$1 slot=$2 starter=$3

# With file operands where sync knows them; plain sync flushes every file system of the machine.
settle() {
    sync "$@" 2>/dev/null || sync
}

read -r stat </proc/$$/stat || exit 1
# The name in brackets may hold anything: fields are counted from behind it (state is field 3; session 6; start time 22).
# shellcheck disable=SC2086
set -- ${stat##*) }
printf 'run %s %s %s %s %s\n' "$starter" "$$" "${20}" "$4" "$(cat /proc/sys/kernel/random/boot_id)" >"$dir/.slot.$$" || exit 1
settle "$dir/.slot.$$"
ln "$dir/.slot.$$" "$dir/slot.$slot" 2>/dev/null
claimed=$?
rm -f "$dir/.slot.$$"
if [ "$claimed" -ne 0 ]; then
    exit 0
fi
settle "$dir" "${dir%/*}"

# Room for the exit status is taken now: an upgrade that fills the disk must still be able to say how it ended.
printf '    \n' >"$dir/.status"
: >>"$dir/log"
cd / || exit 1
PROXMAINT_JOB=${dir##*/}
export PROXMAINT_JOB
# The locale was ours, for parsing; packages must not be configured with it.
unset LC_ALL
(
    umask 022
    exec /bin/sh "$dir/work" </dev/null >>"$dir/log" 2>&1
)
code=$?
printf '%-4d' "$code" 1<>"$dir/.status" || exit 1
settle "$dir/log" "$dir/.status"
mv -f "$dir/.status" "$dir/status"
settle "$dir"
