//! Every way over SSH, on the lab's machines: the node, a container through it, a VM and a container by connections of their own;
//! as root, and as another login that becomes root by sudo.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use proxmaint::adapters::remote::Adapter;
use proxmaint::adapters::remote::over_ssh::SshExec;
use proxmaint::adapters::ssh::{Auth, SshTarget};
use proxmaint::engine::port::{Job, JobStart, JobState, JobWork, Place, Remote};
use proxmaint::ids::GuestId;
use proxmaint::inventory::{PackageManager, RootAccess};
use proxmaint::machine::outcome::{Fault, FaultClass};
use proxmaint_lab::Lab;
use proxmaint_lab::faults::{CommandFault, Fault as LabFault, UpgradeFault};
use proxmaint_lab::ledger::{Act, Outcome};
use proxmaint_lab::ssh::{Account, Gate};
use proxmaint_lab::world::{MachineId, Os, World, WorldBuilder};
use secrecy::SecretString;
use tempfile::TempDir;

use crate::world::JOB;

/// Far beyond what anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection may take while a server is silent: the one time-out that these tests wait for.
const CONNECT: Duration = Duration::from_millis(500);

fn world() -> WorldBuilder {
    World::builder()
        .standalone("edge1")
        .node("edge1", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1).ssh_users(&["root", "ops"]))
        .vm("edge1", 201, |vm| vm.os(Os::Ubuntu2404).pending(1).ssh_users(&["root", "ops"]))
}

/// A lab with the ways to it.
struct Site {
    lab: Lab,
    desk: TempDir,
}

/// One way to a machine.
#[derive(Debug, Clone)]
struct Way {
    place: Place,
    /// The machine that it leads to.
    machine: MachineId,
    /// The machine whose SSH server it goes by.
    server: MachineId,
}

impl Site {
    async fn start(world: World) -> Self {
        let lab = Lab::start(world).await.expect("the lab starts");
        let server = lab.ssh.server(&MachineId::node("edge1")).expect("a server");
        let keys = vec![lab.ssh.client_public().clone()];
        server.set_account("ops", Account { keys, password: None });
        Self { lab, desk: tempfile::tempdir().expect("a directory") }
    }

    fn target(&self, host: &str, port: u16, user: &str) -> SshTarget {
        let mut target = SshTarget::new(host, user, self.desk.path().join("known_hosts"));
        target.port = port;
        target.auth =
            Auth { identity_files: vec![self.lab.client_key_path().to_owned()], agent: false, ..Auth::default() };
        target.host_keys.user_known_hosts = Vec::new();
        target.host_keys.global_known_hosts = Vec::new();
        target.connect_timeout = CONNECT;
        target
    }

    /// Returns ways as a process that has just been started would make them.
    fn adapter(&self, user: &'static str) -> Adapter<SshExec> {
        self.adapter_with(user, |_| {})
    }

    fn adapter_with(
        &self,
        user: &'static str,
        change: impl Fn(&mut SshTarget) + Send + Sync + Clone + 'static,
    ) -> Adapter<SshExec> {
        let node = self.lab.ssh_addr("edge1");
        let mut node = self.target(&node.ip().to_string(), node.port(), user);
        change(&mut node);
        let guests = self.target("", self.lab.ssh.vm_port(), user);
        let guest = move |_: GuestId, address: &str| {
            let mut target = SshTarget { host: address.to_owned(), ..guests.clone() };
            change(&mut target);
            target
        };
        Adapter::new(SshExec::new(node, Box::new(guest)))
    }

    fn ssh(&self, vmid: u32) -> Way {
        let machine = MachineId::guest("edge1", vmid);
        let address = self.lab.vm_addr("edge1", vmid).expect("an SSH server").ip().to_string();
        Way { place: Place::Ssh(GuestId(vmid), address), server: machine.clone(), machine }
    }

    fn node(&self) -> Way {
        Way { place: Place::Node, machine: MachineId::node("edge1"), server: MachineId::node("edge1") }
    }

    fn pct(&self) -> Way {
        let machine = MachineId::guest("edge1", 101);
        Way { place: Place::Ct(GuestId(101)), machine, server: MachineId::node("edge1") }
    }

    fn ways(&self) -> [Way; 4] {
        [self.node(), self.pct(), self.ssh(201), self.ssh(102)]
    }

    /// Writes who may become root on a machine.
    fn sudoers(&self, machine: &MachineId, text: &str) {
        let dir = self.lab.root_of(machine).join("etc/sudoers.d");
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("proxmaint"), text).expect("a file");
    }

    fn upgrades(&self, machine: &MachineId) -> Vec<Outcome> {
        self.lab.with(|world, _| {
            world.ledger.of(Act::Upgrade, &machine.short()).map(|entry| entry.outcome.clone()).collect()
        })
    }

    fn cuts(&self, machine: &MachineId) -> usize {
        self.lab.ssh.server(machine).expect("a server").stats().cuts
    }
}

fn job() -> Job {
    Job { name: JOB.to_owned(), work: JobWork::Upgrade(PackageManager::Apt) }
}

/// Asks again until the answer is as wanted; passing faults are part of it.
async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F, wanted: impl Fn(&T) -> bool) -> T
where
    F: Future<Output = Result<T, Fault>>,
    T: std::fmt::Debug,
{
    let asking = async {
        loop {
            match ask().await {
                Ok(answer) if wanted(&answer) => return answer,
                Ok(_) => {}
                Err(fault) => assert_eq!(fault.class, FaultClass::Transient, "{what}: {fault:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("not so: {what}"))
}

fn working(state: &JobState) -> bool {
    matches!(state, JobState::Running { log_bytes: 1.. })
}

fn finished(state: &JobState) -> bool {
    matches!(state, JobState::Finished { exit: 0, .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_machine_says_who_it_is() {
    for user in ["root", "ops"] {
        let site = Site::start(world().build()).await;
        let adapter = site.adapter(user);
        for way in site.ways() {
            let identity = adapter.identity(&way.place).await.expect("an identity");
            let (hostname, uuid, kernel, net) = site.lab.with(|world, _| {
                let machine = world.machine(&way.machine).expect("a machine").clone();
                let net =
                    world.guest(&way.machine).and_then(|guest| guest.config["net0"].as_str().map(str::to_lowercase));
                (machine.hostname, machine.product_uuid, machine.kernel_running, net)
            });
            assert_eq!((&identity.hostname, &identity.kernel), (&hostname, &kernel), "{way:?}");
            assert_eq!(identity.product_uuid, uuid.filter(|_| !matches!(way.place, Place::Ct(_))), "{way:?}");
            let [mac] = identity.macs.as_slice() else { panic!("one interface: {identity:?}") };
            assert!(net.is_none_or(|net| net.contains(mac)), "{identity:?}");
        }
        let look = adapter.look_at_node().await.expect("a look");
        assert_eq!(look.root, if user == "root" { RootAccess::Root } else { RootAccess::Sudo });
        assert!(look.space.iter().any(|space| space.path == "/" && space.total > 0), "{look:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_can_not_become_root_is_named_with_the_remedy() {
    let alpine = world().vm("edge1", 202, |vm| vm.os(Os::Alpine322).ssh_users(&["ops"]));
    let site = Site::start(alpine.build()).await;
    let adapter = site.adapter("ops");
    for way in [site.node(), site.pct(), site.ssh(201)] {
        for (sudoers, why) in [
            ("someone ALL=(root) NOPASSWD: ALL\n", "wants a password"),
            ("ops ALL=(root) ALL\n", "wants a password"),
            ("ops ALL=(root) NOPASSWD: /usr/bin/apt-get\n", "wants a password"),
            ("Defaults:ops requiretty\nops ALL=(root) NOPASSWD: ALL\n", "wants a terminal"),
        ] {
            site.sudoers(&way.server, sudoers);
            let faults = [
                adapter.identity(&way.place).await.expect_err("refused"),
                adapter.start_job(&way.place, &job()).await.expect_err("refused"),
            ];
            for fault in faults {
                assert_eq!(fault.class, FaultClass::Auth, "{fault:?}");
                let address = site.lab.ssh.server(&way.server).expect("a server").addr();
                assert!(fault.what.contains(&format!("the login ops@{address}")), "{fault:?}");
                assert!(fault.what.contains(why), "{fault:?}");
                let hint = fault.hint.expect("a hint");
                assert!(hint.contains("`ops ALL=(root) NOPASSWD: ALL`"), "{hint}");
            }
        }
        // What the hint says helps.
        site.sudoers(&way.server, "ops ALL=(root) NOPASSWD: ALL\n");
        adapter.identity(&way.place).await.expect("root");
        assert!(site.upgrades(&way.machine).is_empty(), "nothing was begun");
        fs::remove_dir_all(site.lab.root_of(&way.server).join("etc/sudoers.d")).expect("removed");
    }
    let fault = adapter.identity(&site.ssh(202).place).await.expect_err("no sudo");
    assert_eq!(fault.class, FaultClass::Auth);
    assert!(fault.what.contains("there is no sudo"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_enough_for_node_and_guests() {
    let password = "correct horse";
    let with_password = World::builder()
        .standalone("edge1")
        .ct("edge1", 102, |ct| ct.ssh_users(&["root"]).password(password))
        .vm("edge1", 201, |vm| vm.password(password));
    let site = Site::start(with_password.build()).await;
    let account = Account { keys: Vec::new(), password: Some(password.to_owned()) };
    site.lab.ssh.server(&MachineId::node("edge1")).expect("a server").set_account("root", account.clone());
    for vmid in [102, 201] {
        let server = site.lab.ssh.server(&MachineId::guest("edge1", vmid)).expect("a server");
        server.set_account("root", account.clone());
    }
    let given = |word: &'static str| {
        site.adapter_with("root", move |target| target.auth.password = Some(SecretString::from(word)))
    };
    let (right, wrong) = (given(password), given("battery staple"));
    for place in [Place::Node, site.ssh(102).place, site.ssh(201).place] {
        right.identity(&place).await.expect("logged in");
        let fault = wrong.identity(&place).await.expect_err("refused");
        assert_eq!(fault.class, FaultClass::Auth);
        assert!(!format!("{fault:?}").contains("battery"), "{fault:?}");
    }
}

/// Lets a job run over a way, with something done while it works; then it has ended well, once, with its whole output.
async fn survives(user: &'static str, disturb: impl AsyncFn(&Site, &Way)) {
    let slow = |machine: &str| LabFault::upgrade(machine, UpgradeFault::Slow { ms: 700 });
    let slowed = ["edge1", "101", "102", "201"].iter().fold(world(), |world, machine| world.fault(slow(machine)));
    let site = Site::start(slowed.build()).await;
    for way in site.ways() {
        let before = site.adapter(user);
        assert_eq!(before.start_job(&way.place, &job()).await, Ok(JobStart::Started), "{way:?}");
        until("it works", || before.job(&way.place, JOB), working).await;
        disturb(&site, &way).await;
        // Another process, which knows nothing but the name of the job.
        drop(before);
        let after = site.adapter(user);
        until("it has ended", || after.job(&way.place, JOB), finished).await;
        assert_eq!(after.start_job(&way.place, &job()).await, Ok(JobStart::AlreadyThere), "{way:?}");
        let output = after.job_output(&way.place, JOB, 0).await.expect("output");
        assert!(String::from_utf8_lossy(&output).contains("Setting up"), "{:?}", String::from_utf8_lossy(&output));
        assert_eq!(site.upgrades(&way.machine), [Outcome::Done], "{way:?}");
        assert_eq!(after.collect_job(&way.place, JOB).await, Ok(()));
        assert_eq!(after.job(&way.place, JOB).await, Ok(JobState::Absent));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_survives_that_connection_and_process_are_gone() {
    for user in ["root", "ops"] {
        survives(user, async |site, way| {
            site.lab.ssh.server(&way.server).expect("a server").set_gates(Gate::Cut);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_survives_that_it_restarts_sshd() {
    survives("root", async |site, way| {
        // sshd is restarted with all that it started: whoever logged in is cut off, and for a while nobody answers.
        let server = site.lab.ssh.server(&way.server).expect("a server");
        server.set_silent(true);
        server.set_gates(Gate::Cut);
        let away = site.adapter("root");
        let fault = away.job(&way.place, JOB).await.expect_err("nobody answers");
        assert_eq!(fault.class, FaultClass::Transient, "{fault:?}");
        server.set_silent(false);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_answer_is_lost_runs_once() {
    for fault in [CommandFault::CutAtEnd, CommandFault::Cut { after_ms: 0 }, CommandFault::CutBefore] {
        let site = Site::start(world().build()).await;
        for way in site.ways() {
            site.lab.with(|world, _| {
                world.faults.clear();
                world.plant(LabFault::command(&way.server.short(), "*", fault.clone()));
            });
            let cuts = site.cuts(&way.server);
            let adapter = site.adapter("root");
            let lost = adapter.start_job(&way.place, &job()).await.expect_err("the answer is lost");
            assert_eq!(lost.class, FaultClass::Ambiguous, "{way:?}: {lost:?}");
            assert_eq!(site.cuts(&way.server), cuts + 1);
            // Asked for again under its name: whether or not the first one came through, there is one.
            adapter.start_job(&way.place, &job()).await.map(drop).expect("an answer");
            until("it has ended", || adapter.job(&way.place, JOB), finished).await;
            assert_eq!(site.upgrades(&way.machine), [Outcome::Done], "{way:?} {fault:?}");
            adapter.collect_job(&way.place, JOB).await.expect("collected");
        }
    }
}

/// The directory of a job is what ties all of it together: it lies on the machine itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_job_lies_on_the_machine_that_it_upgrades() {
    let site = Site::start(world().build()).await;
    let adapter = site.adapter("root");
    for way in site.ways() {
        assert_eq!(adapter.start_job(&way.place, &job()).await, Ok(JobStart::Started));
        let dir = site.lab.root_of(&way.machine).join(Path::new("var/lib/proxmaint/jobs")).join(JOB);
        assert!(dir.join("slot.1").exists(), "{way:?}");
        until("it has ended", || adapter.job(&way.place, JOB), finished).await;
    }
}
