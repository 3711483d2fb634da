//! A machine's root directory: the files that commands look at, kept as the world says.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::script::Toolset;
use crate::world::{Machine, MachineId, Manager, World};

/// Directories that every machine has.
const DIRS: &[&str] = &[
    "boot",
    "etc",
    "home",
    "opt",
    "proc/net",
    "proc/sys/kernel/random",
    "root",
    "run",
    "srv",
    "sys/class/dmi/id",
    "sys/class/net/lo",
    "tmp",
    "usr/lib",
    "usr/local",
    "usr/share",
    "var/cache",
    "var/lib",
    "var/log",
    "var/tmp",
];

/// Makes the root directory of a machine, with the tools that its kind has.
///
/// # Errors
/// Where a file cannot be written.
pub(super) fn create(root: &Path, lab: &Path, tools: Toolset, machine: &Machine) -> io::Result<()> {
    for dir in DIRS {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700))?;
    symlink(tools.dir(lab), root.join("usr/bin"))?;
    symlink("bin", root.join("usr/sbin"))?;
    symlink("usr/bin", root.join("bin"))?;
    symlink("usr/bin", root.join("sbin"))?;
    symlink("../run", root.join("var/run"))?;
    let lib = root.join("lib");
    fs::create_dir_all(lib.join("apk/db"))?;
    match machine.os.manager() {
        Manager::Apt => {
            fs::create_dir_all(root.join("var/lib/apt/periodic"))?;
            fs::create_dir_all(root.join("var/lib/apt/lists/partial"))?;
            fs::create_dir_all(root.join("var/lib/dpkg/updates"))?;
            fs::create_dir_all(root.join("var/cache/apt/archives/partial"))?;
            for lock in
                ["var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend", "var/lib/apt/lists/lock", "var/lib/dpkg/status"]
            {
                fs::write(root.join(lock), "")?;
            }
            write_sources(root, tools, machine)?;
        }
        Manager::Apk => {
            fs::create_dir_all(root.join("var/cache/apk"))?;
            fs::create_dir_all(root.join("etc/apk"))?;
            fs::write(lib.join("apk/db/lock"), "")?;
            let version = machine.os.version_id();
            let branch = version.rsplit_once('.').map_or(version, |(branch, _)| branch);
            let repositories = format!("https://dl-cdn.alpinelinux.org/alpine/v{branch}/main\n");
            fs::write(root.join("etc/apk/repositories"), repositories)?;
            fs::write(root.join("etc/alpine-release"), format!("{version}\n"))?;
        }
    }
    Ok(())
}

/// Gives a node the file system of its cluster: one directory that all its nodes share. Making a directory there is exclusive, as in
/// pmxcfs; what that has beyond it (read-only without quorum, locks that run out) is not simulated.
///
/// # Errors
/// Where it cannot be made.
pub(super) fn mount_pve(root: &Path, shared: &Path) -> io::Result<()> {
    fs::create_dir_all(shared.join("priv/lock"))?;
    symlink(shared, root.join("etc/pve"))
}

/// Writes where apt gets its packages from: a list for Debian, and a deb822 file for what comes on top on a node.
fn write_sources(root: &Path, tools: Toolset, machine: &Machine) -> io::Result<()> {
    let suite = machine.os.codename().unwrap_or("stable");
    let sources = root.join("etc/apt/sources.list.d");
    fs::create_dir_all(&sources)?;
    fs::create_dir_all(root.join("etc/apt/apt.conf.d"))?;
    let host = if machine.os.id() == "ubuntu" { "archive.ubuntu.com/ubuntu" } else { "deb.debian.org/debian" };
    fs::write(root.join("etc/apt/sources.list"), format!("deb http://{host} {suite} main\n"))?;
    if tools == Toolset::Node {
        let text = format!(
            "Types: deb\nURIs: http://download.proxmox.com/debian/pve\nSuites: {suite}\nComponents: pve-no-subscription\n"
        );
        fs::write(sources.join("proxmox.sources"), text)?;
    }
    Ok(())
}

/// Brings the files that the world decides up to date; only what differs is written.
///
/// # Errors
/// Where a file cannot be written.
pub(super) fn refresh(root: &Path, world: &World, id: &MachineId) -> io::Result<()> {
    let no_machine = || io::Error::new(io::ErrorKind::NotFound, format!("no machine {id}"));
    let machine = world.machine(id).ok_or_else(no_machine)?;
    put(&root.join("etc/os-release"), Some(&machine.os.os_release()))?;
    put(&root.join("usr/lib/os-release"), Some(&machine.os.os_release()))?;
    put(&root.join("etc/hostname"), Some(&format!("{}\n", machine.hostname)))?;
    // A container has no kernel of its own, but LXC gives it a boot of its own with each start.
    put(&root.join("proc/sys/kernel/random/boot_id"), Some(&format!("{}\n", machine.boot_id)))?;
    let uuid = machine.product_uuid.as_ref().map(|uuid| format!("{uuid}\n"));
    put(&root.join("sys/class/dmi/id/product_uuid"), uuid.as_deref())?;
    put(&root.join("sys/class/net/lo/address"), Some("00:00:00:00:00:00\n"))?;
    for (n, mac) in macs(world, id).iter().enumerate() {
        let interface = root.join(format!("sys/class/net/eth{n}"));
        fs::create_dir_all(&interface)?;
        put(&interface.join("address"), Some(&format!("{mac}\n")))?;
    }
    put(&root.join("proc/net/tcp"), Some(&sockets(machine)))?;
    for table in ["tcp6", "udp", "udp6"] {
        put(&root.join("proc/net").join(table), Some(SOCKETS))?;
    }
    let needed = (!machine.reboot_required.is_empty()).then_some("*** System restart required ***\n");
    put(&root.join("run/reboot-required"), needed)?;
    let packages: String = machine.reboot_required.iter().map(|package| format!("{package}\n")).collect();
    put(&root.join("run/reboot-required.pkgs"), needed.map(|_| packages.as_str()))?;
    if machine.os.manager() == Manager::Apt {
        // By this directory programs know that systemd is the init system.
        fs::create_dir_all(root.join("run/systemd/system"))?;
    } else {
        fs::create_dir_all(root.join("run/openrc"))?;
        put(&root.join("run/openrc/softlevel"), Some("default"))?;
        put(&root.join("etc/apk/world"), Some(&apk_world(machine)))?;
    }
    if machine.kernel_package.is_some() {
        for kernel in [&machine.kernel_running, &machine.kernel_installed] {
            put(&root.join(format!("boot/vmlinuz-{kernel}")), Some(""))?;
        }
    }
    refresh_lists(root, world, machine)
}

/// The first line of the kernel's tables of sockets.
const SOCKETS: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

/// Returns who listens on TCP ports, on all addresses, as the kernel writes it, and a connection at work that is none of them.
fn sockets(machine: &Machine) -> String {
    let line = |(n, port): (usize, &u16)| {
        format!("{n:4}: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n")
    };
    let listening: String = machine.duties.listening.iter().enumerate().map(line).collect();
    let busy = "  99: 0100007F:A2B4 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 1\n";
    format!("{SOCKETS}{listening}{busy}")
}

/// Returns the MAC addresses of a machine's interfaces, as its kernel writes them: a guest's are in its config
/// (`hwaddr=` of a container, `virtio=` of a VM), a node's are made of its name.
fn macs(world: &World, id: &MachineId) -> Vec<String> {
    let Some(guest) = world.guest(id) else {
        let sum = id.short().bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let [a, b, c, d] = sum.to_be_bytes();
        return vec![format!("02:4e:{a:02x}:{b:02x}:{c:02x}:{d:02x}")];
    };
    let is_mac = |value: &&str| value.len() == 17 && value.split(':').count() == 6;
    let nets = guest.config.iter().filter(|(key, _)| key.strip_prefix("net").is_some_and(|n| n.parse::<u32>().is_ok()));
    let mac = |value: &serde_json::Value| {
        let mut values = value.as_str()?.split(',').filter_map(|part| Some(part.split_once('=')?.1));
        Some(values.find(is_mac)?.to_lowercase())
    };
    nets.filter_map(|(_, value)| mac(value)).collect()
}

/// Returns what was asked to be installed, in apk's way: a held package is one pinned to its version.
fn apk_world(machine: &Machine) -> String {
    let packages = &machine.packages;
    let line = |(name, version): (&String, &String)| match packages.held.contains(name) {
        true => format!("{name}={version}\n"),
        false => format!("{name}\n"),
    };
    packages.installed.iter().map(line).collect()
}

/// Returns the files that a package manager locks while it works.
pub(super) fn lock_files(manager: Manager) -> &'static [&'static str] {
    match manager {
        Manager::Apt => &["var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock"],
        Manager::Apk => &["lib/apk/db/lock"],
    }
}

/// Gives what the package manager leaves behind by a refresh the time of the last one.
fn refresh_lists(root: &Path, world: &World, machine: &Machine) -> io::Result<()> {
    let Some(at) = machine.packages.lists_refreshed else { return Ok(()) };
    let millis = u64::try_from(world.epoch_ms.saturating_add(at)).unwrap_or(0);
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
    let paths: &[&str] = match (machine.os.manager(), machine.os.id()) {
        (Manager::Apt, "ubuntu") => &["var/lib/apt/periodic/update-success-stamp", "var/lib/apt/lists/partial"],
        (Manager::Apt, _) => &["var/cache/apt/pkgcache.bin", "var/lib/apt/lists/partial", "var/lib/apt/lists"],
        (Manager::Apk, _) => &["var/cache/apk/APKINDEX.lab.tar.gz", "var/cache/apk"],
    };
    for path in paths.iter().map(|path| root.join(path)) {
        let file = if path.is_dir() { fs::File::open(&path)? } else { open_or_create(&path)? };
        if file.metadata()?.modified()? != time {
            file.set_times(fs::FileTimes::new().set_modified(time).set_accessed(time))?;
        }
    }
    Ok(())
}

fn open_or_create(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().append(true).create(true).open(path)
}

/// Makes a file hold a text, or makes it be absent. Written beside and renamed, so that nobody reads half of it.
fn put(path: &Path, text: Option<&str>) -> io::Result<()> {
    let present = fs::read_to_string(path).ok();
    if present.as_deref() == text {
        return Ok(());
    }
    let Some(text) = text else { return fs::remove_file(path) };
    let beside = path.with_extension("lab-new");
    fs::write(&beside, text)?;
    fs::rename(beside, path)
}
