//! Changes that were asked for and refused at once: they enter the ledger too.

use super::call::{Call, Failure};
use super::{Endpoint, endpoint_of};
use crate::ledger::{Act, Entry, Outcome};

/// Returns the change that an endpoint makes; `None` where it only looks.
fn act_of(endpoint: &Endpoint, command: &str) -> Option<Act> {
    let ends = |suffix: &str| endpoint.path.ends_with(suffix);
    match endpoint.method {
        "POST" if ends("/snapshot") => Some(Act::SnapshotCreate),
        "POST" if ends("/rollback") => Some(Act::Rollback),
        "POST" if ends("/vzdump") => Some(Act::Backup),
        "POST" if ends("/apt/update") => Some(Act::RefreshLists),
        "POST" if ends("/status/start") || ends("/startall") => Some(Act::Start),
        "POST" if ends("/status/shutdown") || ends("/stopall") => Some(Act::Shutdown),
        "POST" if ends("/status/stop") => Some(Act::Stop),
        "POST" if ends("/status/reboot") => Some(Act::Reboot),
        "POST" if ends("{node}/status") && command == "shutdown" => Some(Act::Shutdown),
        "POST" if ends("{node}/status") => Some(Act::Reboot),
        "POST" if ends("/migrate") => Some(Act::Migrate),
        "POST" if ends("/agent/exec") => Some(Act::AgentExec),
        "PUT" if endpoint.path.contains("/ceph/flags") => Some(Act::CephFlagSet),
        "DELETE" if ends("/{snapname}") => Some(Act::SnapshotDelete),
        "DELETE" if ends("/{volume}") => Some(Act::BackupDelete),
        "PUT" if ends("/{volume}") => Some(Act::BackupChange),
        "POST" | "DELETE" if endpoint.path.starts_with("/cluster/ha/") => Some(Act::HaChange),
        _ => None,
    }
}

/// Enters the refusal of a change, with what the request said of it, right or wrong.
pub(crate) fn enter(call: &mut Call<'_>, failure: &Failure) {
    let given = call.request.given();
    let said = |names: &[&str]| {
        let of = |name: &&str| {
            let in_path = call.in_path.get(*name).cloned();
            in_path.or_else(|| given.get(*name).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
        };
        names.iter().find_map(of)
    };
    let command = said(&["command"]).unwrap_or_default();
    let Some(act) = endpoint_of(call.request).and_then(|endpoint| act_of(endpoint, &command)) else { return };
    let node = said(&["node"]).unwrap_or_else(|| call.request.node.clone());
    let entry = Entry {
        at: call.now(),
        seq: 0,
        realm: call.realm().map(|r| r.name.clone()).unwrap_or_default(),
        machine: said(&["vmid", "sid"]).unwrap_or_else(|| node.clone()),
        node,
        act,
        key: said(&["snapname", "notes-template", "volume", "target", "flag"]),
        by: call.token.full_id(),
        outcome: Outcome::Refused(failure.clone().answer(0).reason),
        answer_lost: false,
    };
    call.world.ledger.add(entry);
}
