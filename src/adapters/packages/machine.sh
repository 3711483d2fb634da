# Facts that are not one package manager's. Set before: $kind: node, ct, or guest where it can be either.

# Whether this is a container.
contained() {
    [ "$kind" = ct ] || [ -e /run/systemd/container ] || [ -e /run/.containerenv ] ||
        tr '\000' '\n' 2>/dev/null </proc/1/environ | grep -q '^container='
}

# What tells which kernel would boot next; the reader decides. A container has none.
kernel_facts() {
    if contained; then
        return
    fi
    if [ "$kind" = node ] && command -v proxmox-boot-tool >/dev/null 2>&1; then
        say boot_tool
        proxmox-boot-tool kernel list 2>/dev/null </dev/null | quoted
    fi
    if command -v grubby >/dev/null 2>&1; then
        say default_kernel "$(grubby --default-kernel 2>/dev/null </dev/null)"
    fi
    say kernels
    for image in /boot/vmlinuz-*; do
        if [ -e "$image" ]; then
            printf '%s\n' "${image##*/vmlinuz-}"
        fi
    done | quoted
    say modules
    for modules in /lib/modules/*; do
        if [ -e "$modules/vmlinuz" ] || [ -d "$modules/kernel" ]; then
            printf '%s\n' "${modules##*/}"
        fi
    done | quoted
    # What makes GRUB boot something else than the newest.
    say grub
    {
        cat /etc/default/grub /etc/default/grub.d/*.cfg 2>/dev/null | grep -E '^[[:space:]]*GRUB_(DEFAULT|FLAVOUR_ORDER|TOP_LEVEL)='
        grep -ahE '^(next_entry|saved_entry)=' /boot/grub/grubenv /boot/grub2/grubenv 2>/dev/null
    } | quoted
}

# Configuration files that packages left beside the administrator's; 50 are enough to say that there are some.
leftover_facts() {
    say leftovers
    find /etc -xdev -type f '(' -name '*.dpkg-dist' -o -name '*.dpkg-new' -o -name '*.ucf-dist' -o -name '*.rpmnew' -o -name '*.rpmsave' \
        -o -name '*.apk-new' -o -name '*.pacnew' -o -name '*.pacsave' ')' 2>/dev/null | head -n 50 | quoted
}

# Prints $1, a service, where one of its processes $2.. runs code of a file that is gone or was replaced, of those that packages bring.
# What an interpreter once read can't be told in this way.
runs_replaced() {
    service=$1
    shift
    for pid in "$@"; do
        if grep -qsE '^[^ ]+ ..x. .* /(usr|lib|lib64|bin|sbin|opt)/.* \(deleted\)$' "/proc/$pid/maps"; then
            printf '%s\n' "$service"
            return
        fi
    done
}

# Services that still run replaced files: by the groups that systemd keeps their processes in (so none of a container's count for its
# node), and by OpenRC's records. Of each the first 64 processes, the oldest ones; 64 services are named at most.
service_facts() {
    say restart
    {
        for group in /sys/fs/cgroup/system.slice/*.service /sys/fs/cgroup/system.slice/*.slice/*.service \
            /sys/fs/cgroup/systemd/system.slice/*.service /sys/fs/cgroup/systemd/system.slice/*.slice/*.service; do
            # A container's own process of the node: restarting it would restart the container.
            case $group in
            */pve-container@*) continue ;;
            esac
            if [ -r "$group/cgroup.procs" ]; then
                # shellcheck disable=SC2046 # numbers
                runs_replaced "${group##*/}" $(head -n 64 "$group/cgroup.procs" 2>/dev/null)
            fi
        done
        for daemon in /run/openrc/daemons/*/*; do
            if [ -r "$daemon" ]; then
                pidfile=$(sed -n 's/^pidfile=//p' "$daemon")
                service=${daemon%/*}
                # shellcheck disable=SC2046
                runs_replaced "${service##*/}" $(head -n 1 "${pidfile:-/dev/null}" 2>/dev/null)
            fi
        done
    } | head -n 64 | quoted
}
