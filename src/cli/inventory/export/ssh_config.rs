//! Writes entries for OpenSSH: one `Host` for each node and each guest that has an address and is not gone.
//!
//! Guests that are to be left alone by proxmaint (`managed = false`) have theirs as well: logging in by hand is no change.
//! What the manifest does not say (how host keys are taken, where they are known, how long a connection may take) is left to
//! OpenSSH; a jump host is logged in to as OpenSSH does it, with the user's own keys or agent. Where something can't be written in
//! OpenSSH's language, a comment stands in place of the entry.

use std::fmt::Write as _;

use super::known::Host;
use super::login::Login;
use crate::observe::sanitize::clean;
use crate::observe::words;

const HEADER: &str = "\
# managed by proxmaint: made by `proxmaint inventory --output ssh-config`, which replaces what is changed here
# Use it with `ssh -F FILE NAME`, or by `Include FILE` at the top of ~/.ssh/config.
";

/// Writes them.
pub(super) fn text(hosts: &[Host<'_>]) -> String {
    let mut out = HEADER.to_owned();
    for host in hosts {
        entry(&mut out, &host.name, &format!("node of {}", host.entry.id), &host.login);
        for guest in host.guests.iter().filter(|guest| guest.is_reachable()) {
            let what = match guest.kind {
                Some(kind) => words::guest(kind, guest.id, guest.given_name().unwrap_or_default()),
                None => format!("guest {}", guest.id),
            };
            entry(&mut out, &guest.name, &format!("{what} on {}", host.entry.id), &guest.login);
        }
    }
    out
}

fn entry(out: &mut String, name: &str, what: &str, login: &Login<'_>) {
    let what = clean(what);
    // Writing to a String can't fail.
    let _ok = match login.lines() {
        Ok(lines) => {
            let lines = lines.iter().map(|line| format!("    {line}\n")).collect::<String>();
            write!(out, "\n# {what}\nHost {name}\n{lines}")
        }
        Err(why) => writeln!(out, "\n# {what}: left out, since its {}", clean(&why.to_string())),
    };
}
