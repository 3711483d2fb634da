# Says which process holds a lock on one of the files $@, if any: the kernel's list names inodes, the process's own descriptors
# then prove that it is this very file (the device numbers of that list are not those of stat on every file system).
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
                    say locked "$pid $file"
                    return
                fi
            done
        done </proc/locks
    done
}
