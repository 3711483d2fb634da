# Takes, renews or gives back the lease of a node's cluster. Set before: $want (hold, release), $run, $who, and $span in seconds.
#
# The lease is a file in the cluster's own file system, so all its nodes see the same one; on a node that stands alone it is a
# file there. Proxmox's cluster-wide lock guards it for the moment of reading and writing: a directory that one node alone can
# make, and which the cluster takes away after 120 s if its maker died (that is what setting its time to 0 asks for). The lock
# itself is no lease: only the node that made it can renew it, and that node may be the one that reboots.
file=/etc/pve/priv/proxmaint.lease
lock=/etc/pve/priv/lock/proxmaint

# Prints what came of it, and ends.
ended() {
    say lease "$1"
    say end
    exit 0
}

# Prints what kept it from being asked, and ends.
failed() {
    say why
    printf '%s\n' "$2" | quoted
    ended "$1"
}

# Takes a value of the lease's file: $2 where it is a number, else 0.
number() {
    case $2 in
    '' | *[!0-9]* | ???????????*) eval "$1=0" ;;
    *) eval "$1=\$2" ;;
    esac
}

[ -d /etc/pve/priv ] || failed failed "/etc/pve is not there: pmxcfs does not run"
mkdir -p /etc/pve/priv/lock 2>/dev/null
tries=0
until why=$(mkdir "$lock" 2>&1); do
    [ -d "$lock" ] || failed failed "$why"
    tries=$((tries + 1))
    [ "$tries" -lt 10 ] || failed busy "something else has had the lock $lock for 10 s"
    touch -d @0 "$lock" 2>/dev/null
    sleep 1
done
trap 'rmdir "$lock" 2>/dev/null' EXIT
trap 'exit 1' HUP INT PIPE TERM
now=$(date +%s)

# The lease as it is.
its_run='' its_who='' its_since='' its_renewed='' its_span=''
if [ -f "$file" ]; then
    while IFS= read -r line; do
        case $line in
        run=*) its_run=${line#*=} ;;
        who=*) its_who=${line#*=} ;;
        since=*) its_since=${line#*=} ;;
        renewed=*) its_renewed=${line#*=} ;;
        span=*) its_span=${line#*=} ;;
        esac
    done <"$file"
fi
number its_since "$its_since"
number its_renewed "$its_renewed"
number its_span "$its_span"
# One that another node renewed whose clock is ahead was renewed just now.
[ "$its_renewed" -le "$now" ] || its_renewed=$now
[ "$its_since" -le "$its_renewed" ] || its_since=$its_renewed
left=$((its_renewed + its_span - now))

if [ -n "$its_run" ] && [ "$its_run" != "$run" ] && [ "$left" -gt 0 ]; then
    say run "$its_run"
    say who "$its_who"
    say held "$((now - its_since))"
    say renewed "$((now - its_renewed))"
    say left "$left"
    ended other
fi
if [ "$want" = release ]; then
    [ "$its_run" != "$run" ] || rm -f "$file"
    ended released
fi
outcome=renewed
if [ "$its_run" != "$run" ]; then
    outcome=taken
    its_since=$now
fi
# A file beside, renamed: whoever looks without the lock reads the old lease or the new one.
why=$({ printf 'run=%s\nwho=%s\nsince=%s\nrenewed=%s\nspan=%s\n' "$run" "$who" "$its_since" "$now" "$span" >"$file.new" &&
    mv -f "$file.new" "$file"; } 2>&1) || failed failed "$why"
ended "$outcome"
