//! Tasks of a node: waited for, looked for, and told of.

use std::time::Duration;

use super::{Context, TaskNews};
use crate::engine::port::{GuestRef, TaskListing, TaskState};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{StepKey, Upid};
use crate::machine::outcome::Fault;
use crate::time::Timestamp;

/// How far the node's clock may be off, in milliseconds, when its tasks since a time of ours are asked for.
const CLOCK_SKEW_MS: i64 = 10 * 60 * 1000;

/// How a task ended that was waited for.
#[derive(Debug)]
#[must_use]
pub(super) enum TaskEnd {
    /// Well.
    Well,
    /// It failed: the text of its `exitstatus`.
    Failed(String),
    /// It can't be told: the node lost track of it, can't be asked, or it works longer than it may.
    Unknown(Fault),
}

/// Waits for the end of a task, within a limit.
pub(super) async fn task_end(cx: &Context, task: &Upid, limit: Duration) -> TaskEnd {
    let mut backoff = Backoff::within(limit);
    loop {
        match retried(|| cx.ports.pve.task(task)).await {
            Ok(TaskState::Running) => {}
            Ok(TaskState::Ok { .. }) => return TaskEnd::Well,
            Ok(TaskState::Failed(why)) => return TaskEnd::Failed(why),
            Ok(TaskState::Unknown(why)) => return TaskEnd::Unknown(Fault::ambiguous(why)),
            Err(fault) => return TaskEnd::Unknown(fault),
        }
        if !backoff.pause().await {
            return TaskEnd::Unknown(Fault::ambiguous(format!("the task {task} still works after {limit:?}")));
        }
    }
}

/// Returns the state of the task that is known to do the step, where one is.
pub(super) async fn known_task(cx: &Context) -> Result<Option<TaskState>, Fault> {
    match &cx.task {
        Some(task) => retried(|| cx.ports.pve.task(task)).await.map(Some),
        None => Ok(None),
    }
}

/// Returns from when on tasks can be the step's own: its intent, less what the node's clock may be off.
pub(super) fn since(cx: &Context) -> Timestamp {
    Timestamp(cx.since.0.saturating_sub(CLOCK_SKEW_MS))
}

/// Lists the guest's tasks of some types (without the prefix of its kind) that can be the step's own.
pub(super) async fn guest_tasks(cx: &Context, at: &GuestRef, kinds: &[&str]) -> Result<Vec<TaskListing>, Fault> {
    let since = since(cx);
    let mut tasks = retried(|| cx.ports.pve.tasks_of(at, since)).await?;
    tasks.retain(|task| {
        let kind = ["vz", "qm"].iter().find_map(|prefix| task.kind.strip_prefix(prefix)).unwrap_or(&task.kind);
        kinds.contains(&kind)
    });
    Ok(tasks)
}

/// Returns the type of a task, which its name holds: `UPID:node:pid:pstart:starttime:type:id:user:`.
pub(super) fn kind_of(task: &Upid) -> &str {
    task.as_str().split(':').nth(5).unwrap_or_default()
}

/// Tells the driver of a task. That the driver is gone means that the run is being dropped: nothing is lost but a hint.
pub(super) async fn tell(cx: &Context, key: &StepKey, task: &Upid) {
    if cx.news.send(TaskNews { key: key.clone(), task: task.clone() }).await.is_err() {
        tracing::debug!(%key, "nobody is left to tell of a task");
    }
}
