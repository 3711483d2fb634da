//! Finds guests that moved: a guest is known by its cluster, its vmid and its identity, never by the node that had it.
//!
//! What was begun is looked for where the guest is now, and gone on with there. What was only planned is not begun elsewhere: the
//! guest is planned afresh by whoever works on its new node.

use std::sync::Arc;

use super::{Context, guest_ref, identity_of};
use crate::engine::port::{GuestRef, HostPorts};
use crate::engine::wait::retried;
use crate::ids::NodeName;
use crate::inventory::Via;
use crate::machine::outcome::{Fault, FaultClass};
use crate::plan::GuestAddr;

/// Where a guest is, proven by its identity.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// On the node where it was planned.
    Here,
    /// On this other node of its cluster.
    Moved(NodeName),
    /// On no node of its cluster.
    Gone,
}

/// Finds out where a guest is. That another guest has its vmid is an error, and so is whatever can't be told.
pub(super) async fn whereabouts(cx: &Context, guest: &GuestAddr) -> Result<Whereabouts, Fault> {
    let at = guest_ref(guest);
    let missed = match retried(|| cx.ports.pve.guest_config(&at)).await {
        Ok(config) => {
            is_same(guest, identity_of(guest.kind, &config))?;
            return Ok(Whereabouts::Here);
        }
        // A node without the guest says so for good; whatever passes by itself says nothing about where the guest is.
        Err(fault) if fault.class == FaultClass::Permanent => fault,
        Err(fault) => return Err(fault),
    };
    let resources = retried(|| cx.ports.pve.resources()).await?;
    let Some(resource) = resources.into_iter().find(|resource| resource.id == guest.id) else {
        return Ok(Whereabouts::Gone);
    };
    if resource.kind != guest.kind {
        return Err(another(guest));
    }
    if resource.node == guest.node {
        return Err(missed);
    }
    let at = GuestRef { node: resource.node, ..at };
    let config = retried(|| cx.ports.pve.guest_config(&at)).await?;
    is_same(guest, identity_of(guest.kind, &config))?;
    Ok(Whereabouts::Moved(at.node))
}

/// Compares who has a guest's vmid with the guest.
pub(super) fn is_same(guest: &GuestAddr, now: Option<String>) -> Result<(), Fault> {
    if now == guest.identity { Ok(()) } else { Err(another(guest)) }
}

fn another(guest: &GuestAddr) -> Fault {
    Fault::identity(format!("{} {} is not the guest that was planned any more", guest.kind, guest.id))
        .hint("it was destroyed and made anew, or restored: the next run plans it afresh")
}

fn gone(guest: &GuestAddr) -> Fault {
    Fault::permanent(format!("{} {} is not there any more: no node of its cluster has it", guest.kind, guest.id))
}

/// Finds a guest for what was begun with it, and returns its address there. Enough for whoever asks the API, in which any node of
/// a cluster answers for the others.
pub(super) async fn find(cx: &Context, guest: &GuestAddr) -> Result<GuestAddr, Fault> {
    match whereabouts(cx, guest).await? {
        Whereabouts::Here => Ok(guest.clone()),
        Whereabouts::Moved(node) => Ok(GuestAddr { node, ..guest.clone() }),
        Whereabouts::Gone => Err(gone(guest)),
    }
}

/// Finds a guest that is to be entered, and returns what to work with from now on: a container that is entered by `pct` is
/// entered through the node that has it now. Every other way into a guest moves along with it.
///
/// # Errors
/// As [`whereabouts`], and where no way to the node is known that is needed.
pub(super) async fn find_by(cx: &Context, guest: &GuestAddr, via: &Via) -> Result<(Context, GuestAddr), Fault> {
    let found = find(cx, guest).await?;
    if found.node == guest.node || *via != Via::Pct {
        return Ok((cx.clone(), found));
    }
    let ways = match &cx.neighbours {
        Some((neighbours, cluster)) => neighbours.ways_to(cluster, &found.node).await,
        None => Err(Fault::permanent("no other node is worked with")),
    };
    let ways = ways.map_err(|fault| Fault {
        what: format!("{} {} is on node {} now: {}", found.kind, found.id, found.node, fault.what),
        ..fault
    })?;
    let ports = HostPorts {
        pve: Arc::clone(&cx.ports.pve),
        remote: Arc::clone(&ways.remote),
        addresses: cx.ports.addresses.clone(),
        ssh_known: Arc::clone(&cx.ports.ssh_known),
        outside: Arc::clone(&cx.ports.outside),
    };
    Ok((Context { ports: Arc::new(ports), ..cx.clone() }, found))
}

/// Says of a guest that a node does not know, as far as it can be told, where it is: nothing that was planned for one node is
/// begun on another.
pub(super) async fn explained(cx: &Context, guest: &GuestAddr, fault: Fault) -> Fault {
    if fault.class != FaultClass::Permanent {
        return fault;
    }
    match whereabouts(cx, guest).await {
        Ok(Whereabouts::Here) => fault,
        Ok(Whereabouts::Moved(node)) => Fault::permanent(format!(
            "{} {} is on node {node} now, and not on {} any more: it is planned afresh when that node is looked at",
            guest.kind, guest.id, guest.node
        )),
        Ok(Whereabouts::Gone) => gone(guest),
        Err(fault) => fault,
    }
}
