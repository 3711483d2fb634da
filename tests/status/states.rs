//! `proxmaint status` in every state that a run can be in.

use insta::assert_snapshot;
use proxmaint::choices::{HostReboot, ProtectChoice, Scope, Stopped};
use proxmaint::cli::status::{EventLines, RunLine, json, runs, runs_json, tree};
use proxmaint::ids::{BootId, GuestId, GuestKind, HostId, Step};
use proxmaint::inventory::Power;
use proxmaint::machine::event::HostEvent;
use proxmaint::machine::guest::Resolution;
use proxmaint::machine::outcome::{
    CheckReport, Detail as Done, Fault, Outcome, Probed, RebootFacts, Remarks, RunningGuest, VerifyReport,
};
use proxmaint::observe::project::RunHeader;
use proxmaint::observe::style::Paint;
use proxmaint::observe::view::{Detail, RunView, Standing};
use proxmaint::plan::{OwnPlace, plan_host};

use crate::world::{OPENED, World, change, clustered, ct, facts, failed, guests, pending, seen};

const RUNNING: Standing = Standing::Running { pid: 4711 };

fn show(world: &World, standing: Standing) -> String {
    tree(&world.view(standing, Detail::Brief, None), false, Paint::plain())
}

fn detail(world: &World, standing: Standing, host: &str) -> String {
    tree(&world.view(standing, Detail::Full, Some(host)), true, Paint::plain())
}

/// One host, its two guests protected.
fn protected() -> World {
    let mut world = World::new(&["pve1"]);
    world.turns();
    world.pass(12);
    world.discovered("pve1", &facts("pve1", guests()));
    world.task("pve1", 101, Step::Snapshot, 1);
    world.pass(4);
    world.protected("pve1", 101);
    world.protected("pve1", 102);
    world.pass(30);
    world
}

#[test]
fn not_begun() {
    assert_snapshot!(show(&World::new(&["pve1", "pve2"]), Standing::Interrupted));
}

#[test]
fn discovering() {
    let mut world = World::new(&["pve1", "pve2", "pve3"]);
    world.turns();
    world.pass(3);
    assert_snapshot!(show(&world, RUNNING));
}

#[test]
fn snapshotting_and_waiting_for_a_turn() {
    let mut world = World::new(&["pve1", "pve2"]);
    world.turns();
    world.pass(12);
    world.discovered("pve1", &clustered("pve1", guests()));
    world.discovered("pve2", &clustered("pve2", Vec::new()));
    world.task("pve1", 101, Step::Snapshot, 1);
    world.pass(2);
    assert_snapshot!(show(&world, RUNNING));
}

#[test]
fn upgrading_guests() {
    assert_snapshot!(show(&protected(), RUNNING));
}

#[test]
fn interrupted_in_the_middle_of_upgrades() {
    assert_snapshot!(show(&protected(), Standing::Interrupted));
}

#[test]
fn gone_on_and_looking_at_what_is_in_doubt() {
    let mut world = protected();
    world.resume();
    world.pass(1);
    assert_snapshot!(show(&world, RUNNING));
}

#[test]
fn upgrading_the_node_after_a_failed_guest() {
    let mut world = protected();
    world.upgraded("pve1", 101);
    world.checked("pve1", 101, pending(), Some("libc6 was upgraded"));
    world.ended("pve1", Some(102), Step::UpgradeGuest, failed("apt-get exited with 100: dpkg was interrupted"));
    world.pass(20);
    assert_snapshot!(show(&world, RUNNING));
}

#[test]
fn held_after_a_probe_that_could_not_tell() {
    let mut world = protected();
    world.resume();
    world.pass(2);
    let fault = Fault::ambiguous("the job is gone and left no exit status, and dpkg --audit is not clean")
        .hint("log in and run dpkg --configure -a");
    world.probed("pve1", Some(101), Probed::Unclear(fault));
    world.probed("pve1", Some(102), Probed::NotDone);
    world.pass(30);
    let running = show(&world, RUNNING);
    world.upgraded("pve1", 102);
    world.checked("pve1", 102, pending(), None);
    assert_snapshot!(format!("{running}\n=== later\n\n{}", show(&world, Standing::Interrupted)));
}

#[test]
fn a_step_of_the_node_is_held() {
    let mut world = protected();
    for guest in [101, 102] {
        world.upgraded("pve1", guest);
        world.checked("pve1", guest, pending(), None);
    }
    world.pass(40);
    world.resume();
    let unknown = || Fault::ambiguous("the node was restarted while its upgrade was at work");
    world.probed("pve1", None, Probed::Unclear(unknown()));
    assert_snapshot!(show(&world, Standing::Interrupted));
}

#[test]
fn blocked_skipped_by_the_operator_and_refused() {
    let mut world = World::new(&["pve1", "pve2", "pve3"]);
    world.turns();
    let mut locked = ct(104, "shop", seen(pending()));
    locked.lock = Some("backup".to_owned());
    let mut raw = ct(105, "files", seen(pending()));
    raw.can_snapshot = false;
    world.discovered("pve1", &facts("pve1", vec![locked, raw, ct(106, "mail", seen(pending()))]));
    let mut lost = clustered("pve2", Vec::new());
    lost.cluster.as_mut().expect("a cluster").quorate = false;
    world.discovered("pve2", &lost);
    let refused = |what| Outcome::Refused(Fault::permanent(what));
    world.ended("pve1", Some(106), Step::Snapshot, refused("CT is locked (snapshot)"));
    world.ended("pve1", Some(106), Step::Backup, refused("the storage local is full"));
    world.ended("pve3", None, Step::Discover, failed("connecting to pve3: no route to host"));
    world.event(&HostId::new("pve3"), HostEvent::Resolved { guest: None, resolution: Resolution::Skip });
    assert_snapshot!(show(&world, RUNNING));
}

#[test]
fn a_failed_node_keeps_its_clusters_turn() {
    let mut world = World::new(&["pve1", "pve2"]);
    world.turns();
    world.discovered("pve1", &clustered("pve1", Vec::new()));
    world.discovered("pve2", &clustered("pve2", Vec::new()));
    world.pass(60);
    let fault = Fault::permanent("apt-get dist-upgrade exited with 100").hint("run apt-get -f install on pve1");
    world.ended("pve1", None, Step::UpgradeHost, Outcome::Failed(fault));
    assert_snapshot!(show(&world, Standing::Interrupted));
}

#[test]
fn finished_well() {
    let mut world = World::new(&["pve1"]);
    world.turns();
    world.whole("pve1", Some("kernel 6.17.2-1-pve is installed, 6.14.11-4-pve runs"));
    assert_snapshot!(show(&world, Standing::Finished));
}

#[test]
fn one_host_with_packages_and_what_is_kept() {
    let mut world = World::new(&["pve1", "pve2"]);
    world.turns();
    world.whole("pve1", Some("kernel 6.17.2-1-pve is installed, 6.14.11-4-pve runs"));
    assert_snapshot!(detail(&world, RUNNING, "pve1"));
}

#[test]
fn a_large_fleet_folds_what_needs_nobody() {
    let names: Vec<String> = (1..=14).map(|n| format!("pve{n}")).collect();
    let mut world = World::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    world.turns();
    world.whole("pve1", None);
    world.discovered("pve2", &facts("pve2", guests()));
    let view = world.view(RUNNING, Detail::Brief, None);
    assert_eq!((view.hosts[0].guests.len(), view.hosts[0].counts.upgraded), (0, 2));
    assert_eq!(view.hosts[1].guests.len(), 5);
    assert_snapshot!(show(&world, RUNNING));
}

#[test]
fn names_from_outside_are_harmless_in_every_view() {
    let mut world = World::new(&["pve1\x1b[2J"]);
    world.turns();
    let guests = vec![ct(101, "web\r\n\x1b]0;owned\x07", seen(pending()))];
    world.discovered("pve1\x1b[2J", &facts("pve1", guests));
    let brief = show(&world, RUNNING);
    let all = detail(&world, RUNNING, "pve1\x1b[2J");
    let json = json(&world.view(RUNNING, Detail::Full, None));
    for text in [&brief, &all, &json] {
        assert!(!text.contains(['\x1b', '\r', '\x07']), "{text}");
    }
    assert!(brief.contains("web\\r\\n\\u{1b}]0;owned"), "{brief}");
}

#[test]
fn the_json_is_the_documented_one_and_reads_back() {
    let mut world = protected();
    world.upgraded("pve1", 101);
    world.checked("pve1", 101, pending(), None);
    let view = world.view(Standing::Interrupted, Detail::Full, None);
    let text = json(&view);
    assert_eq!(serde_json::from_str::<RunView>(&text).expect("a view"), view);
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_snapshot!(serde_json::to_string_pretty(&value).expect("JSON"));
}

#[test]
fn a_brief_view_leaves_out_packages_and_finished_steps_only() {
    let mut world = World::new(&["pve1"]);
    world.turns();
    world.whole("pve1", None);
    let brief = world.view(Standing::Finished, Detail::Brief, None);
    let mut full = world.view(Standing::Finished, Detail::Full, None);
    assert!(full.hosts[0].guests[0].packages.len() == 2 && !full.hosts[0].steps.is_empty());
    for host in &mut full.hosts {
        (host.packages, host.steps) = Default::default();
        for guest in &mut host.guests {
            (guest.packages, guest.steps) = Default::default();
        }
    }
    assert_eq!(brief, full);
}

#[test]
fn events_in_words() {
    let mut world = protected();
    world.resume();
    world.probed("pve1", Some(101), Probed::Running);
    world.upgraded("pve1", 101);
    world.checked("pve1", 101, pending(), Some("libc6 was upgraded"));
    let mut lines = EventLines::new();
    let events = world.events.iter();
    let text: Vec<String> = events.map(|(at, host, event)| lines.line(*at, host, event, Paint::plain())).collect();
    let mut lines = EventLines::new();
    let (at, host, event) = &world.events[0];
    let first = lines.json_line(&world.run.id, 1, *at, host, event);
    assert_snapshot!(format!("{}\n\n{first}", text.join("\n")));
}

#[test]
fn all_runs() {
    let mut world = World::new(&["pve1"]);
    let line = |world: &World, run: &str, standing| {
        let view = world.view(standing, Detail::Brief, None);
        let run = proxmaint::ids::RunId::new(run);
        let header = RunHeader { run, opened_at: OPENED, parallel_hosts: 2, standing };
        RunLine { header, result: view.result, counts: view.counts, owed: 0 }
    };
    let mut lines = vec![line(&world, "20261120-010203-aaaa", Standing::Expired)];
    world.turns();
    lines.push(line(&world, "20261122-222842-kqzt", RUNNING));
    world.whole("pve1", None);
    lines.push(line(&world, "20261121-222842-bbbb", Standing::Finished));
    lines.push(RunLine { owed: 2, ..line(&world, "20261121-222843-cccc", Standing::Expired) });
    assert_snapshot!(format!("{}\n{}\n{}", runs(&lines, Paint::plain()), runs_json(&lines), runs(&[], Paint::plain())));
}

/// Gives a guest's step a good end.
fn done(world: &mut World, guest: u32, step: Step, what: Done) {
    world.ended("pve1", Some(guest), step, Outcome::Done(what));
}

/// One host with a guest that does not run and is started for its upgrade.
fn started() -> World {
    let mut world = World::with(&["pve1"], |policy| policy.guests.stopped = Stopped::Start);
    world.turns();
    let mut off = ct(103, "off", proxmaint::inventory::Inside::NotLooked);
    off.power = Power::Stopped;
    let mut quiet = facts("pve1", vec![off]);
    quiet.os.pending = Vec::new();
    world.discovered("pve1", &quiet);
    world.pass(3);
    done(&mut world, 103, Step::StartGuest, Done::Started);
    world.pass(9);
    world
}

#[test]
fn a_guest_that_was_started_is_owed_until_it_is_stopped() {
    let mut world = started();
    let looking = show(&world, RUNNING);
    done(&mut world, 103, Step::LookGuest, Done::Looked(Box::new(seen(pending()))));
    world.protected("pve1", 103);
    world.pass(20);
    let interrupted = show(&world, Standing::Interrupted);
    world.upgraded("pve1", 103);
    world.checked("pve1", 103, pending(), None);
    world.pass(1);
    world.ended("pve1", Some(103), Step::StopGuest, failed("the guest did not shut down within 300 s"));
    world.ended(
        "pve1",
        None,
        Step::Verify,
        Outcome::Done(Done::Verified(VerifyReport {
            changes: Vec::new(),
            reboot_wanted: None,
            rebooted: None,
            remarks: Remarks::default(),
        })),
    );
    let over = show(&world, Standing::Interrupted);
    let view = world.view(Standing::Interrupted, Detail::Brief, None);
    assert_eq!(view.hosts[0].owed.len(), 1);
    assert_snapshot!([looking, interrupted, over].join("\n===\n\n"));
}

/// One node that is rebooted, with its guests shut down, and another one that waits for that.
fn rebooting(world: &mut World) {
    world.turns();
    for host in ["pve1", "pve2"] {
        world.discovered(host, &facts(host, vec![ct(103, "idle", seen(Vec::new()))]));
        world.pass(60);
        world.ended(host, None, Step::UpgradeHost, Outcome::Done(Done::Upgraded));
        let report = VerifyReport {
            changes: vec![change("pve-manager", "9.1.1", "9.2.1")],
            reboot_wanted: Some("kernel 6.17.2-1-pve is installed, 6.14.11-4-pve runs".to_owned()),
            rebooted: None,
            remarks: Remarks::default(),
        };
        world.ended(host, None, Step::Verify, Outcome::Done(Done::Verified(report)));
        world.turns();
    }
    let guest = RunningGuest { id: GuestId(103), kind: GuestKind::Ct, name: "idle".to_owned(), ha: false };
    let ready = RebootFacts {
        boot_id: BootId::new("6d0c5f3a"),
        kernel: "6.14.11-4-pve".to_owned(),
        expected: Some("6.17.2-1-pve".to_owned()),
        running: vec![guest],
    };
    world.ended("pve1", None, Step::PrepareReboot, Outcome::Done(Done::RebootReady(ready)));
    world.pass(30);
}

#[test]
fn a_node_that_is_rebooted_owes_its_guests_and_another_waits() {
    let mut world = World::with(&["pve1", "pve2"], |policy| policy.reboot = HostReboot::IfNeeded);
    rebooting(&mut world);
    let stopping = show(&world, RUNNING);
    world.ended("pve1", None, Step::StopGuests, Outcome::Done(Done::GuestsStopped));
    world.pass(200);
    let in_doubt = show(&world, Standing::Interrupted);
    world.ended("pve1", None, Step::RebootHost, Outcome::Done(Done::Rebooted(BootId::new("next"))));
    world.pass(10);
    world.ended("pve1", None, Step::StartGuests, Outcome::Done(Done::GuestsStarted));
    let report = VerifyReport {
        changes: vec![change("pve-manager", "9.1.1", "9.2.1")],
        reboot_wanted: None,
        rebooted: Some("6.17.2-1-pve".to_owned()),
        remarks: Remarks {
            held: vec!["postfix".to_owned()],
            leftovers: vec!["/etc/default/grub.dpkg-dist".to_owned()],
            restart_needed: vec!["cron.service".to_owned()],
            health: Vec::new(),
        },
    };
    world.ended("pve1", None, Step::Verify, Outcome::Done(Done::Verified(report)));
    world.turns();
    world.ended("pve2", None, Step::PrepareReboot, Outcome::Refused(Fault::permanent("a backup runs on the node")));
    let over = show(&world, Standing::Finished);
    let all = detail(&world, Standing::Finished, "pve1");
    assert_snapshot!([stopping, in_doubt, over, all].join("\n===\n\n"));
}

#[test]
fn what_could_not_be_given_back_is_named_with_the_command_that_tries_again() {
    let mut world = World::with(&["pve1", "pve2"], |policy| policy.reboot = HostReboot::IfNeeded);
    rebooting(&mut world);
    world.ended("pve1", None, Step::StopGuests, failed("CT 103 did not shut down"));
    world.ended("pve1", None, Step::StartGuests, failed("CT 103: no space left on device"));
    assert_snapshot!(show(&world, Standing::Interrupted));
}

#[test]
fn one_that_proxmaint_runs_in_unprotected_ones_and_a_node_left_alone() {
    let mut world = World::with(&["pve1"], |policy| {
        policy.scope = Scope::GuestsOnly;
        policy.guests.protect = vec![ProtectChoice::None];
        policy.max_parallel = 1;
        policy.exclude = vec!["102".parse().expect("a selector")];
    });
    world.turns();
    let key = world.take("pve1", None, Step::Discover).key;
    let policy = world.run.host(&HostId::new("pve1")).expect("in the run").policy.clone();
    let mut plan = plan_host(&policy, &facts("pve1", guests()), None);
    plan.own = Some(OwnPlace::Guest(GuestId(101)));
    plan.guests[0].own = true;
    world.planned(key, plan);
    world.pass(5);
    assert_snapshot!(show(&world, RUNNING));
}

#[test]
fn remarks_and_logs_of_a_guest() {
    let mut world = protected();
    world.upgraded("pve1", 101);
    let remarks = Remarks {
        held: vec!["nginx".to_owned(), "linux-image\x1b[31m".to_owned()],
        leftovers: vec!["/etc/nginx/nginx.conf.dpkg-dist".to_owned()],
        restart_needed: vec!["ssh.service".to_owned()],
        health: vec![
            "no longer listening: tcp 0.0.0.0:80".to_owned(),
            "old\x1b[31m.service had failed before already".to_owned(),
        ],
    };
    let report = CheckReport { changes: pending(), reboot_wanted: None, boot_id: None, remarks };
    world.ended("pve1", Some(101), Step::CheckGuest, Outcome::Done(Done::Checked(report)));
    let text = detail(&world, RUNNING, "pve1");
    assert!(!text.contains('\x1b'), "{text}");
    assert_snapshot!(text);
}
