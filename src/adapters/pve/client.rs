//! The engine's port [`Pve`] on a [`Transport`]: which call each method makes, and what its answer means.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::fault;
use super::fields::{Fields, scalar_text};
use super::transport::{Answer, ApiCall, Method, Transport};
use crate::engine::port::{
    AgentState, BackupListing, BackupSpec, ClusterNode, ClusterStatus, GuestConfig, GuestListing, GuestRef, Pve,
    Resource, ServiceListing, SnapshotListing, TaskListing, TaskState,
};
use crate::ids::{GuestId, GuestKind, NodeName, SnapshotName, Upid};
use crate::inventory::{PoolFacts, Power, RepositoryFacts, StorageFacts};
use crate::machine::outcome::Fault;
use crate::time::Timestamp;

/// The most entries of a guest's task list that are asked for. The list begins with the newest, and what is looked for is a
/// task of the present run; a guest has a handful of tasks a day.
const TASK_LIMIT: u32 = 500;

/// The API of one host.
///
/// Calls are made once; every failure is a [`Fault`] whose class tells whether the call may have been acted upon (see
/// [`super::fault`]).
#[derive(Debug)]
pub struct Client<T> {
    transport: T,
}

impl<T: Transport> Client<T> {
    /// Makes a client whose calls go through this transport.
    pub fn new(transport: T) -> Self {
        Self { transport }
    }

    /// Makes a call and returns the answer, whatever its status.
    async fn ask(&self, call: &ApiCall) -> Result<Answer, Fault> {
        let answer = self.transport.call(call).await.map_err(|fault| fault::of_transport(call, fault))?;
        tracing::debug!(target: "proxmaint::pve", %call, status = answer.status, "api call answered");
        Ok(answer)
    }

    /// Makes a call and returns its `data`, `Null` where the answer has none.
    async fn data(&self, call: &ApiCall) -> Result<Value, Fault> {
        data_of(call, self.ask(call).await?)
    }

    /// Makes a call that answers with a list.
    async fn list(&self, call: &ApiCall) -> Result<Vec<Value>, Fault> {
        match self.data(call).await? {
            Value::Array(list) => Ok(list),
            other => Err(unexpected(call, "a list", &other)),
        }
    }

    /// Makes a call that starts a task and returns the task.
    async fn start(&self, call: &ApiCall) -> Result<Upid, Fault> {
        match self.data(call).await? {
            Value::String(upid) if Upid::new(upid.as_str()).node().is_some() => Ok(Upid::new(upid)),
            other => Err(unexpected(call, "a UPID", &other)),
        }
    }

    /// Lists the guests of one kind on a node.
    async fn guests_of(&self, node: &NodeName, kind: GuestKind) -> Result<Vec<GuestListing>, Fault> {
        let call = get(&["nodes", node.as_str(), kind.api_name()])?;
        let list = self.list(&call).await?;
        Ok(entries(&call, &list, |entry| {
            Some(GuestListing {
                id: guest_id(entry)?,
                kind,
                name: entry.text("name").unwrap_or_default(),
                power: power(entry),
                template: entry.flag("template").unwrap_or(false),
                lock: entry.non_empty("lock"),
                disk_bytes: entry.number("maxdisk").unwrap_or(0),
            })
        }))
    }
}

#[async_trait]
impl<T: Transport> Pve for Client<T> {
    async fn version(&self) -> Result<String, Fault> {
        let call = get(&["version"])?;
        let data = self.data(&call).await?;
        let version = Fields::of(&data).and_then(|f| f.non_empty("version").or_else(|| f.non_empty("release")));
        version.ok_or_else(|| unexpected(&call, "a version", &data))
    }

    async fn cluster_status(&self) -> Result<ClusterStatus, Fault> {
        let call = get(&["cluster", "status"])?;
        let list = self.list(&call).await?;
        let of_type = |wanted: &str| -> Vec<Fields<'_>> {
            list.iter().filter_map(Fields::of).filter(|f| f.text("type").as_deref() == Some(wanted)).collect()
        };
        let nodes = of_type("node").into_iter().filter_map(|entry| {
            Some(ClusterNode {
                name: NodeName::new(entry.non_empty("name")?),
                local: entry.flag("local").unwrap_or(false),
                online: entry.flag("online").unwrap_or(false),
            })
        });
        let cluster = of_type("cluster").into_iter().next();
        Ok(ClusterStatus {
            name: cluster.and_then(|c| c.non_empty("name")),
            // A node that stands alone decides alone; a cluster that does not say so has no quorum.
            quorate: cluster.is_none_or(|c| c.flag("quorate").unwrap_or(false)),
            nodes: nodes.collect(),
        })
    }

    async fn ca_fingerprint(&self, node: &NodeName) -> Result<String, Fault> {
        let call = get(&["nodes", node.as_str(), "certificates", "info"])?;
        let list = self.list(&call).await?;
        let mut certificates = list.iter().filter_map(Fields::of);
        let root = certificates.find(|c| c.text("filename").as_deref() == Some("pve-root-ca.pem"));
        let fingerprint = root.and_then(|c| c.non_empty("fingerprint")).map(|f| f.to_ascii_uppercase());
        fingerprint.ok_or_else(|| Fault::permanent(format!("api call {call} lists no fingerprint of pve-root-ca.pem")))
    }

    async fn guests(&self, node: &NodeName) -> Result<Vec<GuestListing>, Fault> {
        let mut guests = self.guests_of(node, GuestKind::Ct).await?;
        guests.extend(self.guests_of(node, GuestKind::Vm).await?);
        guests.sort_by_key(|guest| guest.id);
        Ok(guests)
    }

    async fn locate(&self, guest: GuestId) -> Result<Option<NodeName>, Fault> {
        let call = get(&["cluster", "resources"])?.with("type", "vm");
        let list = self.list(&call).await?;
        let mut guests = list.iter().filter_map(Fields::of);
        let found = guests.find(|entry| guest_id(*entry) == Some(guest));
        Ok(found.and_then(|entry| entry.non_empty("node")).map(NodeName::new))
    }

    async fn guest_config(&self, guest: &GuestRef) -> Result<GuestConfig, Fault> {
        let call = guest_call(Method::Get, guest, &["config"])?;
        match self.data(&call).await? {
            Value::Object(config) => {
                let texts = config.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| {
                    let text = scalar_text(&value).unwrap_or_else(|| value.to_string());
                    (key, text)
                });
                Ok(GuestConfig(texts.collect::<BTreeMap<_, _>>()))
            }
            other => Err(unexpected(&call, "a config", &other)),
        }
    }

    async fn guest_status(&self, guest: &GuestRef) -> Result<(Power, Option<String>), Fault> {
        let call = guest_call(Method::Get, guest, &["status", "current"])?;
        let data = self.data(&call).await?;
        let status = Fields::of(&data).ok_or_else(|| unexpected(&call, "a guest's status", &data))?;
        Ok((power(status), status.non_empty("lock")))
    }

    async fn can_snapshot(&self, guest: &GuestRef) -> Result<bool, Fault> {
        let call = guest_call(Method::Get, guest, &["feature"])?.with("feature", "snapshot");
        let data = self.data(&call).await?;
        let feature = Fields::of(&data).and_then(|f| f.flag("hasFeature"));
        feature.ok_or_else(|| unexpected(&call, "hasFeature", &data))
    }

    async fn snapshots(&self, guest: &GuestRef) -> Result<Vec<SnapshotListing>, Fault> {
        let call = guest_call(Method::Get, guest, &["snapshot"])?;
        let list = self.list(&call).await?;
        // It is listed as soon as it is begun. One whose worker died stays so for good, and nothing can be brought back from it.
        let unfinished = |entry: &&Value| Fields::of(entry).is_some_and(|e| e.non_empty("snapstate").is_some());
        let mut snapshots = entries(&call, list.iter().filter(|entry| !unfinished(entry)), |entry| {
            Some(SnapshotListing {
                name: SnapshotName::new(entry.non_empty("name")?),
                taken: entry.seconds("snaptime").map(Timestamp::from_secs),
                // The config file keeps a description as comment lines: a CT's comes back with a line end.
                description: entry.text("description").unwrap_or_default().trim_end().to_owned(),
            })
        });
        snapshots.retain(|snapshot| snapshot.name.as_str() != "current");
        Ok(snapshots)
    }

    async fn create_snapshot(&self, guest: &GuestRef, name: &SnapshotName, description: &str) -> Result<Upid, Fault> {
        let call = guest_call(Method::Post, guest, &["snapshot"])?;
        self.start(&call.with("snapname", name.as_str()).with("description", description)).await
    }

    async fn delete_snapshot(&self, guest: &GuestRef, name: &SnapshotName) -> Result<Upid, Fault> {
        self.start(&guest_call(Method::Delete, guest, &["snapshot", name.as_str()])?).await
    }

    async fn task(&self, upid: &Upid) -> Result<TaskState, Fault> {
        let call = task_call(upid, "status")?;
        let answer = self.ask(&call).await?;
        if answer.status == 400
            && let Some((_, why)) = fault::parameter_errors(&answer).find(|(_, why)| why.contains("no such task"))
        {
            return Ok(TaskState::Unknown(why));
        }
        let data = data_of(&call, answer)?;
        let task = Fields::of(&data).ok_or_else(|| unexpected(&call, "a task's status", &data))?;
        Ok(match task.text("status").as_deref() {
            Some("running") => TaskState::Running,
            Some("stopped") => ended(task.non_empty("exitstatus").as_deref()),
            other => TaskState::Unknown(format!("task status {}", other.unwrap_or("missing"))),
        })
    }

    async fn task_log_tail(&self, upid: &Upid, lines: u32) -> Result<Vec<String>, Fault> {
        // The API pages from the beginning and says beside `data` how many lines there are; a limit of 0 would mean all.
        if lines == 0 {
            return Ok(Vec::new());
        }
        let page = |start: u64| {
            Ok::<_, Fault>(task_call(upid, "log")?.with("start", start.to_string()).with("limit", lines.to_string()))
        };
        let first = page(0)?;
        let answer = self.ask(&first).await?;
        let total = Fields::of(&answer.body).and_then(|f| f.number("total")).unwrap_or(0);
        let mut data = data_of(&first, answer)?;
        let past = total.saturating_sub(u64::from(lines));
        if past > 0 {
            data = self.data(&page(past)?).await?;
        }
        let Value::Array(list) = data else {
            return Err(unexpected(&first, "a list", &data));
        };
        Ok(entries(&first, &list, |entry| entry.text("t").map(|line| fault::one_line(&line))))
    }

    async fn tasks_of(&self, guest: &GuestRef, since: Timestamp) -> Result<Vec<TaskListing>, Fault> {
        let call = get(&["nodes", guest.node.as_str(), "tasks"])?
            .with("source", "all")
            .with("vmid", guest.id.to_string())
            .with("since", since.0.div_euclid(1000).to_string())
            .with("limit", TASK_LIMIT.to_string());
        let list = self.list(&call).await?;
        Ok(entries(&call, &list, |entry| {
            // A task that works has no end; its status is missing or says so in capitals.
            let unfinished = entry.non_empty("status").is_none_or(|s| s.eq_ignore_ascii_case("running"));
            Some(TaskListing {
                upid: Upid::new(entry.non_empty("upid")?),
                kind: entry.text("type").unwrap_or_default(),
                id: entry.text("id").unwrap_or_default(),
                started: Timestamp::from_secs(entry.seconds("starttime")?),
                running: unfinished && entry.value("endtime").is_none(),
            })
        }))
    }

    async fn backup_storages(&self, node: &NodeName) -> Result<Vec<StorageFacts>, Fault> {
        let call = get(&["nodes", node.as_str(), "storage"])?.with("content", "backup").with("enabled", "1");
        let list = self.list(&call).await?;
        let active: Vec<&Value> =
            list.iter().filter(|v| Fields::of(v).is_some_and(|f| f.flag("active").unwrap_or(false))).collect();
        let mut storages = entries(&call, active, |entry| {
            let available = entry.number("avail").unwrap_or(0);
            Some(StorageFacts { name: entry.non_empty("storage")?, available })
        });
        storages.sort_by(|a, b| b.available.cmp(&a.available).then_with(|| a.name.cmp(&b.name)));
        Ok(storages)
    }

    async fn pools(&self, node: &NodeName) -> Result<Vec<PoolFacts>, Fault> {
        let call = get(&["nodes", node.as_str(), "storage"])?.with("enabled", "1");
        let list = self.list(&call).await?;
        let active: Vec<&Value> =
            list.iter().filter(|v| Fields::of(v).is_some_and(|f| f.flag("active").unwrap_or(false))).collect();
        Ok(entries(&call, active, |entry| {
            // One that does not tell its size can't be judged.
            let (available, total) = (entry.number("avail")?, entry.number("total")?);
            Some(PoolFacts { name: entry.non_empty("storage")?, available, total })
        }))
    }

    async fn backups(&self, guest: &GuestRef, storage: &str) -> Result<Vec<BackupListing>, Fault> {
        let call = get(&["nodes", guest.node.as_str(), "storage", storage, "content"])?
            .with("content", "backup")
            .with("vmid", guest.id.to_string());
        let list = self.list(&call).await?;
        // Another guest's archive must never pass for this one's protection, so the filter is not left to the server alone.
        let own: Vec<&Value> = list
            .iter()
            .filter(|v| Fields::of(v).and_then(|f| f.number("vmid")).is_none_or(|id| id == u64::from(guest.id.0)))
            .collect();
        Ok(entries(&call, own, |entry| {
            Some(BackupListing {
                volid: entry.non_empty("volid")?,
                notes: entry.text("notes").unwrap_or_default(),
                made: entry.seconds("ctime").map(Timestamp::from_secs),
            })
        }))
    }

    async fn start_backup(&self, guest: &GuestRef, spec: &BackupSpec) -> Result<Upid, Fault> {
        let call = ApiCall::new(Method::Post, &["nodes", guest.node.as_str(), "vzdump"]).map_err(refused)?;
        let call = call
            .with("vmid", guest.id.to_string())
            .with("storage", &spec.storage)
            .with("mode", spec.mode.as_str())
            .with("compress", spec.compress.api_name())
            // Its default deletes older backups by the storage's retention: those are the operator's.
            .with("remove", "0")
            .with("notes-template", notes_template(&spec.note)?)
            .with("lockwait", spec.lock_wait.as_secs().div_ceil(60).to_string());
        self.start(&call).await
    }

    async fn vm_addresses(&self, guest: &GuestRef) -> Result<Vec<String>, Fault> {
        if guest.kind != GuestKind::Vm {
            return Err(Fault::permanent(format!(
                "asking {} {} for its guest agent: only a VM has one",
                guest.kind, guest.id
            )));
        }
        let call = guest_call(Method::Get, guest, &["agent", "network-get-interfaces"])?;
        let answer = self.ask(&call).await?;
        if answer.status == 500 && fault::is_agent_down(&fault::error_text(&answer)) {
            return Ok(Vec::new());
        }
        let data = data_of(&call, answer)?;
        let interfaces = Fields::of(&data).ok_or_else(|| unexpected(&call, "interfaces", &data))?.list("result");
        let mut addresses: Vec<String> = Vec::new();
        for address in interfaces.iter().filter_map(Fields::of).flat_map(|interface| interface.list("ip-addresses")) {
            let text = Fields::of(address).and_then(|a| a.non_empty("ip-address")).unwrap_or_default();
            if let Ok(ip) = text.parse::<IpAddr>()
                && is_reachable(ip)
                && !addresses.contains(&text)
            {
                addresses.push(text);
            }
        }
        Ok(addresses)
    }

    async fn services(&self, node: &NodeName) -> Result<Vec<ServiceListing>, Fault> {
        let call = get(&["nodes", node.as_str(), "services"])?;
        let list = self.list(&call).await?;
        let mut services = entries(&call, &list, |entry| {
            let active = entry.text("active-state").map(|state| state == "active");
            Some(ServiceListing {
                name: entry.non_empty("name").or_else(|| entry.non_empty("service"))?,
                // `state` is systemd's sub-state: a one-shot service that is up says `exited` there.
                running: active.unwrap_or_else(|| entry.text("state").as_deref() == Some("running")),
                enabled: entry.text("unit-state").is_some_and(|state| state.starts_with("enabled")),
            })
        });
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(services)
    }

    async fn permissions(&self) -> Result<BTreeMap<String, BTreeMap<String, bool>>, Fault> {
        let call = get(&["access", "permissions"])?;
        let data = self.data(&call).await?;
        let Value::Object(paths) = &data else {
            return Err(unexpected(&call, "privileges by path", &data));
        };
        let of_path = |(path, privileges): (&String, &Value)| {
            let privileges = privileges.as_object()?;
            let flag = |(name, _): (&String, &Value)| {
                Some((name.clone(), Fields::of(&paths[path]).and_then(|fields| fields.flag(name))?))
            };
            Some((path.clone(), privileges.iter().filter_map(flag).collect()))
        };
        Ok(paths.iter().filter_map(of_path).collect())
    }

    async fn resources(&self) -> Result<Vec<Resource>, Fault> {
        let call = get(&["cluster", "resources"])?.with("type", "vm");
        let list = self.list(&call).await?;
        let resource = |entry: Fields<'_>| {
            let kind = match entry.non_empty("type")?.as_str() {
                "lxc" => GuestKind::Ct,
                "qemu" => GuestKind::Vm,
                _ => return None,
            };
            Some(Resource {
                id: guest_id(entry)?,
                kind,
                node: NodeName::new(entry.non_empty("node")?),
                tags: entry
                    .non_empty("tags")
                    .map_or_else(Vec::new, |tags| tags.split(';').map(str::to_owned).collect()),
                pool: entry.non_empty("pool"),
                ha: entry.non_empty("hastate").is_some(),
            })
        };
        Ok(list.iter().filter_map(Fields::of).filter_map(resource).collect())
    }

    async fn active_tasks(&self, _node: &NodeName) -> Result<Vec<TaskListing>, Fault> {
        todo()
    }

    async fn tasks_of_type(&self, _node: &NodeName, _kind: &str, _since: Timestamp) -> Result<Vec<TaskListing>, Fault> {
        todo()
    }

    async fn repositories(&self, _node: &NodeName) -> Result<Vec<RepositoryFacts>, Fault> {
        todo()
    }

    async fn subscription(&self, _node: &NodeName) -> Result<String, Fault> {
        todo()
    }

    async fn delete_backup(&self, _node: &NodeName, _volid: &str) -> Result<Option<Upid>, Fault> {
        todo()
    }

    async fn start_guest(&self, _guest: &GuestRef) -> Result<Upid, Fault> {
        todo()
    }

    async fn shutdown_guest(&self, _guest: &GuestRef, _timeout: Duration) -> Result<Upid, Fault> {
        todo()
    }

    async fn reboot_guest(&self, _guest: &GuestRef, _timeout: Duration) -> Result<Upid, Fault> {
        todo()
    }

    async fn agent(&self, _guest: &GuestRef) -> Result<AgentState, Fault> {
        todo()
    }

    async fn stop_all(&self, _node: &NodeName, _timeout: Duration) -> Result<Upid, Fault> {
        todo()
    }

    async fn reboot_node(&self, _node: &NodeName) -> Result<(), Fault> {
        todo()
    }
}

fn todo<T>() -> Result<T, Fault> {
    Err(Fault::permanent("not there yet"))
}

/// Makes a GET from path segments.
fn get(segments: &[&str]) -> Result<ApiCall, Fault> {
    ApiCall::new(Method::Get, segments).map_err(refused)
}

/// Makes a call below `/nodes/{node}/{lxc|qemu}/{vmid}`.
fn guest_call(method: Method, guest: &GuestRef, rest: &[&str]) -> Result<ApiCall, Fault> {
    let id = guest.id.to_string();
    let mut segments = vec!["nodes", guest.node.as_str(), guest.kind.api_name(), id.as_str()];
    segments.extend(rest);
    ApiCall::new(method, &segments).map_err(refused)
}

/// Makes a GET below `/nodes/{node}/tasks/{upid}`, on the node that the UPID names.
fn task_call(upid: &Upid, what: &str) -> Result<ApiCall, Fault> {
    let node = upid
        .node()
        .ok_or_else(|| Fault::permanent(format!("asking for task {upid}: it is no UPID with a node in it")))?;
    get(&["nodes", node.as_str(), "tasks", upid.as_str(), what])
}

/// A name that cannot stand in a path was never sent anywhere.
fn refused(bad: super::transport::BadSegment) -> Fault {
    Fault::permanent(bad.to_string())
}

/// Takes `data` out of an answer that reports success.
fn data_of(call: &ApiCall, answer: Answer) -> Result<Value, Fault> {
    if !(200..300).contains(&answer.status) {
        return Err(fault::of_answer(call, &answer));
    }
    match answer.body {
        Value::Object(mut body) => Ok(body.remove("data").unwrap_or(Value::Null)),
        Value::Null => Ok(Value::Null),
        other => Err(unexpected(call, "the API's JSON", &other)),
    }
}

/// Says that an answer is not of the shape that the call's answers have.
fn unexpected(call: &ApiCall, wanted: &str, found: &Value) -> Fault {
    let found = fault::one_line(&found.to_string());
    let shown: String = found.chars().take(200).collect();
    fault::malformed(call, format!("api call {call} was to answer with {wanted}, but answered: {shown}"))
}

/// Reads the entries of a list; one that lacks what identifies it is left out, with a line in the log.
fn entries<'a, R>(
    call: &ApiCall,
    list: impl IntoIterator<Item = &'a Value>,
    read: impl Fn(Fields<'a>) -> Option<R>,
) -> Vec<R> {
    let known = list.into_iter().filter_map(|value| {
        let entry = Fields::of(value).and_then(&read);
        if entry.is_none() {
            tracing::warn!(target: "proxmaint::pve", %call, entry = %value, "left out an entry that cannot be read");
        }
        entry
    });
    known.collect()
}

/// Reads the vmid of a list's entry.
fn guest_id(entry: Fields<'_>) -> Option<GuestId> {
    entry.number("vmid").and_then(|id| u32::try_from(id).ok()).map(GuestId)
}

/// Reads the power state. A VM whose process runs while its machine does not (`qmpstatus` paused, prelaunch, ..) is neither on nor off.
fn power(entry: Fields<'_>) -> Power {
    let machine = entry.non_empty("qmpstatus");
    match entry.text("status").as_deref() {
        Some("running") if machine.is_none_or(|state| state == "running") => Power::Running,
        Some("stopped") => Power::Stopped,
        _ => Power::Other,
    }
}

/// Reads how a stopped task ended.
fn ended(exit: Option<&str>) -> TaskState {
    let Some(exit) = exit else {
        return TaskState::Unknown("the task stopped without an exit status".to_owned());
    };
    let exit = fault::one_line(exit);
    if exit == "OK" {
        return TaskState::Ok { warnings: 0 };
    }
    if let Some(warnings) = exit.strip_prefix("WARNINGS:") {
        // It ended well whatever stands there; a count that cannot be read is at least one.
        return TaskState::Ok { warnings: warnings.trim().parse().unwrap_or(1) };
    }
    if exit == "unexpected status" { TaskState::Unknown(exit) } else { TaskState::Failed(exit) }
}

/// Writes a note as a `notes-template`: newline and backslash are escaped (`\n`, `\\`).
///
/// `{{name}}` is a variable, and nothing escapes it: vzdump unescapes before it substitutes, and fails on a name that it does
/// not know. A note that holds one is refused, since by a changed note its archive would not be found again.
fn notes_template(note: &str) -> Result<String, Fault> {
    let variable = note.match_indices("{{").any(|(at, _)| {
        let rest = note[at..].trim_start_matches('{');
        rest.find("}}").is_some_and(|end| end > 0 && !rest[..end].contains(char::is_whitespace))
    });
    if variable {
        return Err(Fault::permanent(format!(
            "writing the backup note {note:?}: Proxmox VE would replace what stands in {{{{..}}}}"
        )));
    }
    Ok(note.replace('\\', "\\\\").replace('\n', "\\n"))
}

/// Whether an address can be one to reach a guest under from elsewhere.
fn is_reachable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_as_a_template() {
        assert_eq!(
            notes_template("proxmaint 20261122-222842-abcd/h/101/backup/r1").unwrap(),
            "proxmaint 20261122-222842-abcd/h/101/backup/r1"
        );
        assert_eq!(notes_template("a\\b\nc").unwrap(), "a\\\\b\\nc");
        assert_eq!(notes_template("{{ }} {{}} {a}").unwrap(), "{{ }} {{}} {a}");
        for note in ["{{vmid}}", "x {{foo}} y", "{{{node}}}"] {
            assert_eq!(
                notes_template(note).unwrap_err().class,
                crate::machine::outcome::FaultClass::Permanent,
                "{note}"
            );
        }
    }

    #[test]
    fn an_exit_status_is_good_bad_or_doubtful() {
        assert_eq!(ended(Some("OK")), TaskState::Ok { warnings: 0 });
        assert_eq!(ended(Some("WARNINGS: 3")), TaskState::Ok { warnings: 3 });
        assert_eq!(ended(Some("WARNINGS: many")), TaskState::Ok { warnings: 1 });
        assert_eq!(ended(Some("unexpected status")), TaskState::Unknown("unexpected status".to_owned()));
        assert_eq!(ended(Some("ok\n")), TaskState::Failed("ok".to_owned()));
        assert!(matches!(ended(None), TaskState::Unknown(_)));
    }

    #[test]
    fn only_addresses_that_lead_somewhere_count() {
        for ip in ["127.0.0.1", "::1", "169.254.1.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
            assert!(!is_reachable(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["10.88.0.201", "192.168.1.5", "2001:db8::1", "fd00::5"] {
            assert!(is_reachable(ip.parse().unwrap()), "{ip}");
        }
    }
}
