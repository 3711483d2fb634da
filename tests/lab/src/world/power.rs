//! Power: guests start, go down and are stopped; nodes reboot.

use super::agenda::Due;
use super::task::Work;
use super::tasks::{End, Order};
use super::{Agent, Asker, Kind, LockHolder, MachineId, Os, Power, Refusal, Time, World};
use crate::ledger::{Act, Outcome};

impl World {
    /// Begins to start a guest; returns the UPID. A locked guest, a template, and a VM that runs already fail in the task.
    ///
    /// # Errors
    /// A container that runs already is refused at once.
    pub fn start_guest(&mut self, now: Time, id: &MachineId, by: &Asker) -> Result<String, Refusal> {
        self.advance(now);
        let guest = self.known(id)?;
        let (kind, vmid, running) = (guest.kind, guest.vmid, guest.running());
        if kind == Kind::Ct && running {
            return Err(self.refuse(id, Act::Start, by, format!("CT {vmid} already running")));
        }
        let against = match &guest.lock {
            Some(lock) => Some(format!("{} is locked ({lock})", kind.label())),
            None if running => Some(format!("VM {vmid} already running")),
            None if guest.template => Some(format!("you can't start a {} if it's a template", kind.label())),
            None if !self.has_room(&guest.node, id) => Some(match kind {
                Kind::Ct => format!("startup for container '{vmid}' failed"),
                Kind::Vm => "start failed: QEMU exited with code 1".to_owned(),
            }),
            None => None,
        };
        let takes = self.durations.start;
        Ok(self.power_task(id, "start", Act::Start, by, against, Work::Start(vmid), takes))
    }

    /// Begins an orderly shutdown; returns the UPID. A guest that does not obey fails the task after `timeout_s`
    /// (60 s by default), or is stopped hard where `force` says so. Under HA the request is only noted (`hastop`).
    ///
    /// # Errors
    /// A container that is stopped is refused at once.
    pub fn shutdown_guest(
        &mut self,
        now: Time,
        id: &MachineId,
        timeout_s: Option<u64>,
        force: bool,
        by: &Asker,
    ) -> Result<String, Refusal> {
        self.advance(now);
        let guest = self.known(id)?;
        let (kind, vmid, running) = (guest.kind, guest.vmid, guest.running());
        if kind == Kind::Ct && !running {
            return Err(self.refuse(id, Act::Shutdown, by, format!("CT {vmid} not running")));
        }
        let against = guest.lock.as_ref().map(|lock| format!("{} is locked ({lock})", kind.label()));
        let obeys = guest.obeys_shutdown || force || !running;
        let takes = if guest.obeys_shutdown { self.durations.shutdown } else { timeout_s.unwrap_or(60) * 1000 };
        if let Some(upid) = self.ha_stop(id, Act::Shutdown, by) {
            return Ok(upid);
        }
        let work = if obeys { Work::Stop(vmid) } else { Work::Shutdown(vmid) };
        Ok(self.power_task(id, "shutdown", Act::Shutdown, by, against, work, takes))
    }

    /// Begins a hard stop; returns the UPID.
    ///
    /// # Errors
    /// A container that is stopped is refused at once.
    pub fn stop_guest(&mut self, now: Time, id: &MachineId, by: &Asker) -> Result<String, Refusal> {
        self.advance(now);
        let guest = self.known(id)?;
        let (kind, vmid) = (guest.kind, guest.vmid);
        if kind == Kind::Ct && !guest.running() {
            return Err(self.refuse(id, Act::Stop, by, format!("CT {vmid} not running")));
        }
        let against = guest.lock.as_ref().map(|lock| format!("{} is locked ({lock})", kind.label()));
        if let Some(upid) = self.ha_stop(id, Act::Stop, by) {
            return Ok(upid);
        }
        let takes = self.durations.stop;
        Ok(self.power_task(id, "stop", Act::Stop, by, against, Work::Stop(vmid), takes))
    }

    /// Begins to take a guest down and up again; returns the UPID.
    ///
    /// # Errors
    /// A guest that is stopped is refused at once.
    pub fn reboot_guest(&mut self, now: Time, id: &MachineId, by: &Asker) -> Result<String, Refusal> {
        self.advance(now);
        let guest = self.known(id)?;
        let (kind, vmid) = (guest.kind, guest.vmid);
        if !guest.running() {
            return Err(self.refuse(id, Act::Reboot, by, format!("VM {vmid} not running")));
        }
        let against = guest.lock.as_ref().map(|lock| format!("{} is locked ({lock})", kind.label()));
        let takes = self.durations.shutdown + self.durations.start;
        Ok(self.power_task(id, "reboot", Act::Reboot, by, against, Work::Reboot(vmid), takes))
    }

    /// Reboots a machine from within (`reboot` on its command line). A node takes its guests with it; those with `onboot` come
    /// back. An upgrade that runs is cut off.
    pub fn reboot_machine(&mut self, now: Time, id: &MachineId, by: &Asker) {
        self.record(now, id, Act::Reboot, None, &by.to_string(), Outcome::Done);
        match id {
            MachineId::Node(name) => self.node_down(name, true),
            MachineId::Guest { .. } => {
                self.power_off(id);
                self.power_on(id);
            }
        }
    }

    /// Reboots a node, or turns it off for good.
    pub fn power_node(&mut self, now: Time, node: &str, comes_back: bool, by: &Asker) {
        let act = if comes_back { Act::Reboot } else { Act::Shutdown };
        self.record(now, &MachineId::node(node), act, None, &by.to_string(), Outcome::Done);
        self.node_down(node, comes_back);
    }

    /// Begins to start several guests of a node: those with `onboot`, all (`force`), or those listed; HA starts its own.
    /// Returns the UPID. Each guest has a task of its own besides.
    pub fn start_all(&mut self, now: Time, node: &str, force: bool, only: Option<&[u32]>, by: &Asker) -> String {
        self.advance(now);
        let boots = |g: &super::Guest| force || only.is_some() || g.config.get("onboot").is_some_and(|v| v == 1);
        let concerned = self.concerned(node, only, |g| !g.running() && boots(g));
        let takes = self.durations.start;
        let order = Order { node, kind: "startall", id: String::new(), by, ledger: None };
        let upid = self.begin_task(order, Work::Nothing, takes);
        for (id, kind, vmid) in concerned {
            self.task_log(&upid, format!("Starting {} {vmid}", kind.label()));
            let against = self.locked(&id);
            self.power_task(&id, "start", Act::Start, by, against, Work::Start(vmid), takes);
        }
        upid
    }

    /// Begins to shut down the guests of a node, or those listed; HA has its own. One that does not obey within `timeout_s`
    /// is stopped hard where `force` says so, and else runs on: its own task fails, this one does not. Returns the UPID.
    pub fn stop_all(
        &mut self,
        now: Time,
        node: &str,
        force: bool,
        timeout_s: u64,
        only: Option<&[u32]>,
        by: &Asker,
    ) -> String {
        self.advance(now);
        let concerned = self.concerned(node, only, super::Guest::running);
        let stubborn = |world: &Self, id: &MachineId| world.guest(id).is_some_and(|g| !g.obeys_shutdown);
        let (soon, late) = (self.durations.shutdown, timeout_s.saturating_mul(1000));
        let takes = if concerned.iter().any(|(id, ..)| stubborn(self, id)) { late.max(soon) } else { soon };
        let order = Order { node, kind: "stopall", id: String::new(), by, ledger: None };
        let upid = self.begin_task(order, Work::Nothing, takes);
        for (id, kind, vmid) in concerned {
            self.task_log(&upid, format!("Stopping {} {vmid} (timeout = {timeout_s} seconds)", kind.label()));
            let against = self.locked(&id);
            let (work, takes) = match (stubborn(self, &id), force) {
                (false, _) => (Work::Stop(vmid), soon),
                (true, true) => (Work::Stop(vmid), late),
                (true, false) => (Work::Shutdown(vmid), late),
            };
            self.power_task(&id, "shutdown", Act::Shutdown, by, against, work, takes);
        }
        upid
    }

    /// Returns the guests of a node that something is done with at once: no templates, and none that HA manages.
    fn concerned(
        &self,
        node: &str,
        only: Option<&[u32]>,
        fits: impl Fn(&super::Guest) -> bool,
    ) -> Vec<(MachineId, Kind, u32)> {
        let Some(realm) = self.realm_of(node) else { return Vec::new() };
        let managed =
            |g: &super::Guest| realm.ha.contains_key(&format!("{}:{}", g.kind.label().to_lowercase(), g.vmid));
        let wanted = |g: &super::Guest| only.is_none_or(|o| o.contains(&g.vmid));
        let guests =
            realm.guests.values().filter(|g| g.node == node && !g.template && !managed(g) && wanted(g) && fits(g));
        guests.map(|g| (MachineId::guest(&realm.name, g.vmid), g.kind, g.vmid)).collect()
    }

    /// Says that a guest is locked, where it is.
    fn locked(&self, id: &MachineId) -> Option<String> {
        let guest = self.guest(id)?;
        guest.lock.as_ref().map(|lock| format!("{} is locked ({lock})", guest.kind.label()))
    }

    pub(crate) fn shutdown_due(&mut self, upid: &str, id: &MachineId) -> Result<End, String> {
        let Some(guest) = self.guest(id) else { return Err(format!("guest {id} is gone")) };
        let (kind, vmid, agent) = (guest.kind, guest.vmid, guest.agent);
        if kind == Kind::Ct {
            return Err(format!("container did not stop: CT {vmid} still runs"));
        }
        if matches!(agent, Agent::From(at) if at <= self.now) {
            return Err("VM quit/powerdown failed".to_owned());
        }
        let line = format!("QEMU Guest Agent is not running - VM {vmid} qga command 'guest-ping' failed - got timeout");
        self.task_log(upid, line);
        Err("VM quit/powerdown failed - got timeout".to_owned())
    }

    /// Starts a guest; ends with the warning that systemd gets in a container without nesting.
    pub(crate) fn warned(&mut self, upid: &str, id: &MachineId, start: bool) -> End {
        if start {
            self.power_on(id);
        }
        let systemd = self.guest(id).filter(|g| g.kind == Kind::Ct && !g.config.contains_key("features"));
        let version = match systemd.map(|g| g.machine.os) {
            Some(Os::Debian12) => 252,
            Some(Os::Debian13) => 257,
            Some(Os::Ubuntu2404) => 255,
            Some(Os::Alpine322) | None => return End::Ok,
        };
        self.task_log(upid, format!("WARN: Systemd {version} detected. You may need to enable nesting."));
        End::Warnings(1)
    }

    /// Boots a guest: it has a new boot id, its own kernel is the installed one, its agent answers a little later.
    pub(crate) fn power_on(&mut self, id: &MachineId) {
        let boot_id = self.draw_uuid();
        let needs = self.guest(id).and_then(|g| g.agent_traits.ready_ms).unwrap_or(self.durations.agent_ready);
        let (now, ready) = (self.now, self.now.saturating_add(needs));
        let node = self.node_of(id).unwrap_or_default();
        let node_kernel = self.nodes.get(&node).map(|n| n.machine.kernel_running.clone());
        let pid = self.nodes.get_mut(&node).map(super::Node::take_pid).unwrap_or_default();
        let Some(guest) = self.guest_mut(id) else { return };
        guest.power = Power::Running;
        (guest.pid, guest.started) = (pid, i64::try_from(now).unwrap_or(i64::MAX));
        if let Agent::From(_) = guest.agent {
            guest.agent = Agent::From(ready);
        }
        guest.agent_execs.clear();
        let machine = &mut guest.machine;
        machine.boot_id = boot_id;
        machine.booted = i64::try_from(now).unwrap_or(i64::MAX);
        machine.reboot_required.clear();
        match (guest.kind, node_kernel) {
            (Kind::Ct, Some(kernel)) => machine.kernel_running = kernel,
            (Kind::Ct, None) => {}
            (Kind::Vm, _) => machine.kernel_running.clone_from(&machine.kernel_installed),
        }
    }

    /// Turns a guest off: what runs in it is cut off, an upgrade included.
    pub(crate) fn power_off(&mut self, id: &MachineId) {
        self.cut_upgrade(id);
        let Some(guest) = self.guest_mut(id) else { return };
        guest.power = Power::Stopped;
        guest.pid = 0;
        guest.machine.packages.lock = None;
    }

    /// Takes a node down for a reboot: its tasks end without a trace, its guests go down.
    fn node_down(&mut self, name: &str, comes_back: bool) {
        let id = MachineId::node(name);
        self.cut_upgrade(&id);
        let guests = self.guests_on(name);
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.online = false;
        node.machine.packages.lock = None;
        node.backup_queue.clear();
        let cut: Vec<String> = node.tasks.iter().filter(|t| t.running()).map(|t| t.upid.clone()).collect();
        for upid in cut {
            self.end_task(&upid, Err(super::tasks::VANISHED.to_owned()));
        }
        for guest in guests {
            self.power_off(&guest);
        }
        if comes_back {
            let up = self.now.saturating_add(self.durations.node_reboot);
            self.agenda.enter(up, Due::NodeUp(name.to_owned()));
        }
    }

    pub(crate) fn node_up(&mut self, name: &str) {
        let boot_id = self.draw_uuid();
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        let Some(node) = self.nodes.get_mut(name) else { return };
        node.online = true;
        node.machine.boot_id = boot_id;
        node.machine.booted = now;
        node.machine.kernel_running.clone_from(&node.machine.kernel_installed);
        node.machine.reboot_required.clear();
        self.start_all(self.now, name, false, None, &Asker::root());
        self.ha_node_up(name);
        self.ceph_node_up(name);
    }

    /// Returns the guests that a node has.
    pub fn guests_on(&self, node: &str) -> Vec<MachineId> {
        let Some(realm) = self.realm_of(node) else { return Vec::new() };
        realm.guests.values().filter(|g| g.node == node).map(|g| MachineId::guest(&realm.name, g.vmid)).collect()
    }

    #[allow(clippy::too_many_arguments, reason = "one private helper behind four short public operations")]
    fn power_task(
        &mut self,
        id: &MachineId,
        task: &str,
        act: Act,
        by: &Asker,
        against: Option<String>,
        work: Work,
        takes: u64,
    ) -> String {
        let ledger = self.record(self.now, id, act, None, &by.to_string(), Outcome::Begun);
        let node = self.node_of(id).unwrap_or_default();
        let prefix = self.guest(id).map(|g| g.kind.task_prefix()).unwrap_or_default();
        let kind = format!("{prefix}{task}");
        let order = Order { node: &node, kind: &kind, id: id.short(), by, ledger: Some(ledger) };
        match against {
            Some(why) => self.begin_failed_task(order, &why),
            None => self.begin_task(order, work, takes),
        }
    }

    pub(crate) fn known(&self, id: &MachineId) -> Result<&super::Guest, Refusal> {
        self.guest(id).ok_or_else(|| Refusal(format!("no such guest {id}")))
    }

    pub(crate) fn refuse(&mut self, id: &MachineId, act: Act, by: &Asker, why: String) -> Refusal {
        self.record(self.now, id, act, None, &by.to_string(), Outcome::Refused(why.clone()));
        Refusal(why)
    }

    /// Cuts off an upgrade that runs on a machine.
    pub(crate) fn cut_upgrade(&mut self, id: &MachineId) {
        let running = self
            .machine(id)
            .and_then(|m| m.packages.running.as_ref())
            .map(|t| t.id)
            .filter(|number| self.lock_is(id, *number));
        if let Some(number) = running {
            self.abort_upgrade(self.now, id, number);
        }
    }

    fn lock_is(&self, id: &MachineId, number: u64) -> bool {
        self.machine(id).is_some_and(|m| m.packages.lock == Some(LockHolder::Upgrade(number)))
    }
}
