//! The plan before a run, the report after it, and the help.

use clap::CommandFactory;
use insta::assert_snapshot;
use proxmaint::choices::{GuestReboot, HostReboot, ProtectChoice, Scope, Stopped};
use proxmaint::cli::args::Cli;
use proxmaint::ids::{GuestKind, HostId, Step};
use proxmaint::inventory::{Inside, Power, Via};
use proxmaint::machine::outcome::{CheckReport, Detail as Done, Fault, Outcome, Remarks, VerifyReport};
use proxmaint::observe::plan_view::{self, PlanTotals};
use proxmaint::observe::report;
use proxmaint::observe::style::Paint;
use proxmaint::observe::view::{Detail, Standing};
use proxmaint::plan::{Check, Finding, HostPlan, HostPolicy, OldBackup, OwnPlace, plan_host};

use crate::world::{OPENED, World, change, clustered, ct, facts, failed, guests, os, pending, plan, policy};

fn plans() -> Vec<(HostId, Result<HostPlan, Fault>)> {
    let mut many = guests();
    let mut vm = ct(
        111,
        "shop",
        Inside::Seen { via: Via::Ssh { address: "10.0.0.11".to_owned() }, os: Box::new(os(pending())) },
    );
    vm.kind = proxmaint::ids::GuestKind::Vm;
    vm.can_snapshot = false;
    vm.not_backed_up = vec!["scsi1 (backup=0)".to_owned()];
    many.push(vm);
    let mut locked = ct(112, "busy", Inside::Seen { via: Via::Pct, os: Box::new(os(pending())) });
    locked.lock = Some("backup".to_owned());
    many.push(locked);
    let mut first = facts("pve1", many);
    first.os.reboot_wanted = Some("kernel 6.17.2-1-pve is installed, 6.14.11-4-pve runs".to_owned());
    let mut refused = clustered("pve2", Vec::new());
    refused.cluster.as_mut().expect("a cluster").quorate = false;
    let mut idle = facts("node9", vec![ct(103, "idle", Inside::Seen { via: Via::Pct, os: Box::new(os(Vec::new())) })]);
    idle.os.pending = Vec::new();
    idle.os.lists_refreshed = None;
    let unreachable = Fault::auth("GET /version: 401 Unauthorized").hint("check the token in PVE4_TOKEN");
    vec![
        (HostId::new("pve1"), Ok(plan("pve1", &first))),
        (HostId::new("pve2"), Ok(plan("pve2", &refused))),
        (HostId::new("pve3"), Ok(plan("pve3", &idle))),
        (HostId::new("pve4"), Err(unreachable)),
    ]
}

#[test]
fn a_plan_for_people() {
    let plans = plans();
    let looked = || plans.iter().map(|(host, plan)| (host, plan.as_ref()));
    let now = OPENED.after(std::time::Duration::from_secs(200_000));
    let brief = plan_view::text(looked(), now, false, Paint::plain());
    let verbose = plan_view::text(looked().take(1), OPENED, true, Paint::plain());
    assert_snapshot!(format!("{brief}\n=== verbose\n\n{verbose}"));
}

#[test]
fn a_plan_for_programs() {
    let plans = plans();
    let looked = || plans.iter().map(|(host, plan)| (host, plan.as_ref()));
    let mut lines: Vec<String> = looked().map(|looked| plan_view::json_line(looked, OPENED)).collect();
    lines.push(plan_view::json_end(&PlanTotals::of(looked())));
    assert_snapshot!(lines.join("\n"));
}

/// Plans in which power is touched: guests that are started, nodes that are rebooted, and one that proxmaint runs on.
fn power_plans() -> Vec<(HostId, Result<HostPlan, Fault>)> {
    let mut off = ct(103, "off", Inside::NotLooked);
    off.power = Power::Stopped;
    off.not_backed_up = vec!["mp0 (/srv)".to_owned()];
    let mut vm = ct(111, "shop", Inside::Seen { via: Via::Agent, os: Box::new(os(pending())) });
    vm.kind = GuestKind::Vm;
    let mut policy = policy("pve1");
    policy.guests.stopped = Stopped::Start;
    policy.guests.reboot = GuestReboot::IfNeeded;
    policy.reboot = HostReboot::Always;
    let plan = |policy: &HostPolicy, node: &str, guests| plan_host(policy, &facts(node, guests), None);
    let mut first = plan(&policy, "pve1", vec![off, vm]);
    let guest = first.guests[1].guest.clone();
    let old = OldBackup { guest, volid: "local:backup/old.zst".to_owned(), note: "proxmaint x".to_owned() };
    first.prune_backups = vec![old];
    first.findings = vec![Finding::warn(Check::Space, "/var/tmp has 1 GB free").remedy("make room")];
    policy.reboot = HostReboot::IfNeeded;
    let mut own = plan(&policy, "pve2", guests());
    own.own = Some(OwnPlace::Node);
    own.guests[0].own = true;
    policy.scope = Scope::GuestsOnly;
    policy.guests.protect = vec![ProtectChoice::None];
    let rest = plan(&policy, "pve3", guests());
    [("pve1", first), ("pve2", own), ("pve3", rest)].map(|(host, plan)| (HostId::new(host), Ok(plan))).into()
}

#[test]
fn a_plan_that_touches_power() {
    let plans = power_plans();
    let looked = || plans.iter().map(|(host, plan)| (host, plan.as_ref()));
    let text = plan_view::text(looked(), OPENED, false, Paint::plain());
    let lines: Vec<String> = looked().map(|looked| plan_view::json_line(looked, OPENED)).collect();
    assert_snapshot!(format!("{text}\n{}", lines.join("\n")));
}

#[test]
fn the_report_names_what_is_owed_and_what_is_left_to_look_at() {
    let mut world = World::with(&["pve1"], |policy| policy.guests.stopped = Stopped::Start);
    world.turns();
    let mut off = ct(103, "off", Inside::NotLooked);
    off.power = Power::Stopped;
    let mut quiet = facts("pve1", vec![off]);
    quiet.os.pending = Vec::new();
    world.discovered("pve1", &quiet);
    let mut done = |guest, step, what| world.ended("pve1", guest, step, Outcome::Done(what));
    done(Some(103), Step::StartGuest, Done::Started);
    let seen = Inside::Seen { via: Via::Pct, os: Box::new(os(pending())) };
    done(Some(103), Step::LookGuest, Done::Looked(Box::new(seen)));
    world.protected("pve1", 103);
    world.upgraded("pve1", 103);
    let remarks = Remarks { held: vec!["nginx".to_owned()], ..Remarks::default() };
    let report = CheckReport { changes: pending(), reboot_wanted: None, boot_id: None, remarks };
    world.ended("pve1", Some(103), Step::CheckGuest, Outcome::Done(Done::Checked(report)));
    world.ended("pve1", Some(103), Step::StopGuest, failed("it did not shut down"));
    let report = VerifyReport {
        changes: Vec::new(),
        reboot_wanted: None,
        rebooted: Some("6.17.2-1-pve".to_owned()),
        remarks: Remarks { restart_needed: vec!["cron.service".to_owned()], ..Remarks::default() },
    };
    world.ended("pve1", None, Step::Verify, Outcome::Done(Done::Verified(report)));
    assert_snapshot!(report::text(&world.view(Standing::Interrupted, Detail::Full, None), Some(110), Paint::plain()));
}

#[test]
fn the_report_of_a_run_with_every_verdict() {
    let mut world = World::new(&["pve1", "pve2", "pve3", "pve4"]);
    world.turns();
    world.whole("pve1", Some("kernel 6.17.2-1-pve is installed, 6.14.11-4-pve runs"));
    world.discovered("pve2", &clustered("pve2", guests()));
    world.protected("pve2", 101);
    world.protected("pve2", 102);
    world.upgraded("pve2", 101);
    world.checked("pve2", 101, vec![change("nginx", "1", "2")], Some("libc6 was upgraded"));
    let fault = Fault::permanent("apt-get exited with 100: no space left on device").hint("make room in CT 102");
    world.ended("pve2", Some(102), Step::UpgradeGuest, Outcome::Failed(fault));
    world.pass(30);
    world.ended("pve2", None, Step::UpgradeHost, failed("apt-get dist-upgrade exited with 100"));
    world.turns();
    let mut idle = facts("pve3", Vec::new());
    idle.os.pending = Vec::new();
    world.discovered("pve3", &idle);
    world.discovered("pve4", &clustered("pve4", Vec::new()));
    let view = world.view(Standing::Interrupted, Detail::Full, None);
    assert_snapshot!(report::text(&view, Some(110), Paint::plain()));
}

#[test]
fn a_report_fits_a_narrow_terminal() {
    let mut world = World::new(&["pve1"]);
    world.turns();
    world.ended("pve1", None, Step::Discover, failed(&"a very long reason ".repeat(20)));
    let text = report::text(&world.view(Standing::Finished, Detail::Full, None), Some(60), Paint::plain());
    let table = text.lines().take_while(|line| !line.starts_with("pve1:"));
    assert!(table.clone().count() > 3 && table.clone().all(|line| line.chars().count() <= 60), "{text}");
}

/// The commands below another one, the first one last.
fn below(path: &str, command: &clap::Command) -> Vec<(String, clap::Command)> {
    let named = |sub: &clap::Command| (format!("{path} {}", sub.get_name()).trim().to_owned(), sub.clone());
    let mut all: Vec<_> = command.get_subcommands().filter(|sub| sub.get_name() != "help").map(named).collect();
    all.reverse();
    all
}

#[test]
fn help_of_every_command() {
    let mut root = Cli::command();
    root.build();
    let mut text = root.clone().term_width(110).render_long_help().to_string();
    let mut open: Vec<(String, clap::Command)> = below("", &root);
    while let Some((path, command)) = open.pop() {
        open.extend(below(&path, &command));
        text.push_str(&format!("\n=== {path}\n\n{}", command.term_width(110).render_long_help()));
    }
    assert_snapshot!(text);
}
