//! The rule of what goes and what stays.

use super::*;
use crate::ids::NodeName;

const DAY: i64 = 24 * 3_600_000;

fn left(run: u32, upgrade: Came) -> Left {
    let guest = GuestAddr {
        node: NodeName::new("pve1"),
        kind: GuestKind::Ct,
        id: GuestId(101),
        identity: Some("root disk, mac".to_owned()),
    };
    Left {
        run: RunId::new(format!("2026112{run}-000000-test")),
        host: HostId::new("pve1"),
        cluster: Some(ClusterId::new("lab")),
        guest,
        name: "web".to_owned(),
        thing: Thing::Snapshot(SnapshotName::new(format!("pm-{run}"))),
        made: Timestamp(i64::from(run) * DAY),
        upgrade,
        open: false,
        there: true,
    }
}

fn well(run: u32) -> Left {
    left(run, Came::Well(Timestamp(i64::from(run) * DAY + 1000)))
}

fn keep(days: u64, last: u32) -> Retention {
    let ms = days * 24 * 3_600_000;
    Retention { snapshots_for_ms: ms, snapshots_last: last, backups_for_ms: 5 * ms, backups_last: last + 1 }
}

fn decide(all: &[Left], keep: Retention, day: u32) -> Vec<Fate> {
    fates(all, |_| Some(keep), Timestamp(i64::from(day) * DAY + 2000))
}

#[test]
fn age_counts_from_the_success_and_to_the_millisecond() {
    let all = [well(1)];
    let at = |ms| fates(&all, |_| Some(keep(1, 0)), Timestamp(DAY + 1000 + ms));
    assert_eq!(at(DAY), [Fate::Stays(Why::Young)]);
    assert_eq!(at(DAY + 1), [Fate::Goes]);
}

#[test]
fn the_newest_of_a_guest_stay_however_old() {
    let all = [well(1), well(2), well(3)];
    let newest = Fate::Stays(Why::Newest);
    assert_eq!(decide(&all, keep(1, 2), 9), [Fate::Goes, newest, newest]);
    assert_eq!(decide(&all, keep(1, 0), 9), [Fate::Goes; 3]);
    let mut others = all.clone();
    for (n, other) in others.iter_mut().enumerate() {
        other.guest.id = GuestId(200 + u32::try_from(n).expect("few"));
    }
    assert_eq!(decide(&others, keep(1, 1), 9), [newest; 3], "each guest has a newest of its own");
}

#[test]
fn snapshots_and_backups_are_counted_and_aged_apart() {
    let backup = |run: u32| Left { thing: Thing::Backup { volid: None, note: format!("note {run}") }, ..well(run) };
    let all = [well(1), backup(1), backup(2), well(2)];
    assert_eq!(decide(&all, keep(1, 0), 5), [Fate::Goes, Fate::Stays(Why::Young), Fate::Stays(Why::Young), Fate::Goes]);
    assert_eq!(decide(&all, keep(1, 0), 9), [Fate::Goes, Fate::Goes, Fate::Stays(Why::Newest), Fate::Goes]);
}

#[test]
fn what_an_open_run_made_stays() {
    let all = [Left { open: true, upgrade: Came::NotBegun, ..left(1, Came::Ill) }];
    assert_eq!(decide(&all, keep(0, 0), 9), [Fate::Stays(Why::RunOpen)]);
}

#[test]
fn a_guest_that_did_not_come_out_well_keeps_everything() {
    let needed = Fate::Stays(Why::Needed);
    assert_eq!(decide(&[well(1), left(2, Came::Ill)], keep(0, 0), 9), [needed; 2]);
    // It is being worked on again: what it could be brought back from stays, too.
    let again = Left { open: true, ..left(2, Came::Ill) };
    assert_eq!(decide(&[well(1), again], keep(0, 0), 9), [needed, Fate::Stays(Why::RunOpen)]);
    // One that was protected and not touched changes nothing about that.
    let all = [left(1, Came::Ill), left(2, Came::NotBegun)];
    assert_eq!(decide(&all, keep(0, 0), 9), [needed; 2]);
}

#[test]
fn a_later_success_lets_go_of_what_a_failure_kept() {
    let all = [left(1, Came::Ill), well(3)];
    assert_eq!(decide(&all, keep(2, 0), 4), [Fate::Stays(Why::Young); 2], "its time begins with the success");
    assert_eq!(decide(&all, keep(2, 0), 6), [Fate::Goes; 2]);
}

#[test]
fn one_that_was_never_upgraded_is_aged_from_when_it_was_made() {
    let all = [left(1, Came::NotBegun)];
    assert_eq!(decide(&all, keep(3, 0), 3), [Fate::Stays(Why::Young)]);
    assert_eq!(decide(&all, keep(3, 0), 5), [Fate::Goes]);
}

#[test]
fn another_guest_under_the_same_number_is_another_guest() {
    let mut other = left(2, Came::Ill);
    other.guest.identity = Some("another disk".to_owned());
    assert_eq!(decide(&[well(1), other], keep(1, 0), 9), [Fate::Goes, Fate::Stays(Why::Needed)]);
    let mut unknown = well(1);
    unknown.guest.identity = None;
    assert_eq!(decide(&[unknown], keep(0, 0), 9), [Fate::Stays(Why::NoIdentity)]);
    assert_eq!(fates(&[well(1)], |_| None, Timestamp(9 * DAY)), [Fate::Stays(Why::NoPolicy)]);
}
