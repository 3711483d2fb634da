//! The plan before a run, the report after it, and the help.

use clap::CommandFactory;
use insta::assert_snapshot;
use proxmaint::cli::args::Cli;
use proxmaint::ids::{HostId, Step};
use proxmaint::inventory::{Inside, Via};
use proxmaint::machine::outcome::{Fault, Outcome};
use proxmaint::observe::plan_view::{self, PlanTotals};
use proxmaint::observe::report;
use proxmaint::observe::style::Paint;
use proxmaint::observe::view::{Detail, Standing};
use proxmaint::plan::HostPlan;

use crate::world::{OPENED, World, change, clustered, ct, facts, failed, guests, os, pending, plan};

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

#[test]
fn help_of_every_command() {
    let mut text = String::new();
    let mut root = Cli::command().term_width(110);
    text.push_str(&root.render_long_help().to_string());
    for path in [
        &["run"][..],
        &["status"],
        &["resolve"],
        &["manifest"],
        &["manifest", "show"],
        &["manifest", "check"],
        &["journal"],
        &["journal", "recover"],
        &["journal", "verify"],
        &["journal", "export"],
    ] {
        let mut command = Cli::command().term_width(110);
        command.build();
        for name in path {
            command = command.find_subcommand(name).expect("a command").clone().term_width(110);
        }
        text.push_str(&format!("\n=== {}\n\n{}", path.join(" "), command.render_long_help()));
    }
    assert_snapshot!(text);
}
