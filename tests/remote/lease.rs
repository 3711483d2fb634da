//! The lease of a cluster: one run at a time, whatever becomes of those that had it.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proxmaint::engine::port::{LeaseAnswer, LeaseAsk, LeaseHolder, Remote};
use proxmaint::ids::RunId;
use proxmaint::machine::outcome::FaultClass;

use crate::world::{World, exists, shells};

const FILE: &str = "root/etc/pve/priv/proxmaint.lease";
const LOCK: &str = "root/etc/pve/priv/lock/proxmaint";

fn ask(run: &str, who: &str) -> LeaseAsk {
    LeaseAsk { run: RunId::new(run), who: who.to_owned(), span: Duration::from_secs(300) }
}

/// A node whose cluster's file system is there.
fn node(shell: &crate::world::Shell) -> World {
    let world = World::new(shell);
    fs::create_dir_all(world.path("root/etc/pve/priv")).expect("a directory");
    world
}

/// The node's clock, that many seconds from now.
fn clock(shift: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    i64::try_from(now).expect("before the end of time") + shift
}

/// Writes a lease of another run, renewed that many seconds from now.
fn leased(world: &World, since: i64, renewed: i64) {
    let (since, renewed) = (clock(since), clock(renewed));
    world.file(FILE, &format!("run=r-other\nwho=root@ops2 (process 7)\nsince={since}\nrenewed={renewed}\nspan=300\n"));
}

async fn hold(world: &World, run: &str) -> LeaseAnswer {
    let answer = world.adapter().hold_lease(&ask(run, "root@ops1 (process 1)")).await.expect("an answer");
    assert!(!exists(world.path(LOCK)), "the lock is given back");
    assert!(!exists(world.path(FILE).with_extension("lease.new")), "nothing is left beside the lease");
    answer
}

fn other(answer: LeaseAnswer) -> LeaseHolder {
    match answer {
        LeaseAnswer::Other(holder) => holder,
        answer => panic!("it was given to two: {answer:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_has_the_lease_until_it_gives_it_back() {
    for shell in shells() {
        let world = node(&shell);
        assert_eq!(hold(&world, "r-one").await, LeaseAnswer::Taken);
        assert_eq!(hold(&world, "r-one").await, LeaseAnswer::Renewed, "whichever process it was");
        let holder = other(hold(&world, "r-two").await);
        assert_eq!((holder.run.as_str(), holder.who.as_str()), ("r-one", "root@ops1 (process 1)"));
        assert!(holder.left > Duration::from_secs(200) && holder.left <= Duration::from_secs(300), "{holder:?}");
        // Nobody gives back what is another's.
        assert_eq!(world.adapter().release_lease(&RunId::new("r-two")).await, Ok(()));
        assert_eq!(hold(&world, "r-one").await, LeaseAnswer::Renewed);
        assert_eq!(world.adapter().release_lease(&RunId::new("r-one")).await, Ok(()));
        assert!(!exists(world.path(FILE)));
        assert_eq!(world.adapter().release_lease(&RunId::new("r-one")).await, Ok(()), "again is no error");
        assert_eq!(hold(&world, "r-two").await, LeaseAnswer::Taken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ran_out_is_taken_over_and_no_other() {
    for shell in shells() {
        let world = node(&shell);
        leased(&world, -900, -200);
        let holder = other(hold(&world, "r-mine").await);
        let about = |seconds: u64, is: Duration| is.abs_diff(Duration::from_secs(seconds)) < Duration::from_secs(30);
        assert!(about(900, holder.held) && about(200, holder.renewed) && about(100, holder.left), "{holder:?}");
        leased(&world, -900, -301);
        assert_eq!(hold(&world, "r-mine").await, LeaseAnswer::Taken);
        // Renewed over a node whose clock is an hour ahead: just now, and not in an hour.
        leased(&world, 3000, 3600);
        let holder = other(hold(&world, "r-mine").await);
        assert_eq!((holder.renewed, holder.left), (Duration::ZERO, Duration::from_secs(300)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_can_not_be_read_is_nobody_s() {
    for shell in shells() {
        for text in ["", "nonsense", "run=r-other\nrenewed=$(touch x)\nspan=99999999999999999999\n", "run=r-other\n"] {
            let world = node(&shell);
            world.file(FILE, text);
            assert_eq!(hold(&world, "r-mine").await, LeaseAnswer::Taken, "{text:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_told_as_it_is_and_does_no_harm() {
    for shell in shells() {
        let world = node(&shell);
        let who = "o'brien@\"ops\" $(touch x)\nrun=r-two";
        assert_eq!(world.adapter().hold_lease(&ask("r-one", who)).await, Ok(LeaseAnswer::Taken));
        let holder = other(hold(&world, "r-two").await);
        assert_eq!(holder.run, "r-one");
        assert!(holder.who.starts_with("o'brien@\"ops\" $(touch x)"), "{holder:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_s_lock_is_waited_for_and_asked_back_where_its_maker_died() {
    for shell in shells() {
        let world = node(&shell);
        world.shim("sleep", "exit 0");
        fs::create_dir_all(world.path(LOCK)).expect("a lock");
        let fault = world.adapter().hold_lease(&ask("r-one", "root@ops1")).await.expect_err("it is held");
        assert_eq!(fault.class, FaultClass::Transient);
        assert!(fault.what.contains("priv/lock/proxmaint"), "{fault}");
        assert!(exists(world.path(LOCK)), "it is another's");
        // What pmxcfs does when it is asked to, and the lock is old.
        world.shim("touch", r#"[ "$1 $2" = "-d @0" ] && rmdir "$3""#);
        assert_eq!(hold(&world, "r-one").await, LeaseAnswer::Taken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_being_written_is_told() {
    for shell in shells() {
        let world = World::new(&shell);
        let fault = world.adapter().hold_lease(&ask("r-one", "root@ops1")).await.expect_err("no pmxcfs");
        assert!(fault.what.contains("pmxcfs does not run"), "{fault}");
        let world = node(&shell);
        world.shim("mkdir", r#"echo "mkdir: $1: Permission denied" >&2; exit 1"#);
        let fault = world.adapter().hold_lease(&ask("r-one", "root@ops1")).await.expect_err("no quorum");
        assert!(fault.what.contains("Permission denied"), "{fault}");
        assert!(fault.hint.as_deref().is_some_and(|hint| hint.contains("quorum")), "{fault:?}");
        let world = node(&shell);
        world.shim("mv", r#"echo "mv: Input/output error" >&2; exit 1"#);
        let fault = world.adapter().hold_lease(&ask("r-one", "root@ops1")).await.expect_err("not written");
        assert!(fault.what.contains("Input/output error"), "{fault}");
        assert!(!exists(world.path(LOCK)), "the lock is given back");
    }
}
