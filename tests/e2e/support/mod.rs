//! A lab with its manifest and a home of its own, and the program run against it.

mod picture;
mod process;
mod pty;
pub mod screen;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proxmaint_lab::Lab;
use proxmaint_lab::access::Manifest;
use proxmaint_lab::check::{Judgement, check};
use proxmaint_lab::faults::Fault;
use proxmaint_lab::ledger::{Act, Entry, Outcome};
use proxmaint_lab::world::{MachineId, World};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use process::{Done, Working};
pub use screen::Screen;

/// How long anything may take before a test gives up: far beyond what it takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The labs of all tests share one runtime: each has servers enough of its own.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
});

/// A lab, the directory of its manifest, and an empty home directory.
pub struct Site {
    lab: Option<Lab>,
    dir: TempDir,
    pub manifest: Manifest,
    pub env: Vec<(String, String)>,
}

impl Site {
    /// Starts a lab and writes the manifest for all of its nodes.
    pub fn new(world: World) -> Self {
        let lab = RUNTIME.block_on(Lab::start(world)).expect("the lab starts");
        let dir = tempfile::Builder::new().prefix("proxmaint-e2e-").tempdir().expect("a directory");
        fs::create_dir(dir.path().join("home")).expect("a home");
        fs::create_dir(dir.path().join("fleet")).expect("a directory for the manifest");
        let manifest = lab.write_manifest(&dir.path().join("fleet")).expect("a manifest");
        let env = manifest.env.clone();
        let site = Self { lab: Some(lab), dir, manifest, env };
        if site.lab().ssh.vm_port() == 0 {
            // No VM, no port of theirs.
            let text = fs::read_to_string(&site.manifest.path).expect("the manifest");
            fs::write(&site.manifest.path, text.replace("[\"-p 0\"]", "[]")).expect("the manifest is written");
        }
        site
    }

    pub fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("the lab is there until the site is dropped")
    }

    /// The directory of manifest and state.
    pub fn fleet(&self) -> PathBuf {
        self.dir.path().join("fleet")
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn state(&self) -> PathBuf {
        self.fleet().join("state")
    }

    /// The program with these arguments, in the manifest's directory, with an environment of nothing but what it needs.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxmaint"));
        command.args(args).current_dir(self.fleet()).env_clear();
        command.env("HOME", self.home()).env("LOGNAME", "root").envs(self.env.iter().cloned());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Done {
        self.start(args).finish()
    }

    /// Starts the program.
    pub fn start(&self, args: &[&str]) -> Working {
        Working::start(self.command(args), args)
    }

    /// Changes the manifest's text.
    pub fn edit(&self, change: impl FnOnce(String) -> String) {
        let text = fs::read_to_string(&self.manifest.path).expect("the manifest");
        let changed = change(text.clone());
        assert_ne!(text, changed, "the edit changed nothing in:\n{text}");
        fs::write(&self.manifest.path, changed).expect("the manifest is written");
    }

    /// Replaces one text of the manifest by another.
    pub fn replace(&self, from: &str, to: &str) {
        self.edit(|text| text.replace(from, to));
    }

    /// Looks at the world, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        self.lab().with(|world, _| look(world))
    }

    pub fn plant(&self, fault: Fault) {
        self.with(|world| world.plant(fault));
    }

    pub fn clear_faults(&self) {
        self.with(|world| world.faults.clear());
    }

    /// Panics where a fault that was planted never struck: such a test shows nothing.
    pub fn assert_faults_struck(&self) {
        self.with(|world| assert!(world.faults.unused().is_empty(), "never struck: {:?}", world.faults.unused()));
    }

    /// The ledger as it is now.
    pub fn ledger(&self) -> Vec<Entry> {
        self.with(|world| world.ledger.entries().to_vec())
    }

    /// How often an act on a machine (`*` for any) was begun.
    pub fn count(&self, act: Act, machine: &str) -> usize {
        self.with(|world| world.ledger.count(act, machine))
    }

    /// How often an act on a machine (`*` for any) was done.
    pub fn done(&self, act: Act, machine: &str) -> usize {
        self.with(|world| world.ledger.of(act, machine).filter(|entry| entry.outcome == Outcome::Done).count())
    }

    /// What was asked for beside a refresh of package lists.
    pub fn changes(&self) -> Vec<Entry> {
        self.ledger().into_iter().filter(|entry| entry.act != Act::RefreshLists).collect()
    }

    pub fn judge(&self) -> Judgement {
        self.with(|world| check(world))
    }

    /// Nothing was done twice, nothing that should have been upgraded was left, nothing is broken.
    #[track_caller]
    pub fn assert_clean(&self) {
        let judgement = self.judge();
        assert!(judgement.good(), "{judgement}\n{}", self.ledger_text());
    }

    /// Nothing at all was asked for.
    #[track_caller]
    pub fn assert_untouched(&self) {
        assert!(self.ledger().is_empty(), "the ledger is not empty:\n{}", self.ledger_text());
    }

    pub fn ledger_text(&self) -> String {
        self.ledger().iter().map(|entry| format!("{entry}\n")).collect()
    }

    /// How many packages of a machine are not what the repository has.
    pub fn behind(&self, id: &MachineId) -> usize {
        self.with(|world| {
            let packages = &world.machine(id).expect("a machine").packages;
            packages.installed.iter().filter(|(name, version)| packages.repository.get(*name) != Some(version)).count()
        })
    }

    /// Waits until an act on a machine is being worked on.
    #[track_caller]
    pub fn await_begun(&self, act: Act, machine: &str) {
        self.until(&format!("{act:?} of {machine} has begun"), |world| {
            world.ledger.of(act, machine).any(|entry| entry.outcome == Outcome::Begun)
        });
    }

    /// Waits until the world is as it should be; fails where that takes too long.
    #[track_caller]
    pub fn until(&self, what: &str, is: impl Fn(&mut World) -> bool) {
        if !until(|| self.with(|world| is(world))) {
            panic!("waited in vain: {what}\n{}", self.ledger_text());
        }
    }

    /// The only run's name, or the newest one's.
    pub fn run_name(&self) -> String {
        let status = self.run(&["status", "--output", "json"]);
        assert_eq!(status.code, 0, "{status}");
        status.json()["run"].as_str().expect("a run's name").to_owned()
    }

    /// `status --output json`, parsed.
    pub fn status(&self, args: &[&str]) -> Value {
        let mut all = vec!["status", "--output", "json"];
        all.extend(args);
        let status = self.run(&all);
        assert_eq!(status.code, 0, "{status}");
        status.json()
    }
}

impl Screen {
    /// Starts the program at a terminal of the usual size.
    pub fn start(site: &Site, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_sized(site, args, env, screen::SIZE)
    }

    /// Starts the program at a terminal of so many columns and rows.
    pub fn start_sized(site: &Site, args: &[&str], env: &[(&str, &str)], size: (u16, u16)) -> Self {
        let mut command = site.command(args);
        command.env("TERM", "xterm-256color").env("LANG", "C.UTF-8").envs(env.iter().copied());
        Self::run(&command, size)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the ledger:\n{}", self.ledger_text());
        }
        // The lab's servers are tasks of the runtime.
        let _inside = RUNTIME.enter();
        self.lab = None;
    }
}

/// Runs cases at the same time, each in a thread of its name: they wait far more than they work, and the test runner has
/// only as many threads as there are cores.
#[track_caller]
pub fn side_by_side(cases: &[(&str, fn())]) {
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let start = |(name, case): &(&str, fn())| {
            std::thread::Builder::new().name((*name).to_owned()).spawn_scoped(scope, *case).expect("a thread")
        };
        let started: Vec<_> = cases.iter().map(|case| (case.0, start(case))).collect();
        started.into_iter().filter_map(|(name, case)| case.join().is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "of {} cases these failed (see above): {}", cases.len(), failed.join(", "));
}

/// Looks again and again until something is so; false where that takes too long.
pub fn until(mut is: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if is() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Every file below a directory.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
        match entry.file_type().expect("a type") {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// The guest of a view of `status`, or of an ended event's host.
pub fn guest(view: &Value, host: &str, id: u64) -> Value {
    let guests = self::host(view, host)["guests"].as_array().expect("guests").clone();
    guests.into_iter().find(|guest| guest["id"] == id).unwrap_or_else(|| panic!("no guest {id} in {view:#}"))
}

/// The host of a view of `status`, or of an ended event.
pub fn host(view: &Value, host: &str) -> Value {
    let hosts = view["hosts"].as_array().expect("hosts");
    hosts.iter().find(|h| h["host"] == host).unwrap_or_else(|| panic!("no host {host} in {view:#}")).clone()
}
