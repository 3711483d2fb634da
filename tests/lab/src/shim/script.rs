//! The files that every machine's `/usr/bin` is made of: one shim script under many names, and links to real basic tools.
//!
//! A machine has what its kind has and nothing else: on Alpine there is no `systemd-run`, in a container no `pct`. So `PATH`
//! holds these directories alone.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::{getgid, getuid};

use crate::executable;
use crate::world::Os;

/// Real tools that every machine has.
const REAL: &[&str] = &[
    "[",
    "awk",
    "base64",
    "basename",
    "cat",
    "chmod",
    "chown",
    "cksum",
    "cmp",
    "comm",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "diff",
    "dirname",
    "du",
    "echo",
    "expr",
    "false",
    "find",
    "flock",
    "fold",
    "fuser",
    "grep",
    "gzip",
    "head",
    "install",
    "kill",
    "ln",
    "ls",
    "lslocks",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mktemp",
    "mv",
    "nice",
    "nohup",
    "od",
    "paste",
    "pgrep",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "setsid",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "split",
    "stat",
    "sync",
    "tail",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "uniq",
    "wc",
    "xargs",
];

/// Shims that every machine has.
const EVERYWHERE: &[&str] = &["hostname", "id", "ip", "reboot", "uname", "whoami"];
/// Shims of Debian and what descends from it.
const DEBIAN: &[&str] =
    &["apt", "apt-cache", "apt-get", "apt-mark", "dpkg", "dpkg-query", "sudo", "systemctl", "systemd-run"];
/// Shims of Alpine.
const ALPINE: &[&str] = &["apk", "rc-status"];
/// Shims of a Proxmox VE node.
const NODE: &[&str] =
    &["corosync-quorumtool", "ha-manager", "pct", "proxmox-boot-tool", "pvecm", "pvesm", "pveversion", "qm", "zfs"];

/// What a shim does: asks the lab over FIFOs of its own, then copies what it answers.
///
/// The lab reads arguments and environment from `/proc/PID`, so the request is the process number alone. All FIFOs are
/// opened for reading and writing first, which never blocks, so that the lab's ends open at once and their names can go; the
/// writing ends are closed when the lab has answered. If the lab goes, so does the shim: every read then ends.
const SHIM: &str = r#"#!/bin/sh
# A tool of a simulated machine: the lab that made it answers for it.
kill -0 @PID@ 2>/dev/null || { echo "${0##*/}: the lab is gone" >&2; exit 255; }
c=@DIR@/c/$$
@MKFIFO@ -m 600 "$c.go" "$c.out" "$c.err" || exit 255
exec 3<>"$c.go" 4<>"$c.out" 5<>"$c.err" 6<"$c.go" 7<"$c.out" 8<"$c.err"
echo $$ 1<>@DIR@/requests
read -r how <&6
exec 3>&- 4>&- 5>&-
case $how in
exec)
    exec 6<&- 7<&- 8<&-
    . "$c.sh"
    ;;
stream)
    @CAT@ <&7 6<&- 7<&- 8<&- &
    @CAT@ <&8 >&2 6<&- 7<&- 8<&- &
    exec 7<&- 8<&-
    wait
    read -r code <&6 || code=255
    exit "$code"
    ;;
esac
exit 255
"#;

/// `env`, which would lose `PATH` and with it the machine: with `-i` both stay unless they are given.
const ENV: &str = r#"#!/bin/sh
case ${1-} in
-i | - | --ignore-environment)
    shift
    exec @ENV@ -i PATH="$PATH" LAB_ID="${LAB_ID-}" LAB_MACHINE="${LAB_MACHINE-}" "$@"
    ;;
esac
exec @ENV@ "$@"
"#;

/// `ls` where the lab is not run by root: a machine's root owns the machine's files, so `-n` shows the lab's own user as 0.
const LS: &str = r#"#!/bin/sh
case ${1-} in
--*) ;;
-*n*)
    listed=$(@LS@ "$@")
    code=$?
    printf '%s\n' "$listed" | sed 's/^\([^ ]* *[0-9]* *\)@UID@\( *\)@GID@ /\10\20 /'
    exit "$code"
    ;;
esac
exec @LS@ "$@"
"#;

/// `chown` where the lab is not run by root: there is one real user, who owns everything.
const CHOWN: &str = "#!/bin/sh\nexit 0\n";

/// A set of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Toolset {
    /// A Proxmox VE node.
    Node,
    /// A guest with Debian or Ubuntu.
    Debian,
    /// A guest with Alpine.
    Alpine,
}

impl Toolset {
    /// Returns the tools of a guest's operating system.
    pub fn of_guest(os: Os) -> Self {
        match os.manager() {
            crate::world::Manager::Apk => Self::Alpine,
            crate::world::Manager::Apt => Self::Debian,
        }
    }

    /// Returns the directory of its tools within the lab's.
    pub fn dir(self, lab: &Path) -> PathBuf {
        lab.join("tools").join(match self {
            Self::Node => "node",
            Self::Debian => "debian",
            Self::Alpine => "alpine",
        })
    }

    fn shims(self) -> Vec<&'static str> {
        let own: &[&[&str]] = match self {
            Self::Node => &[EVERYWHERE, DEBIAN, NODE],
            Self::Debian => &[EVERYWHERE, DEBIAN],
            Self::Alpine => &[EVERYWHERE, ALPINE],
        };
        own.concat()
    }
}

/// Finds a real tool of this system.
///
/// # Errors
/// Where it is in none of the usual directories.
pub fn real(tool: &str) -> io::Result<PathBuf> {
    let places = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    places.iter().map(|place| Path::new(place).join(tool)).find(|path| path.exists()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("this system has no {tool}, which the lab needs"))
    })
}

/// Writes the shim and the directories of tools into the lab's directory.
///
/// # Errors
/// Where a file cannot be written, or `mkfifo`, `cat` or `env` is not there.
pub fn install(lab: &Path) -> io::Result<()> {
    let fill = |template: &str| -> io::Result<String> {
        Ok(template
            .replace("@PID@", &std::process::id().to_string())
            .replace("@DIR@", &lab.display().to_string())
            .replace("@MKFIFO@", &real("mkfifo")?.display().to_string())
            .replace("@CAT@", &real("cat")?.display().to_string())
            .replace("@ENV@", &real("env")?.display().to_string())
            .replace("@LS@", &real("ls")?.display().to_string())
            .replace("@UID@", &getuid().as_raw().to_string())
            .replace("@GID@", &getgid().as_raw().to_string()))
    };
    let shim = lab.join("shim");
    executable::write(&shim, &fill(SHIM)?)?;
    let mut wrappers = vec![("env", ENV)];
    if !getuid().is_root() {
        wrappers.extend([("ls", LS), ("chown", CHOWN)]);
    }
    for (tool, text) in &wrappers {
        executable::write(&lab.join(tool), &fill(text)?)?;
    }
    for toolset in [Toolset::Node, Toolset::Debian, Toolset::Alpine] {
        let dir = toolset.dir(lab);
        fs::create_dir_all(&dir)?;
        // A basic tool that this system lacks is absent on the machines too: a command that uses it says so itself.
        let plain = REAL.iter().filter(|tool| !wrappers.iter().any(|(wrapped, _)| wrapped == *tool));
        for (tool, path) in plain.filter_map(|tool| Some((tool, real(tool).ok()?))) {
            symlink(path, dir.join(tool))?;
        }
        for tool in toolset.shims() {
            symlink(&shim, dir.join(tool))?;
        }
        for (tool, _) in &wrappers {
            symlink(lab.join(tool), dir.join(tool))?;
        }
    }
    Ok(())
}
