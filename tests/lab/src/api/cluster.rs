//! What concerns a whole realm: version, nodes, quorum, resources.

use serde_json::{Value, json};

use super::call::{Call, Failure};
use crate::world::{Guest, Kind, Node, Storage, World};

/// `GET /version`
pub(crate) fn version(call: &mut Call<'_>) -> Result<Value, Failure> {
    let node = call.world.nodes.get(&call.request.node).ok_or_else(|| Failure::text("no such node"))?;
    Ok(super::node::version_of(node))
}

/// `GET /nodes`
pub(crate) fn nodes(call: &mut Call<'_>) -> Result<Value, Failure> {
    let list = call.realm()?.nodes.iter().filter_map(|name| call.world.nodes.get(name)).map(|node| {
        let mut entry = node_resource(call, node);
        entry["ssl_fingerprint"] = node.cert.fingerprint.clone().into();
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("cgroup-mode");
        }
        entry
    });
    Ok(call.shuffled(list.collect()))
}

/// `GET /cluster/status`
pub(crate) fn status(call: &mut Call<'_>) -> Result<Value, Failure> {
    let realm = call.realm()?;
    let mut list = Vec::new();
    if realm.clustered {
        list.push(json!({
            "type": "cluster", "id": "cluster", "name": realm.name, "version": realm.nodes.len(),
            "nodes": realm.nodes.len(), "quorate": u8::from(call.world.quorate(&realm.name)),
        }));
    }
    for node in realm.nodes.iter().filter_map(|name| call.world.nodes.get(name)) {
        list.push(json!({
            "type": "node", "id": format!("node/{}", node.name), "name": node.name, "ip": node.ip, "level": "",
            "local": u8::from(node.name == call.request.node), "nodeid": node.nodeid, "online": u8::from(node.online),
        }));
    }
    Ok(call.shuffled(list))
}

/// `GET /cluster/options`
pub(crate) fn options(_: &mut Call<'_>) -> Result<Value, Failure> {
    Ok(json!({ "allowed-tags": [], "description": "", "mac_prefix": "BC:24:11" }))
}

/// `GET /cluster/replication`
pub(crate) fn replication(call: &mut Call<'_>) -> Result<Value, Failure> {
    let realm = call.realm()?;
    let seen = realm.replication.iter().filter(|job| call.may(&format!("/vms/{}", job.guest), &["VM.Audit"]));
    let list = seen.map(|job| {
        let mut entry = json!({
            "id": job.id(), "guest": job.guest, "jobnum": job.number, "target": job.target, "type": "local",
            "schedule": job.schedule,
        });
        if let Some(guest) = realm.guests.get(&job.guest) {
            entry["source"] = guest.node.clone().into();
        }
        if job.disabled {
            entry["disable"] = 1.into();
        }
        entry
    });
    Ok(call.shuffled(list.collect()))
}

/// `GET /cluster/resources`
pub(crate) fn resources(call: &mut Call<'_>) -> Result<Value, Failure> {
    let realm = call.realm()?;
    let wanted = |kind: &str| call.opt("type").is_none_or(|t| t == kind);
    let nodes = || realm.nodes.iter().filter_map(|name| call.world.nodes.get(name));
    let mut list = Vec::new();
    if wanted("vm") {
        let seen = |g: &&Guest| call.may(&format!("/vms/{}", g.vmid), &["VM.Audit"]);
        list.extend(realm.guests.values().filter(seen).map(|g| guest_resource(call, g)));
    }
    if wanted("node") {
        list.extend(nodes().map(|node| node_resource(call, node)));
    }
    if wanted("storage") {
        for node in nodes() {
            let seen = |s: &&Storage| {
                call.may(&format!("/storage/{}", s.name), &["Datastore.Audit", "Datastore.AllocateSpace"])
            };
            list.extend(realm.storages.iter().filter(seen).filter_map(|s| storage_resource(s, &node.name)));
        }
    }
    if wanted("sdn") {
        list.extend(nodes().map(|node| {
            json!({
                "id": format!("network/{}/zone/localnetwork", node.name), "network": "localnetwork",
                "network-type": "zone", "node": node.name, "status": "ok", "type": "network",
            })
        }));
    }
    Ok(call.shuffled(list))
}

/// Returns seconds since the boot of a node, zero where it is not up.
pub(crate) fn uptime(world: &World, node: &Node) -> i64 {
    if node.online { since(world, node.machine.booted) } else { 0 }
}

/// Returns seconds since a boot.
pub(crate) fn since(world: &World, booted: i64) -> i64 {
    (i64::try_from(world.now()).unwrap_or(i64::MAX).saturating_sub(booted) / 1000).max(1)
}

fn node_resource(call: &Call<'_>, node: &Node) -> Value {
    let id = format!("node/{}", node.name);
    if !node.online {
        return json!({ "id": id, "node": node.name, "type": "node", "status": "offline", "level": "" });
    }
    json!({
        "id": id, "node": node.name, "type": "node", "status": "online", "level": "", "cgroup-mode": 2,
        "uptime": uptime(call.world, node), "cpu": 0.02, "maxcpu": 4,
        "mem": call.world.memory_used(&node.name), "maxmem": node.memory_bytes, "disk": 8_u64 << 30, "maxdisk": 96_u64 << 30,
    })
}

fn guest_resource(call: &Call<'_>, guest: &Guest) -> Value {
    let api = guest.kind.api_name();
    let up = call.world.nodes.get(&guest.node).is_some_and(|n| n.online);
    let running = guest.running() && up;
    let status = match (up, running) {
        (false, _) => "unknown",
        (true, true) => "running",
        (true, false) => "stopped",
    };
    let mem = if running { guest.memory_bytes / 3 } else { 0 };
    let mut entry = json!({
        "id": format!("{api}/{}", guest.vmid), "type": api, "vmid": guest.vmid, "name": guest.name, "node": guest.node,
        "status": status, "template": u8::from(guest.template),
        "uptime": if running { since(call.world, guest.started) } else { 0 },
        "cpu": if running { 0.01 } else { 0.0 }, "maxcpu": 2, "mem": mem, "maxmem": guest.memory_bytes,
        "memhost": if guest.kind == Kind::Vm { mem } else { 0 },
        "disk": if running && guest.kind == Kind::Ct { guest.disk_bytes / 3 } else { 0 }, "maxdisk": guest.disk_bytes,
        "diskread": 0, "diskwrite": 0, "netin": 0, "netout": 0,
    });
    if let Some(lock) = &guest.lock {
        entry["lock"] = lock.clone().into();
    }
    if let Some(tags) = guest.config.get("tags").filter(|tags| *tags != "") {
        entry["tags"] = tags.clone();
    }
    if let Some(pool) = &guest.pool {
        entry["pool"] = pool.clone().into();
    }
    if let Some(service) = call.realm().ok().and_then(|r| r.ha.get(&crate::world::sid(guest))) {
        entry["hastate"] = service.state.clone().into();
    }
    entry
}

fn storage_resource(storage: &Storage, node: &str) -> Option<Value> {
    let state = storage.on.get(node)?;
    let mut entry = json!({
        "id": format!("storage/{node}/{}", storage.name), "type": "storage", "storage": storage.name, "node": node,
        "content": storage.content.join(","), "plugintype": storage.kind, "shared": u8::from(storage.shared),
        "status": if state.active { "available" } else { "unknown" },
    });
    if state.active {
        entry["disk"] = state.used.into();
        entry["maxdisk"] = state.total.into();
    }
    Some(entry)
}
