# Makes a machine out of this one: everything that is here, written to memory, in namespaces of its own. Says `ready` and stays until
# stdin ends; with the last process of the namespaces all of it is gone. $1 is an empty directory to mount on.
#
# Run under `unshare --mount --pid --fork --kill-child --propagation private`.
set -eu
dir=$1
mount -t tmpfs -o mode=0755 tmpfs "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/root"
mount -t overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" overlay "$dir/root"
cd "$dir/root"
# An overlay shows no file system mounted below its lower one: /dev, /proc and /sys are what is given here.
mount -t proc proc proc
mount -t tmpfs -o mode=0755 tmpfs dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s /proc/self/fd dev/fd
mkdir dev/shm
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=0755 tmpfs sys
mount -t tmpfs -o mode=0755 tmpfs boot
# Nothing of what the machine's own package managers know.
rm -rf var/lib/dpkg var/lib/apt var/lib/rpm usr/lib/sysimage/rpm var/lib/dnf var/cache/dnf var/lib/pacman var/cache/zypp \
    var/lib/zypp var/cache/apt/*.bin var/lib/proxmaint var/cache/proxmaint etc/apt/sources.list etc/apt/sources.list.d/* \
    etc/apt/apt.conf.d/* etc/apt/preferences.d/* etc/yum.repos.d/* etc/zypp/repos.d/* etc/default/grub etc/default/grub.d
find etc -xdev '(' -name '*.dpkg-*' -o -name '*.ucf-*' -o -name '*.rpm*' -o -name '*.pac*' -o -name '*.apk-new' ')' ! -name '*.d' \
    -type f -delete
rm -f etc/os-release usr/lib/os-release
mkdir -p repo
# By this file whoever comes in knows that this is the machine that was made, and not the one that it was made of.
: >.made-for-a-test
# From here on the file system of the machine that runs the tests is out of reach: not hidden but gone from these namespaces.
mkdir .outside
pivot_root . .outside
cd /
umount -l /.outside
rmdir /.outside
exec sh -c 'echo ready; exec cat'
