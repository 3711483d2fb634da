//! Storages, archives, and `vzdump`.

use serde_json::{Value, json};

use super::call::{Call, Failure};
use super::node::vmids;
use crate::ledger::{Act, Outcome};
use crate::world::{Backup, BackupOrder, Guest, MachineId};

/// `GET /storage`: what the cluster's configuration says of each.
pub(crate) fn index(call: &mut Call<'_>) -> Result<Value, Failure> {
    let realm = call.realm()?;
    let shown = realm.storages.iter().filter(|s| {
        call.may(&format!("/storage/{}", s.name), &["Datastore.Audit", "Datastore.AllocateSpace"])
            && call.opt("type").is_none_or(|kind| kind == s.kind)
    });
    let list = shown.map(|s| {
        let mut entry = json!({
            "storage": s.name, "type": s.kind, "content": s.content.join(","), "digest": super::guest::digest(&realm.name),
        });
        let mut put = |key: &str, value: Value| entry[key] = value;
        if s.shared {
            put("shared", 1.into());
        }
        if !s.enabled {
            put("disable", 1.into());
        }
        // Only a storage that not every node has names its nodes.
        if realm.nodes.iter().any(|node| !s.on.contains_key(node)) {
            let nodes: Vec<&str> = s.on.keys().map(String::as_str).collect();
            put("nodes", nodes.join(",").into());
        }
        match s.kind.as_str() {
            "zfspool" => put("pool", s.pool().into()),
            "dir" | "nfs" | "cifs" | "cephfs" | "btrfs" => put("path", s.path().into()),
            "lvmthin" => put("thinpool", "data".into()),
            "rbd" => put("pool", s.name.clone().into()),
            _ => {}
        }
        entry
    });
    Ok(call.shuffled(list.collect()))
}

/// `GET /nodes/{node}/storage`
pub(crate) fn list(call: &mut Call<'_>) -> Result<Value, Failure> {
    let node = &call.node()?.name;
    let contents: Vec<&str> = call.opt("content").map(|c| c.split(',').collect()).unwrap_or_default();
    let only_enabled = call.flag("enabled").unwrap_or(false);
    let storages = call.realm()?.storages.iter().filter(|s| {
        call.may(&format!("/storage/{}", s.name), &["Datastore.Audit", "Datastore.AllocateSpace"])
            && (contents.is_empty() || contents.iter().any(|c| s.holds(c)))
            && (s.enabled || !only_enabled)
            && call.opt("storage").is_none_or(|name| name == s.name)
    });
    let list = storages.filter_map(|s| {
        let state = s.on.get(node)?;
        let mut entry = json!({
            "storage": s.name, "type": s.kind, "content": s.content.join(","), "shared": u8::from(s.shared),
            "enabled": u8::from(s.enabled), "active": u8::from(state.active && s.enabled),
        });
        if state.active && s.enabled {
            #[allow(clippy::cast_precision_loss, reason = "a fraction for people to read")]
            let fraction = state.used as f64 / state.total.max(1) as f64;
            entry["total"] = state.total.into();
            entry["used"] = state.used.into();
            entry["avail"] = state.total.saturating_sub(state.used).into();
            entry["used_fraction"] = fraction.into();
        }
        Some(entry)
    });
    Ok(call.shuffled(list.collect()))
}

/// `GET /nodes/{node}/storage/{storage}/content`
pub(crate) fn content(call: &mut Call<'_>) -> Result<Value, Failure> {
    let (node, name) = (call.text("node"), call.text("storage"));
    let realm = call.realm()?;
    let storage = realm.storages.iter().find(|s| s.name == name);
    let storage = storage.ok_or_else(|| Failure::text(format!("storage '{name}' does not exist")))?;
    let state = storage.on.get(node);
    let state = state.ok_or_else(|| Failure::text(format!("storage '{name}' is not available on node '{node}'")))?;
    if !state.active {
        return Err(Failure::text(format!("storage '{name}' is not online")));
    }
    let wanted = |kind: &str| call.opt("content").is_none_or(|c| c == kind);
    let of = |vmid: u32| call.int("vmid").is_none_or(|v| v == i64::from(vmid));
    let mut list = Vec::new();
    if wanted("backup") {
        let here = |b: &&Backup| b.storage == name && (storage.shared || b.node == node) && of(b.vmid);
        list.extend(realm.backups.iter().filter(here).filter(|b| sees(call, b)).map(archive));
    }
    for guest in realm.guests.values().filter(|g| g.node == node || storage.shared).filter(|g| of(g.vmid)) {
        list.extend(volumes(guest, name).into_iter().filter(|v| wanted(v["content"].as_str().unwrap_or_default())));
    }
    Ok(call.shuffled(list))
}

/// Tells whether an archive is shown: who may allocate on the storage sees all, others only those of guests that they may back up.
fn sees(call: &Call<'_>, backup: &Backup) -> bool {
    call.may(&format!("/storage/{}", backup.storage), &["Datastore.Allocate"])
        || call.may(&format!("/vms/{}", backup.vmid), &["VM.Backup"])
}

fn archive(b: &Backup) -> Value {
    let mut entry = json!({
        "volid": b.volid, "content": "backup", "vmid": b.vmid, "ctime": b.ctime, "size": b.size, "format": b.format,
        "subtype": if b.vm { "qemu" } else { "lxc" },
    });
    if let Some(notes) = b.notes.as_ref().filter(|n| !n.is_empty()) {
        entry["notes"] = notes.clone().into();
    }
    if b.protected {
        entry["protected"] = 1.into();
    }
    entry
}

fn volumes(guest: &Guest, storage: &str) -> Vec<Value> {
    let content = if guest.kind == crate::world::Kind::Ct { "rootdir" } else { "images" };
    let on = |volid: &String| volid.starts_with(&format!("{storage}:"));
    let volids = guest.volumes().into_iter().filter_map(|(_, volid)| volid).filter(on);
    let format = |volid: &str| volid.rsplit_once('.').map_or("raw", |(_, ext)| ext).to_owned();
    let entry = |volid: String| {
        let format = format(&volid);
        json!({ "volid": volid, "content": content, "vmid": guest.vmid, "size": guest.disk_bytes, "format": format })
    };
    volids.map(entry).collect()
}

/// Returns the volume of the path with its storage in front.
fn volid(call: &Call<'_>) -> String {
    let volume = call.text("volume");
    if volume.contains(':') { volume.to_owned() } else { format!("{}:{volume}", call.text("storage")) }
}

fn vmid_of(volid: &str) -> u32 {
    volid.split('-').nth(2).and_then(|id| id.parse().ok()).unwrap_or_default()
}

/// Asks for what a change to an archive needs.
fn may_change(call: &Call<'_>, volid: &str) -> Result<(), Failure> {
    let storage = format!("/storage/{}", call.text("storage"));
    if call.may(&storage, &["Datastore.Allocate"]) {
        return Ok(());
    }
    call.need(&storage, &["Datastore.AllocateSpace"])?;
    call.need(&format!("/vms/{}", vmid_of(volid)), &["VM.Backup"])
}

/// `DELETE /nodes/{node}/storage/{storage}/content/{volume}`
pub(crate) fn delete(call: &mut Call<'_>) -> Result<Value, Failure> {
    let volid = volid(call);
    may_change(call, &volid)?;
    let (node, now, by) = (call.text("node").to_owned(), call.now(), call.asker());
    Ok(call.world.delete_backup(now, &node, &volid, &by)?.into())
}

/// `PUT /nodes/{node}/storage/{storage}/content/{volume}`
pub(crate) fn change(call: &mut Call<'_>) -> Result<Value, Failure> {
    let volid = volid(call);
    may_change(call, &volid)?;
    let (notes, protected) = (call.opt("notes").map(str::to_owned), call.flag("protected"));
    let (realm, now, by) = (call.realm()?.name.clone(), call.now(), call.asker());
    let backups = call.world.realms.get_mut(&realm).map(|r| &mut r.backups);
    let backup = backups.and_then(|all| all.iter_mut().find(|b| b.volid == volid));
    let backup = backup.ok_or_else(|| Failure::text(format!("volume '{volid}' does not exist")))?;
    backup.notes = notes.or(backup.notes.take());
    backup.protected = protected.unwrap_or(backup.protected);
    let id = MachineId::guest(realm, backup.vmid);
    call.world.record(now, &id, Act::BackupChange, Some(volid), &by.to_string(), Outcome::Done);
    Ok(Value::Null)
}

/// `POST /nodes/{node}/vzdump`
pub(crate) fn vzdump(call: &mut Call<'_>) -> Result<Value, Failure> {
    let node = call.text("node").to_owned();
    let storage = call.opt("storage").unwrap_or("local").to_owned();
    let given =
        call.opt("vmid").ok_or_else(|| Failure::parameter("vmid", "property is missing and it is not optional"))?;
    let asked = vmids(given)?;
    call.need(&format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    for vmid in &asked {
        call.need(&format!("/vms/{vmid}"), &["VM.Backup"])?;
    }
    // A job whose guests are all on other nodes ends silently: no task, and "OK" in place of a UPID.
    let elsewhere = |vmid: &u32| call.world.guest_of(&node, *vmid).is_some_and(|g| g.node != node);
    let vmids: Vec<u32> = asked.iter().copied().filter(|vmid| !elsewhere(vmid)).collect();
    if vmids.is_empty() {
        return Ok("OK".into());
    }
    let order = BackupOrder {
        line: line(call, &vmids),
        vmids,
        storage,
        mode: call.opt("mode").unwrap_or("snapshot").to_owned(),
        compress: call.opt("compress").map(str::to_owned),
        notes: call.opt("notes-template").map(str::to_owned),
        protected: call.flag("protected").unwrap_or(false),
        remove: call.flag("remove").unwrap_or(true),
        lock_wait_min: call.count("lockwait").unwrap_or(180),
    };
    let (now, by) = (call.now(), call.asker());
    Ok(call.world.back_up(now, &node, order, &by).into())
}

/// Returns the job's command line as its log gives it.
fn line(call: &Call<'_>, vmids: &[u32]) -> String {
    let mut words: Vec<String> = vmids.iter().map(u32::to_string).collect();
    for (name, value) in call.params.iter().filter(|(name, _)| *name != "vmid") {
        let value = match value {
            Value::Bool(flag) => u8::from(*flag).to_string(),
            Value::String(text) if text.contains([' ', '{']) => format!("'{text}'"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        words.push(format!("--{name} {value}"));
    }
    words.join(" ")
}
