//! Tools that say how a node's cluster is: `pvecm`, and corosync's own.

use std::fmt::Write as _;
use std::sync::Arc;

use super::node::node;
use super::{no_machine, not_simulated};
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::stage::Stage;
use crate::world::{Device, Node, Realm, Tally};

pub(super) async fn pvecm(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let Some((node, realm)) = node(stage, call) else { return no_machine(call, streams).await };
    match call.words().as_slice() {
        ["status"] if !realm.clustered => {
            let text =
                "Error: Corosync config '/etc/pve/corosync.conf' does not exist - is this node part of a cluster?";
            streams.fail(2, text).await
        }
        ["status"] => {
            let (members, tally) = counted(stage, &realm);
            let text = format!(
                "Cluster information\n-------------------\nName:             {}\nConfig Version:   {}\n\
                 Transport:        knet\nSecure auth:      on\n\n{}",
                realm.name,
                realm.nodes.len(),
                quorum(&node, &realm, &members, tally)
            );
            streams.done(&text).await
        }
        _ => not_simulated(call, streams).await,
    }
}

/// `corosync-quorumtool`: what `pvecm status` prints below the cluster's name. It ends with 1 where there is quorum.
pub(super) async fn quorumtool(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let Some((node, realm)) = node(stage, call) else { return no_machine(call, streams).await };
    match call.words().as_slice() {
        ["-siH"] if !realm.clustered => streams.fail(1, "Cannot initialize CMAP service").await,
        ["-siH"] => {
            let (members, tally) = counted(stage, &realm);
            streams.out(&quorum(&node, &realm, &members, tally)).await;
            Answer::Exit(i32::from(tally.quorate()))
        }
        _ => not_simulated(call, streams).await,
    }
}

/// Returns the nodes of a cluster that are up, and its votes.
fn counted(stage: &Stage, realm: &Realm) -> (Vec<Node>, Tally) {
    stage.with(|world, _| {
        let up = realm.nodes.iter().filter_map(|name| world.nodes.get(name)).filter(|node| node.online).cloned();
        (up.collect(), world.tally(&realm.name).unwrap_or(Tally { expected: 0, total: 0, needed: 1 }))
    })
}

fn quorum(node: &Node, realm: &Realm, members: &[Node], tally: Tally) -> String {
    let quorate = tally.quorate();
    let provider = if realm.voting.not_told { "Not configured" } else { "corosync_votequorum" };
    let mut text = format!(
        "Quorum information\n------------------\nDate:             Sun Nov 22 22:06:40 2026\n\
         Quorum provider:  {provider}\nNodes:            {}\nNode ID:          0x{:08x}\nRing ID:          1.9\n\
         Quorate:          {}\n",
        members.len(),
        node.nodeid,
        if quorate { "Yes" } else { "No" }
    );
    if realm.voting.not_told {
        return text;
    }
    let Tally { expected, total, needed } = tally;
    let flags = [
        (realm.voting.two_node, "2Node "),
        (quorate, "Quorate "),
        (realm.voting.two_node, "WaitForAll "),
        (realm.voting.device.is_some(), "Qdevice "),
    ];
    let flags: String = flags.iter().filter(|(is, _)| *is).map(|(_, flag)| *flag).collect();
    let blocked = if quorate { " " } else { "Activity blocked" };
    let _ok = write!(
        text,
        "\nVotequorum information\n----------------------\nExpected votes:   {expected}\nHighest expected: {expected}\n\
         Total votes:      {total}\nQuorum:           {needed} {blocked}\nFlags:            {flags}\n\n\
         Membership information\n----------------------\n{}",
        membership(node, realm.voting.device, members)
    );
    text
}

fn membership(node: &Node, device: Option<Device>, members: &[Node]) -> String {
    let (title, flags) = match device {
        None => ("", ""),
        Some(Device { connected: true, .. }) => ("   Qdevice ", "   A,V,NMW "),
        Some(Device { connected: false, .. }) => ("   Qdevice ", "  A,NV,NMW "),
    };
    let mut text = format!("    Nodeid      Votes {title}Name\n");
    for member in members {
        let local = if member.name == node.name { " (local)" } else { "" };
        let _ok = writeln!(text, "0x{:08x} {:>10} {flags}{}{local}", member.nodeid, member.votes, member.ip);
    }
    if let Some(Device { votes, connected }) = device {
        let (cast, has) = if connected { (votes, String::new()) } else { (0, format!(" (votes {votes})")) };
        let _ok = writeln!(text, "0x00000000 {cast:>10}            Qdevice{has}");
    }
    text
}
