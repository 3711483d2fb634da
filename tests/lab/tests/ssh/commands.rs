//! Commands: quoting, streams, exit statuses, detaching, the machine's own files.

use proxmaint_lab::shim::reap;
use proxmaint_lab::world::MachineId;
use russh::ChannelMsg;

use crate::client::{Site, collect, until};
use crate::small;

fn edge() -> MachineId {
    MachineId::node("edge1")
}

#[tokio::test]
async fn quoting_streams_and_exit_statuses_are_those_of_a_shell() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    let ran = client.run(r#"printf '%s|' "it's" 'a  b' "$HOME" '$x'; echo err >&2; exit 7"#).await;
    let home = site.shims.stage().root(&edge()).unwrap().join("root");
    assert_eq!(ran.out, format!("it's|a  b|{}|$x|", home.display()));
    assert_eq!((ran.err.as_str(), ran.code), ("err\n", Some(7)));
    let ran = client.run_with("wc -c; echo done", b"12345").await;
    assert_eq!(ran.out.split_whitespace().collect::<Vec<_>>(), ["5", "done"]);
    let ran = client.run("kill -TERM $$").await;
    assert_eq!((ran.code, ran.signal.as_deref()), (None, Some("TERM")));
    assert_eq!(client.run("no-such-tool").await.code, Some(127));
    // Environment as under sshd: nothing of the lab's own process.
    let env = client.run("env").await.out;
    assert!(!env.contains("CARGO"), "{env}");
}

#[tokio::test]
async fn output_streams_while_the_command_runs() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    let mut channel = client.handle.channel_open_session().await.unwrap();
    channel.exec(true, "echo ready; read line; echo got $line").await.unwrap();
    let first = loop {
        if let ChannelMsg::Data { data } = channel.wait().await.unwrap() {
            break data;
        }
    };
    assert_eq!(&first[..], b"ready\n", "it came before the command ended, which waits for input");
    channel.data(&b"word\n"[..]).await.unwrap();
    channel.eof().await.unwrap();
    assert_eq!(collect(channel).await.out, "got word\n");
}

#[tokio::test]
async fn a_machine_has_files_and_tools_of_its_own() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    let (boot_id, uuid) = site.with(|world, _| {
        let machine = world.machine(&edge()).unwrap();
        (machine.boot_id.clone(), machine.product_uuid.clone().unwrap())
    });
    let ran =
        client.run("cat /proc/sys/kernel/random/boot_id /sys/class/dmi/id/product_uuid; hostname; uname -r").await;
    assert_eq!(ran.out, format!("{boot_id}\n{uuid}\nedge1\n6.17.2-1-pve\n"), "{ran:?}");
    assert!(client.run(". /etc/os-release; echo $ID $VERSION_CODENAME").await.out.starts_with("debian trixie"));
    let ran = client
        .run(
            "pct exec 102 -- sh -c 'hostname; command -v apt-get systemd-run; command -v apk; cat /etc/alpine-release'",
        )
        .await;
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(matches!(lines.as_slice(), ["dns", apk, "3.22.2"] if apk.ends_with("/apk")), "{ran:?}");
    let vm = site.login(&MachineId::guest("edge1", 201)).await;
    let ran = vm.run("cat /sys/class/dmi/id/product_uuid; id -un; command -v pct").await;
    let smbios = site.with(|world, _| world.guest_of("edge1", 201).unwrap().config["smbios1"].clone());
    assert_eq!(format!("uuid={}", ran.out.lines().next().unwrap()), smbios, "{ran:?}");
    assert_eq!((ran.out.lines().nth(1), ran.code), (Some("root"), Some(127)), "a VM has no pct");
}

#[tokio::test]
async fn pct_answers_as_the_real_one_does() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    let ran = client.run("pct exec 103 -- true").await;
    assert_eq!((ran.code, ran.err.as_str()), (Some(255), "container '103' not running!\n"));
    let ran = client.run("pct exec 999 -- true").await;
    assert_eq!(ran.code, Some(2));
    assert_eq!(ran.err, "Configuration file 'nodes/edge1/lxc/999.conf' does not exist\n");
    assert_eq!(client.run(r#"pct exec 101 -- sh -c "exit 7""#).await.code, Some(7));
    let ran = client.run_with(r#"pct exec 101 -- sh -c 'read a; echo "<$a>"; echo e >&2'"#, b"it's\n").await;
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("<it's>\n", "e\n"));
    assert_eq!(client.run("pct status 103").await.out, "status: stopped\n");
    let list = client.run("pct list").await.out;
    assert!(list.contains("101        running                 web"), "{list}");
    let ran = client.run("qm guest exec 202 -- /bin/sh -c 'echo hi; exit 3'").await;
    assert!(ran.code == Some(0) && ran.out.contains("\"exitcode\": 3") && ran.out.contains("hi\\n"), "{ran:?}");
}

#[tokio::test]
async fn detached_work_survives_its_session_and_its_connection() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    let work = "mkdir -p /var/lib/proxmaint; while [ ! -e /var/lib/proxmaint/go ]; do sleep 0.02; done; echo 4 >/var/lib/proxmaint";
    let unit = format!("systemd-run --unit=job --collect --quiet /bin/sh -c '{work}/unit'");
    assert_eq!(client.run(&unit).await.code, Some(0));
    let taken = client.run(&unit).await;
    let why = "Failed to start transient service unit: Unit job.service was already loaded or has a fragment file.\n";
    assert_eq!((taken.code, taken.err.as_str()), (Some(1), why));
    assert_eq!(client.run("systemctl is-active job").await.out, "active\n");
    let started =
        client.run(&format!("nohup setsid sh -c '{work}/session' </dev/null >/dev/null 2>&1 & echo $!")).await;
    assert_eq!(started.code, Some(0));
    drop(client);
    let client = site.login(&edge()).await;
    assert_eq!(client.run("cat /var/lib/proxmaint/unit").await.code, Some(1), "it still waits");
    client.run("touch /var/lib/proxmaint/go").await;
    let root = site.shims.stage().root(&edge()).unwrap().join("var/lib/proxmaint");
    until("both are done", || root.join("unit").exists() && root.join("session").exists()).await;
    let stage = site.shims.stage();
    until("the unit is unloaded", || stage.units().get(&edge(), "job").is_none()).await;
    assert_eq!(client.run("systemctl is-active job").await.code, Some(3));
}

#[tokio::test]
async fn a_shim_call_is_quick() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    client.run("uname").await;
    let begun = std::time::Instant::now();
    let ran = client.run("i=0; while [ $i -lt 50 ]; do uname -r; i=$((i+1)); done").await;
    assert_eq!(ran.out.lines().count(), 50);
    let each = begun.elapsed() / 50;
    println!("a shim call takes {each:?}");
    // Far above what it takes, since the machine that tests run on may be busy: this is to notice a wait, not to measure.
    assert!(each.as_millis() < 150, "{each:?}");
}

#[tokio::test]
async fn a_reboot_kills_what_runs_and_changes_the_boot() {
    let site = Site::start(small().build()).await;
    let vm = MachineId::guest("edge1", 201);
    let client = site.login(&vm).await;
    let before = client.run("cat /proc/sys/kernel/random/boot_id; touch /run/volatile /var/lib/kept").await.out;
    client.run("nohup setsid sleep 1000 >/dev/null 2>&1 </dev/null &").await;
    let lab = site.shims.stage().id().to_owned();
    until("it runs", || reap::find(&lab, Some("edge1.201")).len() == 1).await;
    client.run("reboot").await;
    until("its connections are gone", || client.handle.is_closed()).await;
    until("it was killed", || reap::find(&lab, Some("edge1.201")).is_empty()).await;
    let client = site.login(&vm).await;
    let after = client.run("cat /proc/sys/kernel/random/boot_id; ls /run/volatile /var/lib/kept 2>/dev/null").await.out;
    assert_ne!(before.lines().next(), after.lines().next());
    assert!(after.contains("kept") && !after.contains("volatile"), "{after}");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    client.run("setsid sleep 1000 >/dev/null 2>&1 </dev/null & systemd-run --unit=a sleep 1000").await;
    client.run("pct exec 102 -- sh -c 'nohup sleep 1000 >/dev/null 2>&1 &'").await;
    let (lab, dir) = (site.shims.stage().id().to_owned(), site.dir().to_owned());
    until("all three run", || reap::find(&lab, None).len() >= 3).await;
    drop(site);
    assert_eq!(reap::find(&lab, None), Vec::<i32>::new());
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_container_has_a_boot_of_its_own_and_root_owns_its_files() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    let node = client.run("cat /proc/sys/kernel/random/boot_id").await.out;
    let container = client.run("pct exec 101 -- cat /proc/sys/kernel/random/boot_id").await.out;
    assert!(container.len() == node.len() && container != node, "{container}");
    let ran = client.run("umask 077; mkdir /var/lib/own; ls -ldn /var/lib/own; id -u").await;
    let words: Vec<&str> = ran.out.split_whitespace().collect();
    assert_eq!((words.get(2), words.get(3), words.last()), (Some(&"0"), Some(&"0"), Some(&"0")), "{ran:?}");
}
