//! What to do next: the commands by which the operator goes on, each with its reason.

use crate::ids::{GuestId, HostId, RunId};
use crate::machine::guest::{GuestPhase, GuestVerdict};
use crate::machine::host::{HostPhase, HostState};
use crate::machine::outcome::{Fault, FaultClass};
use crate::observe::view::{Advice, RunView, Standing};

/// Adds what to do about what is held on one host.
pub(super) fn advise(next: &mut Vec<Advice>, state: &HostState, running: bool) {
    if running && !state.is_parked() {
        return;
    }
    let mut held = |guest: Option<GuestId>, fault: &Fault| {
        next.push(Advice {
            command: resolve_command(&state.run, state.host(), guest),
            why: fault.what.clone(),
            host: Some(state.host().clone()),
            guest,
        });
    };
    if let HostPhase::Held { fault, .. } = &state.phase {
        held(None, fault);
    }
    for (id, guest) in &state.guests {
        if let GuestPhase::Held { fault, .. } = &guest.phase {
            held(Some(*id), fault);
        }
    }
    for (id, guest) in &state.guests {
        let mut advise = |command: String, why: &str| {
            let (host, guest) = (Some(state.host().clone()), Some(*id));
            next.push(Advice { command, why: why.to_owned(), host, guest });
        };
        let GuestPhase::Settled(verdict) = &guest.phase else { continue };
        let changed = |fault: &Fault| fault.class != FaultClass::Transient;
        if matches!(verdict, GuestVerdict::Failed { fault, held, .. } if *held || changed(fault))
            && state.way_back(*id).is_ok()
        {
            let command = rollback_command(&state.run, state.host(), *id);
            advise(command, "undoes its upgrade: it goes back to its snapshot, and what was written since is lost");
        }
        match verdict {
            GuestVerdict::Failed { held: true, .. } => {
                let command = resolve_command(&state.run, state.host(), Some(*id));
                advise(
                    command,
                    "--done: you mended it; --retry: upgrade it again; --skip: leave it as it is in this run",
                );
            }
            GuestVerdict::RolledBack { retry: false, .. } => {
                let command = retry_command(&state.run, state.host(), *id);
                advise(command, "lets the next run upgrade it again; until then it is left alone");
            }
            _ => {}
        }
    }
}

/// Returns the command by which the operator decides about a step that is held.
pub fn resolve_command(run: &RunId, host: &HostId, guest: Option<GuestId>) -> String {
    let guest = guest.map_or_else(String::new, |guest| format!(" {guest}"));
    let host = shell_words::quote(host.as_str());
    format!("proxmaint resolve {run} {host}{guest} --retry|--done|--skip")
}

/// Returns the command by which the operator brings a guest back.
pub fn rollback_command(run: &RunId, host: &HostId, guest: GuestId) -> String {
    format!("proxmaint rollback {run} {} {guest}", shell_words::quote(host.as_str()))
}

/// Returns the command by which the operator lets a guest be upgraded again that was rolled back.
fn retry_command(run: &RunId, host: &HostId, guest: GuestId) -> String {
    format!("proxmaint resolve {run} {} {guest} --retry", shell_words::quote(host.as_str()))
}

/// Adds what to do about the run as a whole.
pub(super) fn advise_run(view: &mut RunView) {
    let why = match (view.standing, view.counts) {
        (Standing::Running { .. }, _) => return,
        (Standing::Expired, _) => "begins a new run: this one is too old to go on with",
        (Standing::Interrupted, counts) if counts.failed > 0 && counts.unfinished > 0 => {
            "goes on from where it stopped, and tries again what failed"
        }
        (Standing::Interrupted, counts) if counts.failed > 0 => "looks at what failed, and tries it again",
        (Standing::Interrupted, counts) if counts.unfinished > 0 => "goes on from where it stopped",
        (Standing::Interrupted, counts) if counts.held > 0 => "looks again at what is held, and goes on where it can",
        (Standing::Interrupted, _) => "goes on with this run",
        (Standing::Finished, counts) if counts.blocked + counts.failed > 0 => {
            "begins a new run, once what stood in the way is mended"
        }
        (Standing::Finished, _) => return,
    };
    view.next.push(Advice { command: "proxmaint run".to_owned(), why: why.to_owned(), host: None, guest: None });
}

/// Adds what to do about what is owed, once nobody works on it.
pub(super) fn advise_debts(view: &mut RunView, owing: usize) {
    if owing == 0 || matches!(view.standing, Standing::Running { .. }) {
        return;
    }
    let why = match owing {
        1 => "gives back what is owed on 1 host".to_owned(),
        n => format!("gives back what is owed on {n} hosts"),
    };
    let command = format!("proxmaint restore {}", view.run);
    view.next.push(Advice { command, why, host: None, guest: None });
}
