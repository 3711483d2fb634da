# Everything that is to be known of a machine, in one round trip. Set before: $refresh and $node, each 0 or 1.
release=/etc/os-release
if [ ! -r "$release" ]; then
    release=/usr/lib/os-release
fi
say os_release
if [ -r "$release" ]; then
    quoted <"$release"
fi
say kernel "$(uname -r)"
say boot_id "$(cat /proc/sys/kernel/random/boot_id)"

# The same choice as the reader's (by ID, then by ID_LIKE in its order), made here to save a round trip; the reader checks it.
manager=none
# shellcheck disable=SC2013
for id in $({
    sed -n 's/^ID=//p' "$release"
    sed -n 's/^ID_LIKE=//p' "$release"
} 2>/dev/null | tr -d "\"'"); do
    case $id in
    debian | ubuntu) manager=apt ;;
    alpine) manager=apk ;;
    *) continue ;;
    esac
    break
done
say manager "$manager"
case $manager in
apt) apt_facts ;;
apk) apk_facts ;;
esac

for flag in /run/reboot-required /var/run/reboot-required; do
    if [ -e "$flag" ]; then
        say reboot_required
        sort -u "$flag.pkgs" 2>/dev/null | quoted
        break
    fi
done
if [ "$node" = 1 ]; then
    if command -v proxmox-boot-tool >/dev/null 2>&1; then
        say boot_tool
        proxmox-boot-tool kernel list 2>/dev/null </dev/null | quoted
    fi
    say kernels
    for image in /boot/vmlinuz-*; do
        if [ -e "$image" ]; then
            printf '%s\n' "${image##*/vmlinuz-}"
        fi
    done | quoted
fi
say end
