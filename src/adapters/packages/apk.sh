# Facts about the packages of Alpine. Set before: $refresh.
apk_facts() {
    if ! command -v apk >/dev/null 2>&1; then
        say missing apk
        return
    fi
    say repositories
    cat /etc/apk/repositories /etc/apk/repositories.d/*.list 2>/dev/null | head -n 500 | quoted
    if [ "$refresh" = 1 ]; then
        out=$(apk update --wait 60 2>&1 </dev/null)
        code=$?
        say refresh "$code"
        printf '%s\n' "$out" | tail -n 40 | quoted
        if [ "$code" -ne 0 ]; then
            return
        fi
        say refreshed "$(date +%s)"
    fi
    # A simulation takes no lock and refreshes no index (apk-tools 2 and 3 alike).
    out=$(apk upgrade --simulate 2>&1 </dev/null)
    code=$?
    say simulate "$code"
    if [ "$code" -eq 0 ]; then
        printf '%s\n' "$out" | grep -E '^\( *[0-9]+/[0-9]+\) ' | quoted
    else
        printf '%s\n' "$out" | tail -n 20 | quoted
    fi
    say held
    tr ' ' '\n' 2>/dev/null </etc/apk/world | grep '[=<>~]' | quoted
    # apk sets an index's time to the present whenever it has asked for it, changed or not.
    say lists_index "$(stat -c %Y /var/cache/apk/APKINDEX.*.tar.gz /etc/apk/cache/APKINDEX.*.tar.gz 2>/dev/null | sort -n | tail -n 1)"
}

apk_consistent() {
    if ! command -v apk >/dev/null 2>&1; then
        say missing apk
        return
    fi
    say locked "$(lock_holder /lib/apk/db/lock /usr/lib/apk/db/lock)"
    out=$(apk fix --simulate 2>&1 </dev/null)
    code=$?
    say audit "$code"
    if [ "$code" -eq 0 ]; then
        printf '%s\n' "$out" | grep -E '^\( *[0-9]+/[0-9]+\) ' | head -n 20 | quoted
    else
        printf '%s\n' "$out" | tail -n 20 | quoted
    fi
}
