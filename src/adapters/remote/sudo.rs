//! Logins other than root: everything runs inside `sudo`, which may not ask for a password, and what it says when it refuses.
//!
//! `-n` makes sudo refuse instead of asking, so nothing waits for an answer that nobody gives. It says why in the language of
//! the login, so it is asked in plain English.

use super::answer;
use super::exec::{At, ExecOutput};
use super::text::fragment;
use crate::engine::port::Place;
use crate::machine::outcome::Fault;

/// What a command line begins with that is to be run as root. `env` sets the locale whatever shell the login has (csh knows no
/// `LC_ALL=C command`).
pub(super) const SUDO: &str = "env LC_ALL=C sudo -n --";

/// Returns the fault of a sudo that refused, or is not there, so that the script never ran; `None` for anything else. `login` is
/// `user@host`.
pub(super) fn refusal(place: &Place, user: &str, login: &str, out: &ExecOutput) -> Option<Fault> {
    if out.exit == 0 || answer::began(&out.stdout) {
        return None;
    }
    let stderr = String::from_utf8_lossy(&out.stderr);
    let why = Refusal::read(user, out.exit, &stderr)?;
    let way = match place {
        Place::Ct(_) => format!(", by which {} is reached,", At(place)),
        Place::Node | Place::Ssh(..) | Place::Agent(..) => String::new(),
    };
    let what = format!("the login {login}{way} can't become root: ");
    let grant = format!("`{user} ALL=(root) NOPASSWD: ALL`");
    let add = format!("add {grant} there with `visudo -f /etc/sudoers.d/proxmaint`, or log in as root");
    Some(match why {
        Refusal::Password => Fault::auth(format!("{what}sudo wants a password")).hint(add),
        Refusal::NotAllowed => {
            Fault::auth(format!("{what}sudo does not allow it to run every command as root")).hint(add)
        }
        Refusal::Terminal => Fault::auth(format!("{what}sudo wants a terminal")).hint(format!(
            "add `Defaults:{user} !requiretty` there, beside {grant} (`visudo -f /etc/sudoers.d/proxmaint`)"
        )),
        Refusal::Missing => Fault::auth(format!("{what}there is no sudo"))
            .hint(format!("install sudo there and add {grant}, or log in as root")),
        Refusal::Other(text) => Fault::auth(format!("{what}{text}")).hint(add),
    })
}

/// Why sudo ran nothing.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// It would have asked for a password. A user whom sudoers does not name is told the same.
    Password,
    /// The user may run some commands as root, but not any.
    NotAllowed,
    /// `requiretty`.
    Terminal,
    /// There is no sudo.
    Missing,
    /// Anything else that it says (a broken sudoers file, a full disk).
    Other(String),
}

impl Refusal {
    /// Tells sudo's own words from those of what runs inside it.
    fn read(user: &str, exit: i32, stderr: &str) -> Option<Self> {
        let says = |sign: &str| stderr.contains(sign);
        if says("a password is required") || says("authentication is required") || says("a terminal is required") {
            return Some(Self::Password);
        }
        if says("you must have a tty") {
            return Some(Self::Terminal);
        }
        // "Sorry, user ops is not allowed to execute ... as root on edge1." quotes the whole command.
        let named = says(&format!("user {user} "));
        if named && says("is not allowed to execute") || says("not in the sudoers file") || says("may not run sudo") {
            return Some(Self::NotAllowed);
        }
        // sudo-rs does not say whom it means.
        if says("I'm afraid I can't do that") {
            return Some(Self::NotAllowed);
        }
        // The shell's or env's word; a container without /bin/sh gives the same status through pct, but names no sudo.
        if exit == 127 && says("sudo") {
            return Some(Self::Missing);
        }
        // A host that can't resolve its own name is only warned of, and what then failed is another one's word.
        let own = stderr.lines().filter_map(|line| line.strip_prefix("sudo: "));
        let own: Vec<&str> = own.filter(|line| !line.starts_with("unable to resolve host")).collect();
        (exit == 1 && !own.is_empty()).then(|| Self::Other(fragment(&own)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GuestId;
    use crate::machine::outcome::FaultClass;

    fn refused(place: &Place, exit: i32, stderr: &str) -> Option<Fault> {
        let out = ExecOutput { exit, stdout: Vec::new(), stderr: stderr.as_bytes().to_vec(), truncated: false };
        refusal(place, "ops", "ops@edge1:22", &out)
    }

    #[test]
    fn each_refusal_names_login_and_remedy() {
        // As sudo 1.9.13 of Debian 12, dash, bash, coreutils, busybox and sudo-rs say it.
        for (exit, stderr, why) in [
            (1, "sudo: a password is required\n", "wants a password"),
            (1, "sudo: interactive authentication is required\n", "wants a password"),
            (
                1,
                "sudo: a terminal is required to read the password\nsudo: a password is required\n",
                "wants a password",
            ),
            (1, "sudo: sorry, you must have a tty to run sudo\n", "wants a terminal"),
            (1, "Sorry, user ops is not allowed to execute '/bin/sh -c printf' as root on edge1.\n", "does not allow"),
            (
                1,
                "ops is not in the sudoers file.\nThis incident has been reported to the administrator.\n",
                "does not allow",
            ),
            (1, "sudo: I'm sorry ops. I'm afraid I can't do that\n", "does not allow"),
            (127, "/usr/bin/env: 'sudo': No such file or directory\n", "there is no sudo"),
            (127, "env: can't execute 'sudo': No such file or directory\n", "there is no sudo"),
            (127, "sh: 1: sudo: not found\n", "there is no sudo"),
            (127, "bash: line 1: sudo: command not found\n", "there is no sudo"),
            (
                1,
                "sudo: error in /etc/sudo.conf, line 3\nsudo: no valid sudoers sources found, quitting\n",
                "no valid sudoers",
            ),
        ] {
            let fault = refused(&Place::Node, exit, stderr).unwrap_or_else(|| panic!("{stderr}"));
            assert_eq!(fault.class, FaultClass::Auth, "{stderr}");
            assert!(fault.what.contains("ops@edge1:22") && fault.what.contains(why), "{fault:?}");
            let hint = fault.hint.expect("a hint");
            assert!(hint.contains("ops ALL=(root) NOPASSWD: ALL"), "{hint}");
        }
        let through = refused(&Place::Ct(GuestId(101)), 1, "sudo: a password is required\n").expect("refused");
        assert!(through.what.contains("ops@edge1:22") && through.what.contains("CT 101"), "{through:?}");
    }

    #[test]
    fn what_is_not_sudos_refusal_is_left_alone() {
        let ct = Place::Ct(GuestId(101));
        assert_eq!(refused(&ct, 255, "container '101' not running!\n"), None);
        assert_eq!(refused(&ct, 127, "lxc-attach: No such file or directory\n"), None);
        assert_eq!(refused(&ct, 1, ""), None);
        let warned = "sudo: unable to resolve host edge1: Name or service not known\n";
        assert_eq!(refused(&ct, 255, &format!("{warned}container '101' not running!\n")), None);
        assert_eq!(refused(&Place::Node, 1, warned), None);
        // A script that ran may say what it likes.
        let out = ExecOutput {
            exit: 1,
            stdout: b"Welcome\n@proxmaint 1\n".to_vec(),
            stderr: b"sudo: a password is required\n".to_vec(),
            truncated: false,
        };
        assert_eq!(refusal(&Place::Node, "ops", "ops@edge1:22", &out), None);
    }
}
