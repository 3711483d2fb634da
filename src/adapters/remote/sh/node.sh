# What only a node is asked. Set before: $paths, directories whose file systems are to be measured.
say uid "$(id -u)"
say sudo "${SUDO_UID-}"
n=0
for path in $paths; do
    say "space.$n"
    if [ -d "$path" ]; then
        df -P -k "$path" 2>/dev/null | tail -n 1 | quoted
    fi
    n=$((n + 1))
done
say end
