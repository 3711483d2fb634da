# Lists the network interfaces with their addresses: `links` holds a name and a MAC address a line; the addresses come from `ip`
# (iproute2 or busybox), and where there is none from what the kernel shows.
say links
for link in /sys/class/net/*; do
    if [ -r "$link/address" ]; then
        printf '%s %s\n' "${link##*/}" "$(cat "$link/address" 2>/dev/null)"
    fi
done | head -n 512 | quoted
if found=$(ip -o addr show 2>/dev/null); then
    say ip
    printf '%s\n' "$found" | head -n 512 | quoted
else
    # The trie names each address of this machine in the line above its `/32 host LOCAL`, and no interfaces.
    say v4
    sed -n '/|-- /h; /\/32 host LOCAL/{x;p;x;}' /proc/net/fib_trie 2>/dev/null | sed 's/.*|-- //' | sort -u | head -n 256 | quoted
    say v6
    head -n 256 /proc/net/if_inet6 2>/dev/null | quoted
fi
say end
