//! The engine's port [`Pve`] on a [`Transport`]. Which call each method makes, and what its answer means, stands in a file
//! for each topic: `cluster`, `guests`, `migration`, `snapshots`, `tasks`, `storage`, `node`, `ceph`, [`super::agent`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::fields::Fields;
use super::transport::{Answer, ApiCall, Method, Transport};
use super::{agent, ceph, cluster, fault, guests, migration, node, snapshots, storage, tasks};
use crate::engine::port::{
    AgentState, BackupListing, BackupSpec, ClusterStatus, GuestConfig, GuestListing, GuestRef, Interface, MoveOrder,
    Preconditions, Pve, ReplicationListing, Resource, ServiceListing, SnapshotListing, Stock, TaskListing, TaskState,
};
use crate::ids::{GuestId, GuestKind, NodeName, SnapshotName, Upid};
use crate::inventory::{CephFacts, PoolFacts, Power, RepositoryFacts, StorageFacts};
use crate::machine::outcome::Fault;
use crate::time::Timestamp;

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
    pub(super) async fn ask(&self, call: &ApiCall) -> Result<Answer, Fault> {
        let answer = self.transport.call(call).await.map_err(|fault| fault::of_transport(call, fault))?;
        tracing::debug!(target: "proxmaint::pve", %call, status = answer.status, "api call answered");
        Ok(answer)
    }

    /// Makes a call and returns its `data`, `Null` where the answer has none.
    pub(super) async fn data(&self, call: &ApiCall) -> Result<Value, Fault> {
        data_of(call, self.ask(call).await?)
    }

    /// Makes a call that answers with a list.
    pub(super) async fn list(&self, call: &ApiCall) -> Result<Vec<Value>, Fault> {
        match self.data(call).await? {
            Value::Array(list) => Ok(list),
            other => Err(unexpected(call, "a list", &other)),
        }
    }

    /// Makes a call that starts a task and returns the task.
    pub(super) async fn start(&self, call: &ApiCall) -> Result<Upid, Fault> {
        match self.data(call).await? {
            Value::String(upid) if Upid::new(upid.as_str()).node().is_some() => Ok(Upid::new(upid)),
            other => Err(unexpected(call, "a UPID", &other)),
        }
    }
}

#[async_trait]
impl<T: Transport> Pve for Client<T> {
    async fn version(&self) -> Result<String, Fault> {
        cluster::version(self).await
    }

    async fn cluster_status(&self) -> Result<ClusterStatus, Fault> {
        cluster::cluster_status(self).await
    }

    async fn ca_fingerprint(&self, node: &NodeName) -> Result<String, Fault> {
        cluster::ca_fingerprint(self, node).await
    }

    async fn guests(&self, node: &NodeName) -> Result<Vec<GuestListing>, Fault> {
        guests::guests(self, node).await
    }

    async fn locate(&self, guest: GuestId) -> Result<Option<NodeName>, Fault> {
        cluster::locate(self, guest).await
    }

    async fn guest_config(&self, guest: &GuestRef) -> Result<GuestConfig, Fault> {
        guests::guest_config(self, guest).await
    }

    async fn guest_status(&self, guest: &GuestRef) -> Result<(Power, Option<String>), Fault> {
        guests::guest_status(self, guest).await
    }

    async fn can_snapshot(&self, guest: &GuestRef) -> Result<bool, Fault> {
        snapshots::can_snapshot(self, guest).await
    }

    async fn snapshots(&self, guest: &GuestRef) -> Result<Vec<SnapshotListing>, Fault> {
        snapshots::snapshots(self, guest).await
    }

    async fn create_snapshot(&self, guest: &GuestRef, name: &SnapshotName, description: &str) -> Result<Upid, Fault> {
        snapshots::create_snapshot(self, guest, name, description).await
    }

    async fn delete_snapshot(&self, guest: &GuestRef, name: &SnapshotName) -> Result<Upid, Fault> {
        snapshots::delete_snapshot(self, guest, name).await
    }

    async fn rollback_snapshot(&self, guest: &GuestRef, name: &SnapshotName) -> Result<Upid, Fault> {
        snapshots::rollback_snapshot(self, guest, name).await
    }

    async fn replication(&self) -> Result<Vec<ReplicationListing>, Fault> {
        cluster::replication(self).await
    }

    async fn task(&self, upid: &Upid) -> Result<TaskState, Fault> {
        tasks::task(self, upid).await
    }

    async fn task_log_tail(&self, upid: &Upid, lines: u32) -> Result<Vec<String>, Fault> {
        tasks::task_log_tail(self, upid, lines).await
    }

    async fn tasks_of(&self, guest: &GuestRef, since: Timestamp) -> Result<Vec<TaskListing>, Fault> {
        tasks::tasks_of(self, guest, since).await
    }

    async fn backup_storages(&self, node: &NodeName) -> Result<Vec<StorageFacts>, Fault> {
        storage::backup_storages(self, node).await
    }

    async fn pools(&self, node: &NodeName) -> Result<Vec<PoolFacts>, Fault> {
        storage::pools(self, node).await
    }

    async fn backups(&self, guest: &GuestRef, storage: &str) -> Result<Vec<BackupListing>, Fault> {
        storage::backups(self, guest, storage).await
    }

    async fn start_backup(&self, guest: &GuestRef, spec: &BackupSpec) -> Result<Upid, Fault> {
        storage::start_backup(self, guest, spec).await
    }

    async fn interfaces(&self, guest: &GuestRef) -> Result<Vec<Interface>, Fault> {
        match guest.kind {
            GuestKind::Ct => guests::ct_interfaces(self, guest).await,
            GuestKind::Vm => agent::interfaces(self, guest).await,
        }
    }

    async fn services(&self, node: &NodeName) -> Result<Vec<ServiceListing>, Fault> {
        node::services(self, node).await
    }

    async fn permissions(&self) -> Result<BTreeMap<String, BTreeMap<String, bool>>, Fault> {
        cluster::permissions(self).await
    }

    async fn resources(&self) -> Result<Vec<Resource>, Fault> {
        cluster::resources(self).await
    }

    async fn ha_resources(&self) -> Result<Vec<String>, Fault> {
        cluster::ha_resources(self).await
    }

    async fn active_tasks(&self, node: &NodeName) -> Result<Vec<TaskListing>, Fault> {
        tasks::active_tasks(self, node).await
    }

    async fn tasks_of_type(&self, node: &NodeName, kind: &str, since: Timestamp) -> Result<Vec<TaskListing>, Fault> {
        tasks::tasks_of_type(self, node, kind, since).await
    }

    async fn repositories(&self, node: &NodeName) -> Result<Vec<RepositoryFacts>, Fault> {
        node::repositories(self, node).await
    }

    async fn subscription(&self, node: &NodeName) -> Result<String, Fault> {
        node::subscription(self, node).await
    }

    async fn delete_backup(&self, node: &NodeName, volid: &str) -> Result<Option<Upid>, Fault> {
        storage::delete_backup(self, node, volid).await
    }

    async fn start_guest(&self, guest: &GuestRef) -> Result<Upid, Fault> {
        guests::start_guest(self, guest).await
    }

    async fn shutdown_guest(&self, guest: &GuestRef, timeout: Duration) -> Result<Upid, Fault> {
        guests::shutdown_guest(self, guest, timeout).await
    }

    async fn reboot_guest(&self, guest: &GuestRef, timeout: Duration) -> Result<Upid, Fault> {
        guests::reboot_guest(self, guest, timeout).await
    }

    async fn agent(&self, guest: &GuestRef) -> Result<AgentState, Fault> {
        agent::agent(self, guest).await
    }

    async fn stop_all(&self, node: &NodeName, timeout: Duration) -> Result<Upid, Fault> {
        node::stop_all(self, node, timeout).await
    }

    async fn stock(&self) -> Result<Stock, Fault> {
        cluster::stock(self).await
    }

    async fn preconditions(&self, guest: &GuestRef) -> Result<Option<Preconditions>, Fault> {
        migration::preconditions(self, guest).await
    }

    async fn migrate(&self, guest: &GuestRef, order: &MoveOrder) -> Result<Upid, Fault> {
        migration::migrate(self, guest, order).await
    }

    async fn in_maintenance(&self) -> Result<BTreeSet<NodeName>, Fault> {
        cluster::in_maintenance(self).await
    }

    async fn shutdown_policy(&self) -> Result<String, Fault> {
        cluster::shutdown_policy(self).await
    }

    async fn ceph(&self) -> Result<Option<CephFacts>, Fault> {
        ceph::look(self).await
    }

    async fn set_noout(&self, on: bool) -> Result<Upid, Fault> {
        ceph::set_noout(self, on).await
    }

    async fn reboot_node(&self, node: &NodeName) -> Result<(), Fault> {
        node::reboot_node(self, node).await
    }
}

/// Makes a GET from path segments.
pub(super) fn get(segments: &[&str]) -> Result<ApiCall, Fault> {
    ApiCall::new(Method::Get, segments).map_err(refused)
}

/// Makes a call below `/nodes/{node}/{lxc|qemu}/{vmid}`.
pub(super) fn guest_call(method: Method, guest: &GuestRef, rest: &[&str]) -> Result<ApiCall, Fault> {
    let id = guest.id.to_string();
    let mut segments = vec!["nodes", guest.node.as_str(), guest.kind.api_name(), id.as_str()];
    segments.extend(rest);
    ApiCall::new(method, &segments).map_err(refused)
}

/// A name that cannot stand in a path was never sent anywhere.
pub(super) fn refused(bad: super::transport::BadSegment) -> Fault {
    Fault::permanent(bad.to_string())
}

/// Takes `data` out of an answer that reports success.
pub(super) fn data_of(call: &ApiCall, answer: Answer) -> Result<Value, Fault> {
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
pub(super) fn unexpected(call: &ApiCall, wanted: &str, found: &Value) -> Fault {
    let found = fault::one_line(&found.to_string());
    let shown: String = found.chars().take(200).collect();
    fault::malformed(call, format!("api call {call} was to answer with {wanted}, but answered: {shown}"))
}

/// Reads the entries of a list; one that lacks what identifies it is left out, with a line in the log.
pub(super) fn entries<'a, R>(
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
pub(super) fn guest_id(entry: Fields<'_>) -> Option<GuestId> {
    entry.number("vmid").and_then(|id| u32::try_from(id).ok()).map(GuestId)
}

/// Writes a time in whole seconds, as the API counts: what is left over is given rather than taken.
pub(super) fn seconds(span: Duration) -> String {
    span.as_millis().div_ceil(1000).to_string()
}
