//! Tasks: their list, state and log. A token sees its own; others' only with Sys.Audit on the node.

use serde_json::{Value, json};

use super::call::{Call, Failure};
use crate::world::{Task, World};

/// How many tasks `GET /cluster/tasks` shows of each node.
const RECENT: usize = 25;

fn entry(world: &World, task: &Task) -> Value {
    let mut entry = json!({
        "upid": task.upid, "node": task.node, "type": task.kind, "id": task.id, "user": task.user, "pid": task.pid,
        "pstart": task.pstart, "starttime": world.unix(task.started),
    });
    if let Some(token) = &task.token {
        entry["tokenid"] = token.clone().into();
    }
    if let Some(ended) = task.ended {
        entry["endtime"] = world.unix(ended).into();
    }
    entry
}

fn sees(call: &Call<'_>, task: &Task) -> bool {
    task.by() == call.token.full_id() || call.may(&format!("/nodes/{}", task.node), &["Sys.Audit"])
}

/// `GET /nodes/{node}/tasks`: by default those that ended, newest first.
pub(crate) fn list(call: &mut Call<'_>) -> Result<Value, Failure> {
    let node = call.node()?;
    let source = call.opt("source").unwrap_or("archive");
    let vmid = call.int("vmid").map(|v| v.to_string());
    let errors = call.flag("errors").unwrap_or(false);
    let failed = |t: &Task| t.exit.as_deref().is_some_and(|e| e != "OK" && !e.starts_with("WARNINGS"));
    let wanted = |t: &&Task| {
        (source == "all" || (source == "active") == t.running())
            && sees(call, t)
            && vmid.as_ref().is_none_or(|v| *v == t.id)
            && call.opt("typefilter").is_none_or(|kind| kind == t.kind)
            && call.opt("userfilter").is_none_or(|user| t.by().contains(user))
            && call.int("since").is_none_or(|since| call.world.unix(t.started) >= since)
            && call.int("until").is_none_or(|until| call.world.unix(t.started) <= until)
            && (!errors || failed(t))
    };
    let mut found: Vec<&Task> = node.tasks.iter().rev().filter(wanted).collect();
    found.sort_by_key(|t| !t.running());
    let total = found.len();
    let skip = usize::try_from(call.int("start").unwrap_or(0)).unwrap_or(0);
    let limit = usize::try_from(call.int("limit").unwrap_or(50)).unwrap_or(50);
    let shown = found.into_iter().skip(skip).take(if limit == 0 { usize::MAX } else { limit });
    let list = shown.map(|task| {
        let mut entry = entry(call.world, task);
        entry["status"] = task.exit.clone().unwrap_or_else(|| "RUNNING".to_owned()).into();
        entry
    });
    let list = list.collect();
    call.total = Some(total);
    Ok(list)
}

fn task<'a>(call: &'a Call<'_>) -> Result<&'a Task, Failure> {
    let upid = call.text("upid");
    let well_formed = upid.split(':').count() == 9 && upid.starts_with("UPID:") && upid.ends_with(':');
    if !well_formed {
        return Err(Failure::parameter("upid", &format!("unable to parse worker upid '{upid}'\n")));
    }
    let task = call.node()?.task(upid).ok_or_else(|| Failure::parameter("upid", "no such task"))?;
    if !sees(call, task) {
        return Err(Failure::Denied(format!("/nodes/{}", task.node), "Sys.Audit".to_owned()));
    }
    Ok(task)
}

/// `GET /nodes/{node}/tasks/{upid}/status`
pub(crate) fn status(call: &mut Call<'_>) -> Result<Value, Failure> {
    let task = task(call)?;
    let mut state = entry(call.world, task);
    if let Some(state) = state.as_object_mut() {
        state.remove("endtime");
    }
    state["status"] = if task.running() { "running" } else { "stopped" }.into();
    if let Some(exit) = &task.exit {
        state["exitstatus"] = exit.clone().into();
    }
    Ok(state)
}

/// `GET /nodes/{node}/tasks/{upid}/log`: lines counted from 1.
pub(crate) fn log(call: &mut Call<'_>) -> Result<Value, Failure> {
    let task = task(call)?;
    let none = ["no content".to_owned()];
    let lines: &[String] = if task.log.is_empty() { &none } else { &task.log };
    let total = lines.len();
    let skip = usize::try_from(call.int("start").unwrap_or(0)).unwrap_or(0);
    let limit = usize::try_from(call.int("limit").unwrap_or(50)).unwrap_or(50);
    let shown = lines.iter().enumerate().skip(skip).take(if limit == 0 { usize::MAX } else { limit });
    let list = shown.map(|(i, line)| json!({ "n": i + 1, "t": line })).collect();
    call.total = Some(total);
    Ok(list)
}

/// `GET /cluster/tasks`
pub(crate) fn of_cluster(call: &mut Call<'_>) -> Result<Value, Failure> {
    let mut list = Vec::new();
    for node in call.realm()?.nodes.iter().filter_map(|name| call.world.nodes.get(name)) {
        for task in node.tasks.iter().rev().filter(|t| sees(call, t)).take(RECENT) {
            let mut entry = entry(call.world, task);
            if let Some(entry) = entry.as_object_mut() {
                entry.remove("pid");
                entry.remove("pstart");
            }
            if let Some(exit) = &task.exit {
                entry["status"] = exit.clone().into();
                entry["saved"] = "1".into();
            }
            list.push(entry);
        }
    }
    Ok(list.into())
}

/// `GET /cluster/log`: begin and end of tasks, newest first.
pub(crate) fn cluster_log(call: &mut Call<'_>) -> Result<Value, Failure> {
    let max = usize::try_from(call.int("max").unwrap_or(50)).unwrap_or(50);
    let mut events = Vec::new();
    for node in call.realm()?.nodes.iter().filter_map(|name| call.world.nodes.get(name)) {
        for task in node.tasks.iter().filter(|t| sees(call, t)) {
            events.push((task.started, format!("starting task {}", task.upid), 6, task));
            if let (Some(ended), Some(exit)) = (task.ended, &task.exit) {
                let level = if exit == "OK" { 6 } else { 3 };
                events.push((ended, format!("end task {} {exit}", task.upid), level, task));
            }
        }
    }
    events.sort_by_key(|(at, ..)| *at);
    let list = events.iter().enumerate().rev().take(max).map(|(i, (at, msg, level, task))| {
        let uid = (i + 1).to_string();
        json!({
            "id": format!("{uid}:{}", task.node), "uid": uid, "node": task.node, "user": task.by(), "pid": task.pid,
            "time": call.world.unix(*at), "msg": msg, "pri": level, "tag": "pvedaemon",
        })
    });
    Ok(list.collect())
}
