//! Makes the absolute paths in a command those of the simulated machine.
//!
//! Without root there is no `chroot`, so the command's text is changed: `/etc/os-release` becomes
//! `<lab>/m/pve1/etc/os-release`. Only paths below the [`PREFIXES`] are touched, and only where a path can begin (after a
//! blank, a quote, `=`, `:`, `>` and the like), so `s/etc/x/` and `$dir/var` stay what they are. `/dev` and `/proc/PID`
//! stay real. A command that goes on to another machine (`pct exec`) first loses the paths of the one it came through.
//!
//! What this can't see: paths that a command puts together from pieces (`d=/v; cat ${d}ar/...`), `cd /` followed by a relative
//! path, and scripts that come over standard input (`sh -s`). Messages of the tools name the rewritten paths.

/// What a path must begin with to be made the machine's own.
const PREFIXES: &[&str] = &[
    "/bin",
    "/boot",
    "/etc",
    "/home",
    "/lib",
    "/opt",
    "/proc/1/environ",
    "/proc/net",
    "/proc/sys/kernel/random",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys/class/dmi",
    "/sys/class/net",
    "/sys/fs/cgroup",
    "/tmp",
    "/usr",
    "/var",
];

/// Rewrites a text for the machine whose root directory is `root`; `machines` is the directory that holds all roots.
pub fn localize(text: &str, machines: &str, root: &str) -> String {
    let plain = globalize(text, machines);
    let mut out = String::with_capacity(plain.len() + 256);
    let mut before = None;
    let mut earlier = None;
    let mut rest = plain.as_str();
    while let Some(c) = rest.chars().next() {
        if c == '/' && may_precede(earlier, before) && PREFIXES.iter().any(|prefix| begins(rest, prefix)) {
            out.push_str(root);
        }
        out.push(c);
        earlier = before;
        before = Some(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Takes the root directory of whatever machine out of a text again.
pub fn globalize(text: &str, machines: &str) -> String {
    let mark = format!("{machines}/");
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&mark) {
        out.push_str(&rest[..at]);
        let after = &rest[at + mark.len()..];
        let name = after.find(|c: char| !is_name(c)).unwrap_or(after.len());
        rest = &after[name..];
        if !rest.starts_with('/') {
            out.push('/');
        }
    }
    out.push_str(rest);
    out
}

/// Whether a path can begin after these characters; `${PATH:+:}` is the one expansion that a path of a list can follow.
fn may_precede(earlier: Option<char>, before: Option<char>) -> bool {
    if before == Some('}') {
        return earlier == Some(':');
    }
    before.is_none_or(|c| c.is_whitespace() || "'\"`,=:><(|;&![{".contains(c))
}

/// Whether the text begins with the prefix as a path: alone, or followed by something below it.
fn begins(text: &str, prefix: &str) -> bool {
    let Some(after) = text.strip_prefix(prefix) else { return false };
    let mut after = after.chars();
    match after.next() {
        // `/var/` alone is as likely a pattern of awk as a directory: both do without a change.
        Some('/') => after.next().is_some_and(|c| is_name(c) || "$*\"?".contains(c)),
        Some(c) => !is_name(c),
        None => true,
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || "._-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> String {
        localize(text, "/tmp/lab/m", "/tmp/lab/m/pve1")
    }

    #[test]
    fn paths_of_the_machine_are_made_its_own() {
        assert_eq!(local("cat /etc/os-release"), "cat /tmp/lab/m/pve1/etc/os-release");
        assert_eq!(local("cat '/etc/os-release'>/var/x"), "cat '/tmp/lab/m/pve1/etc/os-release'>/tmp/lab/m/pve1/var/x");
        assert_eq!(local("${PATH:+:}/usr/bin"), "${PATH:+:}/tmp/lab/m/pve1/usr/bin");
        assert_eq!(local("PATH=/usr/bin:/bin"), "PATH=/tmp/lab/m/pve1/usr/bin:/tmp/lab/m/pve1/bin");
        assert_eq!(local("/run/reboot-required*"), "/tmp/lab/m/pve1/run/reboot-required*");
        assert_eq!(local("d=/var/lib/$x"), "d=/tmp/lab/m/pve1/var/lib/$x");
    }

    #[test]
    fn everything_else_stays() {
        for text in [
            "echo x >/dev/null",
            "cat /proc/1/stat",
            "sed s/etc/x/",
            "$d/var/lib",
            "./etc/x",
            "${d}/var/lib",
            "awk '/var/ {print}'",
            "a/b",
            "/variable",
        ] {
            assert_eq!(local(text), text);
        }
    }

    #[test]
    fn a_command_that_goes_on_loses_the_paths_it_came_through() {
        let node = local("cat /etc/hostname /tmp");
        assert_eq!(globalize(&node, "/tmp/lab/m"), "cat /etc/hostname /tmp");
        let ct = localize(&node, "/tmp/lab/m", "/tmp/lab/m/lab.101");
        assert_eq!(ct, "cat /tmp/lab/m/lab.101/etc/hostname /tmp/lab/m/lab.101/tmp");
        assert_eq!(globalize("cd /tmp/lab/m/pve1; ls", "/tmp/lab/m"), "cd /; ls");
    }
}
