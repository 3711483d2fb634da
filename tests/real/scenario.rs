//! What every package manager is to show, in its own words.

use std::time::{Duration, Instant, SystemTime};

use proxmaint::engine::port::{Job, JobStart, JobState, JobWork, Remote};
use proxmaint::inventory::{OsFacts, PackageChange, PackageManager};
use proxmaint::machine::outcome::FaultClass;
use proxmaint::time::Timestamp;

use crate::machine::{Machine, place};

/// What is particular to a manager.
pub struct Scenario {
    /// The manager.
    pub manager: PackageManager,
    /// The script that makes its repository.
    pub repository: &'static str,
    /// Installs packages, whose names follow, by the lists as they are.
    pub install: &'static str,
    /// Refreshes the lists, as the machine's administrator does before the first packages are installed.
    pub refresh: &'static str,
    /// Holds `lab-held`.
    pub hold: &'static str,
    /// What follows a version in the manager's lists.
    pub release: &'static str,
    /// What is pending beside the packages of every manager.
    pub also: &'static [&'static str],
    /// What is left beside a configuration file that was changed.
    pub leftover: Option<&'static str>,
}

impl Scenario {
    fn changes(&self) -> Vec<PackageChange> {
        let version = |version: &str| Some(format!("{version}{}", self.release));
        let change = |name: &str, old: Option<&str>, new: Option<&str>| PackageChange {
            name: name.to_owned(),
            old: old.and_then(version),
            new: new.and_then(version),
        };
        let mut changes = vec![
            change("lab-added", None, Some("1.0")),
            change("lab-daemon", Some("1.0"), Some("2.0")),
            change("lab-new", None, Some("2.0")),
            change("lab-old", Some("1.0"), None),
            change("lab-tool", Some("1.0"), Some("2.0")),
        ];
        changes.extend(self.also.iter().map(|name| change(name, Some("1.0"), Some("2.0"))));
        changes.sort();
        changes
    }

    /// Plays it.
    pub async fn play(&self, machine: &Machine) {
        machine.script(self.repository, "1.0");
        machine.run(self.refresh);
        let also = self.also.join(" ");
        machine.run(&format!("{} lab-tool lab-daemon lab-held lab-old {also}", self.install));
        // Two services, of which one runs a file that the upgrade replaces.
        let mut daemon = machine.spawn("/usr/lib/lab/daemon 600");
        machine.until("pgrep -f '^/usr/lib/lab/daemon'").await;
        let groups = "/sys/fs/cgroup/system.slice";
        machine.run(&format!(
            "mkdir -p {groups}/lab-daemon.service {groups}/lab-fresh.service
             pgrep -f '^/usr/lib/lab/daemon' >{groups}/lab-daemon.service/cgroup.procs
             echo 1 >{groups}/lab-fresh.service/cgroup.procs"
        ));
        machine.run("echo '# changed by hand' >>/etc/lab-tool.conf");
        self.up_to_date(machine).await;
        machine.script(self.repository, "2.0");
        machine.run(self.hold);
        let refreshed = self.pending_is_shown(machine).await;
        self.upgrades_behind_a_lock(machine).await;
        self.all_is_applied(machine, &refreshed).await;
        self.a_repository_that_is_gone_is_a_fault(machine).await;
        machine.run("pkill -f '^/usr/lib/lab/daemon'");
        daemon.wait().expect("it ends");
    }

    async fn look(&self, machine: &Machine, refresh: bool) -> OsFacts {
        let facts = machine.adapter().inspect(&place(), refresh).await.expect("facts");
        assert_eq!(facts.manager, Some(self.manager));
        assert_eq!(facts.unfit, None);
        facts
    }

    async fn up_to_date(&self, machine: &Machine) {
        let facts = self.look(machine, false).await;
        assert_eq!(facts.pending, []);
        assert_eq!((facts.leftovers, facts.restart_needed), (Vec::new(), Vec::new()));
        let adapter = machine.adapter();
        assert_eq!(adapter.packages_consistent(&place(), self.manager).await, Ok(Ok(())));
    }

    async fn pending_is_shown(&self, machine: &Machine) -> OsFacts {
        assert_eq!(self.look(machine, false).await.pending, [], "looking alone refreshes nothing");
        let before = now();
        let facts = self.look(machine, true).await;
        assert_eq!(facts.pending, self.changes());
        assert_eq!(facts.held, ["lab-held"]);
        assert!(facts.lists_refreshed >= Some(Timestamp::from_secs(before)), "{:?}", facts.lists_refreshed);
        let again = self.look(machine, false).await;
        assert_eq!(again.pending, facts.pending, "what was refreshed stays so");
        assert!(again.lists_refreshed.is_some());
        facts
    }

    /// Another run of the manager holds its locks, within a package's script; the upgrade waits for it and then does its work.
    async fn upgrades_behind_a_lock(&self, machine: &Machine) {
        machine.run("mkfifo /run/slow");
        let mut other = machine.spawn(&format!("{} lab-slow", self.install));
        machine.until("[ -e /run/slow.begun ]").await;
        let adapter = machine.adapter();
        let locked = adapter.packages_consistent(&place(), self.manager).await.expect("an answer");
        let why = locked.expect_err("another one is at work");
        assert!(why.starts_with("process ") && why.contains(" holds "), "{why}");
        let job = Job {
            name: "proxmaint-20261122-222842-abcd-201-upgrade-guest-r1".to_owned(),
            work: JobWork::Upgrade(self.manager),
        };
        assert_eq!(adapter.start_job(&place(), &job).await, Ok(JobStart::Started));
        machine.until(&format!("grep -qi waiting /var/lib/proxmaint/jobs/{}/log", job.name)).await;
        let state = adapter.job(&place(), &job.name).await.expect("a state");
        assert!(matches!(state, JobState::Running { .. }), "{state:?}");
        machine.run("echo go >/run/slow");
        assert!(other.wait().expect("it ends").success(), "the one that held the lock ended well");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match adapter.job(&place(), &job.name).await.expect("a state") {
                JobState::Finished { exit, log_tail } => {
                    assert_eq!(exit, 0, "{log_tail:#?}");
                    break;
                }
                JobState::Running { .. } => assert!(Instant::now() < deadline, "it does not end"),
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        adapter.collect_job(&place(), &job.name).await.expect("collected");
    }

    async fn all_is_applied(&self, machine: &Machine, before: &OsFacts) {
        let facts = self.look(machine, false).await;
        assert_eq!(facts.pending, []);
        assert_eq!(facts.held, before.held);
        let kept = machine.run("cat /etc/lab-tool.conf");
        assert_eq!(kept, "version = 1.0\n# changed by hand\n", "a configuration file that was changed stays");
        assert_eq!(facts.leftovers, self.leftover.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>());
        assert_eq!(facts.restart_needed, ["lab-daemon.service"]);
        let adapter = machine.adapter();
        assert_eq!(adapter.packages_consistent(&place(), self.manager).await, Ok(Ok(())));
    }

    async fn a_repository_that_is_gone_is_a_fault(&self, machine: &Machine) {
        machine.run("mv /repo /repo.gone");
        let fault = machine.adapter().inspect(&place(), true).await.expect_err("there is none");
        assert!(
            matches!(fault.class, FaultClass::Transient | FaultClass::Permanent) && fault.what.contains("ended with"),
            "{fault:?}"
        );
    }
}

/// The present time in seconds.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("in range")
}
