//! Moving guests within a cluster.

use serde_json::{Value, json};

use super::call::{Call, Failure};
use crate::world::Kind;

/// `GET .../migrate`: whether and where to a guest could move.
pub(crate) fn preconditions(call: &mut Call<'_>) -> Result<Value, Failure> {
    let id = call.guest_id()?;
    let guest = call.guest()?;
    let targets = call.world.migration_targets(&id);
    let running = u8::from(guest.running());
    if guest.kind == Kind::Ct {
        return Ok(json!({ "running": running, "allowed-nodes": targets, "not-allowed-nodes": {} }));
    }
    if let Some(lock) = &guest.lock {
        return Err(Failure::text(format!("VM is locked ({lock})")));
    }
    let shared = |volid: &str| {
        let storages = call.realm().map(|r| r.storages.as_slice()).unwrap_or_default();
        storages.iter().any(|s| s.shared && volid.starts_with(&format!("{}:", s.name)))
    };
    let disks = guest.volumes().into_iter().filter_map(|(_, volid)| volid).filter(|volid| !shared(volid));
    let disks: Value =
        disks.map(|volid| json!({ "volid": volid, "size": guest.disk_bytes, "cdrom": 0, "is_unused": 0 })).collect();
    Ok(json!({
        "running": running, "allowed_nodes": targets, "not_allowed_nodes": {}, "local_disks": disks,
        "local_resources": [], "mapped-resources": [], "mapped-resource-info": {}, "has-dbus-vmstate": 1,
    }))
}

/// `POST .../migrate`
pub(crate) fn migrate(call: &mut Call<'_>) -> Result<Value, Failure> {
    let live = call.flag("online").unwrap_or(false) || call.flag("restart").unwrap_or(false);
    let target = call.text("target").to_owned();
    let (id, now, by) = (call.guest_id()?, call.now(), call.asker());
    Ok(call.world.migrate_guest(now, &id, &target, live, &by)?.into())
}
