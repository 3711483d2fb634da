//! The life of a task: begun by a request, due at its time, ended with an exit status and an effect.

use super::agenda::Due;
use super::migrate::MoveWork;
use super::task::Work;
use super::{Asker, MachineId, Task, World};
use crate::faults::TaskFault;
use crate::ledger::Outcome;

/// Ended tasks that a node remembers; a real one keeps about a thousand in its index.
const REMEMBERED: usize = 1000;

/// The exit status of a task whose worker died without saying how it went.
pub(crate) const VANISHED: &str = "unexpected status";

/// How a task's work went.
pub(crate) enum End {
    /// Well.
    Ok,
    /// Well, with this many warnings.
    Warnings(u32),
    /// The work has entered its next part into the agenda, or ended the task, by itself.
    Elsewhere,
}

/// What a task is to be.
pub(crate) struct Order<'a> {
    /// The node that works on it.
    pub node: &'a str,
    /// Its type.
    pub kind: &'a str,
    /// What it works on.
    pub id: String,
    /// Who asked.
    pub by: &'a Asker,
    /// Its entry in the ledger.
    pub ledger: Option<u64>,
}

impl World {
    /// Begins a task whose work is done after `takes` milliseconds. Faults are looked up here.
    pub(crate) fn begin_task(&mut self, order: Order<'_>, work: Work, takes: u64) -> String {
        let vmid = order.id.split('@').next().and_then(|id| id.parse().ok());
        let fault = self.faults.task(order.node, order.kind, vmid);
        let upid = self.new_task(order, work, fault.clone());
        if fault != Some(TaskFault::Hang) {
            self.agenda.enter(self.now.saturating_add(takes), Due::Task(upid.clone()));
        }
        upid
    }

    /// Begins a task that ends at once with a failure: what a node finds out only in the worker.
    pub(crate) fn begin_failed_task(&mut self, order: Order<'_>, why: &str) -> String {
        let upid = self.new_task(order, Work::Nothing, None);
        self.end_task(&upid, Err(why.to_owned()));
        upid
    }

    /// Adds a task to its node.
    pub(crate) fn new_task(&mut self, order: Order<'_>, work: Work, fault: Option<TaskFault>) -> String {
        let Order { node: name, kind, id, by, ledger } = order;
        let (now, start) = (self.now, self.unix(self.now));
        let Some(node) = self.nodes.get_mut(name) else { return String::new() };
        let pid = node.take_pid();
        let up = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(node.machine.booted);
        let pstart = u64::try_from(up / 10).unwrap_or_default();
        let upid = format!("UPID:{name}:{pid:08X}:{pstart:08X}:{start:08X}:{kind}:{id}:{by}:");
        node.tasks.push(Task {
            upid: upid.clone(),
            node: name.to_owned(),
            kind: kind.to_owned(),
            id,
            user: by.user.clone(),
            token: by.token.clone(),
            pid,
            pstart,
            started: now,
            ended: None,
            exit: None,
            log: Vec::new(),
            work,
            fault,
            ledger,
        });
        if node.tasks.len() > REMEMBERED
            && let Some(oldest) = node.tasks.iter().position(|t| !t.running())
        {
            node.tasks.remove(oldest);
        }
        upid
    }

    /// Returns the node that a UPID names.
    pub(crate) fn upid_node(upid: &str) -> &str {
        upid.split(':').nth(1).unwrap_or_default()
    }

    /// Returns a task.
    pub fn task(&self, upid: &str) -> Option<&Task> {
        self.nodes.get(Self::upid_node(upid))?.task(upid)
    }

    /// Adds a line to a task's log.
    pub(crate) fn task_log(&mut self, upid: &str, line: impl Into<String>) {
        let task = self.nodes.get_mut(Self::upid_node(upid)).and_then(|n| n.task_mut(upid));
        if let Some(task) = task {
            task.log.push(line.into());
        }
    }

    /// A task's time has come.
    pub(crate) fn task_due(&mut self, upid: &str) {
        let Some(task) = self.task(upid).filter(|t| t.running()) else { return };
        let (work, fault, node) = (task.work.clone(), task.fault.clone(), task.node.clone());
        match fault {
            Some(TaskFault::Fail { text, leave_lock }) => {
                if !leave_lock {
                    self.undo(&node, &work);
                }
                self.end_task(upid, Err(text));
            }
            Some(TaskFault::FailOff { text }) => {
                let stays_off = match &work {
                    Work::Migrate(work) => Work::Migrate(Box::new(MoveWork { restarts: false, ..(**work).clone() })),
                    other => other.clone(),
                };
                self.undo(&node, &stays_off);
                self.end_task(upid, Err(text));
            }
            Some(TaskFault::Vanish) => self.end_task(upid, Err(VANISHED.to_owned())),
            Some(TaskFault::Hang | TaskFault::DoneButVanished) | None => match self.carry_out(upid, &node, work) {
                Ok(End::Elsewhere) => {}
                Ok(End::Ok) => self.end_task(upid, Ok(0)),
                Ok(End::Warnings(n)) => self.end_task(upid, Ok(n)),
                Err(why) => self.end_task(upid, Err(why)),
            },
        }
    }

    /// Ends a task: well with so many warnings, or with what went wrong.
    pub(crate) fn end_task(&mut self, upid: &str, how: Result<u32, String>) {
        let now = self.now;
        let Some(task) = self.nodes.get_mut(Self::upid_node(upid)).and_then(|n| n.task_mut(upid)) else { return };
        let outcome = match &how {
            Ok(_) => Outcome::Done,
            Err(why) => Outcome::Failed(why.clone()),
        };
        let vanished = task.fault == Some(TaskFault::DoneButVanished) || how == Err(VANISHED.to_owned());
        let (exit, line) = match how {
            _ if vanished => (VANISHED.to_owned(), None),
            Ok(0) => ("OK".to_owned(), Some("TASK OK".to_owned())),
            Ok(n) => (format!("WARNINGS: {n}"), Some(format!("TASK WARNINGS: {n}"))),
            Err(why) => (why.clone(), Some(format!("TASK ERROR: {why}"))),
        };
        task.log.extend(line);
        task.exit = Some(exit);
        task.ended = Some(now);
        let work = std::mem::replace(&mut task.work, Work::Nothing);
        let (ledger, node, kind, id) = (task.ledger, task.node.clone(), task.kind.clone(), task.id.clone());
        let undone = match work {
            Work::Backup(work) => work.todo,
            _ => Vec::new(),
        };
        for entry in ledger.into_iter().chain(undone.into_iter().map(|(_, entry)| entry)) {
            self.ledger.settle(entry, outcome.clone());
        }
        match kind.as_str() {
            "vzdump" => self.release_backup_lock(&node, upid),
            "vzmigrate" | "qmigrate" => self.move_ended(&node, id.parse().unwrap_or_default()),
            _ => {}
        }
    }

    /// Does what a task is for.
    fn carry_out(&mut self, upid: &str, node: &str, work: Work) -> Result<End, String> {
        let Some(realm) = self.nodes.get(node).map(|n| n.realm.clone()) else {
            return Err(format!("no such node '{node}'"));
        };
        let guest = |vmid: u32| MachineId::guest(&realm, vmid);
        match work {
            Work::Nothing => Ok(End::Ok),
            Work::Start(vmid) => Ok(self.warned(upid, &guest(vmid), true)),
            Work::Reboot(vmid) => {
                self.power_off(&guest(vmid));
                Ok(self.warned(upid, &guest(vmid), true))
            }
            Work::Shutdown(vmid) => self.shutdown_due(upid, &guest(vmid)),
            Work::Stop(vmid) => {
                self.power_off(&guest(vmid));
                Ok(End::Ok)
            }
            Work::Snapshot(vmid, name) => self.snapshot_due(&guest(vmid), &name),
            Work::SnapshotDelete(vmid, name) => self.snapshot_delete_due(&guest(vmid), &name),
            Work::Rollback(vmid, name, start) => self.rollback_due(upid, &guest(vmid), &name, start),
            Work::Backup(work) => self.backup_due(upid, node, *work),
            Work::BackupDelete(volid) => self.backup_delete_due(upid, &realm, &volid),
            Work::Refresh => self.refresh_task_due(upid, node),
            Work::CephFlags(flags, by) => {
                for (flag, set) in flags {
                    let done = self.ceph_flag(self.now, node, &flag, set, &by);
                    done.map_err(|refusal| refusal.0)?;
                }
                Ok(End::Ok)
            }
            Work::Migrate(work) => self.migrate_due(upid, &guest(work.vmid), &work),
        }
    }

    /// Takes back what the beginning of a task did: its lock, and a snapshot that is not complete.
    fn undo(&mut self, node: &str, work: &Work) {
        let Some(realm) = self.nodes.get(node).map(|n| n.realm.clone()) else { return };
        let (vmid, unfinished) = match work {
            Work::Snapshot(vmid, name) => (*vmid, Some(name.clone())),
            Work::SnapshotDelete(vmid, _) | Work::Rollback(vmid, ..) => (*vmid, None),
            Work::Migrate(work) => return self.give_up_move(&MachineId::guest(realm, work.vmid), work),
            Work::Backup(work) => match work.todo.first() {
                Some((vmid, _)) => (*vmid, None),
                None => return,
            },
            _ => return,
        };
        let Some(guest) = self.guest_mut(&MachineId::guest(realm, vmid)) else { return };
        guest.lock = None;
        if let Some(name) = unfinished {
            guest.snapshots.retain(|s| s.name != name);
        }
        for snapshot in &mut guest.snapshots {
            snapshot.state = None;
        }
    }
}
