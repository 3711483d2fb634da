//! What is found out about a machine and its packages.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use proxmaint::engine::port::{Place, Remote};
use proxmaint::ids::GuestId;
use proxmaint::inventory::{DeviceFacts, PackageChange, PackageManager, QuorumFacts, RootAccess, SpaceFacts};
use proxmaint::machine::outcome::FaultClass;
use proxmaint::time::Timestamp;

use crate::world::{World, place, shells};

/// Reads one value from the machine that the tests run on.
fn proc(path: &str) -> String {
    fs::read_to_string(path).expect("readable").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_says_who_it_is() {
    for shell in shells() {
        let world = World::new(&shell);
        world.shim("hostname", "echo lab-101");
        let identity = world.adapter().identity(&place()).await.expect("an identity");
        assert_eq!(identity.hostname, "lab-101");
        assert_eq!(identity.boot_id.as_str(), proc("/proc/sys/kernel/random/boot_id"));
        assert_eq!(identity.product_uuid, None, "within a container it would be the node's");
        assert_eq!(identity.macs, ["bc:24:11:00:00:01"], "in lower case, without loopback");
        assert_eq!(identity.kernel, proc("/proc/sys/kernel/osrelease"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_interfaces_have_no_mac_address() {
    for shell in shells() {
        let world = World::new(&shell);
        // A tunnel without one, Infiniband's of 20 bytes, an interface whose name hides the next one's, many of a container host.
        world.file("root/sys/class/net/tun0/address", "\n");
        world.file("root/sys/class/net/ib0/address", &format!("{}00\n", "80:".repeat(19)));
        world.file("root/sys/class/net/sit0/address", "0.0.0.0\n");
        world.file("root/sys/class/net/eth1/address", "bc:24:11:00:00:02");
        for n in 0..1500 {
            world.file(&format!("root/sys/class/net/veth{n:04}/address"), "fe:00:00:00:00:01\n");
        }
        let macs = world.adapter().identity(&place()).await.expect("an identity").macs;
        assert_eq!(macs[0], "bc:24:11:00:00:01");
        assert!(macs.len() <= 1024 && macs[1..].iter().all(|mac| mac != "00:00:00:00:00:00"), "{}", macs.len());

        fs::remove_dir_all(world.path("root/sys/class/net")).expect("removed");
        assert!(world.adapter().identity(&place()).await.expect("an identity").macs.is_empty());
    }
}

/// What a machine says of its interfaces: name, MAC address, addresses.
async fn interfaces(world: &World) -> Vec<(String, Option<String>, Vec<String>)> {
    let told = world.adapter().interfaces(&place()).await.expect("interfaces").into_iter();
    told.map(|i| (i.name, i.mac, i.addresses.iter().map(ToString::to_string).collect())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_told_by_ip_and_without_it_by_the_kernel() {
    let is = |name: &str, mac: Option<&str>, addresses: &[&str]| {
        (name.to_owned(), mac.map(str::to_owned), addresses.iter().map(|address| (*address).to_owned()).collect())
    };
    for shell in shells() {
        let world = World::new(&shell);
        world.file("root/sys/class/net/docker0/address", "02:42:00:00:00:01\n");
        world.shim(
            "ip",
            r#"[ "$*" = "-o addr show" ] || exit 1
echo '1: lo    inet 127.0.0.1/8 scope host lo\       valid_lft forever preferred_lft forever'
echo '2: eth0    inet 192.0.2.5/24 brd 192.0.2.255 scope global eth0\       valid_lft forever'
echo '2: eth0    inet6 2001:db8::5/64 scope global \       valid_lft forever'
echo '3: docker0    inet 172.17.0.1/16 scope global docker0\       valid_lft forever'"#,
        );
        assert_eq!(
            interfaces(&world).await,
            [
                is("eth0", Some("bc:24:11:00:00:01"), &["192.0.2.5", "2001:db8::5"]),
                is("docker0", Some("02:42:00:00:00:01"), &["172.17.0.1"]),
            ]
        );

        world.shim("ip", "exit 127");
        assert_eq!(interfaces(&world).await, [], "there is nothing that would tell");
        // Both tables name each address, and networks and broadcasts stand among them.
        let table = "  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 192.0.2.0/24 2 0 2\n        \
                     |-- 192.0.2.0\n           /24 link UNICAST\n        |-- 192.0.2.5\n           /32 host LOCAL\n        \
                     |-- 192.0.2.255\n           /32 link BROADCAST\n     +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.1\n           \
                     /32 host LOCAL\n";
        world.file("root/proc/net/fib_trie", &format!("Main:\n{table}Local:\n{table}"));
        world.file(
            "root/proc/net/if_inet6",
            "20010db8000000000000000000000005 02 40 00 80     eth0\n00000000000000000000000000000001 01 80 10 80       lo\n",
        );
        assert_eq!(
            interfaces(&world).await,
            [is("", None, &["192.0.2.5"]), is("eth0", Some("bc:24:11:00:00:01"), &["2001:db8::5"])]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_measured_once_a_file_system() {
    for shell in shells() {
        let world = World::new(&shell);
        // Whoever runs the tests; the real df: at least the root.
        world.shim("id", "echo 0");
        let look = world.adapter().look_at_node().await.expect("a look");
        assert_eq!(look.root, RootAccess::Root);
        assert_eq!(look.space[0].path, "/");
        assert!(look.space[0].available <= look.space[0].total && look.space[0].total > 0, "{look:?}");

        world.shim(
            "df",
            r#"echo "df $*" >>"$W/calls"
echo "Filesystem 1024-blocks Used Available Capacity Mounted on"
case $3 in
/var/tmp) echo "rpool/var-tmp 4000 1000 3000 25% /var/tmp" ;;
*) echo "/dev/mapper/pve-root 2000 500 1400 27% /" ;;
esac"#,
        );
        let look = world.adapter().look_at_node().await.expect("a look");
        let space = |path: &str, available: u64, total: u64| SpaceFacts {
            path: path.to_owned(),
            available: available * 1024,
            total: total * 1024,
        };
        assert_eq!(look.space, [space("/", 1400, 2000), space("/var/tmp", 3000, 4000)]);
        world.shim("id", "echo 1000");
        let fault = world.adapter().look_at_node().await.expect_err("no root");
        assert_eq!(fault.class, FaultClass::Auth);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn corosync_is_asked_for_votes_whatever_its_tool_exits_with() {
    for shell in shells() {
        let world = World::new(&shell);
        for exit in [0, 1, 2] {
            world.shim(
                "corosync-quorumtool",
                &format!(
                    r#"[ "$*" = -siH ] || exit 9
cat <<END
Quorum information
------------------
Date:             $(date)
Quorum provider:  corosync_votequorum
Nodes:            2
Node ID:          0x00000002
Ring ID:          1.2a
Quorate:          Yes

Votequorum information
----------------------
Expected votes:   4
Highest expected: 4
Total votes:      4
Quorum:           3$(printf '  ')
Flags:            Quorate Qdevice

Membership information
----------------------
    Nodeid      Votes    Qdevice Name
0x00000001          2    A,V,NMW 192.0.2.1
0x00000002          1    A,V,NMW 192.0.2.2 (local)
0x00000000          1            Qdevice
END
exit {exit}"#
                ),
            );
            let facts = world.adapter().quorum().await.expect("an answer");
            let device = Some(DeviceFacts { votes: 1, for_others: true });
            assert_eq!(facts, QuorumFacts { quorate: true, expected: 4, needed: 3, own: 1, others: vec![2], device });
        }
        world.shim("corosync-quorumtool", "echo 'Cannot initialize QUORUM service' >&2; exit 1");
        let fault = world.adapter().quorum().await.expect_err("corosync is down");
        assert_eq!(fault.class, FaultClass::Transient);
        assert!(fault.what.contains("on the node: corosync does not answer: Cannot initialize QUORUM"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debian_is_inspected_in_one_look() {
    for shell in shells() {
        let world = World::new(&shell);
        world.file("simulate", "Reading package lists...\nInst lab-tool [1.0] (2.0 Lab:1/stable [all])\nConf lab-tool (2.0)\nRemv lab-gone [3]\n");
        world.file("held", "lab-held\n");
        world.file("root/var/lib/apt/lists/x_InRelease", "");
        fs::create_dir(world.path("root/var/lib/apt/lists/partial")).expect("a directory");
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let partial = File::open(world.path("root/var/lib/apt/lists/partial")).expect("open");
        partial.set_modified(hour_ago).expect("a time");
        let facts = world.adapter().inspect(&place(), false).await.expect("facts");
        assert_eq!(facts.id, "debian");
        assert_eq!(facts.pretty_name, "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(facts.manager, Some(PackageManager::Apt));
        let change = |name: &str, old: Option<&str>, new: Option<&str>| PackageChange {
            name: name.into(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        assert_eq!(facts.pending, [change("lab-gone", Some("3"), None), change("lab-tool", Some("1.0"), Some("2.0"))]);
        assert_eq!(facts.held, ["lab-held"]);
        assert_eq!(facts.kernel, proc("/proc/sys/kernel/osrelease"));
        assert_eq!(facts.boot_id.as_str(), proc("/proc/sys/kernel/random/boot_id"));
        assert_eq!(facts.reboot_wanted, None);
        let age = Timestamp::from_secs(unix_now()).since(facts.lists_refreshed.expect("a time"));
        assert!((3590..3700).contains(&age.as_secs()), "{age:?}");
        assert!(!world.read("calls").contains("update"), "looking refreshes nothing");
    }
}

/// The present time in seconds.
fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("in range")
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_refreshed_when_asked_for() {
    for shell in shells() {
        let world = World::new(&shell);
        let before = unix_now();
        let facts = world.adapter().inspect(&place(), true).await.expect("facts");
        assert!(facts.lists_refreshed >= Some(Timestamp::from_secs(before)));
        let calls = world.read("calls");
        let calls: Vec<&str> = calls.lines().collect();
        assert!(calls[0].ends_with("update") && calls[0].contains("Error-Mode=any"), "{calls:?}");
        assert!(calls[1].ends_with("dist-upgrade") && calls[1].contains(" -s "), "{calls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_repository_is_a_fault_with_a_remedy() {
    for shell in shells() {
        let world = World::new(&shell);
        world.file(
            "update",
            "Hit:1 http://deb.example/debian stable InRelease\nErr:2 https://enterprise.proxmox.com/debian/pve bookworm InRelease\n  401  Unauthorized\n\
             E: Failed to fetch https://enterprise.proxmox.com/debian/pve/dists/bookworm/InRelease  401  Unauthorized\n",
        );
        world.file("update.exit", "100");
        let fault = world.adapter().inspect(&place(), true).await.expect_err("refused");
        assert_eq!(fault.class, FaultClass::Permanent);
        assert!(fault.what.contains("CT 101") && fault.what.contains("401"), "{fault:?}");
        assert!(fault.hint.is_some_and(|hint| hint.contains("subscription")));
        assert!(!world.read("calls").contains(" -s "), "nothing is judged by stale lists");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_package_state_is_a_fault_not_an_empty_list() {
    let world = World::new(&shells()[0]);
    world.file(
        "simulate",
        "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.\n",
    );
    world.file("simulate.exit", "100");
    let fault = world.adapter().inspect(&place(), false).await.expect_err("broken");
    assert_eq!(fault.class, FaultClass::Permanent);
    assert!(fault.hint.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alpine_is_inspected() {
    for shell in shells() {
        let world = World::new(&shell);
        world.file("root/etc/os-release", "NAME=\"Alpine Linux\"\nID=alpine\nPRETTY_NAME=\"Alpine Linux v3.20\"\n");
        world.file("root/etc/apk/world", "alpine-base\nlab-pinned=1.0-r0\nlab-below<3\n");
        world.file("root/var/cache/apk/APKINDEX.0123.tar.gz", "");
        world.shim(
            "apk",
            r#"echo "apk $*" >>"$W/calls"
case " $* " in
*" upgrade --simulate "*) echo "(1/2) Upgrading lab-libs (1.0-r0 -> 1.1-r0)"; echo "(2/2) Installing lab-new (1-r0)"; echo "OK: 8 MiB in 20 packages" ;;
*" fix "*) cat "$W/fix"; echo "OK: 8 MiB in 20 packages" ;;
esac"#,
        );
        let facts = world.adapter().inspect(&place(), true).await.expect("facts");
        assert_eq!(facts.manager, Some(PackageManager::Apk));
        assert_eq!(facts.pending.len(), 2);
        assert_eq!(facts.pending[0].new.as_deref(), Some("1.1-r0"));
        assert_eq!(facts.held, ["lab-pinned", "lab-below"]);
        assert_eq!(facts.unfit, None);
        assert!(facts.lists_refreshed.is_some());
        assert!(world.read("calls").starts_with("apk update"));

        world.file("root/etc/os-release", "ID=alpine\nVERSION_ID=3.20.3\n");
        world.file("root/etc/apk/repositories", "https://dl-cdn.alpinelinux.org/alpine/v3.22/main");
        let why = world.adapter().inspect(&place(), false).await.expect("facts").unfit.expect("refused");
        assert!(why.contains("v3.22") && why.contains("v3.20 runs"), "{why}");

        world.file("fix", "");
        let adapter = world.adapter();
        assert_eq!(adapter.packages_consistent(&place(), PackageManager::Apk).await, Ok(Ok(())));
        world.file("fix", "(1/1) Reinstalling lab-libs (1.0-r0)\n");
        let unclean = adapter.packages_consistent(&place(), PackageManager::Apk).await.expect("an answer");
        assert!(unclean.expect_err("broken").contains("lab-libs"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_system_is_named_and_left_alone() {
    let world = World::new(&shells()[0]);
    world.file("root/etc/os-release", "ID=void\nPRETTY_NAME='Void Linux'\n");
    let facts = world.adapter().inspect(&place(), true).await.expect("facts");
    assert_eq!((facts.manager, facts.pretty_name.as_str()), (None, "Void Linux"));
    assert_eq!(world.read("calls"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_that_is_wanted_has_a_reason() {
    for shell in shells() {
        let world = World::new(&shell);
        world.file("root/run/reboot-required", "*** System restart required ***\n");
        world.file("root/run/reboot-required.pkgs", "linux-base\nlibc6\nlibc6\n");
        let facts = world.adapter().inspect(&place(), false).await.expect("facts");
        let why = facts.reboot_wanted.expect("wanted");
        assert!(why.contains("libc6, linux-base"), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_wants_a_reboot_for_another_kernel_and_a_guest_does_not() {
    for shell in shells() {
        let world = World::new(&shell);
        world.shim("uname", "echo 6.8.12-9-pve");
        world.file("root/boot/vmlinuz-6.8.12-9-pve", "");
        world.file("root/boot/vmlinuz-6.8.12-10-pve", "");
        let adapter = world.adapter();
        assert_eq!(adapter.inspect(&place(), false).await.expect("facts").reboot_wanted, None);
        let why = adapter.inspect(&Place::Node, false).await.expect("facts").reboot_wanted.expect("wanted");
        assert!(why.contains("6.8.12-9-pve") && why.contains("6.8.12-10-pve"), "{why}");
        world.shim(
            "proxmox-boot-tool",
            "printf 'Manually selected kernels:\\nNone.\\n\\nAutomatically selected kernels:\\n6.8.12-9-pve\\n6.8.12-10-pve\\n\\nPinned kernel:\\n6.8.12-9-pve\\n'",
        );
        assert_eq!(
            adapter.inspect(&Place::Node, false).await.expect("facts").reboot_wanted,
            None,
            "a pin is respected"
        );
    }
}

/// A virtual machine, or a container that is reached over SSH.
fn by_ssh() -> Place {
    Place::Ssh(GuestId(201), "192.0.2.1".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_machine_says_which_kernel_would_boot_next_and_a_container_never_does() {
    for shell in shells() {
        let world = World::new(&shell);
        world.shim("uname", "echo 6.1.0-28-amd64");
        world.file("root/boot/vmlinuz-6.1.0-28-amd64", "");
        world.file("root/boot/vmlinuz-6.1.0-31-amd64", "");
        world.file("root/boot/vmlinuz-6.1.0-32-amd64.dpkg-new", "");
        let adapter = world.adapter();
        let facts = adapter.inspect(&by_ssh(), false).await.expect("facts");
        assert_eq!(facts.kernel_next.as_deref(), Some("6.1.0-31-amd64"));
        assert_eq!(facts.reboot_wanted.as_deref(), Some("kernel 6.1.0-28-amd64 runs, 6.1.0-31-amd64 would boot next"));
        assert_eq!(adapter.inspect(&place(), false).await.expect("facts").kernel_next, None, "by pct");

        world.file("root/boot/grub/grubenv", "# GRUB Environment Block\nnext_entry=1\n####");
        let facts = adapter.inspect(&by_ssh(), false).await.expect("facts");
        assert_eq!((facts.kernel_next, facts.reboot_wanted), (None, None), "grub-reboot chose another one");

        fs::remove_file(world.path("root/boot/grub/grubenv")).expect("removed");
        world.file("root/proc/1/environ", "TERM=linux\0container=lxc\0");
        let facts = adapter.inspect(&by_ssh(), false).await.expect("facts");
        assert_eq!((facts.kernel_next, facts.reboot_wanted), (None, None), "a container, by SSH");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_made_major_upgrade_says_so_even_where_nothing_else_can_be_told() {
    for shell in shells() {
        let world = World::new(&shell);
        world.file("root/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
        // The last line of a list may lack its end.
        world.file("root/etc/apt/sources.list", "deb http://deb.debian.org/debian bookworm main");
        world.file("root/etc/apt/sources.list.d/a.list", "# deb http://deb.debian.org/debian trixie main\n");
        let stanza = "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: trixie\n";
        world.file("root/etc/apt/sources.list.d/b.sources", &format!("{stanza}Enabled: no"));
        world.file("root/etc/apt/sources.list.d/c.sources.bak", stanza);
        let adapter = world.adapter();
        let facts = adapter.inspect(&place(), false).await.expect("facts");
        assert_eq!((facts.unfit, facts.codename.as_deref()), (None, Some("bookworm")));

        world.file("root/etc/apt/sources.list.d/c.sources", stanza);
        world.file(
            "update",
            "E: The repository 'http://deb.debian.org/debian trixie Release' does not have a Release file.\n",
        );
        world.file("update.exit", "100");
        let facts = adapter.inspect(&place(), true).await.expect("the reason is a fact, not a fault");
        let why = facts.unfit.expect("refused");
        assert!(why.contains("trixie (http://deb.debian.org/debian)") && why.contains("bookworm runs"), "{why}");
        assert_eq!(facts.pending, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leftovers_and_services_that_run_replaced_files_are_named() {
    for shell in shells() {
        let mut world = World::new(&shell);
        for file in ["b/sshd_config.ucf-dist", "a.conf.dpkg-dist", "a.conf", "c.rpmsave", "dpkg-dist", "d.pacnew.d"] {
            world.file(&format!("root/etc/{file}"), "");
        }
        // Processes whose maps are files of the test: 1 runs a library that was replaced, 2 has only data of a file that is gone, 3
        // what lies elsewhere, 4 nothing of the kind.
        world.edit("/proc/$pid/maps", &format!("{}/$pid", world.path("maps").display()));
        let line = |mode: &str, path: &str| format!("7f00-7f01 {mode} 00000000 08:01 42    {path}\n");
        world
            .file("maps/1", &(line("r--p", "/etc/x") + &line("r-xp", "/usr/lib/x86_64-linux-gnu/libc.so.6 (deleted)")));
        world.file("maps/2", &line("r--s", "/usr/lib/locale/locale-archive (deleted)"));
        world.file("maps/3", &(line("rwxp", "/memfd:jit (deleted)") + &line("r-xp", "/tmp/built (deleted)")));
        world.file("maps/4", &line("r-xp", "/usr/sbin/nginx"));
        let groups = "root/sys/fs/cgroup/system.slice";
        world.file(&format!("{groups}/nginx.service/cgroup.procs"), "4\n1\n");
        world.file(&format!("{groups}/locale.service/cgroup.procs"), "2\n3\n99999\n");
        world.file(&format!("{groups}/system-getty.slice/getty@tty1.service/cgroup.procs"), "1\n");
        world.file(&format!("{groups}/system-pve.slice/pve-container@101.service/cgroup.procs"), "1\n");
        world.file(&format!("{groups}/docker-0123.scope/cgroup.procs"), "1\n");
        world.file("root/sys/fs/cgroup/lxc/101/ns/system.slice/x.service/cgroup.procs", "1\n");
        world.file("root/run/openrc/daemons/sshd/001", "exec=/usr/sbin/sshd\npidfile=/nonexistent\n");
        world.file("root/run/openrc/daemons/crond/001", &format!("pidfile={}\n", world.path("crond.pid").display()));
        world.file("crond.pid", "1\n");
        let facts = world.adapter().inspect(&place(), false).await.expect("facts");
        let etc = world.path("root/etc").display().to_string();
        assert_eq!(
            facts.leftovers,
            [format!("{etc}/a.conf.dpkg-dist"), format!("{etc}/b/sshd_config.ucf-dist"), format!("{etc}/c.rpmsave")]
        );
        assert_eq!(facts.restart_needed, ["crond", "getty@tty1.service", "nginx.service"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_leftovers_are_shown_as_fifty() {
    let world = World::new(&shells()[0]);
    for n in 0..100 {
        world.file(&format!("root/etc/{n}.rpmnew"), "");
    }
    assert_eq!(world.adapter().inspect(&place(), false).await.expect("facts").leftovers.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_dpkg_is_clean_and_an_unclean_one_says_why() {
    for shell in shells() {
        let world = World::new(&shell);
        let adapter = world.adapter();
        assert_eq!(adapter.packages_consistent(&place(), PackageManager::Apt).await, Ok(Ok(())));
        world.file("audit", "The following packages are only half configured:\n lab-tool   a tool\n");
        let unclean = adapter.packages_consistent(&place(), PackageManager::Apt).await.expect("an answer");
        assert!(unclean.expect_err("half configured").contains("lab-tool"));
        world.file("audit", "");

        world.file("root/var/lib/dpkg/lock-frontend", "");
        let lock = File::options().write(true).open(world.path("root/var/lib/dpkg/lock-frontend")).expect("open");
        rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locked");
        let locked = adapter.packages_consistent(&place(), PackageManager::Apt).await.expect("an answer");
        let why = locked.expect_err("locked");
        assert!(why.contains(&format!("process {} holds", std::process::id())), "{why}");
        drop(lock);
        assert_eq!(adapter.packages_consistent(&place(), PackageManager::Apt).await, Ok(Ok(())));
    }
}

/// Splits a recorded command's text into exit status, stdout and stderr (`[exit n]`, `[stderr] line`; the first line is
/// the command).
fn recorded(text: &str) -> (i32, String, String) {
    let (mut exit, mut out, mut err) = (0, String::new(), String::new());
    for line in text.lines().skip(1) {
        if let Some(code) = line.strip_prefix("[exit ").and_then(|rest| rest.strip_suffix(']')) {
            exit = code.parse().expect("a number");
        } else if let Some(line) = line.strip_prefix("[stderr] ") {
            err.push_str(&format!("{line}\n"));
        } else {
            out.push_str(&format!("{line}\n"));
        }
    }
    (exit, out, err)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_node_said_is_understood() {
    let recordings = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/pve/recorded/cli");
    let read = |name: &str| fs::read_to_string(recordings.join(name)).ok().map(|text| recorded(&text));
    let all = ["os-release-host.txt", "apt-simulate.txt", "pct-exec-stopped.txt", "pct-exec-unknown.txt"].map(read);
    let [Some(release), Some(simulated), Some(stopped), Some(unknown)] = all else {
        writeln!(std::io::stderr(), "not run: the recordings of a real node's commands (../shared absent)")
            .expect("stderr is open");
        return;
    };
    let world = World::new(&shells()[0]);
    world.file("root/etc/os-release", &release.1);
    world.file("simulate", &simulated.1);
    let facts = world.adapter().inspect(&place(), false).await.expect("facts");
    assert_eq!((facts.id.as_str(), facts.manager), ("debian", Some(PackageManager::Apt)));
    let pending: Vec<_> = facts
        .pending
        .iter()
        .map(|change| (change.name.as_str(), change.old.as_deref(), change.new.as_deref()))
        .collect();
    assert_eq!(pending, [("lab-hello", Some("1.0"), Some("2.0"))]);
    for ((exit, _, stderr), wanted) in [(stopped, "is not running"), (unknown, "no such container")] {
        world.file("pct.err", &stderr);
        world.file("pct", &format!("cat \"$W/pct.err\" >&2; exit {exit}"));
        let fault = world.adapter().identity(&place()).await.expect_err("refused");
        assert_eq!(fault.class, FaultClass::Permanent);
        assert!(fault.what.contains(wanted), "{fault:?}");
    }
}
