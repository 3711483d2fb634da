# A full upgrade within the release. Configuration files that were changed stay, and the package's own lies beside as .rpmnew. Licences
# are agreed to: a question that nobody answers would end it.
PATH="${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ZYPP_LOCK_TIMEOUT=300
export PATH ZYPP_LOCK_TIMEOUT
# zypper waits for other zyppers by itself, rpm for nobody: 150 times 2 s.
waits=0
while [ -n "$(lock_holder /usr/lib/sysimage/rpm/.rpm.lock /var/lib/rpm/.rpm.lock)" ] && [ "$waits" -lt 150 ]; do
    [ "$waits" -gt 0 ] || echo "waiting for the lock of rpm"
    waits=$((waits + 1))
    sleep 2
done
# 103: zypper itself was replaced and wants to be run again for the rest; once more is enough for that.
for run in 1 2; do
    zypper --non-interactive --no-refresh update --auto-agree-with-licenses
    code=$?
    if [ "$code" -ne 103 ]; then
        break
    fi
    echo "run $run: zypper wants to be run again"
done
# 102 and 103: all is installed, and something is to be restarted, which is found out elsewhere.
case $code in
102 | 103) exit 0 ;;
esac
exit "$code"
