//! Replays the recordings against the lab: the same requests in the same situations must get answers that say the same.

use std::collections::{BTreeMap, BTreeSet};

use proxmaint_lab::api::{ApiAnswer, ApiRequest, endpoint_of};
use proxmaint_lab::world::{Agent, Asker, ExecResult, MachineId, Time, Token, World};
use serde_json::Value;

use crate::compare::{Mode, differences, lines};
use crate::recordings::{self, Recording};
use crate::stage;

/// Recordings that are not replayed, each with the reason.
const NOT_REPLAYED: &[(&str, &str)] =
    &[("ha-status-after-shutdown", "recorded where no HA manager worked: it shows the request of before")];

/// Recordings of which only the kind of entries is compared: lists of whatever had happened before.
const KIND: &[&str] = &[
    "apt-update-list",
    "apt-versions",
    "cluster-log",
    "cluster-tasks",
    "tasks",
    "tasks-filter",
    "storage-content-3",
    "storage-content-backup-2",
    "storage-content-backup",
    "cluster-resources-after-migrate",
];

/// Recordings that the lab's answers may exceed.
const AT_LEAST: &[&str] = &["access-permissions", "permissions-path", "qemu-config", "lxc-config", "lxc-config-locked"];

/// Keys that only the lab's answer has, with the reason.
const ONLY_LAB: &[(&str, &str, &str)] = &[
    ("apt-versions", "ManagerVersion", "the recorded node was not installed from packages"),
    ("apt-versions", "RunningKernel", "the recorded node was not installed from packages"),
];

/// Logs of which every line of the lab's must be a recorded one, but not the other way round: the lab says less.
const TERSE_LOGS: &[&str] =
    &["apt-update-refresh-task-log", "lxc-migrate-back-task-log", "lxc-migrate-restart-task-log"];

struct Replay {
    recordings: BTreeMap<String, Recording>,
    world: World,
    /// The lab's identifier of each recorded one.
    upids: Vec<(String, String)>,
    played: BTreeSet<String>,
    wrong: Vec<String>,
    /// What the lab answered, by recording.
    answers: Vec<Answered>,
}

/// An answer of the lab beside the recorded one.
pub struct Answered {
    /// The recording.
    pub name: String,
    /// The endpoint, as `METHOD /path` with placeholders.
    pub endpoint: String,
    /// What was recorded (`data`).
    pub recorded: Value,
    /// What the lab answered (`data`).
    pub lab: Value,
}

impl Replay {
    fn guest(&self, vmid: u32) -> MachineId {
        MachineId::guest(if vmid == 301 { "pve3" } else { "labcl" }, vmid)
    }

    fn agent(&mut self, agent: Agent) {
        let id = self.guest(202);
        self.world.guest_mut(&id).expect("it is on the stage").agent = agent;
    }

    fn lock(&mut self, vmid: u32, lock: Option<&str>) {
        let id = self.guest(vmid);
        self.world.guest_mut(&id).expect("it is on the stage").lock = lock.map(str::to_owned);
    }

    fn token(&self, name: &str, realm: &str) -> Option<Token> {
        let id = match name {
            "no-token" => return None,
            _ if name.starts_with("perm-") => stage::LOOKER.1,
            _ if realm == "pve3" => "seed",
            _ => "lab",
        };
        let mut token =
            self.world.realms[realm].tokens.iter().find(|t| t.id == id).expect("it is on the stage").clone();
        if name == "bad-token" {
            token.secret = "wrong".to_owned();
        }
        Some(token)
    }

    /// Plays recordings one after the other, with nothing happening in between.
    fn play(&mut self, names: &[&str]) {
        for name in names {
            self.play_one(name);
        }
    }

    fn play_one(&mut self, name: &str) {
        let recording = self.recordings.get(name).unwrap_or_else(|| panic!("there is no recording {name}")).clone();
        let standalone = recording.request.path.contains("/pve3/") || name.starts_with("standalone");
        let (node, realm) = if standalone { ("pve3", "pve3") } else { ("pve1", "labcl") };
        let mut request = ApiRequest::new(node, &recording.request.method, &self.translate(&recording.request.path));
        request.authorization = self.token(name, realm).map(|t| t.header());
        for (key, value) in recording.request.form.clone().unwrap_or_default() {
            request = request.field(&key, value);
        }
        for (key, value) in recording.request.json.clone().unwrap_or_default() {
            request = request.field(&key, value);
        }
        let answer = self.world.api(self.world.now(), &request);
        if let (Some(theirs), Some(ours)) = (recording.body["data"].as_str(), answer.data().as_str())
            && theirs.starts_with("UPID:")
        {
            self.upids.push((theirs.to_owned(), ours.to_owned()));
        }
        let wrong = judge(name, &recording, &answer);
        if let Some(endpoint) = endpoint_of(&request).filter(|_| answer.status == 200) {
            self.answers.push(Answered {
                name: name.to_owned(),
                endpoint: format!("{} {}", endpoint.method, endpoint.path),
                recorded: recording.body["data"].clone(),
                lab: answer.data().clone(),
            });
        }
        self.wrong.extend(wrong.into_iter().map(|w| format!("{name}: {w}")));
        assert!(self.played.insert(name.to_owned()), "{name} is played twice");
    }

    /// Puts the lab's identifiers of tasks and volumes in place of the recorded ones.
    fn translate(&self, path: &str) -> String {
        let mut path = path.to_owned();
        for (theirs, ours) in &self.upids {
            let encoded = |upid: &str| upid.replace(':', "%3A").replace('@', "%40").replace('!', "%21");
            path = path.replace(&encoded(theirs), &encoded(ours)).replace(theirs, ours);
        }
        if path.contains("23_08_28") {
            let backups = &self.world.realms["labcl"].backups;
            let newest = backups.last().expect("a backup was made before");
            path = path.replace("local:backup/vzdump-lxc-101-2026_11_22-23_08_28.tar.zst", &newest.volid);
        }
        path
    }

    /// Plays a request and everything that was recorded of its task; the log was read with `limit=50`.
    fn task(&mut self, request: &str) {
        self.task_of(request, request);
    }

    fn task_of(&mut self, request: &str, stem: &str) {
        self.play_one(request);
        let present = |replay: &Self, name: &str| replay.recordings.contains_key(name);
        let running = format!("{stem}-task-status-running");
        if present(self, &running) {
            self.play_one(&running);
        }
        self.world.settle();
        for part in ["status", "log"] {
            let name = format!("{stem}-task-{part}");
            if present(self, &name) {
                self.play_one(&name);
            }
        }
    }
}

fn judge(name: &str, recording: &Recording, answer: &ApiAnswer) -> Vec<String> {
    let mut wrong = Vec::new();
    if answer.lost || answer.status != recording.status {
        wrong.push(format!("recorded status {}, lab {} {}", recording.status, answer.status, answer.reason));
    }
    if lines::normal(&answer.reason) != lines::normal(&recording.reason) {
        wrong.push(format!("recorded reason {:?}, lab {:?}", recording.reason, answer.reason));
    }
    if recording.has_body() != answer.body.is_some() {
        wrong.push(format!("recorded body {}, lab {:?}", recording.body, answer.body));
        return wrong;
    }
    let Some(body) = &answer.body else { return wrong };
    if name.ends_with("-task-log") {
        wrong.extend(judge_log(name, recording, body));
        return wrong;
    }
    let mode = match name {
        _ if KIND.contains(&name) => Mode::Kind,
        _ if AT_LEAST.contains(&name) => Mode::AtLeast,
        _ => Mode::Same,
    };
    let known = |w: &String| ONLY_LAB.iter().any(|(n, key, _)| *n == name && w.contains(&format!("/{key}:")));
    wrong.extend(differences(mode, &recording.body, body).into_iter().filter(|w| !known(w)));
    wrong
}

fn judge_log(name: &str, recording: &Recording, body: &Value) -> Vec<String> {
    let list = |body: &Value| body["data"].as_array().cloned().unwrap_or_default();
    let (theirs, ours) = (lines::log(&list(&recording.body)), lines::log(&list(body)));
    if !TERSE_LOGS.contains(&name) {
        return if theirs == ours { Vec::new() } else { vec![format!("recorded log {theirs:#?}\nlab {ours:#?}")] };
    }
    let mut wrong: Vec<String> = ours
        .iter()
        .filter(|l| !theirs.contains(l) && !l.contains("http"))
        .map(|l| format!("no such line: {l}"))
        .collect();
    if theirs.last() != ours.last() {
        wrong.push(format!("recorded to end {:?}, lab {:?}", theirs.last(), ours.last()));
    }
    wrong
}

/// Plays everything, in an order in which each situation comes about.
fn perform(r: &mut Replay) {
    looking(r);
    containers(r);
    backups(r);
    machines(r);
    cluster(r);
    standalone(r);
    history(r);
}

fn looking(r: &mut Replay) {
    r.play(&[
        "version",
        "nodes",
        "bad-token",
        "no-token",
        "access-permissions",
        "permissions-path",
        "cluster-status",
        "cluster-options",
        "node-status",
        "other-node-proxied",
        "other-node-lxc",
        "services",
        "certificates",
        "storage",
        "apt-update-list",
        "apt-versions",
        "storage-content-backup",
        "lxc-list",
        "lxc-status",
        "lxc-config",
        "lxc-pending",
        "lxc-interfaces",
        "lxc-feature-snapshot-dir",
        "lxc-feature-snapshot-btrfs",
        "lxc-snapshots",
        "unknown-guest",
        "unknown-guest-config",
        "unknown-path",
        "unknown-param",
        "bad-param",
        "task-unknown",
        "tasks-running",
        "migrate-preconditions-lxc",
        "ha-resources",
        "ha-status",
        "perm-agent-exec",
        "perm-agent-osinfo",
        "perm-agent-ping",
        "perm-apt-get",
        "perm-apt",
        "perm-cluster-status",
        "perm-feature",
        "perm-ha",
        "perm-migrate",
        "perm-qemu-list",
        "perm-reboot",
        "perm-rollback",
        "perm-snapshot",
        "perm-start",
        "perm-storage-content",
        "perm-vzdump",
    ]);
    r.task("apt-update-refresh");
}

fn containers(r: &mut Replay) {
    r.play(&["snapshot-badname", "snapshot-longname", "snapshot-lxc-vmstate"]);
    r.task_of("snapshot-dir-create", "snapshot-dir");
    r.task_of("snapshot-btrfs-create", "snapshot-btrfs");
    r.play(&["snapshot-btrfs-list"]);
    r.task("snapshot-dup");
    r.task("lxc-start");
    r.play(&["lxc-start-running"]);
    r.task("snapshot-rollback");
    r.task("snapshot-rollback-unknown");
    r.task("snapshot-delete");
    r.task("snapshot-delete-unknown");
    r.play(&["lxc-shutdown-stopped"]);
    r.task("lxc-start-103");
    r.task("lxc-shutdown-103");
    r.task("lxc-reboot-101");
}

fn backups(r: &mut Replay) {
    r.play_one("vzdump-lxc");
    r.play(&["vzdump-lxc-task-status-running", "lxc-config-locked", "lxc-list-locked"]);
    r.task("snapshot-while-locked");
    r.play(&["vzdump-lxc-task-status", "vzdump-lxc-task-log"]);
    r.task("vzdump-lxc-suspend");
    r.play(&["storage-content-backup-2"]);
    r.task("vzdump-badstorage");
    r.task("vzdump-unknown-vm");
    r.task("vzdump-remove0");
    r.play(&["storage-content-3"]);
    r.task("backup-delete-protected");
    r.play(&["backup-unprotect"]);
    r.task("backup-delete");
}

fn machines(r: &mut Replay) {
    r.play(&[
        "agent-ping",
        "agent-osinfo",
        "agent-interfaces",
        "agent-ping-noagent",
        "agent-interfaces-noagent",
        "qemu-feature-snapshot",
        "qemu-feature-snapshot-202",
        "agent-exec",
        "agent-exec-status-running",
        "agent-exec-status-unknown-pid",
    ]);
    let (id, exec) = r.world.take_agent_exec().expect("a command was given");
    let result = ExecResult { exit: 3, out: "out\n".into(), err: "err\n".into(), signal: None };
    r.world.finish_agent_exec(&id, exec.pid, result);
    r.play(&["agent-exec-status-exited"]);
    r.agent(Agent::From(Time::MAX));
    r.play(&["agent-ping-early"]);
    r.agent(Agent::From(0));
    r.task("qemu-start-202");
    r.task("qemu-shutdown-agent");
    r.lock(202, Some("snapshot"));
    r.play(&[
        "qemu-list",
        "qemu-list-full",
        "qemu-status",
        "qemu-config",
        "migrate-preconditions-qemu",
        "cluster-resources-vm",
        "cluster-resources",
    ]);
    r.task("qemu-start-locked");
    r.lock(202, None);
    r.task("qemu-shutdown-noagent-timeout");
    let (id, now) = (r.guest(201), r.world.now());
    r.world.create_snapshot(now, &id, "pre", "", &Asker::root()).expect("the name is good");
    r.world.settle();
    r.play(&["qemu-snapshots", "qemu-snapshot-badname"]);
    r.task("qemu-stop");
    r.task("qemu-snapshot-stopped");
    r.play(&["qemu-snapshot-list2"]);
    r.task("qemu-snapshot-rollback");
    r.task("qemu-snapshot-delete");
    r.task("qemu-start-201");
    r.task("qemu-start-already");
}

fn cluster(r: &mut Replay) {
    r.play(&["lxc-migrate-running-norestart"]);
    r.task("lxc-migrate-restart");
    r.play(&["cluster-resources-after-migrate"]);
    r.task("lxc-migrate-back");
    r.play(&["ha-add", "ha-status-managed"]);
    r.task("ha-shutdown");
    r.play(&["ha-remove"]);
}

fn standalone(r: &mut Replay) {
    r.play(&["standalone-cluster-status"]);
    r.task("node-stopall");
    r.play(&["standalone-lxc-after-stopall"]);
    r.task("node-startall");
    r.play(&["node-reboot"]);
}

fn history(r: &mut Replay) {
    r.play(&["tasks", "tasks-filter", "cluster-tasks", "cluster-log"]);
}

fn replayed() -> Option<Replay> {
    let recordings = recordings::all()?;
    let (upids, played, wrong, answers) = (Vec::new(), BTreeSet::new(), Vec::new(), Vec::new());
    let mut replay = Replay { recordings, world: stage::world(), upids, played, wrong, answers };
    perform(&mut replay);
    Some(replay)
}

/// Returns what the lab answers to the recorded requests; `None` where the recordings are absent.
pub fn answers() -> Option<Vec<Answered>> {
    replayed().map(|replay| replay.answers)
}

#[test]
fn the_lab_answers_as_the_real_one_did() {
    let Some(replay) = replayed() else { return recordings::not_run() };
    let left: BTreeSet<&str> =
        replay.recordings.keys().filter(|name| !replay.played.contains(*name)).map(String::as_str).collect();
    println!("replayed: {} of {} recordings", replay.played.len(), replay.recordings.len());
    for (name, why) in NOT_REPLAYED {
        println!("not replayed: {name}: {why}");
    }
    let named: BTreeSet<&str> = NOT_REPLAYED.iter().map(|(name, _)| *name).collect();
    assert_eq!(left, named, "each recording is replayed, or listed with a reason");
    let wrong = replay.wrong;
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
