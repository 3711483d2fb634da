//! Users, tokens and what they may do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Privileges by path (`/`, `/vms/101`, `/nodes/pve1`, `/storage/local`). The entry for the longest leading path holds; it is
/// inherited by everything below.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Acl(pub BTreeMap<String, BTreeSet<String>>);

impl Acl {
    /// Makes an ACL of paths and privileges.
    pub fn of(entries: &[(&str, &[&str])]) -> Self {
        Self(
            entries
                .iter()
                .map(|(path, privs)| ((*path).to_owned(), privs.iter().map(|p| (*p).to_owned()).collect()))
                .collect(),
        )
    }

    /// Returns the privileges at a path.
    pub fn at(&self, path: &str) -> BTreeSet<String> {
        let covers = |above: &str| {
            above == "/" || above == path || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
        };
        let nearest = self.0.iter().filter(|(above, _)| covers(above)).max_by_key(|(above, _)| above.len());
        nearest.map(|(_, privs)| privs.clone()).unwrap_or_default()
    }
}

/// A user of a realm's access control (`user.cfg`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its name with its authentication realm (`root@pam`).
    pub name: String,
    /// What it may do; `None` is `root@pam`, which may do everything.
    pub acl: Option<Acl>,
}

/// An API token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The user that it belongs to.
    pub user: String,
    /// Its own name.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// What it may do where its privileges are separated (never more than its user); `None` where it may do what its user may.
    pub acl: Option<Acl>,
}

impl Token {
    /// Returns `USER@REALM!TOKENID`, as UPIDs and the ledger name it.
    pub fn full_id(&self) -> String {
        format!("{}!{}", self.user, self.id)
    }

    /// Returns the value of the `Authorization` header.
    pub fn header(&self) -> String {
        format!("PVEAPIToken={}={}", self.full_id(), self.secret)
    }
}

/// Every privilege that a node of PVE 9 knows.
pub const ALL_PRIVILEGES: &[&str] = &[
    "Datastore.Allocate",
    "Datastore.AllocateSpace",
    "Datastore.AllocateTemplate",
    "Datastore.Audit",
    "Group.Allocate",
    "Mapping.Audit",
    "Mapping.Modify",
    "Mapping.Use",
    "Permissions.Modify",
    "Pool.Allocate",
    "Pool.Audit",
    "Realm.Allocate",
    "Realm.AllocateUser",
    "SDN.Allocate",
    "SDN.Audit",
    "SDN.Use",
    "Sys.AccessNetwork",
    "Sys.Audit",
    "Sys.Console",
    "Sys.Incoming",
    "Sys.Modify",
    "Sys.PowerMgmt",
    "Sys.Syslog",
    "User.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Backup",
    "VM.Clone",
    "VM.Config.CDROM",
    "VM.Config.CPU",
    "VM.Config.Cloudinit",
    "VM.Config.Disk",
    "VM.Config.HWType",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.Console",
    "VM.GuestAgent.Audit",
    "VM.GuestAgent.FileRead",
    "VM.GuestAgent.FileSystemMgmt",
    "VM.GuestAgent.FileWrite",
    "VM.GuestAgent.Unrestricted",
    "VM.Migrate",
    "VM.PowerMgmt",
    "VM.Replicate",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];
