//! Moving guests within a cluster.

use serde_json::{Map, Value, json};

use super::call::{Call, Failure};
use crate::world::{Guest, Kind, MoveOrder};

/// `GET .../migrate`: whether and where to a guest could move. Of a container a node says nothing but what HA has against it, and
/// an older one does not know the question.
pub(crate) fn preconditions(call: &mut Call<'_>) -> Result<Value, Failure> {
    let id = call.guest_id()?;
    let guest = call.guest()?;
    let others = call.world.migration_targets(&id);
    let running = u8::from(guest.running());
    let managed = call.realm()?.ha.contains_key(&crate::world::sid(guest));
    if guest.kind == Kind::Ct {
        if !call.node()?.ct_preconditions {
            let (method, path) = (call.request.method.clone(), call.request.plain_path());
            return Err(Failure::NotImplemented { method, path });
        }
        let mut answer = json!({ "running": running, "allowed-nodes": others, "not-allowed-nodes": {} });
        if managed {
            answer["dependent-ha-resources"] = json!([]);
        }
        return Ok(answer);
    }
    if let Some(lock) = &guest.lock {
        return Err(Failure::text(format!("VM is locked ({lock})")));
    }
    // Each other node is named, with what it lacks; one that lacks nothing is allowed.
    let mut lacks = Map::new();
    let mut allowed = Vec::new();
    for node in others {
        let missing = call.world.unavailable_storages(guest, &node);
        if missing.is_empty() {
            allowed.push(node.clone());
            lacks.insert(node, json!({}));
        } else {
            lacks.insert(node, json!({ "unavailable_storages": missing }));
        }
    }
    let mut answer = json!({
        "running": running, "allowed_nodes": allowed, "not_allowed_nodes": lacks,
        "local_disks": local_disks(call, guest)?, "local_resources": guest.local_resources(),
        "mapped-resources": [], "mapped-resource-info": {}, "has-dbus-vmstate": 1,
    });
    if managed {
        answer["dependent-ha-resources"] = json!([]);
    }
    Ok(answer)
}

/// Returns the disks and CD images of a VM that other nodes don't see.
fn local_disks(call: &Call<'_>, guest: &Guest) -> Result<Value, Failure> {
    let storages = &call.realm()?.storages;
    let local = |volid: &String| !storages.iter().any(|s| s.shared && volid.starts_with(&format!("{}:", s.name)));
    let entry = |volid: String, cdrom: bool| {
        let size = if cdrom { 700 << 20 } else { guest.disk_bytes };
        json!({ "volid": volid, "size": size, "cdrom": u8::from(cdrom), "is_unused": 0 })
    };
    let disks = guest.volumes().into_iter().filter_map(|(_, volid)| volid).map(|volid| (volid, false));
    let images = guest.cdroms().into_iter().map(|volid| (volid, true));
    Ok(disks.chain(images).filter(|(volid, _)| local(volid)).map(|(volid, cdrom)| entry(volid, cdrom)).collect())
}

/// `POST .../migrate`
pub(crate) fn migrate(call: &mut Call<'_>) -> Result<Value, Failure> {
    let flag = |name: &str| call.flag(name).unwrap_or(false);
    let order = MoveOrder {
        target: call.text("target").to_owned(),
        online: flag("online"),
        restart: flag("restart"),
        local_disks: flag("with-local-disks"),
    };
    let (id, now, by) = (call.guest_id()?, call.now(), call.asker());
    if order.target == call.text("node") {
        return Err(Failure::parameter("target", "target is local node."));
    }
    Ok(call.world.migrate(now, &id, &order, &by)?.into())
}
