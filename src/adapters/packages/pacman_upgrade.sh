# A full upgrade, keys first: packages may be signed with keys that the installed ones do not have yet. Configuration files that were
# changed stay, and the package's own lies beside as .pacnew.
PATH="${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export PATH
# pacman waits for nobody: 150 times 2 s.
waits=0
while [ -e /var/lib/pacman/db.lck ] && [ "$waits" -lt 150 ]; do
    [ "$waits" -gt 0 ] || echo "waiting for /var/lib/pacman/db.lck"
    waits=$((waits + 1))
    sleep 2
done
keyrings=
for keyring in archlinux-keyring archlinuxarm-keyring artix-keyring cachyos-keyring endeavouros-keyring garuda-keyring manjaro-keyring; do
    if pacman -Qq "$keyring" >/dev/null 2>&1; then
        keyrings="$keyrings $keyring"
    fi
done
if [ -n "$keyrings" ]; then
    # shellcheck disable=SC2086
    pacman -Sy --noconfirm --needed $keyrings || exit $?
    exec pacman -Su --noconfirm
fi
exec pacman -Syu --noconfirm
