//! Every endpoint that the lab has: method, path, parameters, what it asks for, and who answers.

use std::collections::BTreeMap;

use serde_json::Value;

use super::access::{self, Access};
use super::call::{Call, Failure};
use super::params::{Kind, Param, TEXT, VMID, must, opt, unmodelled};
use super::{agent, ceph, cluster, guest, guest_acts, ha, migrate, node, storage, tasks};

/// An endpoint of the API.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// The method.
    pub method: &'static str,
    /// The path with its placeholders, as the official schema writes it.
    pub path: &'static str,
    /// What it takes besides what stands in the path.
    pub params: &'static [Param],
    /// What it asks for before it looks at anything.
    pub access: Access,
    /// Who answers.
    pub(crate) run: fn(&mut Call<'_>) -> Result<Value, Failure>,
}

/// Returns every endpoint.
pub fn endpoints() -> &'static [Endpoint] {
    ENDPOINTS
}

/// Finds the endpoint for the components of a path, and what its placeholders stand for. `{volume}` takes the rest of the path.
pub(crate) fn find(method: &str, segments: &[String]) -> Option<(&'static Endpoint, BTreeMap<String, String>)> {
    ENDPOINTS.iter().filter(|e| e.method == method).find_map(|e| Some((e, fit(e.path, segments)?)))
}

fn fit(path: &str, segments: &[String]) -> Option<BTreeMap<String, String>> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let mut filled = BTreeMap::new();
    for (i, part) in parts.iter().enumerate() {
        let given = segments.get(i)?;
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            None if part != given => return None,
            None => {}
            Some("volume") => {
                filled.insert("volume".to_owned(), segments[i..].join("/"));
                return Some(filled);
            }
            Some(name) => {
                filled.insert(name.to_owned(), given.clone());
            }
        }
    }
    (parts.len() == segments.len()).then_some(filled)
}

const BYTES: Kind = Kind::Int(0, i64::MAX);
const COUNT: Kind = Kind::Int(0, i64::MAX);
const SECONDS: Kind = Kind::Int(0, i64::MAX);
const NONE: &[Param] = &[];
const AUDIT_ROOT: Access = Access::All("/", &["Sys.Audit"]);
const CONSOLE_ROOT: Access = Access::All("/", &["Sys.Console"]);
const MODIFY_ROOT: Access = Access::All("/", &["Sys.Modify"]);
const AUDIT_CEPH: Access = Access::Any("/", &["Sys.Audit", "Datastore.Audit"]);
const AUDIT_NODE: Access = Access::All("/nodes/{node}", &["Sys.Audit"]);
const MODIFY_NODE: Access = Access::All("/nodes/{node}", &["Sys.Modify"]);
const POWER_NODE: Access = Access::All("/nodes/{node}", &["Sys.PowerMgmt"]);
const AUDIT_VM: Access = Access::All("/vms/{vmid}", &["VM.Audit"]);
const POWER_VM: Access = Access::All("/vms/{vmid}", &["VM.PowerMgmt"]);
const SNAPSHOT_VM: Access = Access::All("/vms/{vmid}", &["VM.Snapshot"]);
const ROLLBACK_VM: Access = Access::Any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback"]);
const MIGRATE_VM: Access = Access::All("/vms/{vmid}", &["VM.Migrate"]);
const AGENT_AUDIT: Access = Access::Any("/vms/{vmid}", &["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]);
const AGENT_ALL: Access = Access::All("/vms/{vmid}", &["VM.GuestAgent.Unrestricted"]);
const AUDIT_STORAGE: Access = Access::Any("/storage/{storage}", &["Datastore.Audit", "Datastore.AllocateSpace"]);

const CONFIG: &[Param] = &[opt("current", Kind::Bool), opt("snapshot", Kind::ConfigId)];
const FEATURE: &[Param] =
    &[must("feature", Kind::Enum(&["snapshot", "clone", "copy"])), opt("snapname", Kind::ConfigId)];
const DESCRIBED: &[Param] = &[must("snapname", Kind::ConfigId), opt("description", TEXT)];
const FORCE: &[Param] = &[opt("force", Kind::Bool)];
const START: &[Param] = &[opt("start", Kind::Bool)];
const TIMEOUT: &[Param] = &[opt("timeout", SECONDS)];

const VZDUMP: &[Param] = &[
    unmodelled("all", Kind::Bool),
    unmodelled("bwlimit", COUNT),
    opt("compress", Kind::Enum(&["0", "1", "gzip", "lzo", "zstd"])),
    unmodelled("dumpdir", TEXT),
    unmodelled("exclude", TEXT),
    unmodelled("exclude-path", Kind::List),
    unmodelled("fleecing", TEXT),
    unmodelled("ionice", Kind::Int(0, 8)),
    unmodelled("job-id", Kind::Str(50)),
    opt("lockwait", COUNT),
    unmodelled("mailnotification", Kind::Enum(&["always", "failure"])),
    unmodelled("mailto", TEXT),
    unmodelled("maxfiles", Kind::Int(1, i64::MAX)),
    opt("mode", Kind::Enum(&["snapshot", "suspend", "stop"])),
    opt("notes-template", Kind::Str(1024)).with("storage"),
    unmodelled("notification-mode", Kind::Enum(&["auto", "legacy-sendmail", "notification-system"])),
    unmodelled("pbs-change-detection-mode", Kind::Enum(&["legacy", "data", "metadata"])),
    unmodelled("performance", TEXT),
    unmodelled("pigz", Kind::Int(i64::MIN, i64::MAX)),
    unmodelled("pool", TEXT),
    opt("protected", Kind::Bool).with("storage"),
    unmodelled("prune-backups", TEXT),
    unmodelled("quiet", Kind::Bool),
    opt("remove", Kind::Bool),
    unmodelled("script", TEXT),
    unmodelled("stdexcludes", Kind::Bool),
    unmodelled("stdout", Kind::Bool),
    unmodelled("stop", Kind::Bool),
    unmodelled("stopwait", COUNT),
    opt("storage", Kind::Storage),
    unmodelled("tmpdir", TEXT),
    opt("vmid", TEXT),
    unmodelled("zstd", Kind::Int(i64::MIN, i64::MAX)),
];

const TASKS: &[Param] = &[
    opt("errors", Kind::Bool),
    opt("limit", COUNT),
    opt("since", Kind::Int(i64::MIN, i64::MAX)),
    opt("source", Kind::Enum(&["archive", "active", "all"])),
    opt("start", COUNT),
    unmodelled("statusfilter", TEXT),
    opt("typefilter", TEXT),
    opt("until", Kind::Int(i64::MIN, i64::MAX)),
    opt("userfilter", TEXT),
    opt("vmid", VMID),
];

const QEMU_START: &[Param] = &[
    unmodelled("force-cpu", TEXT),
    unmodelled("machine", TEXT),
    unmodelled("migratedfrom", Kind::Node),
    unmodelled("migration_network", TEXT),
    unmodelled("migration_type", Kind::Enum(&["secure", "insecure"])),
    unmodelled("nets-host-mtu", TEXT),
    unmodelled("skiplock", Kind::Bool),
    unmodelled("stateuri", Kind::Str(128)),
    unmodelled("targetstorage", TEXT),
    opt("timeout", SECONDS),
    unmodelled("with-conntrack-state", Kind::Bool),
];

const LXC_MIGRATE: &[Param] = &[
    unmodelled("bwlimit", Kind::Number),
    opt("online", Kind::Bool),
    opt("restart", Kind::Bool),
    must("target", Kind::Node),
    unmodelled("target-storage", TEXT),
    opt("timeout", Kind::Int(i64::MIN, i64::MAX)),
];

const QEMU_MIGRATE: &[Param] = &[
    unmodelled("bwlimit", BYTES),
    unmodelled("force", Kind::Bool),
    unmodelled("migration_network", TEXT),
    unmodelled("migration_type", Kind::Enum(&["secure", "insecure"])),
    opt("online", Kind::Bool),
    must("target", Kind::Node),
    unmodelled("targetstorage", TEXT),
    unmodelled("with-conntrack-state", Kind::Bool),
    opt("with-local-disks", Kind::Bool),
];

const STOPALL: &[Param] = &[
    opt("force-stop", Kind::Bool),
    unmodelled("max-workers", Kind::Int(1, 64)),
    opt("timeout", Kind::Int(0, 7200)),
    opt("vms", TEXT),
];

const CEPH_FLAGS: &[Param] = &[
    opt("nobackfill", Kind::Bool),
    opt("nodeep-scrub", Kind::Bool),
    opt("nodown", Kind::Bool),
    opt("noin", Kind::Bool),
    opt("noout", Kind::Bool),
    opt("norebalance", Kind::Bool),
    opt("norecover", Kind::Bool),
    opt("noscrub", Kind::Bool),
    opt("notieragent", Kind::Bool),
    opt("noup", Kind::Bool),
    opt("pause", Kind::Bool),
];

const STORAGE_TYPES: &[&str] = &[
    "btrfs",
    "cephfs",
    "cifs",
    "dir",
    "esxi",
    "iscsi",
    "iscsidirect",
    "lvm",
    "lvmthin",
    "nfs",
    "pbs",
    "rbd",
    "zfs",
    "zfspool",
];

/// The flags of an OSD map.
pub(super) const FLAGS: &[&str] = &[
    "nobackfill",
    "nodeep-scrub",
    "nodown",
    "noin",
    "noout",
    "norebalance",
    "norecover",
    "noscrub",
    "notieragent",
    "noup",
    "pause",
];

const HA_ADD: &[Param] = &[
    unmodelled("comment", Kind::Str(4096)),
    unmodelled("failback", Kind::Bool),
    unmodelled("group", Kind::ConfigId),
    unmodelled("max_relocate", COUNT),
    unmodelled("max_restart", COUNT),
    must("sid", TEXT),
    opt("state", Kind::Enum(&["started", "stopped", "enabled", "disabled", "ignored"])),
    opt("type", Kind::Enum(&["ct", "vm"])),
];

macro_rules! endpoints {
    ($($method:ident $path:literal $params:expr, $access:expr, $run:path;)*) => {
        &[$(Endpoint { method: stringify!($method), path: $path, params: $params, access: $access, run: $run }),*]
    };
}

#[rustfmt::skip]
const ENDPOINTS: &[Endpoint] = endpoints! {
    GET "/version" NONE, Access::Anyone, cluster::version;
    GET "/nodes" NONE, Access::Anyone, cluster::nodes;
    GET "/access/permissions" &[opt("path", TEXT), unmodelled("userid", TEXT)], Access::Anyone, access::permissions;
    GET "/cluster/status" NONE, AUDIT_ROOT, cluster::status;
    GET "/cluster/resources" &[opt("type", Kind::Enum(&["vm", "storage", "node", "sdn"]))], Access::Anyone, cluster::resources;
    GET "/cluster/tasks" NONE, Access::Anyone, tasks::of_cluster;
    GET "/cluster/log" &[opt("max", Kind::Int(1, i64::MAX))], Access::Anyone, tasks::cluster_log;
    GET "/cluster/options" NONE, AUDIT_ROOT, cluster::options;
    GET "/cluster/ha/resources" &[opt("type", Kind::Enum(&["ct", "vm"]))], AUDIT_ROOT, ha::resources;
    POST "/cluster/ha/resources" HA_ADD, CONSOLE_ROOT, ha::add;
    DELETE "/cluster/ha/resources/{sid}" &[unmodelled("purge", Kind::Bool)], CONSOLE_ROOT, ha::remove;
    GET "/cluster/ha/status/current" NONE, AUDIT_ROOT, ha::status;
    GET "/cluster/ha/status/manager_status" NONE, AUDIT_ROOT, ha::manager_status;
    GET "/cluster/replication" NONE, Access::Anyone, cluster::replication;
    GET "/cluster/ceph/status" NONE, AUDIT_CEPH, ceph::status;
    GET "/cluster/ceph/flags" NONE, AUDIT_ROOT, ceph::flags;
    PUT "/cluster/ceph/flags" CEPH_FLAGS, MODIFY_ROOT, ceph::set_flags;
    GET "/cluster/ceph/flags/{flag}" NONE, AUDIT_ROOT, ceph::flag;
    PUT "/cluster/ceph/flags/{flag}" &[must("value", Kind::Bool)], MODIFY_ROOT, ceph::set_flag;
    GET "/storage" &[opt("type", Kind::Enum(STORAGE_TYPES))], Access::Anyone, storage::index;
    GET "/nodes/{node}/ceph/status" NONE, AUDIT_CEPH, ceph::status;

    GET "/nodes/{node}/status" NONE, AUDIT_NODE, node::status;
    POST "/nodes/{node}/status" &[must("command", Kind::Enum(&["reboot", "shutdown"]))], POWER_NODE, node::command;
    GET "/nodes/{node}/version" NONE, Access::Anyone, node::version;
    GET "/nodes/{node}/services" NONE, AUDIT_NODE, node::services;
    GET "/nodes/{node}/certificates/info" NONE, Access::Anyone, node::certificates;
    GET "/nodes/{node}/apt/update" NONE, MODIFY_NODE, node::updates;
    POST "/nodes/{node}/apt/update" &[opt("notify", Kind::Bool), opt("quiet", Kind::Bool)], MODIFY_NODE, node::refresh;
    GET "/nodes/{node}/apt/versions" NONE, AUDIT_NODE, node::versions;
    GET "/nodes/{node}/apt/repositories" NONE, AUDIT_NODE, node::repositories;
    GET "/nodes/{node}/subscription" NONE, Access::Anyone, node::subscription;
    POST "/nodes/{node}/startall" &[opt("force", Kind::Bool), unmodelled("max-workers", Kind::Int(1, 64)), opt("vms", TEXT)], Access::Anyone, node::start_all;
    POST "/nodes/{node}/stopall" STOPALL, Access::Anyone, node::stop_all;

    GET "/nodes/{node}/storage" &[opt("content", TEXT), opt("enabled", Kind::Bool), unmodelled("format", Kind::Bool), opt("storage", Kind::Storage), unmodelled("target", Kind::Node)], Access::Anyone, storage::list;
    GET "/nodes/{node}/storage/{storage}/content" &[opt("content", TEXT), opt("vmid", VMID)], AUDIT_STORAGE, storage::content;
    DELETE "/nodes/{node}/storage/{storage}/content/{volume}" &[unmodelled("delay", Kind::Int(1, 30))], Access::Anyone, storage::delete;
    PUT "/nodes/{node}/storage/{storage}/content/{volume}" &[opt("notes", TEXT), opt("protected", Kind::Bool)], Access::Anyone, storage::change;
    POST "/nodes/{node}/vzdump" VZDUMP, Access::Anyone, storage::vzdump;

    GET "/nodes/{node}/tasks" TASKS, Access::Anyone, tasks::list;
    GET "/nodes/{node}/tasks/{upid}/status" NONE, Access::Anyone, tasks::status;
    GET "/nodes/{node}/tasks/{upid}/log" &[unmodelled("download", Kind::Bool), opt("limit", COUNT), opt("start", COUNT)], Access::Anyone, tasks::log;

    GET "/nodes/{node}/lxc" NONE, Access::Anyone, guest::list;
    GET "/nodes/{node}/lxc/{vmid}/config" CONFIG, AUDIT_VM, guest::config;
    GET "/nodes/{node}/lxc/{vmid}/pending" NONE, AUDIT_VM, guest::pending;
    GET "/nodes/{node}/lxc/{vmid}/status/current" NONE, AUDIT_VM, guest::status;
    GET "/nodes/{node}/lxc/{vmid}/feature" FEATURE, AUDIT_VM, guest::feature;
    GET "/nodes/{node}/lxc/{vmid}/interfaces" NONE, AUDIT_VM, guest::interfaces;
    GET "/nodes/{node}/lxc/{vmid}/snapshot" NONE, AUDIT_VM, guest::snapshots;
    POST "/nodes/{node}/lxc/{vmid}/snapshot" DESCRIBED, SNAPSHOT_VM, guest_acts::snapshot;
    DELETE "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}" FORCE, SNAPSHOT_VM, guest_acts::delete_snapshot;
    POST "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback" START, ROLLBACK_VM, guest_acts::rollback;
    POST "/nodes/{node}/lxc/{vmid}/status/start" &[unmodelled("debug", Kind::Bool), unmodelled("skiplock", Kind::Bool)], POWER_VM, guest_acts::start;
    POST "/nodes/{node}/lxc/{vmid}/status/shutdown" &[opt("forceStop", Kind::Bool), opt("timeout", SECONDS)], POWER_VM, guest_acts::shutdown;
    POST "/nodes/{node}/lxc/{vmid}/status/stop" &[unmodelled("overrule-shutdown", Kind::Bool), unmodelled("skiplock", Kind::Bool)], POWER_VM, guest_acts::stop;
    POST "/nodes/{node}/lxc/{vmid}/status/reboot" TIMEOUT, POWER_VM, guest_acts::reboot;
    GET "/nodes/{node}/lxc/{vmid}/migrate" &[opt("target", Kind::Node)], MIGRATE_VM, migrate::preconditions;
    POST "/nodes/{node}/lxc/{vmid}/migrate" LXC_MIGRATE, MIGRATE_VM, migrate::migrate;

    GET "/nodes/{node}/qemu" &[opt("full", Kind::Bool)], Access::Anyone, guest::list;
    GET "/nodes/{node}/qemu/{vmid}/config" CONFIG, AUDIT_VM, guest::config;
    GET "/nodes/{node}/qemu/{vmid}/pending" NONE, AUDIT_VM, guest::pending;
    GET "/nodes/{node}/qemu/{vmid}/status/current" NONE, AUDIT_VM, guest::status;
    GET "/nodes/{node}/qemu/{vmid}/feature" FEATURE, AUDIT_VM, guest::feature;
    GET "/nodes/{node}/qemu/{vmid}/snapshot" NONE, AUDIT_VM, guest::snapshots;
    POST "/nodes/{node}/qemu/{vmid}/snapshot" &[must("snapname", Kind::ConfigId), opt("description", TEXT), unmodelled("vmstate", Kind::Bool)], SNAPSHOT_VM, guest_acts::snapshot;
    DELETE "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}" FORCE, SNAPSHOT_VM, guest_acts::delete_snapshot;
    POST "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback" START, ROLLBACK_VM, guest_acts::rollback;
    POST "/nodes/{node}/qemu/{vmid}/status/start" QEMU_START, POWER_VM, guest_acts::start;
    POST "/nodes/{node}/qemu/{vmid}/status/shutdown" &[opt("forceStop", Kind::Bool), unmodelled("keepActive", Kind::Bool), unmodelled("skiplock", Kind::Bool), opt("timeout", SECONDS)], POWER_VM, guest_acts::shutdown;
    POST "/nodes/{node}/qemu/{vmid}/status/stop" &[unmodelled("keepActive", Kind::Bool), unmodelled("migratedfrom", Kind::Node), unmodelled("overrule-shutdown", Kind::Bool), unmodelled("skiplock", Kind::Bool), opt("timeout", SECONDS)], POWER_VM, guest_acts::stop;
    POST "/nodes/{node}/qemu/{vmid}/status/reboot" TIMEOUT, POWER_VM, guest_acts::reboot;
    GET "/nodes/{node}/qemu/{vmid}/migrate" &[opt("target", Kind::Node)], MIGRATE_VM, migrate::preconditions;
    POST "/nodes/{node}/qemu/{vmid}/migrate" QEMU_MIGRATE, MIGRATE_VM, migrate::migrate;
    POST "/nodes/{node}/qemu/{vmid}/agent/ping" NONE, AGENT_AUDIT, agent::ping;
    POST "/nodes/{node}/qemu/{vmid}/agent/exec" &[must("command", Kind::List), opt("input-data", Kind::Str(65536))], AGENT_ALL, agent::exec;
    GET "/nodes/{node}/qemu/{vmid}/agent/exec-status" &[must("pid", Kind::Int(i64::MIN, i64::MAX))], AGENT_ALL, agent::exec_status;
    GET "/nodes/{node}/qemu/{vmid}/agent/network-get-interfaces" NONE, AGENT_AUDIT, agent::interfaces;
    GET "/nodes/{node}/qemu/{vmid}/agent/get-osinfo" NONE, AGENT_AUDIT, agent::osinfo;
};
