# Prints `PID FILE` for a process that holds a lock on one of the files $@, if any: the kernel's list names inodes, the process's own
# descriptors then prove that it is this very file (the device numbers of that list are not those of stat on every file system).
lock_holder() {
    for file in "$@"; do
        inode=$(stat -c %i "$file" 2>/dev/null) || continue
        # shellcheck disable=SC2162
        while read _ _ _ _ pid where _; do
            case $where in
            *:"$inode") ;;
            *) continue ;;
            esac
            for descriptor in "/proc/$pid/fd"/*; do
                if [ "$(readlink "$descriptor" 2>/dev/null)" = "$file" ]; then
                    echo "$pid $file"
                    return
                fi
            done
        done </proc/locks
    done
}

# Prints `PID FILE` where one of the files $@ names a process that is alive: the way in which dnf and zypper lock.
pid_holder() {
    for file in "$@"; do
        pid=
        read -r pid 2>/dev/null <"$file" || [ -n "$pid" ] || continue
        case $pid in
        '' | *[!0-9]*) continue ;;
        esac
        if [ -d "/proc/$pid" ]; then
            echo "$pid $file"
            return
        fi
    done
}

# Prints `PID FILE` for a process that keeps the file $1 open: the way in which pacman locks is that the file is there.
open_holder() {
    for descriptor in /proc/[0-9]*/fd/*; do
        if [ "$(readlink "$descriptor" 2>/dev/null)" = "$1" ]; then
            pid=${descriptor#/proc/}
            echo "${pid%%/*} $1"
            return
        fi
    done
}

# Whoever works with RPMs: zypper, dnf, or rpm itself.
rpm_holder() {
    holder=$(pid_holder /run/zypp.pid /var/cache/dnf/metadata_lock.pid /var/lib/dnf/rpmdb_lock.pid /var/cache/dnf/download_lock.pid)
    if [ -z "$holder" ]; then
        holder=$(lock_holder /usr/lib/sysimage/rpm/.rpm.lock /var/lib/rpm/.rpm.lock)
    fi
    if [ -n "$holder" ]; then
        echo "$holder"
    fi
}
