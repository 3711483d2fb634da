# Facts about the packages of Debian and what is made of it. Set before: $refresh.
apt_facts() {
    if ! command -v apt-get >/dev/null 2>&1; then
        say missing apt-get
        return
    fi
    # Where packages come from, in both formats: `l` a line of a list, `d` one of a deb822 file. A file ends with an
    # empty line, whether or not its last line has an end.
    say sources
    {
        for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
            if [ -r "$file" ]; then
                sed 's/^/l/' "$file"
                printf '\n\n'
            fi
        done
        for file in /etc/apt/sources.list.d/*.sources; do
            if [ -r "$file" ]; then
                sed 's/^/d/' "$file"
                printf '\n\n'
            fi
        done
    } | head -n 5000 | quoted
    if [ "$refresh" = 1 ]; then
        # apt waits for dpkg's lock by itself, but not for that of the lists: 12 times 5 s.
        tries=0
        while :; do
            out=$(apt-get -o DPkg::Lock::Timeout=60 -o APT::Update::Error-Mode=any update 2>&1 </dev/null)
            code=$?
            tries=$((tries + 1))
            case $out in
            *"Could not get lock"*) ;;
            *) break ;;
            esac
            if [ "$code" -eq 0 ] || [ "$tries" -ge 12 ]; then
                break
            fi
            sleep 5
        done
        say refresh "$code"
        printf '%s\n' "$out" | grep -E '^(E|W|Err)[: ]' | tail -n 40 | quoted
        if [ "$code" -ne 0 ]; then
            return
        fi
        say refreshed "$(date +%s)"
    fi
    out=$(apt-get -s -o Debug::NoLocking=1 dist-upgrade 2>&1 </dev/null)
    code=$?
    say simulate "$code"
    if [ "$code" -eq 0 ]; then
        printf '%s\n' "$out" | grep -E '^(Inst|Remv|Purg) ' | quoted
    else
        printf '%s\n' "$out" | tail -n 20 | quoted
    fi
    say held
    apt-mark showhold 2>/dev/null </dev/null | quoted
    say lists_stamp "$(stat -c %Y /var/lib/apt/periodic/update-success-stamp 2>/dev/null)"
    say lists_partial "$(stat -c %Y /var/lib/apt/lists/partial 2>/dev/null)"
    say lists_release "$(stat -c %Z /var/lib/apt/lists/*Release 2>/dev/null | sort -n | tail -n 1)"
}

apt_consistent() {
    if ! command -v dpkg >/dev/null 2>&1; then
        say missing dpkg
        return
    fi
    say locked "$(lock_holder /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock)"
    out=$(dpkg --audit 2>&1 </dev/null)
    say audit "$?"
    printf '%s\n' "$out" | head -n 20 | quoted
}
