# Everything that is to be known of a machine, in one round trip. Set before: $refresh, 0 or 1, and $kind: node, ct or guest.
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
    fedora | rhel | centos | rocky | almalinux | ol | amzn) manager=dnf ;;
    opensuse-leap | opensuse-tumbleweed | opensuse | sles | sled | sle-micro | suse) manager=zypper ;;
    arch | archarm | manjaro) manager=pacman ;;
    *) continue ;;
    esac
    break
done
say manager "$manager"
case $manager in
apt) apt_facts ;;
apk) apk_facts ;;
dnf) dnf_facts ;;
zypper) zypper_facts ;;
pacman) pacman_facts ;;
esac
# A guest whose packages were left half-configured is not up to date, whatever is pending; a node is asked apart.
if [ "$kind" != node ]; then
    case $manager in
    apt) apt_consistent ;;
    apk) apk_consistent ;;
    dnf | zypper) rpm_consistent ;;
    pacman) pacman_consistent ;;
    esac
fi

for flag in /run/reboot-required /var/run/reboot-required /run/reboot-needed; do
    if [ -e "$flag" ]; then
        say reboot_required "$flag"
        sort -u "$flag.pkgs" 2>/dev/null | quoted
        break
    fi
done
# A system that is made of images takes no packages one by one.
if [ -e /run/ostree-booted ]; then
    say image rpm-ostree
elif command -v transactional-update >/dev/null 2>&1; then
    say image transactional-update
fi
kernel_facts
leftover_facts
service_facts
say end
