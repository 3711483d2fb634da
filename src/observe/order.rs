//! What is answered to `proxmaint pause`, `continue` and `stop`: what came of it for each host, in words.

use serde::{Deserialize, Serialize};

use super::sanitize::clean;
use super::words::{self, list};
use crate::ids::HostId;
use crate::machine::host::{HostPhase, HostState, ShutBecause};
use crate::machine::order::{Order, Ordered};
use crate::machine::run::RunState;

/// What came of an order for one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReply {
    /// The host.
    pub host: HostId,
    /// Whether it is now as was said.
    pub done: bool,
    /// What came of it.
    pub what: String,
}

/// Answers an order, host by host.
pub fn replies(order: Order, run: &RunState, taken: &[(HostId, Ordered)]) -> Vec<OrderReply> {
    let reply = |(host, ordered): &(HostId, Ordered)| OrderReply {
        host: host.clone(),
        done: matches!(ordered, Ordered::Taken | Ordered::Already),
        what: run.host(host).map_or_else(String::new, |state| words(order, *ordered, state, run)),
    };
    taken.iter().map(reply).collect()
}

fn words(order: Order, ordered: Ordered, state: &HostState, run: &RunState) -> String {
    let word = match (order, ordered) {
        (_, Ordered::Over) => return "is over: nothing is left to begin there".to_owned(),
        (_, Ordered::LeftOut) => return "this session does not work on it (`run --host`)".to_owned(),
        (Order::Continue, Ordered::Already) => return "was neither paused nor stopped".to_owned(),
        (Order::Continue, Ordered::Taken) => {
            return match run.rollout().keeps_back(state.host()) {
                true => format!("goes on when its turn comes: it {}", ShutBecause::Canaries),
                false => "goes on as soon as there is a place for it".to_owned(),
            };
        }
        (Order::Pause, Ordered::Taken) => "paused",
        (Order::Pause, Ordered::Already) => "was paused already",
        (Order::Stop, Ordered::Taken) => "stopped",
        (Order::Stop, Ordered::Already) => "was stopped already",
    };
    let rest = match (&state.phase, at_work(state)) {
        (HostPhase::Pending | HostPhase::AwaitingTurn { .. }, _) => "nothing was begun there".to_owned(),
        (_, work) if work.is_empty() => "nothing is at work there, and nothing begins".to_owned(),
        (_, work) => format!("what is at work comes to its end ({work}); nothing else begins"),
    };
    format!("{word}: {rest}")
}

/// Lists what is at work on a host.
fn at_work(state: &HostState) -> String {
    let own = state.phase.attempt().map(|attempt| words::step(attempt.step).to_owned());
    let guests = state.guests.iter().filter_map(|(id, guest)| {
        let attempt = guest.phase.attempt()?;
        let plan = &guest.plan;
        Some(format!("{}: {}", clean(&words::guest(plan.guest.kind, *id, &plan.name)), words::step(attempt.step)))
    });
    list(own.into_iter().chain(guests))
}
