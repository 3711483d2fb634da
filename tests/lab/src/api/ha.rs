//! High availability, as far as an updater meets it.

use serde_json::{Value, json};

use super::call::{Call, Failure};
use crate::world::{Guest, HaService, MachineId};

/// Returns how HA names a guest.
pub(crate) fn sid(guest: &Guest) -> String {
    format!("{}:{}", guest.kind.label().to_lowercase(), guest.vmid)
}

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
    let realm = call.realm()?;
    let quorate = call.world.quorate(&realm.name);
    let node = &call.request.node;
    let mut list = vec![
        json!({
            "id": "quorum", "type": "quorum", "node": node, "quorate": u8::from(quorate),
            "status": if quorate { "OK" } else { "No quorum on node!" },
        }),
        json!({
            "id": "fencing", "type": "fencing", "node": node, "armed-state": "standby",
            "status": "standby (CRM watchdog standby)",
        }),
    ];
    for (sid, HaService { requested, state }) in &realm.ha {
        let vmid = sid.split(':').nth(1).and_then(|id| id.parse().ok()).unwrap_or_default();
        let on = call.world.node_of(&MachineId::guest(&realm.name, vmid)).unwrap_or_default();
        list.push(json!({
            "id": format!("service:{sid}"), "type": "service", "sid": sid, "node": on, "state": state,
            "request_state": requested, "status": format!("{sid} ({on}, {state})"),
            "failback": 1, "max_relocate": 1, "max_restart": 1,
        }));
    }
    Ok(list.into())
}
