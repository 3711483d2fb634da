//! Looks at guests: what each is, whether the run is about it, how it is entered, and what is found inside.
//!
//! A way into a guest counts only once it has proven to lead to that very guest. An address is a hint and proves nothing.

use std::collections::BTreeMap;

use super::{Context, addresses, guest_ref, proven};
use crate::choices::health::HealthCheck;
use crate::choices::{Stopped, Traits, ViaChoice};
use crate::engine::port::{AgentState, GuestConfig, GuestListing, GuestRef, Identity, Place, Resource};
use crate::engine::wait::{Backoff, retried};
use crate::ids::{GuestId, GuestKind, NodeName, SnapshotName, StepKey};
use crate::inventory::{GuestFacts, Inside, OsFacts, PoolFacts, Power, Via};
use crate::machine::outcome::{Detail, Fault, Outcome};
use crate::plan::{GuestAddr, HostPolicy};

/// How many addresses of a guest are tried: one with docker lists dozens.
const MOST_ADDRESSES: usize = 6;

/// What is known of all guests of a node before one is looked at.
pub(super) struct Around<'a> {
    /// What the operator wants.
    pub(super) policy: &'a HostPolicy,
    /// The node.
    pub(super) node: &'a NodeName,
    /// Storages with their sizes.
    pub(super) pools: &'a [PoolFacts],
    /// The guests of the cluster.
    pub(super) resources: &'a BTreeMap<GuestId, Resource>,
    /// The jobs by which guests are replicated, where a rollback is wanted of any.
    pub(super) replication: &'a BTreeMap<GuestId, String>,
    /// Whether package lists are refreshed first.
    pub(super) refresh: bool,
}

/// Looks at one guest. Only a failing API is an error: what is wrong within the guest is a fact about it.
pub(super) async fn look_at(cx: &Context, around: &Around<'_>, guest: GuestListing) -> Result<GuestFacts, Fault> {
    let at = GuestRef { node: around.node.clone(), kind: guest.kind, id: guest.id };
    let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
    let resource = around.resources.get(&guest.id);
    let tags = tags(&config);
    let traits = Traits {
        id: guest.id,
        kind: guest.kind,
        name: &guest.name,
        tags: &tags,
        pool: resource.and_then(|resource| resource.pool.as_deref()),
    };
    // Whoever is left out is left in peace: not even looked into.
    let concerned = !guest.template && around.policy.left_out(&traits).is_none();
    let settings = around.policy.settings_of(&traits);
    let own_snapshots = match !guest.template && around.policy.may_prune(&traits) {
        true => {
            let all = retried(|| cx.ports.pve.snapshots(&at)).await?;
            let own = |name: &SnapshotName| name.as_str().starts_with(StepKey::SNAPSHOT_PREFIX);
            all.into_iter().map(|snapshot| snapshot.name).filter(own).collect()
        }
        false => Vec::new(),
    };
    let identity = identity_of(guest.kind, &config);
    let runs = guest.power == Power::Running;
    let to_be_started = guest.power == Power::Stopped && settings.stopped == Stopped::Start;
    let can_snapshot = concerned && (runs || to_be_started) && retried(|| cx.ports.pve.can_snapshot(&at)).await?;
    let inside = match concerned && runs {
        true => {
            let entrance = Entrance { at: &at, identity: identity.as_deref(), config: &config, choice: settings.via };
            entrance.look_inside(cx, around.refresh).await
        }
        false => Inside::NotLooked,
    };
    let address = match &inside {
        Inside::Seen { via, .. } if settings.checks.iter().any(HealthCheck::needs_address) => {
            address_of(cx, &at, &config, Some(via)).await?
        }
        _ => None,
    };
    let resource_pool = resource.and_then(|resource| resource.pool.clone());
    Ok(GuestFacts {
        id: guest.id,
        kind: guest.kind,
        name: guest.name,
        identity,
        power: guest.power,
        template: guest.template,
        lock: guest.lock.or_else(|| config.0.get("lock").cloned()),
        can_snapshot,
        pool: fullest_pool(&config, around.pools),
        own_snapshots,
        not_backed_up: not_backed_up(guest.kind, &config),
        disk_bytes: guest.disk_bytes,
        tags,
        resource_pool,
        ha: resource.is_some_and(|resource| resource.ha),
        replicated: around.replication.get(&guest.id).cloned(),
        address,
        inside,
    })
}

/// Waits until a guest that was started answers, refreshes its package lists, and looks what is pending there.
///
/// The bound is that of a boot: an agent needs up to two minutes, and an address may come even later.
pub(super) async fn started(cx: &Context, guest: &GuestAddr, choice: ViaChoice) -> Outcome {
    match answering(cx, guest, choice, true).await {
        Ok(inside) => Outcome::Done(Detail::Looked(Box::new(inside))),
        Err(fault) => Outcome::Failed(fault),
    }
}

/// Waits, within the limit of a boot, until a guest that was started answers, and looks into it.
///
/// # Errors
/// It is another guest, or the API can't be asked.
pub(super) async fn answering(
    cx: &Context,
    guest: &GuestAddr,
    choice: ViaChoice,
    refresh: bool,
) -> Result<Inside, Fault> {
    let at = guest_ref(guest);
    let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
    if identity_of(guest.kind, &config) != guest.identity {
        let what = format!("{} {} is not the guest that was started any more", guest.kind, guest.id);
        return Err(Fault::identity(what));
    }
    let entrance = Entrance { at: &at, identity: guest.identity.as_deref(), config: &config, choice };
    let mut backoff = Backoff::within(cx.limits.boot);
    loop {
        let (inside, is_final) = match entrance.enter(cx).await {
            // Its network may come later than its first answer: a refresh that fails is tried again as well.
            Ok((via, place)) => match entrance.inspect(cx, via, &place, refresh).await {
                seen @ Inside::Seen { .. } => (seen, true),
                other => (other, false),
            },
            Err(miss) => {
                let is_final = miss.is_final;
                (miss.into_inside(), is_final)
            }
        };
        if is_final || !backoff.pause().await {
            return Ok(inside);
        }
    }
}

/// A way into a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `pct exec` on the node.
    Pct,
    /// SSH to an address of the guest.
    Ssh,
    /// The QEMU guest agent.
    Agent,
}

impl Way {
    /// Names it as the manifest does.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pct => "pct",
            Self::Ssh => "ssh",
            Self::Agent => "agent",
        }
    }
}

/// Returns the ways into a guest that are tried, in that order: by what the operator chose, and by whether a login over SSH is
/// known. None where the choice fits no guest of that kind.
pub fn ways_into(kind: GuestKind, choice: ViaChoice, ssh_known: bool) -> &'static [Way] {
    match (kind, choice) {
        (_, ViaChoice::Ssh) => &[Way::Ssh],
        (GuestKind::Ct, ViaChoice::Auto) if ssh_known => &[Way::Pct, Way::Ssh],
        (GuestKind::Ct, ViaChoice::Auto | ViaChoice::Pct) => &[Way::Pct],
        (GuestKind::Vm, ViaChoice::Auto) if ssh_known => &[Way::Ssh, Way::Agent],
        (GuestKind::Vm, ViaChoice::Auto | ViaChoice::Agent) => &[Way::Agent],
        (GuestKind::Ct, ViaChoice::Agent) | (GuestKind::Vm, ViaChoice::Pct) => &[],
    }
}

/// A guest that is to be entered.
struct Entrance<'a> {
    at: &'a GuestRef,
    identity: Option<&'a str>,
    config: &'a GuestConfig,
    choice: ViaChoice,
}

/// Why a guest could not be entered.
#[derive(Debug)]
struct Miss {
    why: Vec<String>,
    /// Whether a way is known that should have led there.
    known: bool,
    /// Whether time does not change it.
    is_final: bool,
}

impl Miss {
    /// No way of this kind will ever lead there.
    fn never(why: impl Into<String>) -> Self {
        Self { why: vec![why.into()], known: false, is_final: true }
    }

    /// Nothing is known that leads there, now.
    fn not_yet(why: impl Into<String>) -> Self {
        Self { why: vec![why.into()], known: false, is_final: false }
    }

    /// The way is known, and it failed.
    fn failed(why: impl Into<String>) -> Self {
        Self { why: vec![why.into()], known: true, is_final: false }
    }

    /// Joins it with why another way failed.
    fn and(mut self, other: Self) -> Self {
        self.why.extend(other.why);
        Self { why: self.why, known: self.known || other.known, is_final: self.is_final && other.is_final }
    }

    fn into_inside(self) -> Inside {
        let why = self.why.join("; ");
        if self.known { Inside::Unreachable(why) } else { Inside::NoWayIn(why) }
    }
}

impl Entrance<'_> {
    async fn look_inside(&self, cx: &Context, refresh: bool) -> Inside {
        match self.enter(cx).await {
            Ok((via, place)) => self.inspect(cx, via, &place, refresh).await,
            Err(miss) => miss.into_inside(),
        }
    }

    async fn inspect(&self, cx: &Context, via: Via, place: &Place, refresh: bool) -> Inside {
        match retried(|| cx.ports.remote.inspect(place, refresh)).await {
            Ok(os) => Inside::Seen { via, os: Box::new(self.without_kernel(os)) },
            Err(fault) => Inside::Unreachable(match &via {
                Via::Ssh { address } => format!("{address}: {}", fault.what),
                Via::Pct | Via::Agent => fault.what,
            }),
        }
    }

    /// A container runs its node's kernel: what lies in its /boot would never be booted.
    fn without_kernel(&self, os: OsFacts) -> OsFacts {
        match self.at.kind {
            GuestKind::Ct => OsFacts { kernel_next: None, ..os },
            GuestKind::Vm => os,
        }
    }

    /// Finds the first way that leads to this very guest.
    async fn enter(&self, cx: &Context) -> Result<(Via, Place), Miss> {
        let ways = ways_into(self.at.kind, self.choice, (cx.ports.ssh_known)(self.at.id));
        let mut missed: Option<Miss> = None;
        for way in ways {
            let entered = match way {
                // Nothing else would be tried: what is wrong with it shows when it is looked into.
                Way::Pct if ways.len() == 1 => Ok(self.pct()),
                Way::Pct => self.by_pct(cx).await,
                Way::Ssh => self.by_ssh(cx).await,
                Way::Agent if missed.is_some() && !agent_enabled(self.config) => continue,
                Way::Agent => {
                    let chosen = self.choice == ViaChoice::Agent;
                    self.by_agent(cx).await.map_err(|miss| Miss { known: miss.known || chosen, ..miss })
                }
            };
            missed = match (entered, missed) {
                (Ok(found), _) => return Ok(found),
                (Err(miss), Some(before)) => Some(before.and(miss)),
                (Err(miss), None) => Some(miss),
            };
        }
        Err(missed.unwrap_or_else(|| {
            Miss::never(match self.at.kind {
                GuestKind::Ct => "a container has no guest agent (via = \"agent\")",
                GuestKind::Vm => "a VM can't be entered by pct (via = \"pct\")",
            })
        }))
    }

    fn is_led_to(&self, found: &Identity) -> bool {
        proven(self.at.kind, self.at.id, self.identity, found).is_ok()
    }

    fn pct(&self) -> (Via, Place) {
        (Via::Pct, Place::Ct(self.at.id))
    }

    async fn by_pct(&self, cx: &Context) -> Result<(Via, Place), Miss> {
        let (via, place) = self.pct();
        match retried(|| cx.ports.remote.identity(&place)).await {
            Ok(_) => Ok((via, place)),
            Err(fault) => Err(Miss::failed(fault.what)),
        }
    }

    async fn by_agent(&self, cx: &Context) -> Result<(Via, Place), Miss> {
        if !agent_enabled(self.config) {
            return Err(Miss::never("its guest agent is not enabled, and no login over SSH is known"));
        }
        match cx.ports.pve.agent(self.at).await {
            Ok(AgentState::Up) => {}
            Ok(AgentState::NotConfigured) => return Err(Miss::never("its guest agent is not enabled")),
            Ok(AgentState::NotRunning(why)) => {
                return Err(Miss::not_yet(format!("its guest agent does not answer ({why})")));
            }
            Err(fault) => return Err(Miss::failed(format!("guest agent: {}", fault.what))),
        }
        let place = Place::Agent(self.at.node.clone(), self.at.id);
        match cx.ports.remote.identity(&place).await {
            Ok(found) if self.is_led_to(&found) => Ok((Via::Agent, place)),
            Ok(found) => Err(Miss::failed(format!(
                "what answers through the guest agent is another machine ({})",
                found.hostname
            ))),
            Err(fault) => Err(Miss::failed(format!("guest agent: {}", fault.what))),
        }
    }

    async fn by_ssh(&self, cx: &Context) -> Result<(Via, Place), Miss> {
        if self.identity.is_none() {
            return Err(Miss::never("its config has nothing to know it by over SSH (smbios1 uuid, hwaddr)"));
        }
        let addresses = self.addresses(cx).await.map_err(|fault| Miss::failed(fault.what))?;
        if addresses.is_empty() {
            return Err(Miss::not_yet("no address is known (no guest agent, none in the manifest)"));
        }
        let mut failures = Vec::new();
        for address in addresses {
            let place = Place::Ssh(self.at.id, address.clone());
            match cx.ports.remote.identity(&place).await {
                Ok(found) if self.is_led_to(&found) => {
                    return Ok((Via::Ssh { address }, place));
                }
                Ok(found) => failures.push(format!("{address} is another machine ({})", found.hostname)),
                Err(fault) => failures.push(format!("{address} {}", fault.what)),
            }
        }
        failures.sort();
        Err(Miss { why: failures, known: true, is_final: false })
    }

    /// Lists the addresses to try.
    async fn addresses(&self, cx: &Context) -> Result<Vec<String>, Fault> {
        addresses_of(cx, self.at, self.config).await
    }
}

/// Lists the addresses at which a guest may be: the manifest's first, then what the config says, then what the agent says.
async fn addresses_of(cx: &Context, at: &GuestRef, config: &GuestConfig) -> Result<Vec<String>, Fault> {
    let mut all = cx.ports.addresses.get(&at.id).cloned().unwrap_or_default();
    let told = match at.kind {
        GuestKind::Ct => addresses::fixed(config),
        GuestKind::Vm if agent_enabled(config) => {
            addresses::likeliest(&retried(|| cx.ports.pve.interfaces(at)).await?, config)
        }
        GuestKind::Vm => Vec::new(),
    };
    for address in told {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all.truncate(MOST_ADDRESSES);
    Ok(all)
}

/// Returns where checks from outside ask a guest: at the address by which it is entered over SSH, which is proven; else at the
/// one that is likeliest. A container with an address by DHCP names it only through the API.
pub(super) async fn address_of(
    cx: &Context,
    at: &GuestRef,
    config: &GuestConfig,
    via: Option<&Via>,
) -> Result<Option<String>, Fault> {
    if let Some(Via::Ssh { address }) = via {
        return Ok(Some(address.clone()));
    }
    let known = addresses_of(cx, at, config).await?;
    if let Some(address) = known.into_iter().next() {
        return Ok(Some(address));
    }
    match at.kind {
        // An older Proxmox VE does not know the call: that no address is known is said where it matters.
        GuestKind::Ct => Ok(retried(|| cx.ports.pve.interfaces(at))
            .await
            .ok()
            .and_then(|told| addresses::likeliest(&told, config).into_iter().next())),
        GuestKind::Vm => Ok(None),
    }
}

/// Reads the tags of a guest (`tags`: `a;b`).
pub(super) fn tags(config: &GuestConfig) -> Vec<String> {
    let text = config.0.get("tags").map_or("", String::as_str);
    text.split([';', ',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// Reads whether the guest agent is enabled: `agent` is a property string (`1`, `enabled=1,fstrim_cloned_disks=1`).
pub(super) fn agent_enabled(config: &GuestConfig) -> bool {
    let Some(agent) = config.0.get("agent") else { return false };
    agent.split(',').any(|part| matches!(part.trim(), "1" | "enabled=1"))
}

/// Returns what makes a guest this guest, from its config: a VM's `smbios1` uuid; a CT's root volume and MAC addresses,
/// which a clone or a guest made anew under the same vmid does not share.
pub fn identity_of(kind: GuestKind, config: &GuestConfig) -> Option<String> {
    match kind {
        GuestKind::Vm => {
            let smbios = config.0.get("smbios1")?;
            let uuid = smbios.split(',').find_map(|part| part.trim().strip_prefix("uuid="))?;
            Some(uuid.to_ascii_lowercase())
        }
        GuestKind::Ct => {
            let volume = config.0.get("rootfs")?.split(',').next()?.to_owned();
            let macs = config.0.iter().filter(|(key, _)| key.starts_with("net")).filter_map(|(_, value)| {
                value.split(',').find_map(|part| part.trim().strip_prefix("hwaddr=")).map(str::to_ascii_lowercase)
            });
            Some(macs.fold(volume, |all, mac| format!("{all} {mac}")))
        }
    }
}

/// Returns the fullest of the storages that hold a guest's disks: the part before the colon of each volume.
fn fullest_pool(config: &GuestConfig, pools: &[PoolFacts]) -> Option<PoolFacts> {
    let disks = volumes(config);
    let holds = |pool: &&PoolFacts| {
        disks.iter().any(|volume| volume.split_once(':').is_some_and(|(storage, _)| storage == pool.name))
    };
    // Compared by the free share, without division: a/b < c/d where a*d < c*b.
    let fuller = |a: &&PoolFacts, b: &&PoolFacts| {
        let share = |x: &PoolFacts, y: &PoolFacts| u128::from(x.available) * u128::from(y.total);
        share(a, b).cmp(&share(b, a))
    };
    pools.iter().filter(|pool| pool.total > 0).filter(holds).min_by(fuller).cloned()
}

/// Lists the volumes of a guest (`local-zfs:subvol-101-disk-0`): its disks, without media in a drive and bind mounts.
pub(super) fn volumes(config: &GuestConfig) -> Vec<String> {
    let is_disk = |key: &str| {
        ["rootfs", "mp", "scsi", "virtio", "sata", "ide", "efidisk", "tpmstate"]
            .iter()
            .any(|kind| key.strip_prefix(kind).is_some_and(|n| n.chars().all(|c| c.is_ascii_digit())))
    };
    let volume = |(key, value): (&String, &String)| {
        let cdrom = value.split(',').any(|part| part.trim() == "media=cdrom");
        let volume = value.split(',').next().map(|volume| volume.strip_prefix("volume=").unwrap_or(volume))?;
        (is_disk(key) && !cdrom && !volume.starts_with('/') && volume.contains(':')).then(|| volume.to_owned())
    };
    config.0.iter().filter_map(volume).collect()
}

/// Names the volumes that a backup would leave out: for a CT mount points that are not marked (bind mounts always), for
/// a VM disks with `backup=0`.
fn not_backed_up(kind: GuestKind, config: &GuestConfig) -> Vec<String> {
    let left_out = |key: &str, value: &str| match kind {
        GuestKind::Ct => {
            let mount = key.strip_prefix("mp").is_some_and(|n| n.parse::<u32>().is_ok());
            mount && (value.starts_with('/') || !value.split(',').any(|part| part.trim() == "backup=1"))
        }
        GuestKind::Vm => value.split(',').any(|part| part.trim() == "backup=0"),
    };
    config
        .0
        .iter()
        .filter(|(key, value)| left_out(key, value))
        .map(|(key, value)| format!("{key} ({})", value.split(',').next().unwrap_or(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BootId;

    fn config(pairs: &[(&str, &str)]) -> GuestConfig {
        GuestConfig(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn answers(uuid: Option<&str>, macs: &[&str]) -> Identity {
        Identity {
            hostname: "web".to_owned(),
            boot_id: BootId::new("boot"),
            product_uuid: uuid.map(str::to_owned),
            macs: macs.iter().map(|mac| (*mac).to_owned()).collect(),
            kernel: "6.8".to_owned(),
        }
    }

    #[test]
    fn a_container_over_ssh_is_known_by_its_mac_addresses() {
        let ct = config(&[("rootfs", "zfs:subvol-101-disk-0,size=8G"), ("net0", "name=eth0,hwaddr=BC:24:11:00:00:01")]);
        let identity = identity_of(GuestKind::Ct, &ct);
        let is = |found: &Identity| proven(GuestKind::Ct, GuestId(101), identity.as_deref(), found).is_ok();
        assert!(is(&answers(None, &["02:42:00:00:00:01", "bc:24:11:00:00:01"])));
        assert!(!is(&answers(Some("zfs:subvol-101-disk-0"), &["bc:24:11:00:00:02"])));
        let bare = identity_of(GuestKind::Ct, &config(&[("rootfs", "zfs:subvol-101-disk-0")]));
        assert!(
            proven(GuestKind::Ct, GuestId(101), bare.as_deref(), &answers(None, &[])).is_err(),
            "nothing to know it by"
        );
    }

    #[test]
    fn a_vm_is_known_by_its_uuid_alone() {
        let is = |found: &Identity| proven(GuestKind::Vm, GuestId(201), Some("abc-1"), found).is_ok();
        assert!(is(&answers(Some("abc-1"), &[])));
        assert!(!is(&answers(None, &["abc-1"])));
        assert!(proven(GuestKind::Vm, GuestId(201), None, &answers(None, &[])).is_err());
    }

    #[test]
    fn tags_are_a_list() {
        assert_eq!(tags(&config(&[("tags", "prod;web-1")])), ["prod", "web-1"]);
        assert!(tags(&config(&[])).is_empty());
    }

    #[test]
    fn the_agent_is_read_as_the_property_string_that_it_is() {
        for (text, enabled) in
            [("1", true), ("enabled=1,fstrim_cloned_disks=1", true), ("0", false), ("enabled=0", false), ("10", false)]
        {
            assert_eq!(agent_enabled(&config(&[("agent", text)])), enabled, "{text}");
        }
    }
}
