# A full upgrade. apk asks only where stdin is a terminal and /etc/apk/interactive exists; a job's stdin is /dev/null, so no option
# is needed that an older apk-tools would refuse (--no-interactive).
PATH="${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export PATH
exec apk upgrade --wait 300
