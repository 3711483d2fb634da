# Facts about the packages of Arch Linux. Set before: $refresh.
#
# The machine's own lists are never refreshed but by the upgrade itself: whatever is installed by lists that are newer than the system is
# a partial upgrade. So what is refreshed is a copy of them, kept for the looks that follow; the packages are the machine's own.
pacman_facts() {
    if ! command -v pacman >/dev/null 2>&1; then
        say missing pacman
        return
    fi
    copy=/var/cache/proxmaint/pacman
    if [ "$refresh" = 1 ]; then
        # Readable for all, since newer versions download as a user of their own.
        (umask 022 && mkdir -p "$copy/sync") 2>/dev/null
        ln -sfn /var/lib/pacman/local "$copy/local"
        rm -f "$copy/db.lck"
        out=$(pacman -Sy --noconfirm --dbpath "$copy" --logfile /dev/null 2>&1 </dev/null)
        code=$?
        say refresh "$code"
        if [ "$code" -ne 0 ]; then
            printf '%s\n' "$out" | tail -n 40 | quoted
            return
        fi
        date +%s >"$copy/refreshed"
    fi
    # The time of a list is the server's; that of its inode is when it came here.
    own=$(stat -c %Z /var/lib/pacman/sync/*.db 2>/dev/null | sort -n | tail -n 1)
    copied=$(cat "$copy/refreshed" 2>/dev/null)
    lists=/var/lib/pacman
    if [ "${copied:-0}" -ge "${own:-0}" ] && [ "${copied:-0}" -gt 0 ]; then
        lists=$copy
        own=$copied
    fi
    say refreshed "$own"
    out=$(pacman -Su --noconfirm --dbpath "$lists" --logfile /dev/null --print-format '> %n %v' 2>&1 </dev/null)
    code=$?
    say simulate "$code"
    if [ "$code" -eq 0 ]; then
        printf '%s\n' "$out" | grep '^> ' | quoted
        # What takes the place of another package says so in the lists alone.
        say replaces
        # shellcheck disable=SC2046 # names of packages have no blanks
        LC_ALL=C pacman -Si --dbpath "$lists" $(printf '%s\n' "$out" | sed -n 's/^> \([^ ]*\) .*/\1/p' | head -n 5000) 2>/dev/null </dev/null |
            grep -E '^(Name|Replaces) +:' | quoted
    else
        printf '%s\n' "$out" | tail -n 20 | quoted
    fi
    say installed
    pacman -Q 2>/dev/null </dev/null | quoted
    say held
    { pacman-conf IgnorePkg && pacman-conf IgnoreGroup; } 2>/dev/null </dev/null | quoted
}

pacman_consistent() {
    if ! command -v pacman >/dev/null 2>&1; then
        say missing pacman
        return
    fi
    if [ -e /var/lib/pacman/db.lck ]; then
        holder=$(open_holder /var/lib/pacman/db.lck)
        if [ -n "$holder" ]; then
            say locked "$holder"
        else
            say audit 1
            echo "/var/lib/pacman/db.lck was left by a pacman that was cut off" | quoted
            return
        fi
    fi
    out=$(pacman -Dk 2>&1 </dev/null)
    code=$?
    say audit "$code"
    if [ "$code" -ne 0 ]; then
        printf '%s\n' "$out" | head -n 20 | quoted
    fi
}
