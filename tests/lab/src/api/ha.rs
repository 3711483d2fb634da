//! High availability, as far as an updater meets it.

use serde_json::{Map, Value, json};

use super::call::{Call, Failure};
use crate::world::{Guest, Realm, World, sid, vmid_of};

/// `GET /cluster/ha/resources`
pub(crate) fn resources(call: &mut Call<'_>) -> Result<Value, Failure> {
    let wanted = |sid: &str| call.opt("type").is_none_or(|t| sid.starts_with(&format!("{t}:")));
    let list = call.realm()?.ha.iter().filter(|(sid, _)| wanted(sid)).map(|(sid, service)| {
        let kind = sid.split(':').next().unwrap_or_default();
        json!({ "sid": sid, "type": kind, "state": service.requested, "digest": super::guest::digest(sid) })
    });
    Ok(list.collect())
}

/// `POST /cluster/ha/resources`
pub(crate) fn add(call: &mut Call<'_>) -> Result<Value, Failure> {
    let realm = call.realm()?;
    let given = call.text("sid");
    let vmid = given.rsplit(':').next().and_then(|id| id.parse().ok()).unwrap_or_default();
    let guest = realm.guests.get(&vmid);
    let guest =
        guest.ok_or_else(|| Failure::text(format!("unable to add resource '{given}': guest does not exist")))?;
    let (name, sid) = (realm.name.clone(), sid(guest));
    if realm.ha.contains_key(&sid) {
        return Err(Failure::text(format!("resource ID '{sid}' already defined")));
    }
    let requested = call.opt("state").unwrap_or("started").replace("enabled", "started");
    let (now, by) = (call.now(), call.asker());
    call.world.ha_set(now, &name, &sid, &requested, &by);
    Ok(Value::Null)
}

/// `DELETE /cluster/ha/resources/{sid}`
pub(crate) fn remove(call: &mut Call<'_>) -> Result<Value, Failure> {
    let (name, sid) = (call.realm()?.name.clone(), call.text("sid").to_owned());
    let (now, by) = (call.now(), call.asker());
    if call.world.ha_remove(now, &name, &sid, &by) {
        Ok(Value::Null)
    } else {
        Err(Failure::text(format!("cannot delete service '{sid}', not HA managed!")))
    }
}

/// `GET /cluster/ha/status/current`
pub(crate) fn status(call: &mut Call<'_>) -> Result<Value, Failure> {
    let node = call.request.node.clone();
    Ok(entries(call.world, call.realm()?, &node).into())
}

/// Returns what HA says of itself, asked on a node: what `ha-manager status` prints as well.
pub(crate) fn entries(world: &World, realm: &Realm, node: &str) -> Vec<Value> {
    let quorate = world.quorate(&realm.name);
    let active = world.ha_active(realm);
    let (armed, watchdog) =
        if active { ("armed", "armed (CRM watchdog active)") } else { ("standby", "standby (CRM watchdog standby)") };
    let (now, clock) = (world.unix(world.now()), world.ctime(world.now()));
    let mut list = vec![json!({
        "id": "quorum", "type": "quorum", "node": node, "quorate": u8::from(quorate),
        "status": if quorate { "OK".to_owned() } else { format!("No quorum on node '{node}'!") },
    })];
    if active {
        let master = master(world, realm);
        list.push(json!({
            "id": "master", "type": "master", "node": master, "timestamp": now,
            "status": format!("{master} (active, {clock})"),
        }));
    }
    list.push(json!({ "id": "fencing", "type": "fencing", "node": node, "armed-state": armed, "status": watchdog }));
    if active {
        for name in &realm.nodes {
            let mode = lrm_mode(world, realm, name);
            let said = match mode {
                "maintenance" => "maintenance mode",
                _ if !world.nodes.get(name).is_some_and(|n| n.online) => "old timestamp - dead?",
                _ if services_on(realm, name) == 0 => "idle",
                _ => "active",
            };
            let watchdog = if said == "active" { "active" } else { "standby" };
            list.push(json!({
                "id": format!("lrm:{name}"), "type": "lrm", "node": name, "timestamp": now,
                "status": format!("{name} ({said}, watchdog {watchdog}, {clock})"),
            }));
        }
    }
    for (sid, service) in &realm.ha {
        let on = vmid_of(sid).and_then(|vmid| realm.guests.get(&vmid)).map_or("---", |guest| guest.node.as_str());
        let state = &service.state;
        let mut entry = json!({
            "id": format!("service:{sid}"), "type": "service", "sid": sid, "node": on, "state": state,
            "request_state": service.requested, "status": format!("{sid} ({on}, {state})"),
            "failback": 1, "max_relocate": 1, "max_restart": 1,
        });
        if state != "queued" {
            entry["crm_state"] = state.clone().into();
        }
        list.push(entry);
    }
    list
}

/// `GET /cluster/ha/status/manager_status`
pub(crate) fn manager_status(call: &mut Call<'_>) -> Result<Value, Failure> {
    let node = call.request.node.clone();
    Ok(full(call.world, call.realm()?, &node))
}

/// Returns all that the manager knows.
pub(crate) fn full(world: &World, realm: &Realm, node: &str) -> Value {
    let quorate = if world.quorate(&realm.name) { "1" } else { "" };
    let quorum = json!({ "node": node, "quorate": quorate });
    if !world.ha_active(realm) {
        return json!({ "manager_status": {}, "quorum": quorum });
    }
    let now = world.unix(world.now());
    let (mut node_status, mut requests, mut lrm, mut services) = (Map::new(), Map::new(), Map::new(), Map::new());
    for name in &realm.nodes {
        let (online, mode) = (world.nodes.get(name).is_some_and(|n| n.online), lrm_mode(world, realm, name));
        let says = match (mode, online) {
            ("maintenance", _) => "maintenance",
            (_, true) => "online",
            (_, false) => "unknown",
        };
        node_status.insert(name.clone(), says.into());
        if realm.maintenance.get(name).is_some_and(|maintenance| maintenance.seen) {
            requests.insert(name.clone(), json!({ "maintenance": 1 }));
        }
        let state = if services_on(realm, name) == 0 { "wait_for_agent_lock" } else { "active" };
        lrm.insert(name.clone(), json!({ "mode": mode, "results": {}, "state": state, "timestamp": now }));
    }
    for (sid, service) in realm.ha.iter().filter(|(_, service)| service.state != "queued") {
        let guest = vmid_of(sid).and_then(|vmid| realm.guests.get(&vmid));
        let mut entry = json!({
            "node": guest.map_or("", |guest| guest.node.as_str()), "state": service.state, "uid": super::guest::digest(sid),
        });
        if guest.is_some_and(Guest::running) {
            entry["running"] = 1.into();
        }
        for (key, node) in [("maintenance_node", &service.home), ("target", &service.moving_to)] {
            if let Some(node) = node {
                entry[key] = node.clone().into();
            }
        }
        services.insert(sid.clone(), entry);
    }
    json!({
        "manager_status": {
            "master_node": master(world, realm), "node_request": requests, "node_status": node_status,
            "service_status": services, "timestamp": now,
        },
        "lrm_status": lrm, "quorum": quorum,
    })
}

/// Returns the node whose manager rules: the first that is up.
fn master<'a>(world: &World, realm: &'a Realm) -> &'a str {
    let up = |name: &&String| world.nodes.get(*name).is_some_and(|node| node.online);
    realm.nodes.iter().find(up).or(realm.nodes.first()).map_or("", String::as_str)
}

/// Returns the mode of a node's local manager: it is in maintenance from when the manager has taken that up.
fn lrm_mode(world: &World, realm: &Realm, node: &str) -> &'static str {
    let seen = realm.maintenance.get(node).is_some_and(|maintenance| maintenance.seen);
    if seen && world.nodes.contains_key(node) { "maintenance" } else { "active" }
}

/// Counts the services that are active on a node.
fn services_on(realm: &Realm, node: &str) -> usize {
    let here = |sid: &String| vmid_of(sid).and_then(|vmid| realm.guests.get(&vmid)).is_some_and(|g| g.node == node);
    realm.ha.iter().filter(|(sid, service)| here(sid) && service.requested == "started").count()
}
