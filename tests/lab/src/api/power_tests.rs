//! All guests of a node at once, and what is asked of a token for it.

use serde_json::Value;

use super::{ApiAnswer, ApiRequest};
use crate::world::{Acl, Asker, MachineId, Token, World};

const NODE: &str = "edge1";

fn world() -> World {
    let user = "maint@pve";
    let token = Token { user: user.into(), id: "t".into(), secret: "0f0f".into(), acl: None };
    World::builder()
        .standalone(NODE)
        .user(NODE, user, Acl::of(&[("/vms/101", &["VM.PowerMgmt"]), ("/vms/102", &["VM.PowerMgmt"])]))
        .token(NODE, token)
        .ct(NODE, 101, |ct| ct.onboot())
        .ct(NODE, 102, |ct| ct.stubborn())
        .ct(NODE, 103, |ct| ct.onboot())
        .vm(NODE, 104, |vm| vm.template())
        .build()
}

fn running(world: &World) -> Vec<u32> {
    let realm = world.realm_of(NODE).unwrap();
    realm.guests.values().filter(|g| g.running()).map(|g| g.vmid).collect()
}

/// Makes a request with the token of that number: 0 may do everything.
fn post(world: &mut World, token: usize, path: &str, fields: &[(&str, &str)]) -> ApiAnswer {
    let token = world.realm_of(NODE).unwrap().tokens[token].clone();
    let request = ApiRequest::new(NODE, "POST", &format!("/nodes/{NODE}/{path}")).token(&token);
    let request = fields.iter().fold(request, |request, (name, value)| request.field(name, *value));
    world.api(world.now(), &request)
}

fn manage(world: &mut World, vmid: u32) {
    let now = world.now();
    world.ha_set(now, NODE, &format!("ct:{vmid}"), "started", &Asker::root());
    world.settle();
}

#[test]
fn without_force_the_stubborn_one_runs_on_and_ha_keeps_its_own() {
    let mut world = world();
    manage(&mut world, 103);
    let answer = post(&mut world, 0, "stopall", &[("force-stop", "0"), ("timeout", "30")]);
    let upid = answer.data().as_str().unwrap().to_owned();
    world.settle();
    assert_eq!(running(&world), [102, 103]);
    let node = &world.nodes[NODE];
    assert_eq!(node.task(&upid).unwrap().exit.as_deref(), Some("OK"), "it is not its own failure");
    let ends: Vec<_> = node.tasks.iter().filter(|t| t.kind == "vzshutdown").map(|t| (t.id.as_str(), &t.exit)).collect();
    assert_eq!(ends.len(), 2, "each guest has a task of its own: {ends:?}");
    assert!(ends.iter().any(|(id, exit)| *id == "102" && exit.as_deref() != Some("OK")), "{ends:?}");
}

#[test]
fn force_is_the_default_and_stops_it_hard_after_its_time() {
    let mut world = world();
    let before = world.now();
    post(&mut world, 0, "stopall", &[("timeout", "30")]);
    world.settle();
    assert_eq!(running(&world), Vec::<u32>::new());
    assert!(world.now() >= before + 30_000, "it was given its time");
}

#[test]
fn a_node_that_boots_brings_back_what_it_is_to_and_ha_its_own() {
    let mut world = world();
    manage(&mut world, 102);
    world.power_node(world.now(), NODE, true, &Asker::root());
    assert_eq!(running(&world), Vec::<u32>::new());
    world.settle();
    assert_eq!(running(&world), [101, 102, 103]);
    assert!(world.nodes[NODE].tasks.iter().any(|t| t.kind == "startall"));
    assert!(world.guest(&MachineId::guest(NODE, 104)).unwrap().template);
}

#[test]
fn power_over_each_guest_that_is_named_is_enough() {
    let mut world = world();
    for path in ["stopall", "startall"] {
        let denied = post(&mut world, 1, path, &[]);
        assert_eq!((denied.status, denied.reason.as_str()), (403, "Permission check failed (/, VM.PowerMgmt)"));
        let denied = post(&mut world, 1, path, &[("vms", "101,103")]);
        assert_eq!(denied.reason, "Permission check failed (/vms/103, VM.PowerMgmt)");
        let given = post(&mut world, 1, path, &[("vms", "101,102")]);
        assert_eq!(given.status, 200, "{}", given.reason);
        assert!(matches!(given.data(), Value::String(_)));
        world.settle();
    }
}
