# Packages of the lab for apt, in a repository of one version in /repo: `1.0` or `2.0` is $1.
set -eu
arch=$(dpkg --print-architecture)

# package NAME VERSION [line of the control file]..; its files lie below /build/NAME
package() {
    name=$1 version=$2
    shift 2
    mkdir -p "/build/$name/DEBIAN"
    {
        printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: lab\nDescription: a package of the lab\n' "$name" "$version"
        for line in "$@"; do
            printf '%s\n' "$line"
        done
    } >"/build/$name/DEBIAN/control"
    dpkg-deb --root-owner-group -Znone --build "/build/$name" "/repo/pool/${name}_${version}_all.deb" >/dev/null
    {
        cat "/build/$name/DEBIAN/control"
        printf 'Filename: pool/%s\nSize: %s\nSHA256: %s\n\n' "${name}_${version}_all.deb" \
            "$(stat -c %s "/repo/pool/${name}_${version}_all.deb")" \
            "$(sha256sum "/repo/pool/${name}_${version}_all.deb" | cut -d ' ' -f 1)"
    } >>"$index/Packages"
}

rm -rf /build /repo/*
index=/repo/dists/bookworm/main/binary-$arch
mkdir -p "$index" /repo/pool /build/lab-tool/etc /build/lab-tool/DEBIAN /build/lab-daemon/usr/lib/lab /build/lab-slow/DEBIAN
printf 'version = %s\n' "$1" >/build/lab-tool/etc/lab-tool.conf
echo /etc/lab-tool.conf >/build/lab-tool/DEBIAN/conffiles
cp /usr/bin/sleep /build/lab-daemon/usr/lib/lab/daemon
printf '#!/bin/sh\ntouch /run/slow.begun\nread -r go </run/slow\n' >/build/lab-slow/DEBIAN/preinst
chmod 755 /build/lab-slow/DEBIAN/preinst
package lab-daemon "$1"
package lab-held "$1"
package lab-slow 1.0
case $1 in
1*)
    package lab-tool "$1"
    package lab-old 1.0
    ;;
*)
    package lab-tool "$1" 'Depends: lab-new'
    package lab-added 1.0
    package lab-new 2.0 'Conflicts: lab-old' 'Depends: lab-added'
    ;;
esac
printf 'Origin: Debian\nSuite: stable\nCodename: bookworm\nDate: %s\nArchitectures: %s\nComponents: main\nSHA256:\n %s %s main/binary-%s/Packages\n' \
    "$(LC_ALL=C date -Ru)" "$arch" "$(sha256sum "$index/Packages" | cut -d ' ' -f 1)" "$(stat -c %s "$index/Packages")" "$arch" \
    >/repo/dists/bookworm/Release
