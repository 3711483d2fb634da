//! The one thing that this adapter needs from a transport: to run a POSIX sh script at a place and hand back what it
//! printed.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::quote::quote;
use super::sudo::SUDO;
use crate::engine::port::Place;
use crate::machine::outcome::Fault;

/// How long a script may take and how much it may print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecLimit {
    /// From asking for it until its exit status is there. What happens to the script afterwards is not defined: it may
    /// go on.
    pub timeout: Duration,
    /// Bytes kept of stdout, and as many of stderr; the rest is read and thrown away, never left in the channel.
    pub max_output: usize,
}

/// What a script that ran to its end gave back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecOutput {
    /// The exit status that the transport reports: the script's own, or that of a program in between (`pct`, `sudo`).
    pub exit: i32,
    /// What it printed, cut at [`ExecLimit::max_output`].
    pub stdout: Vec<u8>,
    /// What it printed to stderr, cut likewise.
    pub stderr: Vec<u8>,
    /// Whether either was cut.
    pub truncated: bool,
}

/// Runs scripts at places.
#[async_trait]
pub trait Exec: Send + Sync {
    /// Runs a script with an empty stdin and waits for its end; [`command_line`] makes the line to run.
    ///
    /// # Errors
    ///
    /// A [`Fault`] of class `Ambiguous` where the script may have run, wholly or in part (the connection was lost after
    /// the command went out, the time was over, there is no exit status). Any other class says that it was never run:
    /// not connected, a host key or login refused. An exit status other than 0 is no error here.
    async fn exec(&self, place: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault>;
}

/// Makes the command line that runs a script at a place, for the login shell of the node (or of the VM) to read.
///
/// A CT's goes through `pct exec` on the node, which hands its arguments on without another shell in between. A script
/// is one argument, so it is to stay below the kernel's limit for one (128 KiB, `MAX_ARG_STRLEN`).
pub fn command_line(place: &Place, script: &str) -> String {
    match place {
        Place::Node | Place::Ssh(..) | Place::Agent(..) => format!("/bin/sh -c {}", quote(script)),
        Place::Ct(id) => format!("pct exec {id} -- /bin/sh -c {}", quote(script)),
    }
}

/// Makes the command line for a login that is not root: all of it runs inside `sudo`, which may not ask for a password.
pub fn sudo_line(place: &Place, script: &str) -> String {
    format!("{SUDO} {}", command_line(place, script))
}

/// Writes a place as faults name it.
pub(super) struct At<'a>(pub(super) &'a Place);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Place::Node => f.write_str("the node"),
            Place::Ct(id) => write!(f, "CT {id}"),
            Place::Ssh(id, address) => write!(f, "guest {id} ({address})"),
            Place::Agent(_, id) => write!(f, "VM {id} (guest agent)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GuestId;

    #[test]
    fn a_container_is_reached_through_pct() {
        let line = command_line(&Place::Ct(GuestId(103)), "echo 'a b'");
        assert_eq!(line, r"pct exec 103 -- /bin/sh -c 'echo '\''a b'\'''");
    }

    #[test]
    fn node_and_vm_run_it_themselves() {
        assert_eq!(command_line(&Place::Node, "true"), "/bin/sh -c 'true'");
        assert_eq!(command_line(&Place::Ssh(GuestId(201), "10.0.0.5".into()), "true"), "/bin/sh -c 'true'");
        assert_eq!(sudo_line(&Place::Node, "true"), "env LC_ALL=C sudo -n -- /bin/sh -c 'true'");
        assert_eq!(
            sudo_line(&Place::Ct(GuestId(103)), "true"),
            "env LC_ALL=C sudo -n -- pct exec 103 -- /bin/sh -c 'true'"
        );
    }
}
