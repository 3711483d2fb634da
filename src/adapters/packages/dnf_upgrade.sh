# A full upgrade. Configuration files that were changed stay, and the package's own lies beside as .rpmnew; nothing asks for that.
PATH="${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export PATH
# dnf itself waits for ever for some locks and not at all for others: waited for is here, 150 times 2 s.
waits=0
while :; do
    while [ -n "$(rpm_holder)" ] && [ "$waits" -lt 150 ]; do
        [ "$waits" -gt 0 ] || echo "waiting for the lock of process $(rpm_holder)"
        waits=$((waits + 1))
        sleep 2
    done
    dnf -y --setopt=exit_on_lock=True upgrade
    code=$?
    # 200: someone else was faster to the lock.
    if [ "$code" -ne 200 ] || [ "$waits" -ge 150 ]; then
        exit "$code"
    fi
    waits=$((waits + 1))
    sleep 2
done
