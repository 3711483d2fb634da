# Facts about the packages of SUSE. Set before: $refresh.
zypper_facts() {
    if ! command -v zypper >/dev/null 2>&1; then
        say missing zypper
        return
    fi
    say repositories
    cat /etc/zypp/repos.d/*.repo 2>/dev/null | grep -E '^[[:space:]]*(\[|enabled|baseurl|mirrorlist)' | head -n 2000 | quoted
    say held
    sed -n 's/^solvable_name:[[:space:]]*//p' /etc/zypp/locks 2>/dev/null | quoted
    if [ "$refresh" = 1 ]; then
        out=$(ZYPP_LOCK_TIMEOUT=60 zypper --non-interactive refresh 2>&1 </dev/null)
        code=$?
        say refresh "$code"
        if [ "$code" -ne 0 ]; then
            printf '%s\n' "$out" | tail -n 40 | quoted
            return
        fi
        say refreshed "$(date +%s)"
    fi
    out=$(ZYPP_LOCK_TIMEOUT=60 zypper --non-interactive --xmlout --no-refresh update --auto-agree-with-licenses --dry-run 2>&1 </dev/null)
    code=$?
    say simulate "$code"
    # 102 and 103 say that a reboot, or another run, would follow.
    case $code in
    0 | 102 | 103) printf '%s\n' "$out" | grep -E '^[[:space:]]*<(/?to-|solvable )' | quoted ;;
    *) printf '%s\n' "$out" | grep -E '^[[:space:]]*(<message type="error"|[^<[:space:]])' | tail -n 20 | quoted ;;
    esac
    # zypper sets this file's time to the present whenever it has asked for it, changed or not.
    say lists_index "$(stat -c %Y /var/cache/zypp/raw/*/repodata/repomd.xml 2>/dev/null | sort -n | tail -n 1)"
}
