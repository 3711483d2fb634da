//! Asks corosync how it counts the votes of a node's cluster.
//!
//! `corosync-quorumtool` is asked, and not the API: `cluster/config/nodes` and `cluster/config/qdevice` say what is configured,
//! and the latter that a daemon is connected. What decides is what corosync counts at this moment: votes and expected votes may
//! have been set at run time, a changed configuration may not be in force yet, and a connected device need not vote. So the
//! configuration would be a guess where corosync does not answer, and there is no other way to ask: where it does not answer
//! on the node, the node is in no cluster that works.

use std::collections::BTreeMap;

use super::answer::Answer;
use super::exec::At;
use super::text::{fragment, harmless};
use crate::engine::port::Place;
use crate::inventory::{DeviceFacts, QuorumFacts};
use crate::machine::outcome::Fault;

const PRELUDE: &str = include_str!("sh/prelude.sh");
const QUORUM: &str = include_str!("sh/quorum.sh");

/// Makes the script.
pub(super) fn script() -> String {
    Answer::envelope(&[PRELUDE, QUORUM])
}

/// Reads the answer of [`script`].
pub(super) fn read(doing: &str, answer: &Answer) -> Result<QuorumFacts, Fault> {
    let lines = answer.lines("votes");
    counted(lines).map_err(|Unread { passing, what }| {
        let what = format!("{doing} on {}: {what}", At(&Place::Node));
        let fault = if passing { Fault::transient(what) } else { Fault::permanent(what) };
        fault.hint("on the node: corosync-quorumtool -s")
    })
}

/// Why an answer is none.
#[derive(Debug)]
struct Unread {
    /// Whether another one may be had in a moment.
    passing: bool,
    what: String,
}

impl Unread {
    fn lasting(what: String) -> Self {
        Self { passing: false, what }
    }

    fn passing(what: String) -> Self {
        Self { passing: true, what }
    }
}

/// A node, or the device, in the list of members.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    votes: u32,
    local: bool,
    /// Whether the device is registered, alive, and votes for it.
    device: bool,
}

fn counted(lines: &[String]) -> Result<QuorumFacts, Unread> {
    let values: BTreeMap<&str, &str> = lines.iter().filter_map(|line| line.split_once(':')).map(trimmed).collect();
    let Some(quorate) = values.get("Quorate") else {
        // While corosync is restarted, its tool finds nobody to ask.
        let said: Vec<&str> = lines.iter().map(String::as_str).collect();
        return Err(Unread::passing(format!("corosync does not answer: {}", fragment(&said))));
    };
    let number = |key: &str| -> Result<u32, Unread> {
        // `Quorum:  2 Activity blocked`
        let word = values.get(key).and_then(|value| value.split_whitespace().next());
        let word = word.ok_or_else(|| {
            let provider = values.get("Quorum provider").copied().unwrap_or("unknown");
            Unread::lasting(format!("corosync names no {key:?} (quorum provider: {})", harmless(provider)))
        })?;
        word.parse().map_err(|_| Unread::lasting(format!("{key:?} is {:?}", harmless(word))))
    };
    let (expected, needed, total) = (number("Expected votes")?, number("Quorum")?, number("Total votes")?);
    let Members { own, others, device } = Members::read(lines)?;
    let cast = device.as_ref().map_or(0, |device| device.cast);
    let sum = others.iter().chain([&own]).fold(cast, |sum, member| sum.saturating_add(member.votes));
    if sum != total {
        // Between two questions of the tool's own somebody may have come or gone.
        return Err(Unread::passing(format!("the votes do not add up: {sum} by members, {total} in all")));
    }
    let for_others = !others.is_empty() && others.iter().all(|member| member.device);
    Ok(QuorumFacts {
        quorate: *quorate == "Yes",
        expected,
        needed,
        own: own.votes,
        others: others.iter().map(|member| member.votes).collect(),
        device: device.map(|Device { votes, .. }| DeviceFacts { votes, for_others }),
    })
}

fn trimmed<'a>((key, value): (&'a str, &'a str)) -> (&'a str, &'a str) {
    (key.trim(), value.trim())
}

/// The quorum device in the list of members.
#[derive(Debug, PartialEq, Eq)]
struct Device {
    /// Votes that it casts for this node now.
    cast: u32,
    /// Votes that it has.
    votes: u32,
}

/// The list below `Membership information`.
#[derive(Debug)]
struct Members {
    own: Member,
    others: Vec<Member>,
    device: Option<Device>,
}

impl Members {
    /// Reads the rows below the header `Nodeid Votes [Qdevice] Name`. A node's row has its flags in the column of the device,
    /// where there is that column: `A,V,NMW` (alive, votes, no master that wins), `NA`, `NV` for what it is not, or `NR` where no
    /// device is registered on that node. The device itself has number 0 and no flags; where it does not vote for the node that
    /// was asked, its votes are 0, and what it has stands behind its name: `(votes 1)`.
    fn read(lines: &[String]) -> Result<Self, Unread> {
        let header = |line: &String| line.split_whitespace().take(2).eq(["Nodeid", "Votes"]);
        let Some(at) = lines.iter().position(header) else {
            return Err(Unread::lasting("corosync lists no votes of members".to_owned()));
        };
        let with_device = lines[at].split_whitespace().any(|word| word == "Qdevice");
        let (mut own, mut others, mut device) = (None, Vec::new(), None);
        for line in lines[at + 1..].iter().filter(|line| !line.trim().is_empty()) {
            let unread = || Unread::lasting(format!("a member's line is {:?}", harmless(line)));
            let words: Vec<&str> = line.split_whitespace().collect();
            let [id, votes, rest @ ..] = words.as_slice() else { return Err(unread()) };
            let id = node_id(id).ok_or_else(unread)?;
            let votes = votes.parse().map_err(|_| unread())?;
            if id == 0 {
                let has = rest.join(" ").split_once("(votes ").and_then(|(_, n)| n.strip_suffix(')')?.parse().ok());
                device = Some(Device { cast: votes, votes: has.unwrap_or(votes) });
                continue;
            }
            let flags = if with_device { Some(*rest.first().ok_or_else(unread)?) } else { None };
            let local = rest.last() == Some(&"(local)");
            let member = Member { votes, local, device: flags.is_some_and(votes_for) };
            match (member.local, &own) {
                (true, None) => own = Some(member),
                (true, Some(_)) => return Err(Unread::lasting("two members are the node that was asked".to_owned())),
                (false, _) => others.push(member),
            }
        }
        let own = own.ok_or_else(|| Unread::lasting("no member is the node that was asked".to_owned()))?;
        Ok(Self { own, others, device })
    }
}

/// Reads a node's number: `0x00000001`, or without `-H` `1`.
fn node_id(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

/// Tells by a member's flags whether the device votes for it.
fn votes_for(flags: &str) -> bool {
    let flags: Vec<&str> = flags.split(',').collect();
    flags.contains(&"A") && flags.contains(&"V")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::outcome::FaultClass;

    /// What the tool prints, with these lines for the votes and these members.
    fn printed(quorate: &str, votes: &str, members: &str) -> String {
        format!(
            "Quorum information\n------------------\nDate:             Mon Nov 23 05:41:11 2026\n\
             Quorum provider:  corosync_votequorum\nNodes:            2\nNode ID:          0x00000001\n\
             Ring ID:          1.2a\nQuorate:          {quorate}\n\nVotequorum information\n----------------------\n\
             {votes}\nMembership information\n----------------------\n{members}"
        )
    }

    fn counts(expected: u32, total: u32, quorum: &str, flags: &str) -> String {
        format!(
            "Expected votes:   {expected}\nHighest expected: {expected}\nTotal votes:      {total}\n\
             Quorum:           {quorum}\nFlags:            {flags}\n"
        )
    }

    fn ask(text: &str) -> Result<QuorumFacts, Fault> {
        let quoted: String = text.lines().map(|line| format!("|{line}\n")).collect();
        read("asking", &Answer::of_text(&format!("@votes\n{quoted}")))
    }

    const PLAIN: &str = "    Nodeid      Votes Name\n\
        0x00000001          2 192.0.2.1 (local)\n\
        0x00000002          1 192.0.2.2\n\
        0x00000003          1 fd00::1:3\n";

    #[test]
    fn votes_are_read_node_by_node() {
        let facts = ask(&printed("Yes", &counts(4, 4, "3  ", "Quorate "), PLAIN)).expect("an answer");
        assert_eq!(
            facts,
            QuorumFacts { quorate: true, expected: 4, needed: 3, own: 2, others: vec![1, 1], device: None }
        );
        // Without -H, as an alias of the administrator's may print it.
        let decimal = PLAIN.replace("0x0000000", "         ");
        assert_eq!(ask(&printed("Yes", &counts(4, 4, "3  ", "Quorate "), &decimal)).expect("an answer"), facts);
    }

    #[test]
    fn two_node_takes_one_vote_and_a_blocked_cluster_is_told() {
        let two = "    Nodeid      Votes Name\n0x00000001          1 a (local)\n0x00000002          1 b\n";
        let facts = ask(&printed("Yes", &counts(2, 2, "1  ", "2Node Quorate WaitForAll "), two)).expect("an answer");
        assert_eq!((facts.needed, facts.own, facts.others.as_slice()), (1, 1, &[1][..]));
        let alone = "    Nodeid      Votes Name\n0x00000001          1 a (local)\n";
        let facts = ask(&printed("No", &counts(2, 1, "2 Activity blocked", ""), alone)).expect("an answer");
        assert_eq!((facts.quorate, facts.needed, facts.others.len()), (false, 2, 0));
    }

    #[test]
    fn a_device_counts_for_others_where_it_is_alive_and_votes() {
        let members = |own: &str, other: &str, device: &str| {
            format!(
                "    Nodeid      Votes    Qdevice Name\n\
                 0x00000001          1 {own:>10} 192.0.2.1 (local)\n\
                 0x00000002          1 {other:>10} 192.0.2.2\n\
                 0x00000000 {device}\n"
            )
        };
        let voting = "         1            Qdevice";
        let silent = "         0            Qdevice (votes 1)";
        for (own, other, device, total, for_others) in [
            ("A,V,NMW", "A,V,NMW", voting, 3, true),
            ("A,V,MW", "A,V,MW", voting, 3, true),
            ("A,NV,NMW", "A,NV,NMW", silent, 2, false),
            ("NA,NV,NMW", "NA,NV,NMW", silent, 2, false),
            // It was voting when it was last heard of.
            ("A,V,NMW", "NA,V,NMW", voting, 3, false),
            // Set up on one node only.
            ("A,V,NMW", "NR", voting, 3, false),
            // It votes for the other node, and that is what counts.
            ("A,NV,NMW", "A,V,NMW", silent, 2, true),
        ] {
            let text = printed("Yes", &counts(3, total, "2  ", "Quorate Qdevice "), &members(own, other, device));
            let facts = ask(&text).unwrap_or_else(|fault| panic!("{fault}\n{text}"));
            assert_eq!(facts.device, Some(DeviceFacts { votes: 1, for_others }), "{text}");
            assert_eq!((facts.expected, facts.own, facts.others.as_slice()), (3, 1, &[1][..]));
        }
        // Nobody is left for whom it could vote.
        let alone = "    Nodeid      Votes    Qdevice Name\n0x00000001          1    A,V,NMW a (local)\n\
                     0x00000000          1            Qdevice\n";
        let facts = ask(&printed("Yes", &counts(3, 2, "2  ", "Quorate Qdevice "), alone)).expect("an answer");
        assert_eq!(facts.device, Some(DeviceFacts { votes: 1, for_others: false }));
    }

    #[test]
    fn what_does_not_say_how_votes_are_counted_is_a_fault() {
        let plain = |from: &str, to: &str| {
            let text = printed("Yes", &counts(4, 4, "3  ", "Quorate "), PLAIN);
            assert!(text.contains(from), "{from}");
            ask(&text.replace(from, to)).expect_err(to)
        };
        for (from, to, says) in [
            ("Quorum:           3", "Quorum:           many", "\"many\""),
            ("Total votes:      4\n", "", "\"Total votes\""),
            ("Nodeid      Votes Name", "Nodeid      Name", "lists no votes"),
            (" (local)", "", "no member is"),
            ("192.0.2.2\n", "192.0.2.2 (local)\n", "two members"),
            ("0x00000003          1", "Unable to get node 3 info", "Unable to get"),
            ("0x00000003          1 fd00::1:3", "0x00000003", "0x00000003"),
        ] {
            let fault = plain(from, to);
            assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
            assert!(fault.what.contains(says), "{says} is not in {fault}");
        }
        let no_provider = "Quorum information\n------------------\nQuorum provider:  Not configured\nNodes:            2\n\
                           Node ID:          0x00000001\nRing ID:          1.2a\nQuorate:          Yes\n";
        let fault = ask(no_provider).expect_err("no votes");
        assert_eq!(fault.class, FaultClass::Permanent);
        assert!(fault.what.contains("Not configured"), "{fault}");
    }

    #[test]
    fn an_answer_that_a_moment_later_may_be_another_is_asked_for_again() {
        // Somebody left between the tool's own questions.
        let fault = ask(&printed("Yes", &counts(4, 3, "3  ", "Quorate "), PLAIN)).expect_err("it does not add up");
        assert_eq!(fault.class, FaultClass::Transient);
        assert!(fault.what.contains("4 by members, 3 in all"), "{fault}");
        for text in ["Cannot initialize CMAP service\n", "sh: corosync-quorumtool: not found\n", ""] {
            let fault = ask(text).expect_err("corosync is down");
            assert_eq!(fault.class, FaultClass::Transient);
            assert!(fault.what.contains("does not answer") && fault.what.contains(text.trim()), "{fault}");
        }
    }
}
