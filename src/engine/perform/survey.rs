//! Surveys a host for its inventory: which guests there are and where they may be reached. Nothing is changed.

use crate::choices::Traits;
use crate::engine::port::HostPorts;
use crate::ids::{ClusterId, GuestId, GuestKind, NodeName};
use crate::inventory::Power;
use crate::machine::outcome::Fault;

/// What a host was found to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The node that answered.
    pub node: NodeName,
    /// The fingerprint of its root CA, which with `node` identifies the machine.
    pub ca: ClusterId,
    /// Its guests, in order of vmid; templates are among them.
    pub guests: Vec<Sighting>,
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
/// looked at together.
///
/// # Errors
/// The API can't be asked, or does not say which node answers. A guest without address is no error.
pub async fn survey(ports: &HostPorts, named: Option<&NodeName>, lookers: usize) -> Result<Survey, Fault> {
    let _ = (ports, named, lookers);
    Err(Fault::permanent("not there yet"))
}
