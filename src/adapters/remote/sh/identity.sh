say hostname "$(hostname 2>/dev/null || uname -n)"
say boot_id "$(cat /proc/sys/kernel/random/boot_id)"
say product_uuid "$(cat /sys/class/dmi/id/product_uuid 2>/dev/null)"
say kernel "$(uname -r)"
# A machine that runs containers of its own has an interface for each; those of its own come before `veth` in the order of names.
say macs
cat /sys/class/net/*/address 2>/dev/null | head -n 1024 | quoted
say end
