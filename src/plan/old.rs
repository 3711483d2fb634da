//! What earlier runs left and nobody needs any more, to be found wherever its guest is now.

use std::collections::BTreeMap;

use super::{OldBackup, OldSnapshot};
use crate::ids::{ClusterId, HostId};

/// Snapshots and backups that earlier runs left. Guests move within their cluster: what was made of one over one entry of the
/// manifest is looked for over each entry that is a node of the same cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OldThings {
    snapshots: Left<OldSnapshot>,
    backups: Left<OldBackup>,
}

/// Things of one sort.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left<T> {
    by_cluster: BTreeMap<ClusterId, Vec<T>>,
    /// The same by the entry over which they were made, with the cluster that it was a node of then: a node that has joined
    /// a cluster since has another one now.
    by_host: BTreeMap<HostId, Vec<(Option<ClusterId>, T)>>,
}

impl<T> Default for Left<T> {
    fn default() -> Self {
        Self { by_cluster: BTreeMap::new(), by_host: BTreeMap::new() }
    }
}

impl<T: Clone> Left<T> {
    fn add(&mut self, host: &HostId, cluster: Option<&ClusterId>, thing: T) {
        if let Some(cluster) = cluster {
            self.by_cluster.entry(cluster.clone()).or_default().push(thing.clone());
        }
        self.by_host.entry(host.clone()).or_default().push((cluster.cloned(), thing));
    }

    fn for_host<'a>(&'a self, host: &HostId, cluster: &'a ClusterId) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let of_cluster = self.by_cluster.get(cluster).into_iter().flatten();
        let of_host = self.by_host.get(host).into_iter().flatten();
        of_cluster.chain(of_host.filter(move |(then, _)| then.as_ref() != Some(cluster)).map(|(_, thing)| thing))
    }
}

impl OldThings {
    /// Adds a snapshot that was made over an entry, which was a node of that cluster then.
    pub fn add_snapshot(&mut self, host: &HostId, cluster: Option<&ClusterId>, old: OldSnapshot) {
        self.snapshots.add(host, cluster, old);
    }

    /// Adds a backup.
    pub fn add_backup(&mut self, host: &HostId, cluster: Option<&ClusterId>, old: OldBackup) {
        self.backups.add(host, cluster, old);
    }

    /// Returns the snapshots whose guests may be on a host, which is a node of that cluster; each is named once.
    pub fn snapshots<'a>(
        &'a self,
        host: &HostId,
        cluster: &'a ClusterId,
    ) -> impl Iterator<Item = &'a OldSnapshot> + use<'a> {
        self.snapshots.for_host(host, cluster)
    }

    /// Returns the backups of guests that may be on a host.
    pub fn backups<'a>(
        &'a self,
        host: &HostId,
        cluster: &'a ClusterId,
    ) -> impl Iterator<Item = &'a OldBackup> + use<'a> {
        self.backups.for_host(host, cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GuestId, GuestKind, NodeName, SnapshotName};
    use crate::plan::GuestAddr;

    #[test]
    fn what_was_left_is_found_on_each_node_of_its_cluster_and_once() {
        let old = |name: &str| OldSnapshot {
            guest: GuestAddr {
                node: NodeName::new("pve1"),
                kind: GuestKind::Ct,
                id: GuestId(101),
                identity: Some("x".to_owned()),
            },
            name: SnapshotName::new(name),
        };
        let (here, elsewhere) = (ClusterId::new("lab"), ClusterId::new("other"));
        let (a, b) = (HostId::new("a"), HostId::new("b"));
        let mut all = OldThings::default();
        all.add_snapshot(&a, Some(&here), old("pm-1"));
        all.add_snapshot(&b, Some(&here), old("pm-2"));
        all.add_snapshot(&a, Some(&elsewhere), old("pm-3"));
        all.add_snapshot(&a, None, old("pm-4"));
        let names = |host: &HostId, cluster: &ClusterId| -> Vec<String> {
            all.snapshots(host, cluster).map(|old| old.name.to_string()).collect()
        };
        assert_eq!(names(&a, &here), ["pm-1", "pm-2", "pm-3", "pm-4"], "it has joined that cluster since");
        assert_eq!(names(&b, &here), ["pm-1", "pm-2"]);
        assert_eq!(names(&b, &elsewhere), ["pm-3", "pm-2"]);
        assert!(names(&HostId::new("c"), &ClusterId::new("third")).is_empty());
    }
}
