//! Where the machines of a lab live: their root directories, their processes, their systemd units.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::broadcast;

use super::rewrite;
use super::root;
use super::script::{Toolset, real};
use super::units::Units;
use crate::live::Live;
use crate::ssh::lock;
use crate::world::{Machine, MachineId, Time, World};

/// The machines of a lab as processes and files.
pub struct Stage {
    dir: PathBuf,
    machines: String,
    id: String,
    live: Live,
    known: Mutex<BTreeMap<MachineId, Known>>,
    units: Units,
    gone: broadcast::Sender<MachineId>,
}

/// What was last seen of a machine that has a root directory.
struct Known {
    name: String,
    root: PathBuf,
    boot_id: String,
    disk_generation: u64,
    up: bool,
    /// The package manager's lock files, locked for real while the world says that something holds them.
    locks: Vec<fs::File>,
}

impl Stage {
    /// Makes the stage in a directory that exists; `id` marks the lab's processes.
    ///
    /// # Errors
    /// Where a file cannot be written, or the system lacks a tool that the shims need.
    pub fn new(dir: &Path, id: &str, live: Live) -> io::Result<Self> {
        let dir = dir.canonicalize()?;
        for part in ["c", "m"] {
            fs::create_dir_all(dir.join(part))?;
        }
        super::script::install(&dir)?;
        let machines = dir.join("m").display().to_string();
        Ok(Self {
            dir,
            machines,
            id: id.to_owned(),
            live,
            known: Mutex::default(),
            units: Units::default(),
            gone: broadcast::Sender::new(GONE_QUEUE),
        })
    }

    /// Returns the lab's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the mark of the lab's processes.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the systemd units of the machines.
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// Tells which machines went down or were booted anew, for whoever holds connections to them.
    pub fn gone(&self) -> broadcast::Receiver<MachineId> {
        self.gone.subscribe()
    }

    /// Looks at the world, or changes it, at the present time: what was due has happened.
    pub fn with<R>(&self, act: impl FnOnce(&mut World, Time) -> R) -> R {
        self.live.with(act)
    }

    /// Waits until the world reaches a time.
    pub async fn until(&self, at: Time) {
        tokio::time::sleep(Duration::from_millis(at.saturating_sub(self.live.now()))).await;
    }

    /// Returns the name of a machine's directory: `pve1`, `lab.101`.
    pub fn name_of(id: &MachineId) -> String {
        id.to_string().replace('/', ".")
    }

    /// Returns the machine and the tool of a shim's path.
    pub fn place_of(&self, path: &str) -> Option<(MachineId, String)> {
        let (name, path) = path.strip_prefix(&self.machines)?.strip_prefix('/')?.split_once('/')?;
        let known = lock(&self.known);
        let id = known.iter().find(|(_, known)| known.name == name)?.0.clone();
        Some((id, path.rsplit('/').next()?.to_owned()))
    }

    /// Returns the directory that all nodes of a realm see as `/etc/pve`.
    pub fn pve_of(&self, realm: &str) -> PathBuf {
        self.dir.join("pve").join(realm)
    }

    /// Takes machines' roots out of a text.
    pub fn globalize(&self, text: &str) -> String {
        rewrite::globalize(text, &self.machines)
    }

    /// Rewrites the paths in a text for a machine whose root is `root`.
    pub fn localize(&self, text: &str, root: &Path) -> String {
        rewrite::localize(text, &self.machines, &root.display().to_string())
    }

    /// Returns a machine's root directory, made and brought up to date.
    ///
    /// # Errors
    /// There is no such machine, or a file cannot be written.
    pub fn root(&self, id: &MachineId) -> io::Result<PathBuf> {
        self.with(|world, _| {
            let mut known = lock(&self.known);
            self.catch_up(&mut known, world, id);
            self.meet(&mut known, world, id).map(|known| known.root.clone())
        })
    }

    /// Brings a machine's files up to date, where it has any.
    pub fn refresh(&self, id: &MachineId) {
        if lock(&self.known).contains_key(id) {
            // A file that can't be written shows up in the command that needs it, through `root`.
            let _ = self.root(id);
        }
    }

    fn meet<'a>(
        &self,
        known: &'a mut BTreeMap<MachineId, Known>,
        world: &World,
        id: &MachineId,
    ) -> io::Result<&'a mut Known> {
        let no_machine = || io::Error::new(io::ErrorKind::NotFound, format!("no machine {id}"));
        let machine = world.machine(id).ok_or_else(no_machine)?;
        if !known.contains_key(id) {
            let name = Self::name_of(id);
            let root = Path::new(&self.machines).join(&name);
            root::create(&root, &self.dir, tools_of(id, machine), machine)?;
            if let MachineId::Node(node) = id {
                root::mount_pve(&root, &self.pve_of(world.realm_of(node).map_or(node, |realm| &realm.name)))?;
            }
            known.insert(
                id.clone(),
                Known {
                    name,
                    root,
                    boot_id: machine.boot_id.clone(),
                    disk_generation: world.guest(id).map_or(0, |guest| guest.disk_generation),
                    up: world.is_up(id),
                    locks: Vec::new(),
                },
            );
        }
        let found = known.get_mut(id).ok_or_else(no_machine)?;
        root::refresh(&found.root, world, id)?;
        found.hold_locks(machine)?;
        Ok(found)
    }

    /// Returns the environment of a login on a machine.
    ///
    /// `user` is who logged in; under `sudo` that stays who it was, while the commands run as root.
    pub fn environment(&self, id: &MachineId, root: &Path, user: &str) -> Vec<(String, String)> {
        let home = home_of(root, user).display().to_string();
        let mut env: Vec<(String, String)> = [
            ("HOME", home.as_str()),
            ("LOGNAME", user),
            ("SHELL", "/bin/sh"),
            ("USER", user),
            ("LAB_USER", user),
            ("LAB_LOGIN", user),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        env.extend(self.marks(id, root));
        env
    }

    /// Returns the variables that every process of a machine has: the lab's marks and the machine's `PATH`.
    pub fn marks(&self, id: &MachineId, root: &Path) -> Vec<(String, String)> {
        let root = root.display();
        vec![
            ("PATH".to_owned(), format!("{root}/usr/sbin:{root}/usr/bin:{root}/sbin:{root}/bin")),
            ("LAB_ID".to_owned(), self.id.clone()),
            ("LAB_MACHINE".to_owned(), Self::name_of(id)),
        ]
    }

    /// Starts a command on a machine as a user's login shell would, with piped streams, in a session of its own.
    ///
    /// # Errors
    /// There is no such machine, or the process can't be started.
    pub fn login(&self, id: &MachineId, user: &str, connection: &str, command: &str) -> io::Result<Child> {
        let root = self.root(id)?;
        let home = home_of(&root, user);
        make_home(&home)?;
        // A session of its own, as sshd gives it; setsid becomes the shell.
        let mut shell = Command::new(real("setsid")?);
        shell
            .args(["/bin/sh", "-c"])
            .arg(self.localize(command, &root))
            .env_clear()
            .envs(self.environment(id, &root, user))
            .env("SSH_CONNECTION", connection)
            .current_dir(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        shell.spawn()
    }

    /// Follows the world on all machines that have a root directory, for those that nobody asks for anything.
    pub fn follow(&self) {
        self.with(|world, _| {
            let mut known = lock(&self.known);
            let ids: Vec<MachineId> = known.keys().cloned().collect();
            for id in ids {
                self.catch_up(&mut known, world, &id);
            }
        });
    }

    /// Follows the world on a machine: what runs on one that was switched off or booted anew is killed, a disk that was put back
    /// to an earlier state loses what was written, locks are taken and released.
    ///
    /// Blocks while processes die, and lets nobody in meanwhile: whoever asks for a machine finds it as the world has it.
    fn catch_up(&self, known: &mut BTreeMap<MachineId, Known>, world: &World, id: &MachineId) {
        let (Some(found), Some(machine)) = (known.get_mut(id), world.machine(id)) else { return };
        let generation = world.guest(id).map_or(0, |guest| guest.disk_generation);
        let wiped = generation != found.disk_generation;
        let up = world.is_up(id);
        let gone = wiped || (found.up && !up) || found.boot_id != machine.boot_id;
        (found.up, found.disk_generation) = (up, generation);
        found.boot_id.clone_from(&machine.boot_id);
        // Nothing can be told to anyone here: the next command on the machine meets the same error.
        let _ = found.hold_locks(machine);
        if !gone {
            return;
        }
        self.units.forget(id);
        // Nobody may be listening.
        let _ = self.gone.send(id.clone());
        // A process that can't be killed is stuck in the kernel; the machine is off all the same.
        let _ = super::reap::kill_all(&self.id, Some(&found.name));
        if wiped {
            // It is made anew by the next command. What was written before the snapshot is lost as well.
            let _ = fs::remove_dir_all(&found.root);
            known.remove(id);
            return;
        }
        for volatile in ["run", "tmp"] {
            let _ = fs::remove_dir_all(found.root.join(volatile));
            let _ = fs::create_dir_all(found.root.join(volatile));
        }
        // A file that can't be written shows up in the command that needs it, through `root`.
        let _ = root::refresh(&found.root, world, id);
    }
}

impl Known {
    /// Locks the package manager's files for real while the world says that something holds them.
    fn hold_locks(&mut self, machine: &Machine) -> io::Result<()> {
        let held = self.up && machine.packages.lock.is_some();
        if held != self.locks.is_empty() {
            return Ok(());
        }
        self.locks.clear();
        if held {
            for path in root::lock_files(machine.os.manager()) {
                let file =
                    fs::OpenOptions::new().write(true).create(true).truncate(false).open(self.root.join(path))?;
                file.try_lock().map_err(io::Error::from)?;
                self.locks.push(file);
            }
        }
        Ok(())
    }
}

/// How many machines may go down before a listener has heard of the first.
const GONE_QUEUE: usize = 1024;
/// How often the machines follow the world when nobody asks.
pub(super) const FOLLOW_EVERY: Duration = Duration::from_millis(50);

fn tools_of(id: &MachineId, machine: &Machine) -> Toolset {
    match id {
        MachineId::Node(_) => Toolset::Node,
        MachineId::Guest { .. } => Toolset::of_guest(machine.os),
    }
}

/// Makes a home directory where there is none, with the permissions that it has whatever the lab's umask is.
fn make_home(home: &Path) -> io::Result<()> {
    if !home.exists() {
        fs::create_dir_all(home)?;
        fs::set_permissions(home, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Returns a user's home directory within a machine's root.
pub(crate) fn home_of(root: &Path, user: &str) -> PathBuf {
    match user {
        "root" => root.join("root"),
        other => root.join("home").join(other),
    }
}
