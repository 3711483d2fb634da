//! Backups: `vzdump`, its node-wide lock, and the archives.
//!
//! Its log says what the real one says: most of what goes wrong shows only there and in the task's exit status.

use super::agenda::Due;
use super::task::{BackupWork, Work};
use super::tasks::{End, Order};
use super::{Asker, Backup, Guest, Kind, MachineId, Refusal, Time, World};
use crate::faults::TaskFault;
use crate::ledger::{Act, Outcome};

/// What to back up, and how: parameters of `POST /nodes/{node}/vzdump`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupOrder {
    /// The guests.
    pub vmids: Vec<u32>,
    /// `storage`.
    pub storage: String,
    /// `mode`: `snapshot`, `suspend`, `stop`.
    pub mode: String,
    /// `compress`.
    pub compress: Option<String>,
    /// `notes-template`.
    pub notes: Option<String>,
    /// `protected`.
    pub protected: bool,
    /// `remove`.
    pub remove: bool,
    /// `lockwait`, in minutes.
    pub lock_wait_min: u64,
    /// The job's command line as the log gives it, after `vzdump `.
    pub line: String,
}

impl World {
    /// Begins a backup on a node; returns the UPID. Nearly everything that goes wrong shows only in the task.
    pub fn back_up(&mut self, now: Time, node: &str, order: BackupOrder, by: &Asker) -> String {
        self.advance(now);
        let Some(realm) = self.nodes.get(node).map(|n| n.realm.clone()) else { return String::new() };
        let mut todo = Vec::new();
        for &vmid in &order.vmids {
            let key = order.notes.as_ref().map(|n| self.expand_notes(n, node, vmid));
            let id = MachineId::guest(&realm, vmid);
            todo.push((vmid, self.record(self.now, &id, Act::Backup, key, &by.to_string(), Outcome::Begun)));
        }
        let name = match order.vmids.as_slice() {
            [one] => one.to_string(),
            _ => String::new(),
        };
        let task = Order { node, kind: "vzdump", id: name, by, ledger: None };
        let storage = order.storage.as_str();
        let usable = self.realms.get(&realm).and_then(|r| r.storages.iter().find(|s| s.name == storage));
        let against = match usable {
            None => Some(format!(
                "could not activate storage '{storage}': storage '{storage}' does not exist \
                 could not get storage information for '{storage}': storage '{storage}' does not exist"
            )),
            Some(s) if !s.holds("backup") => Some(format!(
                "could not get storage information for '{storage}': can't use storage '{storage}' for backups - wrong content type"
            )),
            Some(s) if s.on.get(node).is_none_or(|on| !on.active) => {
                Some(format!("could not activate storage '{storage}': storage '{storage}' is not online"))
            }
            Some(_) => None,
        };
        if let Some(why) = against {
            for (_, entry) in todo {
                self.ledger.settle(entry, Outcome::Failed(why.clone()));
            }
            return self.begin_failed_task(task, &why);
        }
        let vmid = order.vmids.first().copied();
        let fault = self.faults.task(node, "vzdump", vmid);
        let work = BackupWork {
            todo,
            storage: order.storage,
            mode: order.mode,
            compress: order.compress,
            notes: order.notes,
            protected: order.protected,
            remove: order.remove,
            lock_wait: order.lock_wait_min.saturating_mul(60_000),
            begun: self.now,
            failed: false,
        };
        let wait = work.lock_wait;
        let upid = self.new_task(task, Work::Backup(Box::new(work)), fault);
        self.task_log(&upid, format!("INFO: starting new backup job: vzdump {}", order.line));
        let waits = match self.nodes.get_mut(node) {
            Some(node) => {
                node.backup_queue.push_back(upid.clone());
                node.backup_queue.len() > 1
            }
            None => false,
        };
        if waits {
            self.task_log(&upid, "INFO: trying to get global lock - waiting...");
            self.agenda.enter(self.now.saturating_add(wait), Due::LockWait(upid.clone()));
        } else {
            self.begin_next_guest(&upid);
        }
        upid
    }

    /// Begins the first guest that is still to do, or ends the job.
    fn begin_next_guest(&mut self, upid: &str) {
        let Some(task) = self.task(upid) else { return };
        let (node, Work::Backup(work), hangs) =
            (task.node.clone(), task.work.clone(), task.fault == Some(TaskFault::Hang))
        else {
            return;
        };
        let mut work = *work;
        while let Some(&(vmid, entry)) = work.todo.first() {
            let guest = self.guest_of(&node, vmid).filter(|g| g.node == node);
            let against = match guest {
                None => Some(format!("unable to find VM '{vmid}'")),
                Some(guest) => guest.lock.as_ref().map(|lock| format!("{} is locked ({lock})", guest.kind.label())),
            };
            let Some(why) = against else {
                work.begun = self.now;
                self.begin_guest(upid, &node, vmid, &work);
                self.put_back(upid, work);
                if !hangs {
                    let at = self.now.saturating_add(self.durations.backup);
                    self.agenda.enter(at, Due::Task(upid.to_owned()));
                }
                return;
            };
            self.task_log(upid, format!("ERROR: Backup of VM {vmid} failed - {why}"));
            self.task_log(upid, format!("INFO: Failed at {}", self.clock(self.now)));
            self.ledger.settle(entry, Outcome::Failed(why));
            work.failed = true;
            work.todo.remove(0);
        }
        self.task_log(
            upid,
            if work.failed {
                "INFO: Backup job finished with errors"
            } else {
                "INFO: Backup job finished successfully"
            },
        );
        let how = if work.failed { Err("job errors".to_owned()) } else { Ok(0) };
        self.put_back(upid, work);
        self.end_task(upid, how);
    }

    fn put_back(&mut self, upid: &str, work: BackupWork) {
        if let Some(task) = self.nodes.get_mut(Self::upid_node(upid)).and_then(|n| n.task_mut(upid)) {
            task.work = Work::Backup(Box::new(work));
        }
    }

    /// Says in the log how a guest's backup begins, and locks the guest.
    fn begin_guest(&mut self, upid: &str, node: &str, vmid: u32, work: &BackupWork) {
        let Some(id) = self.guest_id(node, vmid) else { return };
        let pid = self.task(upid).map(|t| t.pid).unwrap_or_default();
        let started = self.clock(self.now);
        let able = self.can_snapshot(&id);
        let by = self.task(upid).map(super::Task::by).unwrap_or_default();
        let Some(guest) = self.guest_mut(&id) else { return };
        guest.lock = Some("backup".to_owned());
        let guest = guest.clone();
        let tmp = format!("/var/tmp/vzdumptmp{pid}_{vmid}");
        let mut log = Vec::new();
        if guest.kind == Kind::Ct && !able {
            log.push(format!("INFO: filesystem type on dumpdir is 'ext4' -using {tmp} for temporary files"));
        }
        log.push(format!("INFO: Starting Backup of VM {vmid} ({})", guest.kind.api_name()));
        log.push(format!("INFO: Backup started at {started}"));
        log.push(format!("INFO: status = {}", if guest.running() { "running" } else { "stopped" }));
        let suspends = falls_back(&guest, &work.mode, able);
        if suspends {
            log.extend(included(&guest));
            log.push("INFO: mode failure - some volumes do not support snapshots".to_owned());
            log.push("INFO: trying 'suspend' mode instead".to_owned());
        }
        let mode = match guest.running() {
            false => "stop",
            true if suspends => "suspend",
            true => work.mode.as_str(),
        };
        log.push(format!("INFO: backup mode: {mode}"));
        log.push("INFO: ionice priority: 7".to_owned());
        log.extend(included(&guest));
        match (guest.kind, mode) {
            (Kind::Ct, "suspend") => {
                log.push(format!("INFO: starting first sync /proc/{}/root/ to {tmp}", guest.pid));
                log.push("INFO: first sync finished - transferred 190.45M bytes in 1s".to_owned());
                log.push("INFO: suspending guest".to_owned());
                log.push(format!("INFO: starting final sync /proc/{}/root/ to {tmp}", guest.pid));
            }
            (Kind::Ct, "snapshot") => log.push("INFO: create storage snapshot 'vzdump'".to_owned()),
            _ => {}
        }
        for line in log {
            self.task_log(upid, line);
        }
        if suspends {
            let key = work.notes.as_ref().map(|n| self.expand_notes(n, node, vmid));
            self.record(self.now, &id, Act::BackupSuspended, key, &by, Outcome::Done);
        }
    }

    /// The guest at work is done: its archive exists and its lock goes.
    pub(crate) fn backup_due(&mut self, upid: &str, node: &str, mut work: BackupWork) -> Result<End, String> {
        if let Some(&(vmid, entry)) = work.todo.first() {
            self.finish_guest(upid, node, vmid, &work)?;
            self.ledger.settle(entry, Outcome::Done);
            work.todo.remove(0);
        }
        self.put_back(upid, work);
        self.begin_next_guest(upid);
        Ok(End::Elsewhere)
    }

    fn finish_guest(&mut self, upid: &str, node: &str, vmid: u32, work: &BackupWork) -> Result<(), String> {
        let id = self.guest_id(node, vmid).ok_or_else(|| format!("unable to find VM '{vmid}'"))?;
        let able = self.can_snapshot(&id);
        let guest = self.guest_mut(&id).ok_or_else(|| format!("unable to find VM '{vmid}'"))?;
        guest.lock = None;
        let guest = guest.clone();
        // An archive's name has whole seconds; a lab that is quicker than that moves on to the next free one.
        let taken = |made: &str| {
            let name = format!("-{vmid}-{made}.");
            self.realm_of(node).is_some_and(|r| r.backups.iter().any(|b| b.volid.contains(&name)))
        };
        let stamp = |at: Time| self.clock(at).replace(['-', ':'], "_").replace(' ', "-");
        let mut at = work.begun;
        while taken(&stamp(at)) {
            at += 1000;
        }
        let made = stamp(at);
        let stem = format!("vzdump-{}-{vmid}-{made}", guest.kind.api_name());
        let packed = match work.compress.as_deref() {
            Some("zstd") => ".zst",
            Some("gzip" | "1") => ".gz",
            Some("lzo") => ".lzo",
            _ => "",
        };
        let format = format!("{}{packed}", if guest.kind == Kind::Ct { "tar" } else { "vma" });
        let file = format!("{stem}.{format}");
        let seconds = (self.now - work.begun) / 1000;
        let mut log = Vec::new();
        if guest.kind == Kind::Ct && guest.running() && (work.mode == "suspend" || falls_back(&guest, &work.mode, able))
        {
            log.push("INFO: final sync finished - transferred 0 bytes in 0s".to_owned());
            log.push("INFO: resuming guest".to_owned());
            log.push("INFO: guest is online again after <1 seconds".to_owned());
        }
        log.push(format!("INFO: creating vzdump archive '/var/lib/vz/dump/{file}'"));
        log.push("INFO: Total bytes written: 198860800 (190MiB, 265MiB/s)".to_owned());
        log.push("INFO: archive file size: 62MB".to_owned());
        let notes = work.notes.as_ref().map(|n| self.expand_notes(n, node, vmid));
        if notes.is_some() {
            log.push("INFO: adding notes to backup".to_owned());
        }
        if work.protected {
            log.push("INFO: marking backup as protected".to_owned());
        }
        let size = 65_000_000 + self.draw() % 1_000_000;
        let backup = Backup {
            volid: format!("{}:backup/{file}", work.storage),
            storage: work.storage.clone(),
            node: node.to_owned(),
            vmid,
            vm: guest.kind == Kind::Vm,
            ctime: self.unix(at),
            size,
            format,
            notes,
            protected: work.protected,
        };
        if let Some(realm) = self.nodes.get(node).map(|n| n.realm.clone()).and_then(|r| self.realms.get_mut(&r)) {
            realm.backups.push(backup);
        }
        if work.remove {
            log.extend(self.retain(upid, node, vmid, &work.storage));
        }
        log.push(format!("INFO: Finished Backup of VM {vmid} (00:{:02}:{:02})", seconds / 60 % 60, seconds % 60));
        log.push(format!("INFO: Backup finished at {}", self.clock(self.now)));
        for line in log {
            self.task_log(upid, line);
        }
        Ok(())
    }

    /// Deletes older archives by the storage's retention, as `vzdump` with `remove=1` does.
    fn retain(&mut self, upid: &str, node: &str, vmid: u32, storage: &str) -> Vec<String> {
        let by = self.task(upid).map(super::Task::by).unwrap_or_default();
        let Some(id) = self.guest_id(node, vmid) else { return Vec::new() };
        let Some(realm) = self.realm_of(node) else { return Vec::new() };
        let keep = realm.storages.iter().find(|s| s.name == storage).and_then(|s| s.keep_last);
        let Some(keep) = keep else { return Vec::new() };
        let of_guest: Vec<(String, bool)> = realm
            .backups
            .iter()
            .filter(|b| b.storage == storage && b.vmid == vmid)
            .map(|b| (b.volid.clone(), b.protected))
            .collect();
        let surplus = of_guest.len().saturating_sub(keep);
        let gone: Vec<String> =
            of_guest.into_iter().take(surplus).filter(|(_, protected)| !protected).map(|(volid, _)| volid).collect();
        let mut log = vec![format!("INFO: prune older backups with retention: keep-last={keep}")];
        for volid in &gone {
            self.record(self.now, &id, Act::BackupDelete, Some(volid.clone()), &by, Outcome::Done);
            log.push(format!("INFO: removing backup '{volid}'"));
        }
        if let Some(realm) = self.nodes.get(node).map(|n| n.realm.clone()).and_then(|r| self.realms.get_mut(&r)) {
            realm.backups.retain(|b| !gone.contains(&b.volid));
        }
        log
    }

    /// A job leaves the queue for the node's lock; the next one has it.
    pub(crate) fn release_backup_lock(&mut self, node: &str, upid: &str) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        let held = node.backup_queue.front().is_some_and(|first| first == upid);
        node.backup_queue.retain(|queued| queued != upid);
        let next = node.backup_queue.front().cloned();
        if let Some(next) = next.filter(|_| held) {
            self.task_log(&next, "INFO: got global lock");
            self.begin_next_guest(&next);
        }
    }

    /// A job has waited long enough for the node's lock.
    pub(crate) fn backup_lock_timeout(&mut self, upid: &str) {
        let waits =
            self.nodes.get(Self::upid_node(upid)).is_some_and(|n| n.backup_queue.iter().skip(1).any(|q| q == upid));
        if waits {
            self.end_task(upid, Err("can't acquire lock '/var/run/vzdump.lock' - got timeout".to_owned()));
        }
    }

    /// Begins to delete an archive; returns the UPID. A protected one refuses in the task.
    ///
    /// # Errors
    /// An identifier that names no archive's guest is refused at once.
    pub fn delete_backup(&mut self, now: Time, node: &str, volid: &str, by: &Asker) -> Result<String, Refusal> {
        self.advance(now);
        let (storage, volume) = volid.split_once(':').unwrap_or_default();
        let vmid = volume.split('-').nth(2).unwrap_or_default();
        let realm = self.nodes.get(node).map(|n| n.realm.clone()).unwrap_or_default();
        let backup = self.realms.get(&realm).and_then(|r| r.backups.iter().find(|b| b.volid == volid));
        let against = match backup {
            None => return Err(Refusal(format!("volume '{volid}' does not exist"))),
            Some(b) => b.protected.then(|| format!("cannot remove protected volume '{volume}' on '{storage}'")),
        };
        let id = MachineId::guest(&realm, vmid.parse().unwrap_or_default());
        let entry =
            self.record(self.now, &id, Act::BackupDelete, Some(volid.to_owned()), &by.to_string(), Outcome::Begun);
        let order = Order { node, kind: "imgdel", id: format!("{vmid}@{storage}"), by, ledger: Some(entry) };
        let takes = self.durations.backup_delete;
        Ok(match against {
            Some(why) => self.begin_failed_task(order, &why),
            None => self.begin_task(order, Work::BackupDelete(volid.to_owned()), takes),
        })
    }

    pub(crate) fn backup_delete_due(&mut self, upid: &str, realm: &str, volid: &str) -> Result<End, String> {
        if let Some(realm) = self.realms.get_mut(realm) {
            realm.backups.retain(|b| b.volid != volid);
        }
        self.task_log(upid, format!("Removed volume '{volid}'"));
        Ok(End::Ok)
    }

    /// Expands `{{guestname}}`, `{{vmid}}`, `{{node}}`, `{{cluster}}`, `\n` and `\\` of a notes template.
    fn expand_notes(&self, template: &str, node: &str, vmid: u32) -> String {
        let realm = self.realm_of(node);
        let cluster = realm.filter(|r| r.clustered).map_or("standalone node", |r| r.name.as_str());
        let name = self.guest_of(node, vmid).map(|g| g.name.as_str()).unwrap_or_default();
        template
            .replace("{{guestname}}", name)
            .replace("{{vmid}}", &vmid.to_string())
            .replace("{{node}}", node)
            .replace("{{cluster}}", cluster)
            .replace("\\n", "\n")
            .replace("\\\\", "\\")
    }

    /// Writes the wall clock at a time: `2026-11-22 22:28:42`.
    /// Returns a time of the wall clock as C's `ctime` writes it (`Sun Nov 22 22:06:40 2026`), in UTC.
    pub(crate) fn ctime(&self, at: Time) -> String {
        ctime(self.unix(at))
    }

    pub(crate) fn clock(&self, at: Time) -> String {
        let secs = self.unix(at);
        let (year, month, day) = civil(secs.div_euclid(86_400));
        let of_day = secs.rem_euclid(86_400);
        format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
    }
}

/// Writes seconds since the Unix epoch as C's `ctime` does, in UTC.
pub(crate) fn ctime(secs: i64) -> String {
    let days = secs.div_euclid(86_400);
    let (year, month, day) = civil(days);
    let of_day = secs.rem_euclid(86_400);
    let three = |names: &'static str, n: i64| {
        let at = usize::try_from(n * 3).unwrap_or_default();
        names.get(at..at + 3).unwrap_or_default()
    };
    // The Unix epoch began on a Thursday.
    let weekday = three("ThuFriSatSunMonTueWed", days.rem_euclid(7));
    let month = three("JanFebMarAprMayJunJulAugSepOctNovDec", month - 1);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{weekday} {month} {day:>2} {hour:02}:{minute:02}:{second:02} {year}")
}

/// Tells whether mode `snapshot` silently becomes `suspend`: a running container with a volume that cannot be snapshotted.
fn falls_back(guest: &Guest, mode: &str, can_snapshot: bool) -> bool {
    guest.kind == Kind::Ct && guest.running() && mode == "snapshot" && !can_snapshot
}

/// Says which volumes of a guest a backup includes and which it leaves out.
fn included(guest: &Guest) -> Vec<String> {
    let mut log = vec![format!("INFO: {} Name: {}", guest.kind.label(), guest.name)];
    for (key, volid) in guest.volumes() {
        let text = guest.config.get(&key).and_then(|v| v.as_str()).unwrap_or_default();
        let at = text.split(',').find_map(|p| p.strip_prefix("mp=")).unwrap_or("/");
        match guest.kind {
            Kind::Vm => log.push(format!("INFO: include disk '{key}' '{}'", volid.unwrap_or_default())),
            Kind::Ct if key == "rootfs" => log.push("INFO: including mount point rootfs ('/') in backup".to_owned()),
            Kind::Ct if volid.is_none() => {
                log.push(format!("INFO: excluding bind mount point {key} ('{at}') from backup (not a volume)"));
            }
            Kind::Ct if text.split(',').any(|p| p == "backup=1") => {
                log.push(format!("INFO: including mount point {key} ('{at}') in backup"));
            }
            Kind::Ct => log.push(format!("INFO: excluding volume mount point {key} ('{at}') from backup (disabled)")),
        }
    }
    log
}

/// Turns days since the Unix epoch into year, month and day of the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
