//! Commands on the world's machines: the engine's port for everything that goes over SSH.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use proxmaint::engine::port::{
    GuestCommand, HealthLook, Identity, Interface, Job, JobStart, JobState, LeaseAnswer, LeaseAsk, NodeLook, Outside,
    Outward, Place, Remote, ZfsSince,
};
use proxmaint::ids::{BootId, RunId, SnapshotName};
use proxmaint::inventory::health::{Listener, Protocol};
use proxmaint::inventory::{DeviceFacts, OsFacts, PackageChange, PackageManager, QuorumFacts, RootAccess, SpaceFacts};
use proxmaint::machine::outcome::{Fault, FaultClass};
use proxmaint::time::Timestamp;
use proxmaint_lab::faults::CommandFault;
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Asker, Kind, Machine, MachineId, Manager, PackageError, Time, World};

use crate::gate::{Gate, Point};
use crate::scenario::Kill;
use crate::stage::{JobLook, Stage, Theatre};

/// How long a command is on its way, and its answer.
const TRAVEL_MS: u64 = 10;

/// How often, and how long after each other, a refresh tries to get the package manager's lock.
const LOCK_TRIES: u32 = 12;
const LOCK_PAUSE_MS: u64 = 5_000;

/// Whether a command changes something: what a cut connection means follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Reads,
    Changes,
}

/// Carries commands to a node, its containers and its VMs.
pub struct SimRemote {
    theatre: Theatre,
    gate: Arc<Gate>,
    node: String,
    kills: Vec<Kill>,
}

impl SimRemote {
    /// Makes the way of one incarnation to a node.
    pub fn new(theatre: Theatre, gate: Arc<Gate>, node: &str, kills: &[Kill]) -> Self {
        Self { theatre, gate, node: node.to_owned(), kills: kills.to_vec() }
    }

    /// Runs a command: finds the machine, lets the act happen, and lets the connection be cut where a fault says so.
    async fn command<T>(
        &self,
        place: &Place,
        line: &str,
        nature: Nature,
        act: impl FnOnce(&mut Stage, Time, &MachineId) -> Result<T, Fault> + Send,
    ) -> Result<T, Fault>
    where
        T: Send,
    {
        self.gate.sleep(TRAVEL_MS).await;
        let fault = self.theatre.on(|stage, _| {
            let login = login(&stage.world, &self.node, place)?;
            Ok::<_, Fault>(stage.world.faults.command(&login, line))
        })?;
        match fault {
            Some(CommandFault::CutBefore) => {
                return Err(Fault::transient(format!("{line}: connection cut before it began")));
            }
            Some(CommandFault::Late { ms }) => self.gate.sleep(ms).await,
            Some(CommandFault::Cut { .. } | CommandFault::CutAtEnd) | None => {}
        }
        if nature == Nature::Changes {
            self.gate.point(Point::BeforeAct).await;
        }
        let result = self.theatre.on(|stage, now| {
            let machine = target(&stage.world, &self.node, place)?;
            act(stage, now, &machine)
        });
        if nature == Nature::Changes {
            self.gate.point(Point::AfterAct).await;
        }
        if let Some(CommandFault::Cut { .. } | CommandFault::CutAtEnd) = fault {
            self.gate.sleep(TRAVEL_MS).await;
            let class = match nature {
                Nature::Reads => FaultClass::Transient,
                Nature::Changes => FaultClass::Ambiguous,
            };
            return Err(Fault::new(class, format!("{line}: connection cut")));
        }
        self.gate.sleep(TRAVEL_MS).await;
        result
    }

    /// Refreshes the package lists, waiting for the lock as long as the real script does.
    async fn refresh(&self, place: &Place) -> Result<(), Fault> {
        for _ in 0..LOCK_TRIES {
            let begun = self
                .command(place, "refresh", Nature::Reads, |stage, now, machine| {
                    match stage.world.refresh_lists(now, machine, &Asker::ssh("root")) {
                        Ok(ready) => Ok(Some(ready)),
                        Err(PackageError::Locked(_)) => Ok(None),
                        Err(error) => Err(Fault::permanent(format!("refreshing package lists: {error}"))),
                    }
                })
                .await?;
            match begun {
                Some(ready) => {
                    self.gate.sleep(ready.saturating_sub(self.theatre.now())).await;
                    return Ok(());
                }
                None => self.gate.sleep(LOCK_PAUSE_MS).await,
            }
        }
        Err(Fault::permanent("refreshing package lists: something else holds the package manager's lock"))
    }
}

/// Returns the machine that is logged in to.
fn login(world: &World, node: &str, place: &Place) -> Result<MachineId, Fault> {
    match place {
        Place::Agent(..) => target(world, node, place),
        Place::Node | Place::Ct(_) => {
            let id = MachineId::node(node);
            if world.is_up(&id) { Ok(id) } else { Err(Fault::transient(format!("{node}: no route to host"))) }
        }
        Place::Ssh(..) => target(world, node, place),
    }
}

/// Returns the machine that a command runs on.
fn target(world: &World, node: &str, place: &Place) -> Result<MachineId, Fault> {
    match place {
        Place::Node => Ok(MachineId::node(node)),
        Place::Ct(vmid) => {
            let id = world.guest_id(node, vmid.0).filter(|id| world.node_of(id).as_deref() == Some(node));
            let id = id.ok_or_else(|| Fault::permanent(format!("CT {vmid}: there is no such container on {node}")))?;
            match world.is_up(&id) {
                true => Ok(id),
                false => Err(Fault::permanent(format!("CT {vmid}: the container is not running"))),
            }
        }
        Place::Agent(_, vmid) => Err(Fault::permanent(format!("VM {vmid}: its agent is not simulated"))),
        Place::Ssh(vmid, address) => {
            let answers = |id: &MachineId| {
                let guest = world.guest(id)?;
                let reached = guest.kind == Kind::Vm
                    && world.is_up(id)
                    && !guest.reach.ssh_users.is_empty()
                    && guest.addresses.contains(address);
                reached.then(|| id.clone())
            };
            let found = world.machines().iter().find_map(answers);
            found.ok_or_else(|| Fault::transient(format!("VM {vmid} at {address}: no route to host")))
        }
    }
}

fn found<'a>(stage: &'a Stage, machine: &MachineId) -> Result<&'a Machine, Fault> {
    stage.world.machine(machine).ok_or_else(|| Fault::permanent(format!("{machine} is not there")))
}

#[async_trait]
impl Remote for SimRemote {
    async fn identity(&self, place: &Place) -> Result<Identity, Fault> {
        let in_ct = matches!(place, Place::Ct(_));
        self.command(place, "identity", Nature::Reads, |stage, _, id| {
            let machine = found(stage, id)?;
            Ok(Identity {
                hostname: machine.hostname.clone(),
                boot_id: BootId::new(machine.boot_id.clone()),
                product_uuid: machine.product_uuid.as_ref().filter(|_| !in_ct).map(|uuid| uuid.to_lowercase()),
                macs: Vec::new(),
                kernel: machine.kernel_running.clone(),
            })
        })
        .await
    }

    async fn inspect(&self, place: &Place, refresh: bool) -> Result<OsFacts, Fault> {
        if refresh {
            self.refresh(place).await?;
        }
        self.command(place, "inspect", Nature::Reads, |stage, _, id| {
            let epoch = stage.world.epoch_ms;
            let own_kernel = stage.world.guest(id).is_none_or(|guest| guest.kind == Kind::Vm);
            let mut facts = facts(found(stage, id)?, epoch, own_kernel);
            // A node is asked apart.
            if matches!(place, Place::Node) {
                facts.unfit = None;
            }
            Ok(facts)
        })
        .await
    }

    async fn start_job(&self, place: &Place, job: &Job) -> Result<JobStart, Fault> {
        let line = format!("start {}", job.name);
        let begun = self
            .command(place, &line, Nature::Changes, |stage, now, machine| {
                stage.leased(now, &self.node, &line);
                let (begun, number) = stage.jobs.start(&mut stage.world, now, machine, &job.name);
                let first = stage.world.ledger.count(Act::Upgrade, &machine.short()) == 1;
                if let (true, Some(number)) = (first, number) {
                    for kill in self.kills.iter().filter(|kill| machine.is_called(kill.machine)) {
                        self.theatre.kill_later(machine.clone(), number, kill.after);
                    }
                }
                Ok(begun)
            })
            .await?;
        Ok(if begun { JobStart::Started } else { JobStart::AlreadyThere })
    }

    async fn job(&self, place: &Place, name: &str) -> Result<JobState, Fault> {
        let look = self
            .command(place, &format!("look {name}"), Nature::Reads, |stage, _, id| {
                Ok(stage.jobs.look(&stage.world, id, name))
            })
            .await?;
        Ok(match look {
            JobLook::Absent => JobState::Absent,
            JobLook::Running => JobState::Running { log_bytes: 0 },
            JobLook::Finished(exit) => JobState::Finished { exit, log_tail: Vec::new() },
            JobLook::Lost => JobState::Lost { log_tail: Vec::new() },
        })
    }

    async fn job_output(&self, _: &Place, _: &str, _: u64) -> Result<Vec<u8>, Fault> {
        Ok(Vec::new())
    }

    async fn interfaces(&self, place: &Place) -> Result<Vec<Interface>, Fault> {
        self.command(place, "interfaces", Nature::Reads, |stage, _, id| {
            let addresses = stage.world.guest(id).map_or_else(Vec::new, |guest| guest.addresses.clone());
            Ok(vec![Interface::new("eth0", None, addresses.iter().map(String::as_str))])
        })
        .await
    }

    async fn look_at_node(&self) -> Result<NodeLook, Fault> {
        let space = SpaceFacts { path: "/".to_owned(), available: 1 << 36, total: 1 << 37 };
        Ok(NodeLook { root: RootAccess::Root, space: vec![space] })
    }

    async fn zfs_since(&self, volumes: &[String], snapshot: &SnapshotName) -> Result<ZfsSince, Fault> {
        self.command(&Place::Node, "zfs list", Nature::Reads, |stage, _, id| {
            let mut newer = Vec::new();
            for guest in stage.world.guests_on(&id.short()).iter().filter_map(|id| stage.world.guest(id)) {
                for (_, dataset) in stage.world.datasets(guest).iter().filter(|(volume, _)| volumes.contains(volume)) {
                    let after =
                        guest.dataset_snapshots.iter().skip_while(|there| there.name != snapshot.as_str()).skip(1);
                    newer.extend(after.map(|there| format!("{dataset}@{}", there.name)));
                }
            }
            Ok(ZfsSince { newer, written: None })
        })
        .await
    }

    async fn quorum(&self) -> Result<QuorumFacts, Fault> {
        self.command(&Place::Node, "corosync-quorumtool", Nature::Reads, |stage, _, _| votes(&stage.world, &self.node))
            .await
    }

    async fn hold_lease(&self, ask: &LeaseAsk) -> Result<LeaseAnswer, Fault> {
        self.command(&Place::Node, "hold the lease", Nature::Reads, |stage, now, _| {
            let realm = stage.writable_realm(&self.node)?;
            Ok(stage.leases.hold(&realm, now, ask))
        })
        .await
    }

    async fn release_lease(&self, run: &RunId) -> Result<(), Fault> {
        self.command(&Place::Node, "give the lease back", Nature::Reads, |stage, _, _| {
            let realm = stage.writable_realm(&self.node)?;
            stage.leases.release(&realm, run);
            Ok(())
        })
        .await
    }

    async fn health(&self, place: &Place, commands: &[GuestCommand]) -> Result<HealthLook, Fault> {
        self.command(place, "health", Nature::Reads, |stage, now, id| {
            let duties = &found(stage, id)?.duties;
            let failed = duties.failed_at(now);
            // A command is the name of a unit here: it ends well where that has not failed.
            let ended = |command: &GuestCommand| failed.contains(&command.line).then(|| "ended with 3".to_owned());
            let listener = |port: &u16| Listener { protocol: Protocol::Tcp, address: [0, 0, 0, 0].into(), port: *port };
            Ok(HealthLook {
                listening: Some(duties.listening.iter().map(listener).collect()),
                commands: commands.iter().map(ended).collect(),
                failed_units: Some(failed),
            })
        })
        .await
    }

    async fn collect_job(&self, place: &Place, name: &str) -> Result<(), Fault> {
        self.command(place, &format!("collect {name}"), Nature::Reads, |stage, _, id| {
            stage.jobs.collect(id, name);
            Ok(())
        })
        .await
    }

    async fn packages_consistent(&self, place: &Place, _: PackageManager) -> Result<Result<(), String>, Fault> {
        self.command(place, "audit", Nature::Reads, |stage, _, id| {
            let packages = &found(stage, id)?.packages;
            Ok(match (&packages.lock, packages.half_configured.first()) {
                (Some(holder), _) => Err(format!("its lock is held by {holder:?}")),
                (None, Some(name)) => Err(format!("{name} is half-configured")),
                (None, None) => Ok(()),
            })
        })
        .await
    }
}

/// Connects to guests, for their checks.
pub struct SimOutside {
    theatre: Theatre,
    gate: Arc<Gate>,
}

impl SimOutside {
    /// Makes the way of one incarnation.
    pub fn new(theatre: Theatre, gate: Arc<Gate>) -> Self {
        Self { theatre, gate }
    }
}

#[async_trait]
impl Outside for SimOutside {
    async fn ask(&self, what: &Outward, _: Duration) -> Result<(), String> {
        self.gate.sleep(TRAVEL_MS).await;
        let (address, port) = match what {
            Outward::Tcp { host, port } => (host.clone(), *port),
            Outward::Http { url, .. } => {
                let authority = url.split('/').nth(2).unwrap_or_default();
                let (host, port) = authority.split_once(':').ok_or("no port in the address")?;
                (host.to_owned(), port.parse().map_err(|_| "no port in the address")?)
            }
        };
        let found = self.theatre.on(|stage, _| {
            let machines = stage.world.machines();
            let guest = machines
                .iter()
                .filter(|id| stage.world.is_up(id))
                .find_map(|id| stage.world.guest(id).filter(|guest| guest.addresses.contains(&address)))?;
            let duties = &guest.machine.duties;
            duties.listening.contains(&port).then(|| duties.web.as_ref().map(|web| web.status))
        });
        match (what, found) {
            (_, None) => Err("connection refused".to_owned()),
            (Outward::Http { .. }, Some(Some(200))) | (Outward::Tcp { .. }, Some(_)) => Ok(()),
            (Outward::Http { .. }, Some(status)) => Err(format!("answers {status:?}")),
        }
    }
}

/// Counts a cluster's votes as corosync on a node does.
fn votes(world: &World, node: &str) -> Result<QuorumFacts, Fault> {
    let unknown = || Fault::permanent(format!("{node}: corosync does not answer"));
    let realm = world.realm_of(node).filter(|realm| realm.clustered && !realm.voting.not_told).ok_or_else(unknown)?;
    let tally = world.tally(&realm.name).ok_or_else(unknown)?;
    let up = realm.nodes.iter().filter_map(|name| world.nodes.get(name)).filter(|node| node.online);
    let (own, others): (Vec<_>, Vec<_>) = up.partition(|member| member.name == node);
    Ok(QuorumFacts {
        quorate: tally.quorate(),
        expected: tally.expected,
        needed: tally.needed,
        own: own.first().ok_or_else(unknown)?.votes,
        others: others.iter().map(|member| member.votes).collect(),
        device: realm.voting.device.map(|device| DeviceFacts { votes: device.votes, for_others: device.connected }),
    })
}

/// Reads a machine as the real script does.
fn facts(machine: &Machine, epoch_ms: i64, own_kernel: bool) -> OsFacts {
    let packages = &machine.packages;
    let pending = packages.pending().into_iter();
    let new_kernel = own_kernel && machine.kernel_running != machine.kernel_installed;
    OsFacts {
        id: machine.os.id().to_owned(),
        id_like: Vec::new(),
        pretty_name: machine.os.pretty_name().to_owned(),
        manager: Some(match machine.os.manager() {
            Manager::Apt => PackageManager::Apt,
            Manager::Apk => PackageManager::Apk,
        }),
        pending: pending.map(|c| PackageChange { name: c.name, old: c.old, new: Some(c.new) }).collect(),
        held: packages.held.iter().cloned().collect(),
        lists_refreshed: packages.lists_refreshed.map(|ms| Timestamp(epoch_ms + ms)),
        kernel: machine.kernel_running.clone(),
        boot_id: BootId::new(machine.boot_id.clone()),
        reboot_wanted: (new_kernel || !machine.reboot_required.is_empty())
            .then(|| format!("kernel {} is installed", machine.kernel_installed)),
        kernel_next: own_kernel.then(|| machine.kernel_installed.clone()),
        codename: None,
        unfit: match (&packages.lock, packages.half_configured.first()) {
            (None, Some(name)) => Some(format!("its packages are not in order: {name} is half-configured")),
            _ => None,
        },
        leftovers: Vec::new(),
        restart_needed: Vec::new(),
    }
}
