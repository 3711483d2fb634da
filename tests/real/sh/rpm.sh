# Packages of the lab as RPMs, in a repository of one version in /repo: `1.0` or `2.0` is $1.
set -eu
mkdir -p /etc/rpm /var/lib/rpm
echo '%_dbpath /var/lib/rpm' >/etc/rpm/macros
[ -e /var/lib/rpm/rpmdb.sqlite ] || rpm --initdb

# package NAME VERSION [line of the spec]..; its files lie below /build/NAME and are listed in /build/NAME.files
package() {
    name=$1 version=$2
    shift 2
    {
        printf 'Name: %s\nVersion: %s\nRelease: 1\nSummary: A package of the lab\nLicense: MIT\nBuildArch: noarch\n' "$name" "$version"
        for line in "$@"; do
            printf '%s\n' "$line"
        done
        printf '%%description\nA package of the lab.\n%%install\nmkdir -p %%{buildroot}\n'
        printf '[ ! -d /build/%s ] || cp -r /build/%s/. %%{buildroot}\n' "$name" "$name"
        printf '%%files\n'
        [ ! -e "/build/$name.files" ] || cat "/build/$name.files"
    } >"/build/$name.spec"
    rpmbuild --quiet -bb --define "_topdir /build/top" --define "_rpmdir /repo" --define '__os_install_post %{nil}' --define '_binaries_in_noarch_packages_terminate_build 0' \
        --define '_build_name_fmt %%{NAME}-%%{VERSION}.rpm' \
        "/build/$name.spec" >/build/log 2>&1 || { cat /build/log >&2; exit 1; }
}

rm -rf /build /repo/*
mkdir -p /build/lab-tool/etc /build/lab-daemon/usr/lib/lab
printf 'version = %s\n' "$1" >/build/lab-tool/etc/lab-tool.conf
echo '%config(noreplace) /etc/lab-tool.conf' >/build/lab-tool.files
cp /usr/bin/sleep /build/lab-daemon/usr/lib/lab/daemon
echo /usr/lib/lab/daemon >/build/lab-daemon.files
package lab-tool "$1"
package lab-daemon "$1" 'AutoReqProv: no'
package lab-held "$1"
package lab-sh 1.0 'Provides: /bin/sh'
package lab-slow 1.0 '%pre' 'touch /run/slow.begun' 'read -r go </run/slow'
case $1 in
1*) package lab-old 1.0 ;;
*)
    package lab-added 1.0
    package lab-new 2.0 'Obsoletes: lab-old < 2' 'Provides: lab-old = 2' 'Requires: lab-added'
    ;;
esac
createrepo_c --quiet /repo
