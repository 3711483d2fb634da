//! Secrets reach nothing that is kept or shown.

use std::fs;

use proxmaint_lab::faults::{Fault, UpgradeFault};
use proxmaint_lab::ledger::Act;
use proxmaint_lab::world::{Os, Token, World};

use crate::support::{Done, Site, files, until};

const TOKEN_SECRET: &str = "5ec2e700-feed-4bad-8bad-0123456789ab";
const GUEST_PASSWORD: &str = "correct-horse\"battery$staple";

fn site() -> Site {
    let token =
        Token { user: "root@pam".to_owned(), id: "kept-dark".to_owned(), secret: TOKEN_SECRET.to_owned(), acl: None };
    let world = World::builder()
        .standalone("edge1")
        .token("edge1", token)
        .node("edge1", |node| node.pending(1))
        .ct("edge1", 101, |ct| ct.pending(1))
        .vm("edge1", 201, |vm| vm.os(Os::Ubuntu2404).ssh_users(&["ops"]).password(GUEST_PASSWORD).pending(1))
        .fault(Fault::upgrade("101", UpgradeFault::Exit { code: 9 }))
        .build();
    let mut site = Site::new(world);
    // Only the password opens the VM.
    site.edit(|text| {
        let kept = text.lines().filter(|line| !line.starts_with("guest_identity_file"));
        kept.map(|line| {
            if line == "managed = true" {
                format!("{line}\npassword_env = \"DB_PASSWORD\"\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect()
    });
    for (name, value) in &mut site.env {
        match name.rsplit('_').next() {
            Some("TOKEN") => "root@pam!kept-dark".clone_into(value),
            _ => TOKEN_SECRET.clone_into(value),
        }
    }
    site.env.push(("DB_PASSWORD".to_owned(), GUEST_PASSWORD.to_owned()));
    site.env.push(("RUST_LOG".to_owned(), "trace".to_owned()));
    site
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// The secrets, also as they look in JSON, in a URL, in base64 and in upper case.
fn forms() -> Vec<String> {
    let encoded = [TOKEN_SECRET, GUEST_PASSWORD].map(|secret| data_encoding::BASE64.encode(secret.as_bytes()));
    let mut all = vec![TOKEN_SECRET.to_owned(), TOKEN_SECRET.to_uppercase(), GUEST_PASSWORD.to_owned()];
    all.extend(["correct-horse".to_owned(), "battery$staple".to_owned(), "battery%24staple".to_owned()]);
    all.extend(encoded.map(|text| text.trim_end_matches('=').to_owned()));
    all
}

#[track_caller]
fn assert_silent(what: &str, haystack: &[u8]) {
    for secret in forms() {
        assert!(!holds(haystack, &secret), "{what} holds the secret {secret}");
    }
}

#[test]
fn none_is_found_anywhere() {
    let site = site();
    let mut said: Vec<Done> = Vec::new();
    said.push(site.run(&["run", "--dry-run", "--verbose"]));
    said.push(site.run(&["plan", "--verbose", "--refresh", "--out", "saved.plan"]).expect(0));
    assert_silent("the plan", &fs::read(site.fleet().join("saved.plan")).expect("a plan"));
    // A failure, so that errors are written too; killed once, so that the journal is read back; then to its end.
    said.push(site.run(&["run", "--verbose"]).expect(3));
    let working = site.start(&["run", "--output", "json"]);
    working.event(|event| event["event"] == "run-began");
    // What the process shows of itself to everybody: its command line.
    assert_silent("the command line", &fs::read(format!("/proc/{}/cmdline", working.pid())).expect("a process"));
    said.push(working.kill());
    said.push(site.run(&["run", "--output", "json"]).expect(0));
    assert!(site.judge().left.is_empty(), "{}", site.judge());
    assert_eq!(site.done(Act::Upgrade, "201"), 1, "the password was used:\n{}", site.ledger_text());
    for args in [
        &["status"][..],
        &["status", "--all"],
        &["status", "--events"],
        &["status", "--host", "edge1", "--output", "json"],
        &["journal", "export"],
        &["journal", "verify"],
        &["manifest", "show"],
        &["manifest", "show", "--output", "json"],
        &["manifest", "check"],
    ] {
        said.push(site.run(args).expect(0));
    }
    for done in &said {
        assert_silent(&done.args, done.to_string().as_bytes());
    }

    let kept = files(&site.state());
    assert!(kept.iter().any(|file| file.extension().is_some_and(|e| e == "log")), "{kept:?}");
    assert!(kept.iter().any(|file| file.ends_with("db/db")), "{kept:?}");
    for file in kept {
        assert_silent(&file.display().to_string(), &fs::read(&file).expect("a file"));
    }
    assert_silent("the ledger", site.with(|world| world.ledger.to_ndjson()).as_bytes());
    for (machine, server) in site.lab().ssh.servers() {
        let stats = server.stats();
        assert!(!stats.commands.is_empty(), "{machine} was given no commands");
        assert_silent(&machine.to_string(), stats.commands.join("\n").as_bytes());
    }
}

#[test]
fn a_refused_secret_is_not_shown_either() {
    let mut site = site();
    let wrong = "wr0ng-5ec2e7-value";
    for (name, value) in &mut site.env {
        if name.ends_with("SECRET") || name == "DB_PASSWORD" {
            wrong.clone_into(value);
        }
    }
    let done = site.run(&["run", "--verbose"]).expect(3);
    assert!(!done.to_string().contains(wrong), "{done}");
    for file in files(&site.state()) {
        assert!(!holds(&fs::read(&file).expect("a file"), wrong), "{}", file.display());
    }
    site.assert_untouched();
}

#[test]
fn a_missing_variable_is_named_before_anything_is_touched() {
    for (missing, host) in [("LAB_EDGE1_SECRET", "edge1"), ("DB_PASSWORD", "edge1")] {
        let mut site = site();
        site.env.retain(|(name, _)| name != missing);
        for args in [&["run"][..], &["run", "--dry-run"]] {
            site.run(args).expect(2).says(&[missing, host]);
        }
        site.assert_untouched();
        assert!(!site.state().exists(), "state was written");
        assert!(until(|| site.lab().ssh.servers().all(|(_, server)| server.stats().connections == 0)));
    }
}

#[test]
fn the_token_s_variable_may_hold_all_of_it() {
    let mut site = site();
    site.clear_faults();
    site.env.retain(|(name, _)| name != "LAB_EDGE1_SECRET");
    for (name, value) in &mut site.env {
        if name == "LAB_EDGE1_TOKEN" {
            *value = format!("root@pam!kept-dark={TOKEN_SECRET}");
        }
    }
    let done = site.run(&["run"]).expect(0);
    assert_silent("the run", done.to_string().as_bytes());
    for file in files(&site.state()) {
        assert_silent(&file.display().to_string(), &fs::read(&file).expect("a file"));
    }
}
