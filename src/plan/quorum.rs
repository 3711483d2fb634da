//! What becomes of a cluster's quorum while one of its nodes is away for a reboot.
//!
//! Counted are votes that are sure to be there, as corosync counts them, and nothing that might come to help:
//! - the quorum device (QDevice), only where every node that is left has it, alive and voting. Each node adds the device's votes
//!   for itself, so one on which it is not registered would be without quorum. Both of its algorithms give their votes to nodes
//!   that hold together and reach it: `ffsplit` one vote, `lms` as many as make a last node quorate. That a master wins
//!   (`MW`) is not counted;
//! - `two_node` is in what corosync says is needed: one vote. `wait_for_all`, which it brings, keeps a node that boots from
//!   quorum until it has seen the others, which are there;
//! - `last_man_standing` and `allow_downscale` lower what is needed, but only some time after a node has left in quorum;
//!   `auto_tie_breaker` saves one half of a cluster only. None of them is counted.

use std::fmt;

use crate::inventory::QuorumFacts;

/// The votes that are left without a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remainder {
    /// Votes of the other nodes, and of the quorum device where it counts.
    pub left: u32,
    /// Votes that there would be if everybody were there.
    pub all: u32,
    /// Votes that it takes.
    pub needed: u32,
    /// Votes of a quorum device that are not counted.
    pub silent: u32,
}

impl Remainder {
    /// Counts what is left without the node that was asked.
    pub fn without_asked(quorum: &QuorumFacts) -> Self {
        let others = quorum.others.iter().fold(0, |sum: u32, votes| sum.saturating_add(*votes));
        let (cast, silent) = match quorum.device {
            Some(device) if device.for_others => (device.votes, 0),
            Some(device) => (0, device.votes),
            None => (0, 0),
        };
        Self { left: others.saturating_add(cast), all: quorum.expected, needed: quorum.needed, silent }
    }

    /// Tells whether the rest keeps its quorum.
    pub fn suffices(&self) -> bool {
        self.left >= self.needed
    }
}

impl fmt::Display for Remainder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { left, all, needed, silent } = self;
        let (would, are) = (if *all == 1 { "vote" } else { "votes" }, if *needed == 1 { "is" } else { "are" });
        write!(f, "{left} of {all} {would} would be left, {needed} {are} needed")?;
        if *silent > 0 {
            f.write_str(" (the QDevice does not vote for every other node and is not counted)")?;
        }
        Ok(())
    }
}

/// What is known of a cluster whose node is to be rebooted, and what the operator allows.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// How many nodes it has.
    pub nodes: usize,
    /// How its votes are counted.
    pub quorum: &'a QuorumFacts,
    /// Whether the quorum of a cluster of two may be lost (`allow_quorum_loss`).
    pub loss_allowed: bool,
    /// What HA manages in it, or why that is not known; asked for only where [`Case::needs_ha`] says so.
    pub ha: Result<&'a [String], &'a str>,
}

/// Whether a node may be rebooted for its cluster's quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The rest keeps its quorum.
    Kept(Remainder),
    /// The other node loses its quorum, and the operator allows it.
    Allowed(Remainder),
    /// It may not: the reason, a lowercase fragment.
    Refused(String),
}

impl Case<'_> {
    /// Tells whether it depends on what HA manages.
    pub fn needs_ha(quorum: &QuorumFacts, loss_allowed: bool) -> bool {
        loss_allowed && !Remainder::without_asked(quorum).suffices()
    }

    /// Decides.
    pub fn judge(&self) -> Verdict {
        let Self { cluster, nodes, quorum, .. } = *self;
        if !quorum.quorate {
            return Verdict::Refused(format!("cluster {cluster} has no quorum"));
        }
        let members = quorum.others.len() + 1;
        if members != nodes {
            return Verdict::Refused(format!(
                "corosync counts the votes of {members} nodes, and cluster {cluster} has {nodes}: its votes are not known"
            ));
        }
        let rest = Remainder::without_asked(quorum);
        if rest.suffices() {
            return Verdict::Kept(rest);
        }
        let lost = format!("cluster {cluster} would lose its quorum: {rest}");
        match (self.loss_allowed, nodes, self.ha) {
            (false, 2, _) => Verdict::Refused(format!(
                "cluster {cluster} has two nodes, and the other one would lose its quorum: {rest}"
            )),
            (false, ..) => Verdict::Refused(lost),
            (true, 2, Ok([])) => Verdict::Allowed(rest),
            (true, 2, Ok(managed)) => Verdict::Refused(format!(
                "{lost}; allow_quorum_loss does not hold where HA manages something ({}): the other node would be reset by its \
                 watchdog",
                managed.join(", ")
            )),
            (true, 2, Err(why)) => Verdict::Refused(format!(
                "{lost}; allow_quorum_loss holds only where HA manages nothing, and that is not known: {why}"
            )),
            (true, ..) => Verdict::Refused(format!(
                "{lost}; allow_quorum_loss holds for a cluster of two nodes only, this one has {nodes}"
            )),
        }
    }
}

/// What to do about a quorum that would be lost.
pub fn remedy(nodes: usize, loss_allowed: bool) -> &'static str {
    match (nodes, loss_allowed) {
        (2, false) => {
            "add a QDevice (pvecm qdevice setup ADDRESS), see to it that it votes (pvecm status), or let the quorum go where HA \
             manages nothing: allow_quorum_loss = true"
        }
        _ => "see to it that every node and the QDevice are there and vote; on a node: pvecm status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::DeviceFacts;

    fn quorum(own: u32, others: &[u32]) -> QuorumFacts {
        let expected = own + others.iter().sum::<u32>();
        QuorumFacts { quorate: true, expected, needed: expected / 2 + 1, own, others: others.to_vec(), device: None }
    }

    fn with_device(own: u32, others: &[u32], votes: u32, for_others: bool) -> QuorumFacts {
        let expected = own + others.iter().sum::<u32>() + votes;
        let device = Some(DeviceFacts { votes, for_others });
        QuorumFacts { expected, needed: expected / 2 + 1, device, ..quorum(own, others) }
    }

    fn judge(quorum: &QuorumFacts, loss_allowed: bool, ha: Result<&[String], &str>) -> Verdict {
        Case { cluster: "lab", nodes: quorum.others.len() + 1, quorum, loss_allowed, ha }.judge()
    }

    fn refused(verdict: Verdict) -> String {
        match verdict {
            Verdict::Refused(why) => why,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn votes_are_counted_and_not_nodes() {
        let kept = |quorum: &QuorumFacts| match judge(quorum, false, Ok(&[])) {
            Verdict::Kept(rest) => Some(rest.to_string()),
            Verdict::Allowed(_) | Verdict::Refused(_) => None,
        };
        assert_eq!(kept(&quorum(1, &[1, 1])).as_deref(), Some("2 of 3 votes would be left, 2 are needed"));
        // Of four votes, those of the node with two are missed.
        assert_eq!(kept(&quorum(1, &[2, 1])).as_deref(), Some("3 of 4 votes would be left, 3 are needed"));
        assert_eq!(kept(&quorum(2, &[1, 1])), None);
        // A node without a vote is missed by nobody.
        assert_eq!(kept(&quorum(0, &[1])).as_deref(), Some("1 of 1 vote would be left, 1 is needed"));
        let two_node = QuorumFacts { needed: 1, ..quorum(1, &[1]) };
        assert_eq!(kept(&two_node).as_deref(), Some("1 of 2 votes would be left, 1 is needed"));
    }

    #[test]
    fn a_quorum_device_counts_where_it_votes_for_whoever_is_left() {
        assert!(matches!(judge(&with_device(1, &[1], 1, true), false, Ok(&[])), Verdict::Kept(_)));
        let why = refused(judge(&with_device(1, &[1], 1, false), false, Ok(&[])));
        assert!(why.contains("1 of 3 votes would be left, 2 are needed (the QDevice"), "{why}");
        // Last man standing: as many votes as all nodes but one.
        assert!(matches!(judge(&with_device(1, &[1, 1, 1], 3, true), false, Ok(&[])), Verdict::Kept(_)));
        assert!(matches!(judge(&with_device(1, &[1, 1, 1], 3, false), false, Ok(&[])), Verdict::Refused(_)));
    }

    #[test]
    fn a_loss_is_allowed_to_two_nodes_without_ha() {
        let (two, three) = (quorum(1, &[1]), quorum(3, &[1, 1]));
        let managed = ["ct:101".to_owned(), "vm:201".to_owned()];
        assert!(refused(judge(&two, false, Ok(&[]))).contains("has two nodes"));
        assert!(matches!(judge(&two, true, Ok(&[])), Verdict::Allowed(Remainder { left: 1, needed: 2, .. })));
        assert!(refused(judge(&two, true, Ok(&managed))).contains("(ct:101, vm:201): the other node would be reset"));
        assert!(refused(judge(&two, true, Err("403"))).contains("not known: 403"));
        assert!(refused(judge(&three, true, Ok(&[]))).contains("of two nodes only, this one has 3"));
        assert!(
            !Case::needs_ha(&two, false) && Case::needs_ha(&two, true) && !Case::needs_ha(&quorum(1, &[1, 1]), true)
        );
    }

    #[test]
    fn what_does_not_agree_with_the_api_is_not_known() {
        let quorum = quorum(1, &[1, 1]);
        let case = Case { cluster: "lab", nodes: 4, quorum: &quorum, loss_allowed: true, ha: Ok(&[]) };
        assert!(refused(case.judge()).contains("of 3 nodes, and cluster lab has 4"));
        let blocked = QuorumFacts { quorate: false, ..quorum };
        assert!(refused(judge(&blocked, true, Ok(&[]))).contains("has no quorum"));
    }
}
