# Hands out the output of a job from byte $from on, at most $most bytes, in hexadecimal: an answer is text, and output is not. od is in
# POSIX and in busybox; it seeks, so a long log costs no more than a short one.
for part in /var/lib/proxmaint "$base" "$dir"; do
    if [ ! -e "$part" ] && [ ! -L "$part" ]; then
        finish output 0
    fi
    trusted "$part"
done
if [ ! -f "$dir/log" ]; then
    finish output 0
fi
# What is written meanwhile is left for the next time.
count=$(($(wc -c <"$dir/log") - from))
if [ "$count" -gt "$most" ]; then
    count=$most
fi
if [ "$count" -le 0 ]; then
    finish output 0
fi
say output "$count"
od -A n -v -t x1 -j "$from" -N "$count" "$dir/log" | tr -d ' \t' | quoted
say end
