//! The state directory: who works, what `status` knows, a journal that is damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::fleet;
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::World;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Site, files, guest};

fn hanging() -> Site {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .ct("edge1", 102, |ct| ct)
        .fault(Fault::upgrade("101", UpgradeFault::Hang))
        .build();
    Site::new(world)
}

#[test]
fn while_a_run_works_others_are_turned_away_and_status_answers() {
    let site = hanging();
    let working = site.start(&["run", "--output", "json"]);
    let run = working.event(|event| event["event"] == "run-began")["run"].as_str().expect("a name").to_owned();
    working.event(|event| event["event"] == "guest-changed" && event["state"] == "upgrading");
    let pid = working.pid().to_string();
    site.run(&["run"]).expect(6).says(&[&pid, &run]);
    for args in [&["resolve", &run, "edge1", "101", "--skip"][..], &["journal", "verify"], &["journal", "recover"]] {
        site.run(args).expect(6).says(&[&pid]);
    }

    let asked = Instant::now();
    let view = site.status(&[]);
    assert!(asked.elapsed() < Duration::from_secs(5), "status took {:?}", asked.elapsed());
    assert_eq!((&view["standing"]["state"], &view["standing"]["pid"]), (&"running".into(), &working.pid().into()));
    assert_eq!(guest(&view, "edge1", 101)["state"], "upgrading");
    site.run(&["status"]).expect(0).says(&["at work", &pid, "101"]);
    site.run(&["status", &run[..15], "--host", "edge1"]).expect(0).says(&["edge1", "upgrade-guest"]);
    site.run(&["status", "--host", "edge9"]).expect(2).says(&["edge9"]);
    site.run(&["status", "--all"]).expect(0).says(&[&run]);
    site.run(&["status", "--events"]).expect(0).says(&["edge1"]);
    site.run(&["journal", "export"]).expect(0).says(&[&run]);
    let all = site.status(&["--all"]);
    assert_eq!((&all["runs"][0]["run"], &all["runs"][0]["standing"]["state"]), (&run.into(), &"running".into()));

    working.signal(Signal::TERM);
    working.finish().expect(5);
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
}

/// How far a guest is, as a number that only ever rises.
fn rank(state: &Value) -> usize {
    let states = ["waiting", "protecting", "protected", "measuring", "upgrading", "checking", "upgraded"];
    let state = state.as_str().expect("a state");
    states.iter().position(|s| *s == state).unwrap_or_else(|| panic!("a guest is {state}"))
}

#[test]
fn status_is_never_behind_what_the_run_has_printed() {
    let site = Site::new(fleet::small());
    let mut working = site.start(&["run", "--output", "json"]);
    let mut printed = 0;
    let mut asked = 0;
    let lines = working.lines();
    let mut states: Vec<(u64, usize)> = Vec::new();
    while !working.is_over() {
        for line in lines.from(printed) {
            printed += 1;
            let event: Value = serde_json::from_str(&line).expect("JSON");
            if event["event"] == "guest-changed" && event["state"] != "skipped" {
                let id = event["guest"].as_u64().expect("a guest");
                states.retain(|(guest, _)| *guest != id);
                states.push((id, rank(&event["state"])));
            }
        }
        if states.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let view = site.status(&[]);
        asked += 1;
        for (id, at_least) in &states {
            let state = guest(&view, "edge1", *id)["state"].clone();
            assert!(rank(&state) >= *at_least, "status says that {id} is {state}, {at_least} was printed before");
        }
    }
    assert!(asked >= 3, "status was asked {asked} times only");
    working.finish().expect(0);
}

#[test]
fn runs_are_found_again_offline() {
    let site = Site::new(fleet::small());
    assert_eq!(site.status(&["--all"])["runs"].as_array().map(Vec::len), Some(0));
    site.run(&["status"]).expect(0);
    assert!(!site.state().exists(), "looking leaves nothing behind");
    site.run(&["run"]).expect(0);
    let first = site.run_name();
    site.run(&["run"]).expect(0);
    let second = site.run_name();
    let all = site.status(&["--all"]);
    let names: Vec<&Value> = all["runs"].as_array().expect("runs").iter().map(|run| &run["run"]).collect();
    assert_eq!(names, [&first, &second]);
    site.run(&["status", "--all"]).expect(0).says(&[&first, &second]);

    // Packages that changed are a command away, with both versions.
    site.run(&["status", &first, "--host", "edge1"]).expect(0).says(&[
        "bash",
        "5.2.15-2+b7",
        "5.2.15-2+b8",
        "corosync",
    ]);
    let view = site.status(&[&first]);
    assert_eq!(
        (&view["v"], &view["result"], &view["standing"]["state"]),
        (&1.into(), &"clean".into(), &"finished".into())
    );
    assert_eq!(guest(&view, "edge1", 101)["packages"].as_array().map(Vec::len), Some(3));
    assert_eq!(guest(&view, "edge1", 101)["kept"][0]["name"], format!("pm-{first}-r1"));
    assert_eq!(guest(&view, "edge1", 103)["state"], "skipped");

    // Events, for people and for programs.
    site.run(&["status", &first, "--events"]).expect(0).says(&["edge1", "CT 101"]);
    let events = site.run(&["status", &first, "--events", "--output", "json"]).expect(0).events();
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().expect("a number")).collect();
    assert!(numbers.len() > 10 && numbers.is_sorted(), "{numbers:?}");
    assert!(events.iter().all(|event| event["run"] == first.as_str() && event["event"].is_string()));

    // A unique beginning names a run; one that is not unique, or none's, is wrong usage.
    let unique = (1..=first.len()).find(|n| !second.starts_with(&first[..*n])).expect("two runs have two names");
    assert_eq!(site.status(&[&first[..unique]])["run"], first.as_str());
    site.run(&["status", &first[..4]]).expect(2).says(&["could be any of 2 runs", &first, &second]);
    site.run(&["status", "19990101"]).expect(2).says(&["there is no run 19990101"]);
    site.run(&["status", &first, "--host", "edge9"]).expect(2).says(&["edge9"]);

    // The journal itself.
    site.run(&["journal", "verify"]).expect(0).says(&["the journal is whole"]);
    let exported = site.run(&["journal", "export", &first]).expect(0).events();
    assert!(exported.len() > 10 && exported.iter().all(|record| record.to_string().contains(&first)));
    site.run(&["journal", "export", "19990101"]).expect(2);
}

#[test]
fn a_damaged_journal_is_refused_and_can_be_brought_back() {
    let world = World::builder()
        .standalone("edge1")
        .ct("edge1", 101, |ct| ct.pending(1))
        .fault(Fault::upgrade("101", UpgradeFault::Slow { ms: 1_000 }))
        .build();
    let site = Site::new(world);
    let working = site.start(&["run"]);
    site.await_begun(Act::Upgrade, "101");
    working.kill();
    let run = site.run_name();
    let db = site.state().join("journal/db/db");
    let whole = fs::read(&db).expect("the store");
    fs::write(&db, vec![0x5a; whole.len()]).expect("the store is overwritten");

    for args in [&["status"][..], &["run"], &["resolve", &run, "edge1", "101", "--skip"]] {
        site.run(args).expect(7).says(&["proxmaint journal recover"]);
    }
    site.run(&["journal", "verify"]).expect(7).says(&["damaged"]);
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "a run without a journal changed something");
    site.run(&["journal", "recover"]).expect(0).says(&["set aside", "the journal has"]);
    site.run(&["journal", "verify"]).expect(0).says(&["the journal is whole"]);
    assert_eq!(site.run_name(), run);
    site.run(&["run"]).expect(0);
    assert_eq!(site.run_name(), run);
    site.assert_clean();
    assert_eq!(site.count(Act::Upgrade, "101"), 1, "{}", site.ledger_text());
}

#[test]
fn nobody_else_can_read_the_state_whatever_the_umask() {
    let site = Site::new(fleet::small());
    let mut shell = std::process::Command::new("/bin/sh");
    let program = site.command(&["run"]);
    shell.args(["-c", "umask 000; exec \"$0\" run"]).arg(program.get_program()).current_dir(site.fleet()).env_clear();
    shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let status = shell.output().expect("a shell");
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&site.state()), 0o700);
    let all = files(&site.state());
    assert!(all.len() > 5, "{all:?}");
    for file in all {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        assert_eq!(mode(file.parent().expect("a directory")), 0o700, "{}", file.display());
    }
    assert!(files(&site.state()).iter().any(|file| file.ends_with("known_hosts")), "host keys are learnt there");
    assert!(files(&site.home()).is_empty(), "the home directory is left alone");
    assert_eq!(fs::read_to_string(site.state().join(".gitignore")).expect("a file"), "*\n");
}

#[test]
fn the_state_directory_can_be_put_elsewhere() {
    let mut site = Site::new(World::builder().standalone("edge1").build());
    let (option, variable) = (site.home().join("by-option"), site.home().join("by-variable"));
    site.env.push(("PROXMAINT_STATE_DIR".to_owned(), variable.display().to_string()));
    site.run(&["run"]).expect(0);
    assert!(variable.join("journal").is_dir() && !site.state().exists());
    site.run(&["run", "--state-dir", &option.display().to_string()]).expect(0);
    assert!(option.join("journal").is_dir() && !site.state().exists());
}
