//! How a cluster counts votes, as corosync does.

use serde::{Deserialize, Serialize};

use super::{Node, World};

/// What counts beside the votes of a cluster's nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voting {
    /// The quorum device, where there is one.
    pub device: Option<Device>,
    /// Whether one vote of two is enough (`two_node: 1`).
    pub two_node: bool,
    /// Whether corosync runs without votequorum, as nobody runs Proxmox VE: then it tells no votes.
    pub not_told: bool,
}

/// A quorum device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its votes.
    pub votes: u32,
    /// Whether the nodes reach it: else it casts none.
    pub connected: bool,
}

impl Voting {
    /// Adds a quorum device with one vote, which the nodes reach or not.
    #[must_use]
    pub fn device(self, connected: bool) -> Self {
        Self { device: Some(Device { votes: 1, connected }), ..self }
    }

    /// Lets one vote of two be enough.
    #[must_use]
    pub fn two_node(self) -> Self {
        Self { two_node: true, ..self }
    }

    /// Lets corosync tell no votes.
    #[must_use]
    pub fn not_told(self) -> Self {
        Self { not_told: true, ..self }
    }

    /// Returns the votes that the device casts now.
    pub fn cast(&self) -> u32 {
        self.device.filter(|device| device.connected).map_or(0, |device| device.votes)
    }
}

/// The votes of a cluster now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Votes if everybody were there.
    pub expected: u32,
    /// Votes of those who are.
    pub total: u32,
    /// Votes that it takes.
    pub needed: u32,
}

impl Tally {
    /// Tells whether the votes suffice.
    pub fn quorate(&self) -> bool {
        self.total >= self.needed
    }
}

impl World {
    /// Counts the votes of a realm; none where it is not there.
    pub fn tally(&self, realm: &str) -> Option<Tally> {
        let realm = self.realms.get(realm)?;
        let nodes = || realm.nodes.iter().filter_map(|name| self.nodes.get(name));
        let votes = |of: &mut dyn Iterator<Item = &Node>| of.map(|node| node.votes).sum::<u32>();
        let expected = votes(&mut nodes()) + realm.voting.device.map_or(0, |device| device.votes);
        let total = votes(&mut nodes().filter(|node| node.online)) + realm.voting.cast();
        let needed = if realm.voting.two_node { 1 } else { expected / 2 + 1 };
        Some(Tally { expected, total, needed })
    }

    /// Tells whether a realm has quorum. A node that stands alone always has.
    pub fn quorate(&self, realm: &str) -> bool {
        let clustered = self.realms.get(realm).is_some_and(|realm| realm.clustered);
        self.tally(realm).is_some_and(|tally| !clustered || tally.quorate())
    }
}
