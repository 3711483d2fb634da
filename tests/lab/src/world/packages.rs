//! Packages: lists are refreshed, upgrades run, and may go wrong.

use std::fmt;

use super::agenda::Due;
use super::task::Work;
use super::tasks::{End, Order};
use super::{Asker, Change, Ending, Finished, LockHolder, MachineId, Manager, Os, Time, Transaction, World};
use crate::faults::UpgradeFault;
use crate::ledger::{Act, Outcome};

/// Upgrades that ended and are still remembered, a machine.
const REMEMBERED: usize = 200;
/// Bytes that the upgrade of one package writes, whichever it is.
pub const WRITTEN_BY_A_PACKAGE: u64 = 3 << 20;

/// Why the package manager did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageError {
    /// There is no such machine, or it is not up.
    NotUp(MachineId),
    /// Something else holds the lock.
    Locked(LockHolder),
    /// There is nothing to upgrade.
    NothingPending,
    /// Packages are half-configured: `dpkg` was interrupted.
    Interrupted(Vec<String>),
    /// The refresh failed with this exit status.
    RefreshFailed(i32),
}

impl fmt::Display for PackageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUp(id) => write!(f, "{id} is not up"),
            Self::Locked(holder) => write!(f, "the package manager's lock is held by {holder:?}"),
            Self::NothingPending => f.write_str("nothing to upgrade"),
            Self::Interrupted(names) => write!(f, "dpkg was interrupted: {}", names.join(", ")),
            Self::RefreshFailed(exit) => write!(f, "the refresh of the lists failed with exit status {exit}"),
        }
    }
}

impl std::error::Error for PackageError {}

impl World {
    /// Returns what would be upgraded by the lists as they are, in order of name.
    pub fn pending(&self, id: &MachineId) -> Vec<Change> {
        self.machine(id).map(|m| m.packages.pending()).unwrap_or_default()
    }

    /// Begins to refresh a machine's package lists; returns when that is done. Until then it holds the lock.
    ///
    /// # Errors
    /// The machine is not up, the lock is held, or a fault makes it fail.
    pub fn refresh_lists(&mut self, now: Time, id: &MachineId, by: &Asker) -> Result<Time, PackageError> {
        self.advance(now);
        self.ready(id).inspect_err(|why| self.refused(id, Act::RefreshLists, None, by, why))?;
        let entry = self.record(self.now, id, Act::RefreshLists, None, &by.to_string(), Outcome::Begun);
        if let Some(exit) = self.faults.refresh(id) {
            let why = PackageError::RefreshFailed(exit);
            self.ledger.settle(entry, Outcome::Failed(why.to_string()));
            return Err(why);
        }
        let at = self.now.saturating_add(self.durations.refresh);
        if let Some(machine) = self.machine_mut(id) {
            machine.packages.lock = Some(LockHolder::Refresh);
        }
        self.agenda.enter(at, Due::Refresh(id.clone(), entry));
        Ok(at)
    }

    pub(crate) fn refresh_due(&mut self, id: &MachineId, entry: u64) {
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        let Some(machine) = self.machine_mut(id) else { return };
        if machine.packages.lock != Some(LockHolder::Refresh) {
            self.ledger.settle(entry, Outcome::Failed("cut off".to_owned()));
            return;
        }
        machine.packages.lock = None;
        machine.packages.lists = machine.packages.repository.clone();
        machine.packages.lists_refreshed = Some(now);
        self.ledger.settle(entry, Outcome::Done);
    }

    /// Begins to refresh a node's package lists as a task (`aptupdate`); returns the UPID.
    pub fn refresh_task(&mut self, now: Time, node: &str, by: &Asker) -> String {
        self.advance(now);
        let id = MachineId::node(node);
        let ledger = self.record(self.now, &id, Act::RefreshLists, None, &by.to_string(), Outcome::Begun);
        let order = Order { node, kind: "aptupdate", id: String::new(), by, ledger: Some(ledger) };
        match self.ready(&id) {
            Err(_) => self.begin_failed_task(order, "command 'apt-get update' failed: exit code 100"),
            Ok(()) => self.begin_task(order, Work::Refresh, self.durations.refresh),
        }
    }

    /// The refresh that was asked for over the API (`aptupdate`) is at its end.
    pub(crate) fn refresh_task_due(&mut self, upid: &str, node: &str) -> Result<End, String> {
        let id = MachineId::node(node);
        if let Some(exit) = self.faults.refresh(&id) {
            return Err(format!("command 'apt-get update' failed: exit code {exit}"));
        }
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        if let Some(machine) = self.machine_mut(&id) {
            machine.packages.lists = machine.packages.repository.clone();
            machine.packages.lists_refreshed = Some(now);
        }
        self.task_log(upid, "starting apt-get update");
        self.task_log(upid, "Hit:1 http://deb.debian.org/debian trixie InRelease");
        self.task_log(upid, "Get:2 http://download.proxmox.com/debian/pve trixie InRelease [2771 B]");
        self.task_log(upid, "Reading package lists...");
        Ok(End::Ok)
    }

    /// Begins to upgrade everything that is pending on a machine, under a key of the asker's; returns the transaction's number.
    /// Until its end ([`Transaction::ends`]) it holds the lock; then the packages have changed, or what was planted has gone wrong.
    ///
    /// # Errors
    /// The machine is not up, the lock is held, packages are half-configured, or nothing is pending.
    pub fn begin_upgrade(
        &mut self,
        now: Time,
        id: &MachineId,
        key: Option<&str>,
        by: &Asker,
    ) -> Result<u64, PackageError> {
        self.advance(now);
        let changes = self.upgradable(id).inspect_err(|why| self.refused(id, Act::Upgrade, key, by, why))?;
        let ledger = self.record(self.now, id, Act::Upgrade, key.map(str::to_owned), &by.to_string(), Outcome::Begun);
        let fault = self.faults.upgrade(id);
        let packages = changes.len() as u64;
        let takes = self.durations.upgrade.saturating_add(self.durations.upgrade_per_package.saturating_mul(packages));
        let (ending, takes) = match fault {
            None => (Ending::Well, takes),
            Some(UpgradeFault::Slow { ms }) => (Ending::Well, takes.saturating_add(ms)),
            Some(UpgradeFault::Exit { code }) => (Ending::Exit(code), takes),
            Some(UpgradeFault::HalfConfigure { code }) => (Ending::HalfConfigure(code), takes),
            Some(UpgradeFault::Hang) => (Ending::Hang, takes),
        };
        let ends = (ending != Ending::Hang).then(|| self.now.saturating_add(takes));
        self.transactions += 1;
        let number = self.transactions;
        let started = self.now;
        if let Some(machine) = self.machine_mut(id) {
            machine.packages.lock = Some(LockHolder::Upgrade(number));
            let key = key.map(str::to_owned);
            machine.packages.running = Some(Transaction { id: number, key, started, ends, changes, ending, ledger });
        }
        if let Some(at) = ends {
            self.agenda.enter(at, Due::Upgrade(id.clone(), number));
        }
        Ok(number)
    }

    /// Kills an upgrade that runs: packages done so far stay changed, the one at work is half-configured. Nothing happens where
    /// no upgrade of that number runs.
    pub fn abort_upgrade(&mut self, now: Time, id: &MachineId, number: u64) {
        self.advance(now);
        let now = self.now;
        let Some(transaction) = self.take_running(id, number) else { return };
        let span = transaction.ends.map_or(self.durations.upgrade, |ends| ends - transaction.started).max(1);
        let gone = now.saturating_sub(transaction.started).min(span);
        let total = transaction.changes.len() as u64;
        let done = usize::try_from(total * gone / span).unwrap_or_default().min(transaction.changes.len() - 1);
        let broken = Some(transaction.changes[done].name.clone());
        self.ledger.settle(transaction.ledger, Outcome::Failed("killed".to_owned()));
        self.apply(id, transaction, done + 1, broken, None);
    }

    /// Puts half-configured packages in order (`dpkg --configure -a`); returns their names.
    ///
    /// # Errors
    /// The machine is not up, or the lock is held.
    pub fn configure_packages(&mut self, now: Time, id: &MachineId, by: &Asker) -> Result<Vec<String>, PackageError> {
        self.advance(now);
        self.ready(id).inspect_err(|why| self.refused(id, Act::Configure, None, by, why))?;
        self.record(self.now, id, Act::Configure, None, &by.to_string(), Outcome::Done);
        let broken = self.machine_mut(id).map(|m| std::mem::take(&mut m.packages.half_configured));
        Ok(broken.unwrap_or_default().into_iter().collect())
    }

    /// Returns how an upgrade ended, where it did.
    pub fn finished_upgrade(&self, id: &MachineId, number: u64) -> Option<&Finished> {
        self.machine(id)?.packages.finished.iter().rev().find(|f| f.id == number)
    }

    pub(crate) fn upgrade_due(&mut self, id: &MachineId, number: u64) {
        let Some(transaction) = self.take_running(id, number) else { return };
        let all = transaction.changes.len();
        let last = transaction.changes.last().map(|c| c.name.clone());
        match transaction.ending {
            Ending::Well => {
                self.ledger.settle(transaction.ledger, Outcome::Done);
                self.apply(id, transaction, all, None, Some(0));
            }
            Ending::Exit(code) => {
                self.ledger.settle(transaction.ledger, Outcome::Failed(format!("exit status {code}")));
                self.apply(id, transaction, 0, None, Some(code));
            }
            Ending::HalfConfigure(code) => {
                self.ledger.settle(transaction.ledger, Outcome::Failed(format!("exit status {code}")));
                self.apply(id, transaction, all, last, Some(code));
            }
            // A hanging upgrade is never entered into the agenda.
            Ending::Hang => {}
        }
    }

    fn take_running(&mut self, id: &MachineId, number: u64) -> Option<Transaction> {
        let packages = &mut self.machine_mut(id)?.packages;
        if packages.running.as_ref()?.id != number {
            return None;
        }
        packages.lock = None;
        packages.running.take()
    }

    /// Makes the first `done` changes of a transaction and remembers how it ended.
    fn apply(
        &mut self,
        id: &MachineId,
        transaction: Transaction,
        done: usize,
        broken: Option<String>,
        exit: Option<i32>,
    ) {
        let ended = self.now;
        let node = matches!(id, MachineId::Node(_));
        let Some(machine) = self.machine_mut(id) else { return };
        let changes: Vec<Change> = transaction.changes.into_iter().take(done).collect();
        for change in &changes {
            machine.packages.installed.insert(change.name.clone(), change.new.clone());
            if machine.kernel_package.as_ref() == Some(&change.name) {
                machine.kernel_installed = kernel_release(machine.os, node, &change.new);
                // Only Ubuntu's own hook writes /run/reboot-required on a stock system.
                if machine.os == Os::Ubuntu2404 {
                    machine.reboot_required.insert(change.name.clone());
                }
            }
        }
        machine.packages.written += WRITTEN_BY_A_PACKAGE * changes.len() as u64;
        if let Some(name) = &broken
            && machine.os.manager() == Manager::Apt
        {
            machine.packages.half_configured.insert(name.clone());
        }
        if exit == Some(0) {
            machine.duties.upgraded(ended);
        }
        if machine.packages.finished.len() >= REMEMBERED {
            machine.packages.finished.remove(0);
        }
        machine.packages.finished.push(Finished {
            id: transaction.id,
            key: transaction.key,
            started: transaction.started,
            ended,
            exit,
            changes,
            half_configured: broken,
        });
    }

    fn upgradable(&self, id: &MachineId) -> Result<Vec<Change>, PackageError> {
        self.ready(id)?;
        let packages = &self.machine(id).ok_or_else(|| PackageError::NotUp(id.clone()))?.packages;
        if !packages.half_configured.is_empty() {
            return Err(PackageError::Interrupted(packages.half_configured.iter().cloned().collect()));
        }
        let changes = packages.pending();
        if changes.is_empty() { Err(PackageError::NothingPending) } else { Ok(changes) }
    }

    fn ready(&self, id: &MachineId) -> Result<(), PackageError> {
        let machine = self.machine(id).filter(|_| self.is_up(id)).ok_or_else(|| PackageError::NotUp(id.clone()))?;
        match &machine.packages.lock {
            Some(holder) => Err(PackageError::Locked(holder.clone())),
            None => Ok(()),
        }
    }

    fn refused(&mut self, id: &MachineId, act: Act, key: Option<&str>, by: &Asker, why: &PackageError) {
        self.record(self.now, id, act, key.map(str::to_owned), &by.to_string(), Outcome::Refused(why.to_string()));
    }
}

/// Returns the release (`uname -r`) of a kernel package's version.
pub(crate) fn kernel_release(os: Os, node: bool, version: &str) -> String {
    let base = version.split(['~', '+']).next().unwrap_or(version);
    match (node, os) {
        (true, _) => format!("{base}-pve"),
        (false, Os::Debian12 | Os::Debian13) => format!("{base}-amd64"),
        (false, Os::Ubuntu2404) => format!("{base}-generic"),
        (false, Os::Alpine322) => format!("{base}-lts"),
    }
}
