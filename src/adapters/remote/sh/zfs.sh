# What the node's ZFS says of the volumes in $volumes since the snapshot $snapshot. A volume whose path is no dataset of ZFS is
# passed over: a zvol is known by its path, a subvolume by being the mountpoint of its dataset. The order in which snapshots came
# about is that of their transactions: two may be of the same second.
tell() {
    tr -d '\000' | sed "s/^/|$1 /"
}

look() {
    path=$(pvesm path "$1" 2>&1) || {
        printf '%s: %s\n' "$1" "$path" | tell failed
        return
    }
    case $path in
    /dev/zvol/*) dataset=${path#/dev/zvol/} ;;
    *)
        # Mounted under its own name, as it is unless the storage says otherwise (`mountpoint`).
        dataset=${path#/}
        zfs list -H -o name "$dataset" >/dev/null 2>&1 ||
            dataset=$(zfs list -H -o name,mountpoint "$path" 2>/dev/null | awk -F '\t' -v at="$path" '$2 == at { print $1 }')
        [ -n "$dataset" ] || {
            printf '%s\n' "$1" | tell elsewhere
            return
        }
        ;;
    esac
    printf '%s\n' "$dataset" | tell dataset
    names=$(zfs list -H -t snapshot -o name -s createtxg -d 1 "$dataset" 2>&1) || {
        printf '%s: %s\n' "$dataset" "$names" | tell failed
        return
    }
    printf '%s\n' "$names" | tell snapshot
    zfs get -H -p -o value "written@$snapshot" "$dataset" 2>/dev/null | tell written
}

say since
if command -v zfs >/dev/null 2>&1; then
    for volume in $volumes; do
        look "$volume"
    done
else
    printf 'all\n' | tell elsewhere
fi
say end
