//! Moving guests: what stands against it, and the move itself.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::{Client, data_of, guest_call, seconds, unexpected};
use super::fault;
use super::fields::{Fields, scalar_text};
use super::transport::{Method, Transport};
use crate::engine::port::{GuestRef, MoveOrder, Preconditions};
use crate::ids::{GuestKind, NodeName, Upid};
use crate::machine::outcome::Fault;

pub(super) async fn preconditions<T: Transport>(
    api: &Client<T>,
    guest: &GuestRef,
) -> Result<Option<Preconditions>, Fault> {
    let call = guest_call(Method::Get, guest, &["migrate"])?;
    let answer = api.ask(&call).await?;
    if answer.status == 501 {
        return Ok(None);
    }
    let data = data_of(&call, answer)?;
    Fields::of(&data).map(|fields| Some(read(fields))).ok_or_else(|| unexpected(&call, "preconditions", &data))
}

/// Reads the answer: a VM's has underscores in its names, a container's hyphens.
fn read(answer: Fields<'_>) -> Preconditions {
    let either = |name: &str| answer.value(name).or_else(|| answer.value(&name.replace('_', "-")));
    let allowed = either("allowed_nodes").and_then(Value::as_array);
    let allowed = allowed.map(|nodes| nodes.iter().filter_map(scalar_text).map(NodeName::new).collect());
    let mut refused = BTreeMap::new();
    if let Some(nodes) = either("not_allowed_nodes").and_then(Fields::of) {
        for node in nodes.names() {
            let Some(why) = nodes.value(node).and_then(Fields::of) else { continue };
            let storages: Vec<String> = why.list("unavailable_storages").iter().filter_map(scalar_text).collect();
            let others = why.list("blocking-ha-resources").iter().filter_map(Fields::of);
            let others: Vec<String> = others.filter_map(|other| other.non_empty("sid")).collect();
            let mut reasons = Vec::new();
            if !storages.is_empty() {
                reasons.push(format!("lacks storage {}", storages.join(", ")));
            }
            if !others.is_empty() {
                reasons.push(format!("a rule of HA keeps it from {}", others.join(", ")));
            }
            // A node is named here with what it lacks, also where that is nothing.
            if reasons.is_empty() {
                continue;
            }
            refused.insert(NodeName::new(node), fault::one_line(&reasons.join(", ")));
        }
    }
    Preconditions { allowed, refused, bound: bound(answer) }
}

/// Lists what binds a VM to its node. A mapped device lets it go only where it can move with a VM that runs.
fn bound(answer: Fields<'_>) -> Vec<String> {
    let mut bound: Vec<String> = answer.list("local_resources").iter().filter_map(scalar_text).collect();
    match answer.value("mapped-resource-info").and_then(Fields::of) {
        Some(mapped) => bound.extend(mapped.names().filter_map(|name| {
            let info = mapped.value(name).and_then(Fields::of)?;
            let moves = info.flag("live-migration").unwrap_or(false);
            (!moves).then(|| name.to_owned())
        })),
        None => bound.extend(answer.list("mapped-resources").iter().filter_map(scalar_text)),
    }
    let disks = answer.list("local_disks").iter().filter_map(Fields::of);
    let images = disks.filter(|disk| disk.flag("cdrom").unwrap_or(false)).filter_map(|disk| disk.non_empty("volid"));
    bound.extend(images.map(|volid| format!("the CD image {volid}")));
    bound
}

pub(super) async fn migrate<T: Transport>(api: &Client<T>, guest: &GuestRef, order: &MoveOrder) -> Result<Upid, Fault> {
    let mut call = guest_call(Method::Post, guest, &["migrate"])?.with("target", order.to.as_str());
    match guest.kind {
        GuestKind::Vm => {
            if order.running {
                call = call.with("online", "1");
            }
            if order.local_disks {
                call = call.with("with-local-disks", "1");
            }
        }
        GuestKind::Ct => {
            if order.running {
                call = call.with("restart", "1").with("timeout", seconds(order.shutdown));
            }
        }
    }
    api.start(&call).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_kinds_of_guests_say_where_they_may_go() {
        let ct = json!({"running": 1, "allowed-nodes": ["pve2"], "not-allowed-nodes": {"pve3": {"blocking-ha-resources": [{"sid": "ct:105", "cause": "resource-affinity"}]}}});
        let found = read(Fields::of(&ct).expect("an object"));
        assert_eq!(found.allowed, Some([NodeName::new("pve2")].into()));
        assert_eq!(found.refused[&NodeName::new("pve3")], "a rule of HA keeps it from ct:105");
        let vm = json!({"running": 1, "allowed_nodes": ["pve2"], "not_allowed_nodes": {"pve2": {}, "pve3": {"unavailable_storages": ["nfs"]}},
            "local_disks": [{"volid": "local:iso/x.iso", "cdrom": 1}, {"volid": "thin:vm-1", "cdrom": 0}],
            "local_resources": ["hostpci0"], "mapped-resources": ["a", "b"],
            "mapped-resource-info": {"a": {"live-migration": 1}, "b": {"name": "gpu"}}});
        let found = read(Fields::of(&vm).expect("an object"));
        assert_eq!(found.refused, BTreeMap::from([(NodeName::new("pve3"), "lacks storage nfs".to_owned())]));
        assert_eq!(found.bound, ["hostpci0", "b", "the CD image local:iso/x.iso"]);
        assert_eq!(read(Fields::of(&json!({"running": 1})).expect("an object")), Preconditions::default());
    }
}
