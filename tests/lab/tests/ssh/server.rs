//! The server itself: logins, limits, host keys, forwarding, faults of the connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proxmaint_lab::faults::{CommandFault, Fault};
use proxmaint_lab::ssh::{Gate, KeyKind, MAX_SESSIONS};
use proxmaint_lab::world::MachineId;
use russh::client;

use crate::client::{Accept, Client, Site, config, until};
use crate::small;

fn edge() -> MachineId {
    MachineId::node("edge1")
}

fn db() -> MachineId {
    MachineId::guest("edge1", 201)
}

#[tokio::test]
async fn logins_are_checked() {
    let site = Site::start(small().build()).await;
    assert!(Client::login(site.addr(&edge()), "nobody", site.ssh.client_key()).await.is_err());
    let mut handle = client::connect(config(), site.addr(&db()), Accept(Arc::default())).await.unwrap();
    assert!(!handle.authenticate_password("root", "wrong").await.unwrap().success());
    assert!(handle.authenticate_password("root", "secret").await.unwrap().success());
    assert_eq!(site.ssh.server(&db()).unwrap().stats().refused_logins, 1);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(site.ssh.client_key()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_guest_that_takes_a_password_only_lets_a_key_in_once_it_is_in_the_users_file() {
    let site = Site::start(small().ct("edge1", 105, |ct| ct.name("new").password_only("secret")).build()).await;
    let new = MachineId::guest("edge1", 105);
    assert!(Client::login(site.addr(&new), "root", site.ssh.client_key()).await.is_err());
    let mut handle = client::connect(config(), site.addr(&new), Accept(Arc::default())).await.unwrap();
    assert!(handle.authenticate_password("root", "secret").await.unwrap().success());
    let by_password = Client { handle };
    let line = site.ssh.client_public().to_openssh().unwrap();
    let put = format!("umask 077; mkdir ~/.ssh && echo '{line}' >\"$HOME/.ssh/authorized_keys\" && pwd");
    let home = site.root_of(&new).join("root");
    assert_eq!(by_password.run(&put).await.out, format!("{}\n", home.display()));
    let by_key = site.login(&new).await;
    assert_eq!(by_key.run("hostname").await.out, "new\n");
    assert!(Client::login(site.addr(&new), "ops", site.ssh.client_key()).await.is_err(), "there is no such user");
    by_key.run("chmod g+w ~/.ssh").await;
    assert!(Client::login(site.addr(&new), "root", site.ssh.client_key()).await.is_err(), "StrictModes");
}

#[tokio::test]
async fn vms_share_a_port_on_addresses_of_their_own() {
    let site = Site::start(small().build()).await;
    let (db, mail) = (site.addr(&db()), site.addr(&MachineId::guest("edge1", 202)));
    assert_eq!((db.port(), mail.port()), (site.ssh.vm_port(), site.ssh.vm_port()));
    assert_ne!(db.ip(), mail.ip());
    let listed = site.with(|world, _| world.guest_of("edge1", 201).unwrap().addresses.clone());
    assert_eq!(listed, [db.ip().to_string()]);
}

#[tokio::test]
async fn sessions_are_limited_as_by_a_stock_sshd() {
    let site = Site::start(small().build()).await;
    let client = site.login(&edge()).await;
    let mut open = Vec::new();
    for _ in 0..MAX_SESSIONS {
        open.push(client.handle.channel_open_session().await.unwrap());
    }
    assert!(client.handle.channel_open_session().await.is_err());
    let stats = site.ssh.server(&edge()).unwrap().stats();
    assert_eq!((stats.peak_sessions, stats.refused_sessions, stats.connections), (MAX_SESSIONS, 1, 1));
    for channel in open.drain(..) {
        channel.close().await.unwrap();
    }
    for _ in 0..100 {
        if client.handle.channel_open_session().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("closed sessions are not given back");
}

#[tokio::test]
async fn unauthenticated_connections_are_limited_too() {
    let site = Site::start(small().build()).await;
    let mut sockets = Vec::new();
    for _ in 0..40 {
        sockets.push(tokio::net::TcpStream::connect(site.addr(&edge())).await.unwrap());
    }
    let server = site.ssh.server(&edge()).unwrap();
    until("all were seen", || server.stats().connections + server.stats().dropped_startups == 40).await;
    let stats = server.stats();
    assert!(stats.dropped_startups > 5 && stats.connections > 20, "{stats:?}");
}

#[tokio::test]
async fn host_keys_can_change_and_be_of_another_kind() {
    let site = Site::start(small().build()).await;
    let seen = async || {
        let key = Arc::new(Mutex::new(None));
        client::connect(config(), site.addr(&edge()), Accept(key.clone())).await.unwrap();
        key.lock().unwrap().clone().unwrap()
    };
    let first = seen().await;
    let line = site.ssh.known_hosts(&edge()).unwrap();
    let expected = format!("[127.0.0.1]:{} {}", site.addr(&edge()).port(), first.to_openssh().unwrap());
    assert!(expected.starts_with(line.trim_end()), "{line} {expected}");
    site.ssh.rekey(&edge(), &[KeyKind::Ecdsa], 1).unwrap();
    let second = seen().await;
    assert_eq!(second.algorithm().as_str(), "ecdsa-sha2-nistp256");
    site.ssh.rekey(&edge(), &[KeyKind::Rsa], 2).unwrap();
    assert_eq!(seen().await.algorithm().as_str(), "ssh-rsa");
    site.ssh.rekey(&edge(), &[KeyKind::Ed25519], 0).unwrap();
    assert_eq!(seen().await.key_data(), first.key_data(), "a host's key is the same in every lab");
}

#[tokio::test]
async fn a_bastion_resolves_names_that_nobody_else_knows() {
    let site = Site::start(small().build()).await;
    let bastion = site.login(&edge()).await;
    let channel = bastion.handle.channel_open_direct_tcpip("db", 22, "127.0.0.1", 0).await.unwrap();
    let inner = client::connect_stream(config(), channel.into_stream(), Accept(Arc::default())).await.unwrap();
    let client = Client::authenticate(inner, "root", site.ssh.client_key()).await.unwrap();
    assert_eq!(client.run("hostname").await.out, "db\n");
    assert!(
        bastion.handle.channel_open_direct_tcpip("localhost", 22, "127.0.0.1", 0).await.is_err(),
        "not in its table"
    );
    assert_eq!(site.ssh.server(&edge()).unwrap().stats().forwards, 1);
}

#[tokio::test]
async fn a_connection_is_cut_at_the_nth_matching_command_and_the_command_goes_on() {
    let fault = Fault::command("edge1", "*/var/lib/mark*", CommandFault::Cut { after_ms: 50 }).nth(2);
    let before = Fault::command("201", "never*", CommandFault::CutBefore);
    let site = Site::start(small().fault(fault).fault(before).build()).await;
    let client = site.login(&edge()).await;
    assert_eq!(client.run("touch /var/lib/mark1").await.code, Some(0));
    let ran = client.run("sleep 0.3; touch /var/lib/mark2").await;
    assert_eq!((ran.code, ran.signal), (None, None), "its end was not told");
    assert!(client.handle.channel_open_session().await.is_err(), "the whole connection is gone");
    let marked = site.shims.stage().root(&edge()).unwrap().join("var/lib/mark2");
    until("the command went on", || marked.exists()).await;
    let client = site.login(&db()).await;
    assert_eq!(client.run("never=1; touch /var/lib/never").await.code, None);
    assert!(!site.shims.stage().root(&db()).unwrap().join("var/lib/never").exists());
    assert_eq!(site.ssh.server(&edge()).unwrap().stats().cuts, 1);
}

#[tokio::test]
async fn a_server_can_be_silent_or_freeze() {
    let site = Site::start(small().build()).await;
    let server = site.ssh.server(&edge()).unwrap();
    let client = site.login(&edge()).await;
    server.set_gates(Gate::Frozen);
    let frozen = tokio::time::timeout(Duration::from_millis(200), client.run("true")).await;
    assert!(frozen.is_err(), "a frozen connection answers nothing");
    server.set_silent(true);
    let login = Client::login(server.addr(), "root", site.ssh.client_key());
    assert!(tokio::time::timeout(Duration::from_millis(200), login).await.is_err(), "not even a banner");
    server.set_silent(false);
    site.login(&edge()).await;
}

#[tokio::test]
async fn a_machine_that_is_off_answers_nobody() {
    let site = Site::start(small().build()).await;
    site.with(|world, _| world.guest_mut(&db()).unwrap().power = proxmaint_lab::world::Power::Stopped);
    assert!(Client::login(site.addr(&db()), "root", site.ssh.client_key()).await.is_err());
}

#[tokio::test]
async fn a_container_has_a_server_only_where_somebody_may_log_in() {
    let site = Site::start(small().build()).await;
    assert!(site.ssh.server(&MachineId::guest("edge1", 101)).is_none());
    let shell = MachineId::guest("edge1", 104);
    assert_eq!(site.addr(&shell).port(), site.ssh.vm_port());
    let listed = site.with(|world, _| world.guest(&shell).unwrap().addresses.clone());
    assert_eq!(listed, [site.addr(&shell).ip().to_string()]);
    let config = site.with(|world, _| world.guest(&shell).unwrap().config["net0"].as_str().unwrap().to_lowercase());
    let ran = site.login(&shell).await.run("hostname; cat /sys/class/net/*/address").await;
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((lines[0], lines[2]), ("shell", "00:00:00:00:00:00"), "{ran:?}");
    assert!(config.contains(&format!("hwaddr={}", lines[1])), "{ran:?} {config}");
}
