//! `proxmaint snapshots`: what is there of what runs made, and removing what nobody needs any more.

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::fleet;
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{MachineId, World};
use serde_json::Value;

use crate::support::{Site, host};

fn listed(site: &Site) -> Vec<Value> {
    let list = site.run(&["snapshots", "list", "--output", "json"]).expect(0).json();
    assert_eq!(list["v"], 1);
    list["left"].as_array().expect("a list").clone()
}

#[test]
fn what_runs_made_is_listed_and_pruned_by_age_and_count() {
    let site = Site::new(fleet::small());
    let id = MachineId::guest("edge1", 101);
    site.run(&["snapshots", "list"]).expect(0).says(&["No snapshot and no backup"]);
    site.run(&["snapshots", "prune", "--yes"]).expect(0).says(&["no run has made anything"]);
    site.run(&["run"]).expect(0);
    let run = site.run_name();
    let name = format!("pm-{run}-r1");
    let left = listed(&site);
    assert!(left.len() >= 2, "{left:#?}");
    for thing in &left {
        assert_eq!(
            (&thing["run"], &thing["name"], &thing["what"]),
            (&run.as_str().into(), &name.as_str().into(), &"snapshot".into())
        );
        assert_eq!((&thing["removable"], &thing["stays"]), (&false.into(), &"young".into()), "{thing:#}");
    }
    site.run(&["snapshots", "list", "--host", "edge1"]).expect(0).says(&["CT 101", &name, "not old enough"]);
    site.run(&["snapshots", "list", "--host", "edge9"]).expect(2).says(&["the manifest has: edge1"]);

    // The manifest's retention keeps them for a day; nobody is there to ask.
    site.run(&["snapshots", "prune"]).expect(2).says(&["nobody to ask", "--yes"]);
    site.run(&["snapshots", "prune", "--yes"]).expect(0).says(&["nothing is to be removed"]);
    site.run(&["snapshots", "prune", "--yes", "--older-than", "0s", "--keep-last", "1"])
        .expect(0)
        .says(&["nothing is"]);
    site.run(&["snapshots", "prune", "--dry-run", "--older-than", "0s"]).expect(0).says(&["to be removed", &name]);
    assert_eq!((site.count(Act::SnapshotDelete, "*"), site.run_name()), (0, run.clone()), "{}", site.ledger_text());

    // One that the journal does not know is none of this tool's business, whatever it is called.
    let foreign = "pm-20200101-000000-zzzz-r1";
    site.with(|world| {
        let guest = world.guest_mut(&id).expect("a guest");
        let mut other = guest.snapshots[0].clone();
        (other.name, other.parent) = (foreign.to_owned(), Some(name.clone()));
        guest.snapshots.push(other);
    });
    assert_eq!(listed(&site).len(), left.len());
    site.run(&["snapshots", "prune", "--older-than", "0s", "--yes"]).expect(0).says(&["removed"]);
    assert_eq!(site.done(Act::SnapshotDelete, "*"), left.len(), "{}", site.ledger_text());
    assert!(listed(&site).is_empty());
    let there: Vec<String> =
        site.with(|world| world.guest(&id).expect("a guest").snapshots.iter().map(|s| s.name.clone()).collect());
    assert_eq!(there, [foreign]);
    let pruned = site.run_name();
    assert_ne!(pruned, run, "it is a run of its own");
    let view = site.status(&[&pruned]);
    assert_eq!(host(&view, "edge1")["removed"], left.len(), "{view:#}");
    assert_eq!((&view["standing"]["state"], &view["result"]), (&"finished".into(), &"clean".into()));
    site.run(&["journal", "verify"]).expect(0);
    assert_eq!(site.count(Act::Upgrade, "*"), site.done(Act::Upgrade, "*"), "nothing else was done");

    // It is not gone on with, and a run after it is one of its own.
    site.run(&["run", "--resume", &pruned]).expect(2);
    site.run(&["run"]).expect(0);
    assert_ne!(site.run_name(), pruned);
}

#[test]
fn what_a_failed_guest_could_be_brought_back_from_stays() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct.pending(1))
        .fault(Fault::upgrade("101", UpgradeFault::Exit { code: 100 }))
        .build();
    let site = Site::new(world);
    site.run(&["run"]).expect(3);
    let stays = |left: &[Value]| -> Vec<Value> { left.iter().map(|thing| thing["stays"].clone()).collect() };
    assert_eq!(stays(&listed(&site)), ["run-open", "run-open"]);
    site.run(&["snapshots", "prune", "--older-than", "0s", "--yes"]).expect(0).says(&["nothing is to be removed"]);
    site.plant(Fault::upgrade("101", UpgradeFault::Exit { code: 100 }));
    site.run(&["run", "--fresh"]).expect(3);
    let left = listed(&site);
    let of = |id: u64| -> Vec<&Value> { left.iter().filter(|thing| thing["guest"] == id).collect() };
    assert_eq!(of(101).len(), 2, "{left:#?}");
    assert!(of(101).iter().all(|thing| thing["removable"] == false), "{left:#?}");
    assert_eq!(site.count(Act::SnapshotDelete, "*"), 0, "{}", site.ledger_text());
}
