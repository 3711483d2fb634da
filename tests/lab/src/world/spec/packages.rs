//! What is installed on a guest or node of each kind, and what its repositories have.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::machine::Packages;

/// Versions of packages of an operating system: the name, what is installed, and what the repository has.
pub(super) type Stock = &'static [(&'static str, &'static str, &'static str)];

pub(super) const BOOKWORM: Stock = &[
    ("base-files", "12.4+deb12u11", "12.4+deb12u12"),
    ("bash", "5.2.15-2+b7", "5.2.15-2+b8"),
    ("curl", "7.88.1-10+deb12u12", "7.88.1-10+deb12u14"),
    ("libc6", "2.36-9+deb12u10", "2.36-9+deb12u13"),
    ("libssl3", "3.0.16-1~deb12u1", "3.0.17-1~deb12u3"),
    ("openssh-server", "1:9.2p1-2+deb12u6", "1:9.2p1-2+deb12u7"),
    ("openssl", "3.0.16-1~deb12u1", "3.0.17-1~deb12u3"),
    ("perl-base", "5.36.0-7+deb12u2", "5.36.0-7+deb12u3"),
    ("sudo", "1.9.13p3-1+deb12u1", "1.9.13p3-1+deb12u2"),
    ("systemd", "252.38-1~deb12u1", "252.39-1~deb12u1"),
    ("tzdata", "2025b-0+deb12u1", "2025b-0+deb12u2"),
    ("zlib1g", "1:1.2.13.dfsg-1", "1:1.2.13.dfsg-1+deb12u1"),
];

pub(super) const TRIXIE: Stock = &[
    ("base-files", "13.8", "13.8+deb13u1"),
    ("bash", "5.2.37-2+b3", "5.2.37-2+b5"),
    ("curl", "8.14.1-2", "8.14.1-2+deb13u2"),
    ("libc6", "2.41-11", "2.41-12"),
    ("libssl3t64", "3.5.1-1", "3.5.4-1~deb13u1"),
    ("openssh-server", "1:10.0p1-7", "1:10.0p1-7+deb13u1"),
    ("openssl", "3.5.1-1", "3.5.4-1~deb13u1"),
    ("perl-base", "5.40.1-6", "5.40.1-6+deb13u1"),
    ("sudo", "1.9.16p2-3", "1.9.16p2-3+deb13u1"),
    ("systemd", "257.7-1", "257.9-1~deb13u1"),
    ("tzdata", "2025b-4", "2025b-4+deb13u1"),
    ("zlib1g", "1:1.3.dfsg+really1.3.1-1", "1:1.3.dfsg+really1.3.1-1+b1"),
];

pub(super) const NOBLE: Stock = &[
    ("base-files", "13ubuntu10.2", "13ubuntu10.3"),
    ("bash", "5.2.21-2ubuntu4", "5.2.21-2ubuntu4.1"),
    ("curl", "8.5.0-2ubuntu10.5", "8.5.0-2ubuntu10.6"),
    ("libc6", "2.39-0ubuntu8.5", "2.39-0ubuntu8.6"),
    ("libssl3t64", "3.0.13-0ubuntu3.5", "3.0.13-0ubuntu3.6"),
    ("openssh-server", "1:9.6p1-3ubuntu13.13", "1:9.6p1-3ubuntu13.14"),
    ("openssl", "3.0.13-0ubuntu3.5", "3.0.13-0ubuntu3.6"),
    ("perl-base", "5.38.2-3.2ubuntu0.1", "5.38.2-3.2ubuntu0.2"),
    ("sudo", "1.9.15p5-3ubuntu5", "1.9.15p5-3ubuntu5.24.04.1"),
    ("systemd", "255.4-1ubuntu8.10", "255.4-1ubuntu8.11"),
    ("tzdata", "2025b-0ubuntu0.24.04", "2025b-0ubuntu0.24.04.1"),
    ("zlib1g", "1:1.3.dfsg-3.1ubuntu2", "1:1.3.dfsg-3.1ubuntu2.1"),
];

pub(super) const ALPINE: Stock = &[
    ("alpine-baselayout", "3.7.0-r0", "3.7.0-r1"),
    ("busybox", "1.37.0-r18", "1.37.0-r19"),
    ("ca-certificates", "20250619-r0", "20250911-r0"),
    ("libcrypto3", "3.5.2-r0", "3.5.4-r0"),
    ("libssl3", "3.5.2-r0", "3.5.4-r0"),
    ("musl", "1.2.5-r10", "1.2.5-r12"),
    ("openssh", "10.0_p1-r7", "10.0_p1-r9"),
    ("zlib", "1.3.1-r2", "1.3.1-r3"),
];

pub(super) const NODE: Stock = &[
    ("corosync", "3.1.9-pve1", "3.1.9-pve2"),
    ("libpve-common-perl", "9.0.10", "9.0.13"),
    ("lxc-pve", "6.0.5-1", "6.0.5-3"),
    ("proxmox-kernel-6.17", "6.17.2-1", "6.17.4-1"),
    ("proxmox-ve", "9.1.0", "9.2.0"),
    ("pve-container", "6.0.13", "6.0.18"),
    ("pve-ha-manager", "5.0.5", "5.0.8"),
    ("pve-manager", "9.2.11", "9.2.12"),
    ("pve-qemu-kvm", "10.1.2-1", "10.1.2-3"),
    ("qemu-server", "9.0.23", "9.0.29"),
    ("zfsutils-linux", "2.3.4-pve1", "2.3.4-pve2"),
];

/// What is installed, and how far the repository and the machine's lists are ahead.
#[derive(Debug, Clone)]
pub(crate) struct PackageSpec {
    pub(super) stock: Stock,
    pub(super) pending: usize,
    pub(super) unknown: usize,
    pub(super) refreshed_ms_ago: Option<i64>,
    pub(super) own: Vec<(String, String, Option<String>)>,
    pub(super) held: BTreeSet<String>,
}

impl PackageSpec {
    pub(super) fn of(stock: Stock) -> Self {
        Self {
            stock,
            pending: 0,
            unknown: 0,
            refreshed_ms_ago: Some(86_400_000),
            own: Vec::new(),
            held: BTreeSet::new(),
        }
    }

    pub(super) fn build(&self) -> Packages {
        let mut installed: BTreeMap<String, String> = BTreeMap::new();
        let mut repository = BTreeMap::new();
        let mut lists = BTreeMap::new();
        for (i, (name, old, new)) in self.stock.iter().enumerate() {
            let newer_known = i < self.pending;
            let newer = i < self.pending + self.unknown;
            installed.insert((*name).to_owned(), (*old).to_owned());
            repository.insert((*name).to_owned(), if newer { *new } else { *old }.to_owned());
            lists.insert((*name).to_owned(), if newer_known { *new } else { *old }.to_owned());
        }
        for (name, old, new) in &self.own {
            installed.insert(name.clone(), old.clone());
            let latest = new.as_ref().unwrap_or(old);
            repository.insert(name.clone(), latest.clone());
            lists.insert(name.clone(), latest.clone());
        }
        let held = self.held.clone();
        let lists_refreshed = self.refreshed_ms_ago.map(|ago| -ago);
        Packages { installed, repository, lists, lists_refreshed, held, ..Packages::default() }
    }
}
