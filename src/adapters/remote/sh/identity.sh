say hostname "$(hostname 2>/dev/null || uname -n)"
say boot_id "$(cat /proc/sys/kernel/random/boot_id)"
say product_uuid "$(cat /sys/class/dmi/id/product_uuid 2>/dev/null)"
say end
