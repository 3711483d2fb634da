//! Hosts that the manifest does not have yet.

use super::{bare, entry, text, world};
use crate::support::screen::ENTER;
use crate::support::{Done, Screen, Site};

/// A lab of one node and a manifest without it: what leads there by default stands in the defaults.
fn unknown() -> Site {
    let mut site = bare(world().build());
    site.edit(|text| {
        let (defaults, host) = text.split_once("\n[[hosts]]\n").expect("a host");
        let keys = ["ssh_extra_args", "api.port", "api.ca_file"];
        let of_all = host.lines().filter(|line| keys.iter().any(|key| line.starts_with(key)));
        let of_all: String = of_all.map(|line| format!("{line}\n")).collect();
        format!("{defaults}{of_all}")
    });
    let renamed = |(name, value): (String, String)| (name.replace("LAB_EDGE1", "PVE_127_0_0_1"), value);
    site.env = std::mem::take(&mut site.env).into_iter().map(renamed).collect();
    site
}

fn add(site: &Site) -> Done {
    site.run(&["inventory", "--yes", "--host", "127.0.0.1"])
}

#[test]
fn a_host_that_is_named_is_added() {
    let site = unknown();
    add(&site).expect(0).says(&["127.0.0.1 is added", "PVE_127_0_0_1_TOKEN", "saved"]);
    assert_eq!(entry(&site, "127.0.0.1", 101)["ssh_verified"], true);
    assert!(text(&site).contains("PVE_127_0_0_1_SECRET"), "{}", text(&site));
    site.run(&["inventory", "--yes"]).expect(0).says(&["needs no change"]);
}

#[test]
fn without_its_variables_or_with_an_unknown_certificate_it_is_not() {
    let mut site = unknown();
    let before = text(&site);
    let env = std::mem::take(&mut site.env);
    add(&site).expect(2).says(&["PVE_127_0_0_1_TOKEN is not set", "PVE_127_0_0_1_SECRET is not set"]);
    site.env = env;
    site.edit(|text| text.lines().filter(|line| !line.contains("ca_file")).map(|line| format!("{line}\n")).collect());
    let stripped = text(&site);
    add(&site).expect(3).says(&["is not trusted", "proxmaint manifest add-host 127.0.0.1 api.fingerprint="]);
    assert_eq!(text(&site), stripped);
    assert_ne!(before, stripped);
}

#[test]
fn at_a_terminal_it_is_asked_for() {
    let site = unknown();
    let screen = Screen::start(&site, &["inventory", "--skip-ssh-checks"], &[]);
    screen.sees("the manifest has no host yet");
    screen.answer("Address of the node", "127.0.0.1");
    screen.answer("What it is called here", "edge1");
    screen.answer("Variable that holds the API token's name", "PVE_127_0_0_1_TOKEN");
    screen.answer("Variable that holds the token's secret", "PVE_127_0_0_1_SECRET");
    screen.sees("ssh-keygen -lf");
    screen.confirm("shall it be learnt?", true);
    screen.asks("Which guests of edge1");
    screen.leave(ENTER);
    screen.choose("Who logs in", "As it is: root");
    screen.choose("Where are the passwords", "Not stored");
    screen.confirm("Save?", true);
    screen.finish().expect(0).says(&["saved"]);
    assert_eq!(entry(&site, "edge1", 201)["managed"], true);
    assert!(site.state().join("known_hosts").exists());
}
