//! The lab as a program: served, asked, stopped; nothing of it is left.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

use std::io::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const LAB: &str = env!("CARGO_BIN_EXE_proxmaint-lab");

struct Served {
    child: Child,
    ready: Value,
}

impl Served {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(LAB)
            .args(["serve", "--dir"])
            .arg(dir)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { ready: serde_json::from_str(&line).unwrap(), child }
    }

    fn ended(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        false
    }
}

fn ask(command: &str, dir: &Path, args: &[&str]) -> Output {
    Command::new(LAB).args([command, "--dir"]).arg(dir).args(args).output().unwrap()
}

/// Runs a command on the first node over OpenSSH's own client, where this system has it.
fn ssh(dir: &Path, command: &str) -> Option<Output> {
    let manifest = std::fs::read_to_string(dir.join("proxmox-hosts.toml")).unwrap();
    let port =
        manifest.lines().find_map(|l| l.strip_prefix("ssh_extra_args = [\"-p ")).unwrap().trim_end_matches("\"]");
    Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ])
        .arg("-i")
        .arg(dir.join("id_ed25519"))
        .args(["-p", port, "root@127.0.0.1", command])
        .stdin(Stdio::null())
        .output()
        .ok()
}

fn left(lab: &str) -> Vec<i32> {
    proxmaint_lab::shim::reap::find(lab, None)
}

#[test]
fn it_is_served_asked_and_stopped_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let mut lab = Served::start(dir.path(), &["--fleet", "small"]);
    assert_eq!(lab.ready["ready"], true);
    let env = std::fs::read_to_string(dir.path().join("lab.env")).unwrap();
    assert!(env.starts_with("export LAB_EDGE1_TOKEN='root@pam!lab'\n"), "{env}");
    let machines = String::from_utf8(ask("machines", dir.path(), &[]).stdout).unwrap();
    assert_eq!(machines.lines().count(), 5, "{machines}");

    let mut marked = None;
    match ssh(
        dir.path(),
        "echo $LAB_ID; PROXMAINT_JOB=j apt-get -y dist-upgrade >/dev/null; nohup setsid sleep 1000 >/dev/null 2>&1 &",
    ) {
        None => {
            writeln!(std::io::stderr(), "not run: this system has no ssh client, so nothing was done over SSH here")
                .expect("stderr is open")
        }
        Some(ran) => {
            let id = String::from_utf8(ran.stdout).unwrap().trim().to_owned();
            assert!(id.starts_with("proxmaint-lab-"), "{id} {}", String::from_utf8_lossy(&ran.stderr));
            let ledger = String::from_utf8(ask("ledger", dir.path(), &[]).stdout).unwrap();
            assert!(ledger.contains("edge1    edge1    upgrade          done        j"), "{ledger}");
            assert_eq!(left(&id).len(), 1, "the detached process");
            marked = Some(id);
        }
    }
    let check = ask("ledger", dir.path(), &["--check"]);
    let text = String::from_utf8(check.stdout).unwrap();
    assert!(!check.status.success() && text.contains("LEFT OUT:\n  edge1/101 (web)"), "{text}");

    let fault = r#"{"on": "upgrade", "machine": "101", "effect": "hang"}"#;
    assert!(ask("fault", dir.path(), &[fault]).status.success());
    assert!(!ask("fault", dir.path(), &[r#"{"on": "nothing"}"#]).status.success());
    assert!(!ask("serve", dir.path(), &["--fleet", "small"]).status.success(), "one lab a directory");
    assert!(ask("stop", dir.path(), &[]).status.success());
    assert!(lab.ended());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "its files are gone");
    if let Some(id) = marked {
        assert_eq!(left(&id), Vec::<i32>::new());
        assert!(!std::env::temp_dir().join(id).exists());
    }
}

#[test]
fn it_ends_with_sigterm_and_with_its_input() {
    for by_signal in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut lab = Served::start(dir.path(), &["--fleet", "scale:2:3", "--until-eof"]);
        match by_signal {
            true => {
                let pid = rustix::process::Pid::from_child(&lab.child);
                rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            }
            false => drop(lab.child.stdin.take()),
        }
        assert!(lab.ended());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_wrong_command_line_is_explained() {
    for args in
        [&["serve", "--fleet", "none", "--dir", "/nonexistent"][..], &["dance"], &["ledger", "--dir"], &["stop"]]
    {
        let mut child = Command::new(LAB).args(args).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(2), "{args:?}");
        assert!(said.starts_with("proxmaint-lab: "), "{said}");
    }
}
