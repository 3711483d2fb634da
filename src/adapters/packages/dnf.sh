# Facts about the packages of Fedora, RHEL and what is made of it; for dnf 4 and 5. Set before: $refresh.
dnf_facts() {
    if ! command -v dnf >/dev/null 2>&1; then
        say missing dnf
        return
    fi
    # A release that is fixed by hand: dnf takes it before that of the package fedora-release.
    say releasever "$(cat /etc/dnf/vars/releasever /etc/yum/vars/releasever 2>/dev/null | head -n 1)"
    say stream "$(cat /etc/dnf/vars/stream /etc/yum/vars/stream 2>/dev/null | head -n 1)"
    say held
    sed 's/^/lock /' /etc/dnf/plugins/versionlock.list /etc/yum/pluginconf.d/versionlock.list 2>/dev/null | quoted
    grep -hE '^[[:space:]]*name[[:space:]]*=' /etc/dnf/versionlock.toml 2>/dev/null | sed 's/^/toml /' | quoted
    grep -hE '^[[:space:]]*(exclude|excludepkgs)[[:space:]]*=' /etc/dnf/dnf.conf 2>/dev/null | sed 's/^/conf /' | quoted
    if [ "$refresh" = 1 ]; then
        # Left to itself dnf waits for ever; told not to, it ends with 200: 12 times 5 s.
        tries=0
        while :; do
            out=$(dnf --refresh --setopt=exit_on_lock=True check-update 2>&1 </dev/null)
            code=$?
            tries=$((tries + 1))
            if [ "$code" -ne 200 ] || [ "$tries" -ge 12 ]; then
                break
            fi
            sleep 5
        done
        # 0: nothing to update, 100: something to update. A repository that may be missing is passed over with a line.
        case $code in
        0 | 100)
            say refresh 0
            printf '%s\n' "$out" | grep -E '^(Ignoring repositories|(Error: )?Failed to download metadata)' | quoted
            ;;
        *)
            say refresh "$code"
            printf '%s\n' "$out" | tail -n 40 | quoted
            return
            ;;
        esac
        say refreshed "$(date +%s)"
    fi
    # By the lists as they are; where there are none yet they are fetched.
    out=$(dnf -C --setopt=exit_on_lock=True --assumeno upgrade 2>&1 </dev/null)
    code=$?
    case $out in
    *"Cache-only enabled but no cache"*)
        out=$(dnf --setopt=exit_on_lock=True --assumeno upgrade 2>&1 </dev/null)
        code=$?
        ;;
    esac
    # 1 is also what a question ends with that was answered with no: what was asked then stands before it.
    say simulate "$code"
    case $out in
    *"Transaction Summary"*) printf '%s\n' "$out" | quoted ;;
    *) printf '%s\n' "$out" | tail -n 20 | quoted ;;
    esac
    rpm_installed
    # dnf sets this file's time to the present whenever it has asked for it, changed or not.
    say lists_index "$(stat -c %Y /var/cache/dnf/*/repodata/repomd.xml /var/cache/libdnf5/*/repodata/repomd.xml 2>/dev/null | sort -n | tail -n 1)"
}
