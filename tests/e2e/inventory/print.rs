//! `--output`: what there is, printed for other programs.

use proxmaint_lab::faults::{Fault, RequestFault};

use super::{bare, text, world};
use crate::support::Site;

#[test]
fn what_there_is_is_printed_and_nothing_is_changed() {
    let site = bare(world().build());
    let before = text(&site);
    let json = site.run(&["inventory", "--output", "json"]).expect(0).json();
    let shown = json.to_string();
    for words in ["\"edge1\"", "\"web\"", "\"db\"", "\"running\""] {
        assert!(shown.contains(words), "{words} is not in {json:#}");
    }
    let ansible = site.run(&["inventory", "--output", "ansible"]).expect(0);
    assert!(ansible.stdout.contains("ansible_host"), "{ansible}");
    let ssh = site.run(&["inventory", "--output", "ssh-config", "--host", "edge1"]).expect(0);
    assert!(ssh.stdout.contains("HostName 127.0.0.1"), "{ssh}");
    assert_eq!(text(&site), before);
    assert!(!site.state().join("journal").exists());
    site.run(&["inventory", "--output", "json", "--host", "nobody"]).expect(2).says(&["no host nobody", "edge1"]);
}

#[test]
fn offline_no_host_is_asked_and_no_variable_is_needed() {
    let mut site = Site::new(world().build());
    site.env.clear();
    let refused = RequestFault::Status { code: 500, reason: None };
    site.plant(Fault::request("GET", "*", refused));
    let json = site.run(&["inventory", "--output", "json", "--offline"]).expect(0).json();
    assert!(json.to_string().contains("\"db\""), "{json:#}");
    assert_eq!(site.with(|world| world.faults.unused().len()), 1, "a host was asked");
    site.run(&["inventory", "--output", "json"]).expect(2).says(&["is not set"]);
}

#[test]
fn of_a_host_that_does_not_answer_the_manifests_word_is_printed() {
    let site = Site::new(world().build());
    let refused = RequestFault::Status { code: 501, reason: None };
    site.plant(Fault::request("GET", "/cluster/status", refused).times(u32::MAX));
    let done = site.run(&["inventory", "--output", "json"]).expect(3).says(&["error: edge1"]);
    assert!(done.json().to_string().contains("\"db\""), "{done}");
}
