# Packages of the lab for pacman, made by hand, in a repository of one version in /repo: `1.0` or `2.0` is $1.
set -eu

# package NAME VERSION [FIELD VALUE].., with the fields of a package's own file (backup, replaces, conflict, provides, depend); its
# files lie below /build/NAME
package() {
    name=$1 version=$2 file=$1-$2-1-any.pkg.tar.gz
    shift 2
    mkdir -p "/build/$name" "/build/db/$name-$version-1"
    desc=/build/db/$name-$version-1/desc
    {
        printf 'pkgname = %s\npkgbase = %s\npkgver = %s-1\npkgdesc = A package of the lab\n' "$name" "$name" "$version"
        printf 'builddate = 1\npackager = lab\nsize = 1\narch = any\nlicense = MIT\n'
    } >"/build/$name/.PKGINFO"
    printf '%%NAME%%\n%s\n\n%%VERSION%%\n%s-1\n\n%%FILENAME%%\n%s\n\n%%ARCH%%\nany\n\n' "$name" "$version" "$file" >"$desc"
    while [ $# -gt 0 ]; do
        printf '%s = %s\n' "$1" "$2" >>"/build/$name/.PKGINFO"
        case $1 in
        replaces) printf '%%REPLACES%%\n%s\n\n' "$2" >>"$desc" ;;
        conflict) printf '%%CONFLICTS%%\n%s\n\n' "$2" >>"$desc" ;;
        provides) printf '%%PROVIDES%%\n%s\n\n' "$2" >>"$desc" ;;
        depend) printf '%%DEPENDS%%\n%s\n\n' "$2" >>"$desc" ;;
        esac
        shift 2
    done
    # The same bytes each time, so that lists of the other version know the package as well.
    # shellcheck disable=SC2046 # names without blanks
    tar -C "/build/$name" --owner=0 --group=0 --mtime=@1 --sort=name -c $(ls -A "/build/$name") | gzip -n >"/repo/$file"
    printf '%%CSIZE%%\n%s\n\n%%SHA256SUM%%\n%s\n\n' "$(stat -c %s "/repo/$file")" "$(sha256sum "/repo/$file" | cut -d ' ' -f 1)" >>"$desc"
}

rm -rf /build /repo/* /var/cache/pacman/pkg/*
mkdir -p /build/lab-tool/etc /build/lab-daemon/usr/lib/lab
printf 'version = %s\n' "$1" >/build/lab-tool/etc/lab-tool.conf
mkdir -p /build/lab-slow
printf 'pre_install() {\n    touch /run/slow.begun\n    read -r go </run/slow\n}\n' >/build/lab-slow/.INSTALL
cp /usr/bin/sleep /build/lab-daemon/usr/lib/lab/daemon
package lab-tool "$1" backup etc/lab-tool.conf
package lab-daemon "$1"
package lab-held "$1"
package lab-slow 1.0
package archlinux-keyring "$1"
case $1 in
1*) package lab-old 1.0 ;;
*)
    package lab-added 1.0
    package lab-new 2.0 replaces lab-old conflict lab-old provides lab-old depend lab-added
    ;;
esac
tar -C /build/db --owner=0 --group=0 -czf /repo/lab.db $(ls /build/db)
# pacman takes lists of the same second for the same lists: two versions are to differ however quickly they are made.
touch -d "@${1%%.*}000" /repo/lab.db
