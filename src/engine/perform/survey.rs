//! Surveys a host for its inventory: which guests there are and where they may be reached. Nothing is changed.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use tokio::sync::OnceCell;

use super::addresses::{fixed, likeliest};
use super::discover::{local_node, same_machine};
use super::inside::{agent_enabled, identity_of, tags};
use crate::choices::Traits;
use crate::engine::port::{AgentState, GuestConfig, GuestListing, GuestRef, HostPorts, Interface, Place, Resource};
use crate::engine::wait::retried;
use crate::ids::{ClusterId, GuestId, GuestKind, NodeName};
use crate::inventory::Power;
use crate::machine::outcome::Fault;
use crate::plan::preflight::privileges;

/// What a host was found to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The node that answered.
    pub node: NodeName,
    /// The fingerprint of its root CA, which with `node` identifies the machine.
    pub ca: ClusterId,
    /// Its guests, in order of vmid; templates are among them.
    pub guests: Vec<Sighting>,
    /// Why there may be more guests than these: the token may not see all of them. `None` where it does.
    pub unseen: Option<String>,
}

/// A guest, as it was seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its vmid.
    pub id: GuestId,
    /// Container or virtual machine.
    pub kind: GuestKind,
    /// Its name; may be empty.
    pub name: String,
    /// Its power state.
    pub power: Power,
    /// Whether it is a template.
    pub template: bool,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its resource pool.
    pub pool: Option<String>,
    /// What makes it this guest: see [`crate::inventory::GuestFacts::identity`].
    pub identity: Option<String>,
    /// Where it may be reached over SSH, the likeliest first; nothing that the manifest says is among it.
    pub addresses: Vec<String>,
    /// Why no address is known, where none is: "is off", "its guest agent does not answer".
    pub unaddressed: Option<String>,
}

impl Sighting {
    /// Returns what the guest is selected by.
    pub fn traits(&self) -> Traits<'_> {
        Traits { id: self.id, kind: self.kind, name: &self.name, tags: &self.tags, pool: self.pool.as_deref() }
    }
}

/// Asks a host which guests it has. `named` is the node that the manifest names, where it names one; at most `lookers` guests are
/// looked at together. Package lists are left as they are.
///
/// # Errors
/// The API can't be asked, does not say which node answers, or says that it is another one than named. A guest without address
/// is no error, and neither is one that can't be asked for it.
pub async fn survey(ports: &HostPorts, named: Option<&NodeName>, lookers: usize) -> Result<Survey, Fault> {
    let pve = &ports.pve;
    let status = retried(|| pve.cluster_status()).await?;
    let node = local_node(named, &status)?;
    if let Some(named) = named.filter(|named| **named != node) {
        return Err(Fault::identity(format!("the manifest says node {named}, but it answers as {node}"))
            .hint("correct `host` or `api.node` of the entry"));
    }
    let ca = ClusterId::new(retried(|| pve.ca_fingerprint(&node)).await?);
    let unseen = unseen(ports).await;
    let listed = retried(|| pve.guests(&node)).await?;
    let resources = retried(|| pve.resources()).await?;
    let resources = resources.into_iter().map(|resource| (resource.id, resource)).collect();
    let looker = Looker { ports, node: &node, resources: &resources, shell: OnceCell::new() };
    let mut guests: Vec<Sighting> = stream::iter(listed)
        .map(|guest| looker.look_at(guest))
        // None at a time would never end.
        .buffer_unordered(lookers.max(1))
        .collect()
        .await;
    guests.sort_by_key(|guest| guest.id);
    Ok(Survey { node, ca, guests, unseen })
}

/// Says why the API may not list all guests: it leaves out those that the token may not see, and does not tell.
async fn unseen(ports: &HostPorts) -> Option<String> {
    match retried(|| ports.pve.permissions()).await {
        Ok(permissions) if privileges::sees_every_guest(&permissions) => None,
        Ok(_) => Some("the token lacks VM.Audit on /vms, or on a path below it".to_owned()),
        Err(fault) => Some(format!("what the token may see could not be asked: {}", fault.what)),
    }
}

/// Looks at the guests of a node.
struct Looker<'a> {
    ports: &'a HostPorts,
    node: &'a NodeName,
    /// The guests of the cluster.
    resources: &'a BTreeMap<GuestId, Resource>,
    /// Whether the node's SSH leads to the node of the API, or why it can't be used; found out once, when it is needed.
    shell: OnceCell<Result<(), String>>,
}

impl Looker<'_> {
    async fn look_at(&self, guest: GuestListing) -> Sighting {
        let at = GuestRef { node: self.node.clone(), kind: guest.kind, id: guest.id };
        let resource = self.resources.get(&guest.id);
        let config = retried(|| self.ports.pve.guest_config(&at)).await;
        let (addresses, unaddressed) = match &config {
            Ok(config) => match self.addresses(&at, &guest, config).await {
                Ok(addresses) => (addresses, None),
                Err(why) => (Vec::new(), Some(why)),
            },
            Err(fault) => (Vec::new(), Some(format!("its config can't be read: {}", fault.what))),
        };
        let config = config.ok();
        Sighting {
            id: guest.id,
            kind: guest.kind,
            name: guest.name,
            power: guest.power,
            template: guest.template,
            tags: match &config {
                Some(config) => tags(config),
                None => resource.map_or_else(Vec::new, |resource| resource.tags.clone()),
            },
            pool: resource.and_then(|resource| resource.pool.clone()),
            identity: config.as_ref().and_then(|config| identity_of(guest.kind, config)),
            addresses,
            unaddressed,
        }
    }

    /// Finds out where a guest may be reached, or says why that is not known. What its config says is asked last: it tells what was
    /// wanted, and of a guest that is off where it will be.
    async fn addresses(
        &self,
        at: &GuestRef,
        guest: &GuestListing,
        config: &GuestConfig,
    ) -> Result<Vec<String>, String> {
        if guest.template {
            return Err("is a template".to_owned());
        }
        let told = match (guest.power, guest.kind) {
            (Power::Stopped, _) => Err("is off".to_owned()),
            (Power::Other, _) => Err("is neither on nor off".to_owned()),
            (Power::Running, GuestKind::Vm) => self.of_vm(at, config).await,
            (Power::Running, GuestKind::Ct) => self.of_ct(at, config).await,
        };
        told.or_else(|why| Some(fixed(config)).filter(|fixed| !fixed.is_empty()).ok_or(why))
    }

    /// Asks the guest agent.
    async fn of_vm(&self, at: &GuestRef, config: &GuestConfig) -> Result<Vec<String>, String> {
        let pve = &self.ports.pve;
        let not_enabled = || Err("its guest agent is not enabled".to_owned());
        if !agent_enabled(config) {
            return not_enabled();
        }
        match retried(|| pve.agent(at)).await {
            Ok(AgentState::Up) => {}
            Ok(AgentState::NotConfigured) => return not_enabled(),
            Ok(AgentState::NotRunning(why)) => return Err(format!("its guest agent does not answer: {why}")),
            Err(fault) => return Err(format!("its guest agent can't be asked: {}", fault.what)),
        }
        let told = retried(|| pve.interfaces(at)).await;
        let told = told.map_err(|fault| format!("its guest agent can't be asked: {}", fault.what))?;
        some(likeliest(&told, config)).ok_or_else(|| "its guest agent names no address yet".to_owned())
    }

    /// Asks the API; where that does not say, the container itself, through the node.
    async fn of_ct(&self, at: &GuestRef, config: &GuestConfig) -> Result<Vec<String>, String> {
        let told = retried(|| self.ports.pve.interfaces(at)).await;
        if let Some(addresses) = told.as_ref().ok().and_then(|told| some(likeliest(told, config))) {
            return Ok(addresses);
        }
        let within = self.within(at.id).await;
        if let Some(addresses) = within.as_ref().ok().and_then(|within| some(likeliest(within, config))) {
            return Ok(addresses);
        }
        Err(match (told, within) {
            (Err(fault), Err(why)) => format!("{}; {why}", fault.what),
            // One of the two was asked, and knows of none.
            (Ok(_), _) | (_, Ok(_)) => "has no address yet".to_owned(),
        })
    }

    async fn within(&self, id: GuestId) -> Result<Vec<Interface>, String> {
        self.shell.get_or_init(|| self.prove_shell()).await.clone()?;
        let place = Place::Ct(id);
        retried(|| self.ports.remote.interfaces(&place)).await.map_err(|fault| fault.what)
    }

    /// Makes sure that SSH leads to the node that the API speaks of: on another one the vmid is another container's.
    async fn prove_shell(&self) -> Result<(), String> {
        let identity = retried(|| self.ports.remote.identity(&Place::Node)).await.map_err(|fault| fault.what)?;
        same_machine(self.node, &identity.hostname).map_err(|fault| fault.what)
    }
}

/// Returns what there is, where there is something.
fn some(addresses: Vec<String>) -> Option<Vec<String>> {
    Some(addresses).filter(|addresses| !addresses.is_empty())
}
