//! Packages: what the tools show and do is what the world has.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::{Act, Outcome};
use proxmaint_lab::world::{Durations, LockHolder, MachineId};

use crate::client::{Site, until};
use crate::small;

fn edge() -> MachineId {
    MachineId::node("edge1")
}

fn web() -> MachineId {
    MachineId::guest("edge1", 101)
}

#[tokio::test]
async fn a_simulation_shows_and_an_upgrade_changes_the_world() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    let ran = client.run("pct exec 101 -- sh -c 'apt-get -s -o Debug::NoLocking=1 dist-upgrade'").await;
    let installs: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("Inst ")).collect();
    assert_eq!(installs.len(), 3, "{ran:?}");
    assert_eq!(installs[0], "Inst base-files [12.4+deb12u11] (12.4+deb12u12 Debian:12/stable [amd64])");
    assert!(site.with(|world, _| world.ledger.entries().is_empty()), "looking changes nothing");
    let job = "PROXMAINT_JOB=job-1 DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=5 dist-upgrade";
    let ran = client.run(&format!("pct exec 101 -- sh -c '{job}'")).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("Setting up base-files (12.4+deb12u12) ..."), "{ran:?}");
    site.with(|world, _| {
        assert!(world.pending(&web()).is_empty());
        let entries: Vec<_> = world.ledger.of(Act::Upgrade, "101").collect();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].key.as_deref(), &entries[0].outcome), (Some("job-1"), &Outcome::Done));
    });
    let ran =
        client.run("pct exec 101 -- dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\\n' base-files").await;
    assert_eq!(ran.out, "base-files 12.4+deb12u12 installed\n");
    assert_eq!(client.run("pct exec 101 -- dpkg --audit").await.out, "");
}

#[tokio::test]
async fn apk_upgrades_as_alpine_does() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    let ran = client.run("pct exec 102 -- apk upgrade --simulate").await;
    assert!(ran.out.starts_with("(1/2) Upgrading alpine-baselayout (3.7.0-r0 -> 3.7.0-r1)\n"), "{ran:?}");
    assert_eq!(client.run("pct exec 102 -- apk update").await.code, Some(0));
    let ran = client.run("pct exec 102 -- sh -c 'PROXMAINT_JOB=job-2 apk upgrade --wait 5'").await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let dns = MachineId::guest("edge1", 102);
    assert!(site.with(|world, _| world.pending(&dns).is_empty() && world.ledger.count_key(Act::Upgrade, "job-2") == 1));
    assert_eq!(client.run("pct exec 102 -- apk list -u").await.out, "");
}

#[tokio::test]
async fn a_killed_upgrade_leaves_packages_half_configured() {
    let world = small().durations(Durations { upgrade: 60_000, ..Durations::quick() }).build();
    let site = Site::start(world).await;
    let client = site.login(&edge()).await;
    client.run("pct exec 101 -- sh -c 'PROXMAINT_JOB=job-3 nohup apt-get -y dist-upgrade >/var/log/up 2>&1 </dev/null & echo $! >/run/pid'").await;
    let running = || site.with(|world, _| world.machine(&web()).unwrap().packages.running.is_some());
    until("it runs", running).await;
    let held = client.run("pct exec 101 -- apt-get -y dist-upgrade").await;
    assert!(held.code == Some(100) && held.err.contains("Could not get lock /var/lib/dpkg/lock-frontend"), "{held:?}");
    let locked = client.run("pct exec 101 -- sh -c 'flock -n /var/lib/dpkg/lock-frontend true'").await;
    assert_eq!(locked.code, Some(1), "the lock is a real one");
    client.run("pct exec 101 -- sh -c 'kill -KILL $(cat /run/pid)'").await;
    until("it was aborted", || !running()).await;
    let audit = client.run("pct exec 101 -- dpkg --audit").await;
    assert!(audit.out.contains("half configured") && audit.out.contains("base-files"), "{audit:?}");
    assert_eq!(client.run("pct exec 101 -- apt-get -y dist-upgrade").await.code, Some(100));
    client.run("pct exec 101 -- dpkg --configure -a").await;
    assert_eq!(client.run("pct exec 101 -- dpkg --audit").await.out, "");
    let killed = site.with(|world, _| world.ledger.of(Act::Upgrade, "101").next().unwrap().outcome.clone());
    assert_eq!(killed, Outcome::Failed("killed".to_owned()));
}

#[tokio::test]
async fn faults_of_upgrades_and_refreshes_show_as_apt_shows_them() {
    let world = small()
        .fault(Fault::upgrade("101", UpgradeFault::HalfConfigure { code: 100 }))
        .fault(serde_json::from_str(r#"{"on": "refresh", "machine": "201", "exit": 100}"#).unwrap())
        .build();
    let site = Site::start(world).await;
    let client = site.login(&edge()).await;
    let ran = client.run("pct exec 101 -- apt-get -y dist-upgrade").await;
    assert_eq!(ran.code, Some(100));
    assert!(ran.err.contains("E: Sub-process /usr/bin/dpkg returned an error code (1)"), "{ran:?}");
    let ran = site.login(&MachineId::guest("edge1", 201)).await.run("apt-get update").await;
    assert!(ran.code == Some(100) && ran.err.starts_with("E: Failed to fetch"), "{ran:?}");
    site.with(|world, _| {
        world.machine_mut(&edge()).unwrap().packages.lock = Some(LockHolder::Other("unattended-upgr".into()))
    });
    let ran = client.run("apt-get -y dist-upgrade").await;
    assert!(ran.err.contains("(unattended-upgr)"), "{ran:?}");
}

#[tokio::test]
async fn only_root_may_change_and_sudo_makes_root_of_others() {
    let site = Site::start(small().build()).await;
    let db = MachineId::guest("edge1", 201);
    let client = crate::client::Client::login(site.addr(&db), "ops", site.ssh.client_key()).await.unwrap();
    let ran = client.run("apt-get -y dist-upgrade").await;
    assert!(ran.code == Some(100) && ran.err.contains("are you root?"), "{ran:?}");
    assert_eq!(client.run("id -u; sudo -n -- id -u").await.out, "1000\n0\n");
    // sudo resets the environment: what is to reach apt-get has to be set inside.
    let ran = client.run("PROXMAINT_JOB=lost sudo -n -- /bin/sh -c 'echo [$PROXMAINT_JOB]; PROXMAINT_JOB=job-4 apt-get -y dist-upgrade'").await;
    assert!(ran.code == Some(0) && ran.out.starts_with("[]\n"), "{ran:?}");
    site.with(|world, _| {
        let entry = world.ledger.of(Act::Upgrade, "201").last().unwrap();
        assert_eq!((entry.key.as_deref(), entry.by.as_str()), (Some("job-4"), "ssh:ops"));
    });
}

#[tokio::test]
async fn sudoers_say_who_becomes_root_where_there_are_any() {
    let site = Site::start(small().build()).await;
    let db = MachineId::guest("edge1", 201);
    let client = crate::client::Client::login(site.addr(&db), "ops", site.ssh.client_key()).await.unwrap();
    let dir = site.shims.stage().root(&db).unwrap().join("etc/sudoers.d");
    std::fs::create_dir(&dir).unwrap();
    for (rules, says) in [
        ("", "sudo: a password is required\n"),
        ("ops ALL=(root) ALL\n", "sudo: a password is required\n"),
        ("ops ALL=(root) NOPASSWD: /bin/ls\n", "sudo: a password is required\n"),
        ("Defaults:ops requiretty\nops ALL=(root) NOPASSWD: ALL\n", "sudo: sorry, you must have a tty to run sudo\n"),
    ] {
        std::fs::write(dir.join("rules"), rules).unwrap();
        let ran = client.run("sudo -n -- id -u").await;
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(1), "", says), "{rules}");
    }
    std::fs::write(dir.join("rules"), "someone ALL=(root) ALL\nops ALL=(ALL:ALL) NOPASSWD: ALL\n").unwrap();
    assert_eq!(client.run("sudo -n -- sh -c 'id -u; echo $SUDO_USER $SUDO_UID'").await.out, "0\nops 1000\n");
}
