//! Ceph: its health, and the flags of its OSD map. A node without Ceph says that a program is not installed.

use serde_json::{Map, Value, json};

use super::call::{Call, Failure};
use crate::world::{CEPH_FLAGS, Ceph, NO_CEPH};

/// Returns the Ceph of the realm that was addressed.
fn ceph<'a>(call: &'a Call<'_>) -> Result<&'a Ceph, Failure> {
    call.realm()?.ceph.as_ref().ok_or_else(|| Failure::text(NO_CEPH))
}

/// `GET /cluster/ceph/status`, `GET /nodes/{node}/ceph/status`: as `ceph status` says it in JSON, each check with its details.
pub(crate) fn status(call: &mut Call<'_>) -> Result<Value, Failure> {
    let ceph = ceph(call)?;
    let health = call.world.ceph_health(&call.realm()?.name).ok_or_else(|| Failure::text(NO_CEPH))?;
    let checks: Map<String, Value> = health
        .checks
        .iter()
        .map(|check| {
            let said = json!({
                "severity": check.severity, "muted": false,
                "summary": { "message": check.message, "count": check.count },
                "detail": [{ "message": check.message }],
            });
            (check.code.clone(), said)
        })
        .collect();
    let ranks: Vec<usize> = (0..health.quorum.len()).collect();
    let mons: Vec<Value> =
        ceph.monitors.iter().enumerate().map(|(n, name)| json!({ "rank": n, "name": name })).collect();
    let mut states = vec![json!({ "state_name": "active+clean", "count": health.clean })];
    if health.clean < health.pgs {
        states.push(json!({ "state_name": "active+undersized+degraded", "count": health.pgs - health.clean }));
    }
    let (osds, total) = (ceph.osds.len(), (ceph.osds.len() as u64) << 40);
    Ok(json!({
        "fsid": ceph.fsid,
        "health": { "status": health.status, "checks": checks, "mutes": [] },
        "election_epoch": 12, "quorum": ranks, "quorum_names": health.quorum, "quorum_age": 3600,
        "monmap": { "epoch": 3, "fsid": ceph.fsid, "min_mon_release_name": "squid", "num_mons": mons.len(), "mons": mons },
        "osdmap": {
            "epoch": 120, "num_osds": osds, "num_up_osds": health.osds_up, "num_in_osds": osds, "num_remapped_pgs": 0,
        },
        "pgmap": {
            "pgs_by_state": states, "num_pgs": health.pgs, "num_pools": 2, "num_objects": 1000,
            "data_bytes": total / 10, "bytes_used": total / 4, "bytes_avail": total - total / 4, "bytes_total": total,
        },
        "fsmap": { "epoch": 1, "by_rank": [], "up:standby": 0 },
        "mgrmap": { "available": true, "active_name": health.quorum.first(), "num_standbys": 2, "services": {} },
        "servicemap": { "epoch": 1, "services": {} },
        "progress_events": {},
    }))
}

/// `GET /cluster/ceph/flags`
pub(crate) fn flags(call: &mut Call<'_>) -> Result<Value, Failure> {
    let set = &ceph(call)?.flags;
    let flag = |(name, says): &(&str, &str)| json!({ "name": name, "description": says, "value": u8::from(set.contains(*name)) });
    Ok(call.shuffled(CEPH_FLAGS.iter().map(flag).collect()))
}

/// `PUT /cluster/ceph/flags`: several at once, in a task.
pub(crate) fn set_flags(call: &mut Call<'_>) -> Result<Value, Failure> {
    ceph(call)?;
    let asked = CEPH_FLAGS.iter().filter_map(|(name, _)| Some(((*name).to_owned(), call.flag(name)?)));
    let asked: Vec<(String, bool)> = asked.collect();
    let (node, now, by) = (call.request.node.clone(), call.now(), call.asker());
    Ok(call.world.ceph_flags(now, &node, &asked, &by)?.into())
}

/// `GET /cluster/ceph/flags/{flag}`
pub(crate) fn flag(call: &mut Call<'_>) -> Result<Value, Failure> {
    let name = call.text("flag").to_owned();
    Ok(u8::from(ceph(call)?.flags.contains(&name)).into())
}

/// `PUT /cluster/ceph/flags/{flag}`
pub(crate) fn set_flag(call: &mut Call<'_>) -> Result<Value, Failure> {
    let (name, value) = (call.text("flag").to_owned(), call.flag("value").unwrap_or(false));
    let (node, now, by) = (call.request.node.clone(), call.now(), call.asker());
    call.world.ceph_flag(now, &node, &name, value, &by)?;
    Ok(Value::Null)
}
