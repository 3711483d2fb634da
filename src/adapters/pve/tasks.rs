//! Tasks: what a node works on, and how it ended.

use serde_json::Value;

use super::client::{Client, data_of, entries, get, unexpected};
use super::fault;
use super::fields::Fields;
use super::transport::{ApiCall, Transport};
use crate::engine::port::{GuestRef, TaskListing, TaskState};
use crate::ids::{NodeName, Upid};
use crate::machine::outcome::Fault;
use crate::time::Timestamp;

/// The most entries of a list of tasks that are asked for. The list begins with the newest, and what is looked for is a task
/// of the present run, or one of a node's boot; a guest has a handful of tasks a day, a node some for each of its guests.
const TASK_LIMIT: u32 = 500;

pub(super) async fn task<T: Transport>(api: &Client<T>, upid: &Upid) -> Result<TaskState, Fault> {
    let call = task_call(upid, "status")?;
    let answer = api.ask(&call).await?;
    if answer.status == 400
        && let Some((_, why)) = fault::parameter_errors(&answer).find(|(_, why)| why.contains("no such task"))
    {
        return Ok(TaskState::Unknown(why));
    }
    let data = data_of(&call, answer)?;
    let task = Fields::of(&data).ok_or_else(|| unexpected(&call, "a task's status", &data))?;
    Ok(match task.text("status").as_deref() {
        Some("running") => TaskState::Running,
        Some("stopped") => ended(task.non_empty("exitstatus").as_deref()),
        other => TaskState::Unknown(format!("task status {}", other.unwrap_or("missing"))),
    })
}

pub(super) async fn task_log_tail<T: Transport>(
    api: &Client<T>,
    upid: &Upid,
    lines: u32,
) -> Result<Vec<String>, Fault> {
    // The API pages from the beginning and says beside `data` how many lines there are; a limit of 0 would mean all.
    if lines == 0 {
        return Ok(Vec::new());
    }
    let page = |start: u64| {
        Ok::<_, Fault>(task_call(upid, "log")?.with("start", start.to_string()).with("limit", lines.to_string()))
    };
    let first = page(0)?;
    let answer = api.ask(&first).await?;
    let total = Fields::of(&answer.body).and_then(|f| f.number("total")).unwrap_or(0);
    let mut data = data_of(&first, answer)?;
    let past = total.saturating_sub(u64::from(lines));
    if past > 0 {
        data = api.data(&page(past)?).await?;
    }
    let Value::Array(list) = data else {
        return Err(unexpected(&first, "a list", &data));
    };
    Ok(entries(&first, &list, |entry| entry.text("t").map(|line| fault::one_line(&line))))
}

pub(super) async fn tasks_of<T: Transport>(
    api: &Client<T>,
    guest: &GuestRef,
    since: Timestamp,
) -> Result<Vec<TaskListing>, Fault> {
    let call = get(&["nodes", guest.node.as_str(), "tasks"])?
        .with("source", "all")
        .with("vmid", guest.id.to_string())
        .with("since", since.0.div_euclid(1000).to_string())
        .with("limit", TASK_LIMIT.to_string());
    listed(api, &call).await
}

pub(super) async fn tasks_of_type<T: Transport>(
    api: &Client<T>,
    node: &NodeName,
    kind: &str,
    since: Timestamp,
) -> Result<Vec<TaskListing>, Fault> {
    let call = get(&["nodes", node.as_str(), "tasks"])?
        .with("source", "all")
        .with("typefilter", kind)
        .with("since", since.0.div_euclid(1000).to_string())
        .with("limit", TASK_LIMIT.to_string());
    let mut tasks = listed(api, &call).await?;
    tasks.retain(|task| task.kind == kind);
    Ok(tasks)
}

pub(super) async fn active_tasks<T: Transport>(api: &Client<T>, node: &NodeName) -> Result<Vec<TaskListing>, Fault> {
    let call = get(&["nodes", node.as_str(), "tasks"])?.with("source", "active").with("limit", TASK_LIMIT.to_string());
    let mut tasks = listed(api, &call).await?;
    // The node's list of active tasks keeps one that has ended until it is archived.
    tasks.retain(|task| task.running);
    Ok(tasks)
}

/// Reads a list of tasks.
async fn listed<T: Transport>(api: &Client<T>, call: &ApiCall) -> Result<Vec<TaskListing>, Fault> {
    let list = api.list(call).await?;
    Ok(entries(call, &list, |entry| {
        // A task that works has no end; its status is missing or says so in capitals.
        let unfinished = entry.non_empty("status").is_none_or(|s| s.eq_ignore_ascii_case("running"));
        Some(TaskListing {
            upid: Upid::new(entry.non_empty("upid")?),
            kind: entry.text("type").unwrap_or_default(),
            id: entry.text("id").unwrap_or_default(),
            started: Timestamp::from_secs(entry.seconds("starttime")?),
            running: unfinished && entry.value("endtime").is_none(),
        })
    }))
}

/// Makes a GET below `/nodes/{node}/tasks/{upid}`, on the node that the UPID names.
fn task_call(upid: &Upid, what: &str) -> Result<ApiCall, Fault> {
    let node = upid
        .node()
        .ok_or_else(|| Fault::permanent(format!("asking for task {upid}: it is no UPID with a node in it")))?;
    get(&["nodes", node.as_str(), "tasks", upid.as_str(), what])
}

/// Reads how a stopped task ended.
fn ended(exit: Option<&str>) -> TaskState {
    let Some(exit) = exit else {
        return TaskState::Unknown("the task stopped without an exit status".to_owned());
    };
    let exit = fault::one_line(exit);
    if exit == "OK" {
        return TaskState::Ok { warnings: 0 };
    }
    if let Some(warnings) = exit.strip_prefix("WARNINGS:") {
        // It ended well whatever stands there; a count that cannot be read is at least one.
        return TaskState::Ok { warnings: warnings.trim().parse().unwrap_or(1) };
    }
    if exit == "unexpected status" { TaskState::Unknown(exit) } else { TaskState::Failed(exit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_good_bad_or_doubtful() {
        assert_eq!(ended(Some("OK")), TaskState::Ok { warnings: 0 });
        assert_eq!(ended(Some("WARNINGS: 3")), TaskState::Ok { warnings: 3 });
        assert_eq!(ended(Some("WARNINGS: many")), TaskState::Ok { warnings: 1 });
        assert_eq!(ended(Some("unexpected status")), TaskState::Unknown("unexpected status".to_owned()));
        assert_eq!(ended(Some("ok\n")), TaskState::Failed("ok".to_owned()));
        assert!(matches!(ended(None), TaskState::Unknown(_)));
    }
}
