# What dnf and zypper have in common.

# Every package that is installed, once for each version: an epoch of 0 is left out, as dnf and zypper do.
rpm_installed() {
    say installed
    rpm -qa --qf '%{NAME} %{ARCH} %|EPOCH?{%{EPOCH}:}:{}|%{VERSION}-%{RELEASE}\n' 2>/dev/null </dev/null | quoted
}

# A transaction that was cut off leaves the old and the new version of a package installed. Some packages may well be there in several
# versions: those that say so, and keys.
rpm_consistent() {
    if ! command -v rpm >/dev/null 2>&1; then
        say missing rpm
        return
    fi
    say locked "$(rpm_holder)"
    out=$(rpm -qa --qf '%{NAME}.%{ARCH}\n' 2>&1 </dev/null)
    code=$?
    say audit "$code"
    if [ "$code" -ne 0 ]; then
        printf '%s\n' "$out" | tail -n 20 | quoted
        return
    fi
    say twice
    printf '%s\n' "$out" | sort | uniq -d | quoted
    say several
    rpm -q --qf '%{NAME}.%{ARCH}\n' --whatprovides 'installonlypkg(kernel)' 'installonlypkg(kernel-module)' 'installonlypkg(vm)' \
        'multiversion(kernel)' 2>/dev/null </dev/null | grep -v ' ' | quoted
}
