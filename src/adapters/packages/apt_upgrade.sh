# A full upgrade without a question asked: configuration files that were changed stay, new ones get the package's default.
# Whatever the debconf, listchanges and needrestart front ends would ask is answered by their own non-interactive modes.
PATH="${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEBIAN_FRONTEND=noninteractive
APT_LISTCHANGES_FRONTEND=none
NEEDRESTART_MODE=a
export PATH DEBIAN_FRONTEND APT_LISTCHANGES_FRONTEND NEEDRESTART_MODE
# Without a pty of its own dpkg stays in this job's session, by which it is found should everything above it be killed.
exec apt-get -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold dist-upgrade
