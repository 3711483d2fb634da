//! A machine in a temporary directory, reached by an [`Exec`] that runs the real command line in a real shell.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use proxmaint::adapters::remote::quote::quote;
use proxmaint::adapters::remote::{Adapter, Exec, ExecLimit, ExecOutput, command_line};
use proxmaint::engine::port::{Job, JobState, JobWork, Place, Remote};
use proxmaint::ids::GuestId;
use proxmaint::inventory::PackageManager;
use proxmaint::machine::outcome::Fault;

/// The paths that the scripts name, moved below the world's root by plain replacement.
const MOVED: [&str; 28] = [
    "/var/lib/proxmaint",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/pacman",
    "/var/lib/rpm",
    "/var/lib/dnf",
    "/var/cache/apk",
    "/var/cache/dnf",
    "/var/cache/proxmaint",
    "/var/cache/zypp",
    "/etc/apk/",
    "/etc/apt/",
    "/etc/default/grub",
    "/etc/dnf/",
    "/etc/os-release",
    "/etc/pve",
    "/etc/zypp/",
    "/etc -xdev",
    "/run/systemd/",
    "/run/openrc/",
    "/run/reboot-required",
    "/sys/fs/cgroup/",
    "/proc/1/environ",
    "/boot/",
    "/lib/modules/",
    "/lib/apk/db/",
    "/sys/class/net/",
    "/proc/net/",
];

/// The name of the job that the tests run.
pub const JOB: &str = "proxmaint-20261122-222842-abcd-101-upgrade-guest-r1";

/// A shell to run the scripts with.
#[derive(Debug, Clone)]
pub struct Shell {
    /// What stands in for `/bin/sh`.
    command: String,
    /// busybox, where its applets are to stand in for the machine's tools.
    busybox: Option<PathBuf>,
}

/// Returns the shells to test with; says so where busybox is not there.
pub fn shells() -> Vec<Shell> {
    let mut shells = vec![Shell { command: "/bin/sh".to_owned(), busybox: None }];
    let busybox = std::env::var_os("PATH")
        .iter()
        .flat_map(|path| std::env::split_paths(path).collect::<Vec<_>>())
        .map(|dir| dir.join("busybox"))
        .find(|path| path.is_file());
    match busybox {
        Some(path) => shells.push(Shell { command: format!("{} sh", path.display()), busybox: Some(path) }),
        None => {
            writeln!(std::io::stderr(), "not run: the detached protocol with busybox sh (busybox is not installed)")
                .expect("stderr is open")
        }
    }
    shells
}

/// A machine.
pub struct World {
    dir: tempfile::TempDir,
    shell: Shell,
    /// Replacements made in every script, after the moved paths.
    edits: Vec<(String, String)>,
    /// One more replacement, made before the paths are moved, so that it matches the scripts as they are written.
    raw_edit: Option<(String, String)>,
    /// How often that one was made.
    raw_edits: AtomicUsize,
}

impl World {
    /// Makes a Debian whose upgrade prints a line and ends well.
    pub fn new(shell: &Shell) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let world =
            Self { dir, shell: shell.clone(), edits: Vec::new(), raw_edit: None, raw_edits: AtomicUsize::new(0) };
        for sub in ["bin", "applets", "root/var/lib", "root/etc/apk", "root/run", "root/boot", "root/lib/apk/db"] {
            fs::create_dir_all(world.path(sub)).expect("a directory");
        }
        if let Some(busybox) = &world.shell.busybox {
            let done = Command::new(busybox)
                .args(["--install", "-s"])
                .arg(world.path("applets"))
                .stderr(Stdio::null())
                .status()
                .expect("busybox runs");
            assert!(done.success(), "busybox installs its applets");
        }
        world.file("root/etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
        world.file("root/sys/class/net/eth0/address", "BC:24:11:00:00:01\n");
        world.file("root/sys/class/net/lo/address", "00:00:00:00:00:00\n");
        world.file("upgrade.sh", "echo upgraded\n");
        world.shim(
            "apt-get",
            r#"echo "apt-get $*" >>"$W/calls"
case " $* " in
*" -s "*) cat "$W/simulate" 2>/dev/null; exit "$(cat "$W/simulate.exit" 2>/dev/null || echo 0)" ;;
*" update "*) cat "$W/update" 2>/dev/null; exit "$(cat "$W/update.exit" 2>/dev/null || echo 0)" ;;
*" dist-upgrade "*) echo "$$" >>"$W/runs"; . "$W/upgrade.sh" ;;
esac"#,
        );
        world.shim("apt-mark", r#"if [ -e "$W/held" ]; then cat "$W/held"; fi"#);
        world.shim("dpkg", r#"if [ -e "$W/audit" ]; then cat "$W/audit"; fi"#);
        world.shim(
            "pct",
            r#"if [ -e "$W/pct" ]; then . "$W/pct"; fi
[ "$1" = exec ] && [ "$3" = -- ] || exit 99
shift 3
exec "$@""#,
        );
        world
    }

    /// Replaces a text in every script that has it from now on.
    pub fn edit(&mut self, from: &str, to: &str) {
        self.edits.push((from.to_owned(), to.to_owned()));
    }

    /// Replaces a text in the next script that has it, once, as it is written.
    pub fn edit_raw(&mut self, from: &str, to: &str) {
        self.raw_edit = Some((from.to_owned(), to.to_owned()));
    }

    /// Counts the replacements that [`World::edit_raw`] made.
    pub fn raw_edits(&self) -> usize {
        self.raw_edits.load(Ordering::Relaxed)
    }

    /// Leaves the scripts as they are from now on.
    pub fn forget_edits(&mut self) {
        self.edits.clear();
        self.raw_edit = None;
    }

    /// Returns a path in the world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns a path in the job's directory.
    pub fn job_path(&self, name: &str) -> PathBuf {
        self.path("root/var/lib/proxmaint/jobs").join(JOB).join(name)
    }

    /// Writes a file.
    pub fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    /// Reads a file; empty where there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Writes a program that comes first on PATH; `$W` is the world's directory.
    pub fn shim(&self, name: &str, text: &str) {
        // Renamed into place: one that is there already may be at work.
        let (path, made) = (self.path("bin").join(name), self.path("bin").join(format!("{name}.new")));
        let text = format!("#!/bin/sh\nW='{}'\n{text}\n", self.dir.path().display());
        proxmaint_lab::executable::write(&made, &text).expect("a shim");
        fs::rename(made, path).expect("a shim");
    }

    /// Makes the upgrade wait until [`World::go`], 30 s at most.
    pub fn upgrade_waits(&self) {
        self.file(
            "upgrade.sh",
            "echo begun\nn=0\nwhile [ ! -e \"$W/go\" ] && [ $n -lt 1500 ]; do n=$((n + 1)); sleep 0.02; done\necho ended\n",
        );
    }

    /// Lets a waiting upgrade go on.
    pub fn go(&self) {
        self.file("go", "");
    }

    /// Counts how often an upgrade was begun.
    pub fn runs(&self) -> usize {
        self.read("runs").lines().count()
    }

    /// Moves a script's paths into the world and applies the edits.
    pub fn moved(&self, script: &str) -> String {
        let root = self.path("root");
        let mut script = script.to_owned();
        if let Some((from, to)) = &self.raw_edit
            && self.raw_edits() == 0
            && script.contains(from.as_str())
        {
            script = script.replacen(from, to, 1);
            self.raw_edits.fetch_add(1, Ordering::Relaxed);
        }
        for path in MOVED {
            script = script.replace(path, &format!("{}{path}", root.display()));
        }
        script = script.replace("/bin/sh", &self.shell.command);
        for (from, to) in &self.edits {
            script = script.replace(from, to);
        }
        script
    }

    /// Returns the variables that make a process one of this world.
    fn variables(&self) -> [(&'static str, String); 2] {
        let (bin, applets) = (self.path("bin"), self.path("applets"));
        let path = format!("{}:{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display(), applets.display());
        [("PATH", path), ("PROXMAINT_TEST_WORLD", self.dir.path().display().to_string())]
    }

    /// Returns the command line for a login shell of this machine by which a line runs in the world.
    pub fn over_ssh(&self, line: &str) -> String {
        let variables = self.variables().map(|(name, value)| format!("{name}={}", quote(&value)));
        format!("env {} {} -c {}", variables.join(" "), self.shell.command, quote(line))
    }

    /// Makes the command that runs a shell in the world.
    pub fn command(&self, line: &str) -> Command {
        let mut words = self.shell.command.split(' ');
        let mut command = Command::new(words.next().expect("a shell"));
        command.args(words).arg("-c").arg(line).env_clear().current_dir("/");
        command.envs(self.variables());
        command.stdin(Stdio::null());
        command
    }

    /// Lists the processes that belong to this world.
    pub fn processes(&self) -> Vec<i32> {
        let mark = [b"PROXMAINT_TEST_WORLD=", self.dir.path().as_os_str().as_encoded_bytes()].concat();
        let pids = fs::read_dir("/proc").expect("/proc").filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
            environ.split(|byte| *byte == 0).any(|variable| variable == mark).then_some(pid)
        });
        pids.collect()
    }

    /// Returns the field of the job's claim: 1 starter, 2 pid, 3 start time, 4 session, 5 boot.
    pub fn claim(&self, slot: u32, field: usize) -> String {
        let claim = fs::read_to_string(self.job_path(&format!("slot.{slot}"))).expect("a claim");
        claim.split_whitespace().nth(field).expect("a field").to_owned()
    }

    /// Makes an adapter to this world.
    pub fn adapter(&self) -> Adapter<&Self> {
        Adapter::new(self)
    }

    /// Asks for the job until `wanted` says that this is it, 20 s at most.
    pub async fn until(&self, wanted: impl Fn(&JobState) -> bool) -> JobState {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let state = self.adapter().job(&place(), JOB).await.expect("a state");
            if wanted(&state) {
                return state;
            }
            assert!(Instant::now() < deadline, "the job stays {state:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing of this world runs any more, 20 s at most.
    pub async fn quiet(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.processes().is_empty() {
            assert!(Instant::now() < deadline, "processes stay: {:?}", self.processes());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for pid in self.processes() {
            kill(pid);
        }
    }
}

/// Ends a process at once.
pub fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may have ended by itself just now.
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// The container that the tests reach: through a `pct` that hands the command on.
pub fn place() -> Place {
    Place::Ct(GuestId(101))
}

/// The job that the tests run.
pub fn job() -> Job {
    Job { name: JOB.to_owned(), work: JobWork::Upgrade(PackageManager::Apt) }
}

/// Whether a job has ended, one way or the other.
pub fn over(state: &JobState) -> bool {
    matches!(state, JobState::Finished { .. } | JobState::Lost { .. })
}

/// Whether a path is there.
pub fn exists(path: impl AsRef<Path> + AsRef<OsStr>) -> bool {
    fs::symlink_metadata(AsRef::<Path>::as_ref(&path)).is_ok()
}

#[async_trait]
impl Exec for &World {
    async fn exec(&self, place: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
        let mut command = self.command(&command_line(place, &self.moved(script)));
        let run = tokio::task::spawn_blocking(move || command.output());
        let out = tokio::time::timeout(limit.timeout, run)
            .await
            .map_err(|_| Fault::ambiguous("the time is over"))?
            .expect("the thread ends")
            .map_err(|error| Fault::transient(error.to_string()))?;
        let truncated = out.stdout.len() > limit.max_output;
        let mut stdout = out.stdout;
        stdout.truncate(limit.max_output);
        Ok(ExecOutput { exit: out.status.code().unwrap_or(-1), stdout, stderr: out.stderr, truncated })
    }
}
