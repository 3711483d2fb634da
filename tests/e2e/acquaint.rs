//! "Test this host now": what a host shows of itself is shown, taken over only on an explicit yes, and then examined.

use std::fs;
use std::net::TcpListener;

use proxmaint_lab::ssh::keys::KeyKind;
use proxmaint_lab::world::{MachineId, World};

use crate::support::screen::{CTRL_C, ENTER, ESC};
use crate::support::{Screen, Site, side_by_side};

const TRUST: &str = "shall it be trusted (api.fingerprint)?";
const REPLACE: &str = "shall api.fingerprint be replaced?";
const LEARN: &str = "shall it be learnt?";
/// Above what the test found.
const FOUND: &str = "What the test found";

/// A node whose certificate nobody vouches for: the manifest names no CA file.
fn stranger() -> Site {
    let site = Site::new(World::builder().standalone("edge1").node("edge1", |node| node.pending(1)).build());
    site.edit(|text| text.lines().filter(|line| !line.starts_with("api.ca_file")).map(|l| format!("{l}\n")).collect());
    site
}

/// A node that is known by its CA, its SSH key not yet.
fn vouched_for() -> Site {
    Site::new(World::builder().standalone("edge1").node("edge1", |node| node.pending(1)).build())
}

/// A dialogue that tests the host.
fn test(site: &Site) -> Screen {
    let screen = Screen::start(site, &["wizard"], &[]);
    screen.choose("What next?", "edge1");
    screen.choose("edge1", "Test this host now");
    screen
}

/// Waits for the end of the test; returns what it found.
#[track_caller]
fn found(screen: &Screen) -> String {
    screen.asks("edge1");
    let text = screen.text();
    let (_, found) = text.rsplit_once(FOUND).unwrap_or_else(|| panic!("nothing was tested:\n{text}"));
    found.to_owned()
}

#[track_caller]
fn finds(screen: &Screen, words: &[&str]) {
    let found = found(screen);
    for word in words {
        assert!(found.contains(word), "{word:?} was not found:\n{found}");
    }
}

/// Goes back to the main menu from the host's.
fn back(screen: &Screen) {
    screen.choose("edge1", "Back");
    screen.asks("What next?");
}

fn leave(screen: Screen) {
    back(&screen);
    screen.pick("Leave");
    screen.finish().expect(0);
}

fn save(screen: Screen) {
    back(&screen);
    screen.pick("Save and leave");
    screen.confirm("Save?", true);
    screen.finish().expect(0);
}

fn manifest(site: &Site) -> String {
    fs::read_to_string(&site.manifest.path).expect("the manifest")
}

fn learnt(site: &Site) -> Option<String> {
    fs::read_to_string(site.state().join("known_hosts")).ok()
}

/// The line that `known_hosts` has of the node.
fn line_of(site: &Site) -> String {
    site.lab().known_hosts_line(&MachineId::node("edge1"))
}

/// The two halves in which a fingerprint is shown.
fn halves(fingerprint: &str) -> (&str, &str) {
    fingerprint.split_at(fingerprint.len() / 2 + 1)
}

#[track_caller]
fn shows_fingerprint(screen: &Screen, fingerprint: &str) {
    let (first, rest) = halves(fingerprint);
    screen.sees(first);
    screen.sees(rest);
}

fn both_are_shown_and_taken_over() {
    let site = stranger();
    let (before, pin) = (manifest(&site), site.lab().fingerprint("edge1"));
    let screen = test(&site);
    screen.asks(TRUST);
    shows_fingerprint(&screen, &pin);
    for words in ["subject", "issuer", "made out to", "127.0.0.1", "no known CA vouches for it"] {
        screen.sees(words);
    }
    screen.sees("openssl x509 -noout -fingerprint -sha256 -in /etc/pve/local/pveproxy-ssl.pem");
    assert!(learnt(&site).is_none(), "looking learns nothing");
    screen.leave("y");
    screen.asks(LEARN);
    for words in ["ssh-ed25519", "SHA256:", "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"] {
        screen.sees(words);
    }
    screen.leave("y");
    finds(&screen, &["ok    tls", ", pinned", "ok    host-key", "known: ssh-ed25519", "ok    privileges"]);
    assert!(!found(&screen).contains("fail"), "{}", screen.text());
    assert!(screen.said().contains("that file is no part of the manifest"), "{}", screen.text());
    assert_eq!(learnt(&site).as_deref(), Some(line_of(&site).as_str()), "at once, and once");
    assert_eq!(manifest(&site), before, "only saving writes the manifest");
    save(screen);
    let line = format!("api.fingerprint = \"{pin}\"");
    let after = manifest(&site);
    let added: Vec<&str> = after.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
    assert_eq!(added, [line.as_str()]);
    assert_eq!(after.replace(&format!("{line}\n"), ""), before, "nothing else has changed");
    site.run(&["doctor"]).expect(0);
    site.run(&["run"]).expect(0);
    site.assert_clean();
}

fn neither_is_taken_over_without_a_yes() {
    for (first, second) in [(ENTER, ENTER), ("n", "n")] {
        let site = stranger();
        let before = manifest(&site);
        let screen = test(&site);
        screen.asks(TRUST);
        screen.leave(first);
        screen.asks(LEARN);
        screen.leave(second);
        finds(&screen, &["fail  tls", "fail  host-key", "StrictHostKeyChecking=yes"]);
        leave(screen);
        assert_eq!(manifest(&site), before);
        assert!(learnt(&site).is_none(), "the test has learnt a key");
        site.assert_untouched();
    }
}

fn what_is_vouched_for_needs_no_pin() {
    let site = vouched_for();
    let before = manifest(&site);
    let screen = test(&site);
    screen.asks(LEARN);
    screen.sees("vouched for by");
    screen.leave("n");
    // The API is asked all the same; SSH is not gone into, and nothing is learnt.
    finds(&screen, &["ok    api", "fail  host-key"]);
    leave(screen);
    assert!(learnt(&site).is_none());
    assert_eq!(manifest(&site), before);
}

fn what_is_known_is_not_asked_about() {
    let site = vouched_for();
    site.run(&["doctor"]).expect(0);
    let known = learnt(&site);
    let screen = test(&site);
    finds(&screen, &["ok    host-key", "ok    tls"]);
    let shown = screen.said();
    assert!(shown.contains("is known: ssh-ed25519 SHA256:") && !shown.contains(LEARN), "{shown}");
    leave(screen);
    assert_eq!(learnt(&site), known);
}

fn a_host_key_that_has_changed_is_told_and_never_replaced() {
    let site = vouched_for();
    site.run(&["doctor"]).expect(0);
    let known = learnt(&site);
    site.lab().ssh.rekey(&MachineId::node("edge1"), &[KeyKind::Ed25519], 1).expect("another key");
    let screen = test(&site);
    finds(&screen, &["fail  host-key"]);
    let shown = screen.said();
    for words in ["has changed", "known_hosts:1", "ssh-keygen -R", "it is not replaced here"] {
        assert!(shown.contains(words), "{words:?} is not shown:\n{shown}");
    }
    assert!(!shown.contains(LEARN), "{shown}");
    leave(screen);
    assert_eq!(learnt(&site), known);
}

fn a_pin_that_does_not_match_is_replaced_by_an_explicit_yes_alone() {
    let site = stranger();
    let (pin, old) = (site.lab().fingerprint("edge1"), "AB:".repeat(31) + "AB");
    site.replace("api.port", &format!("api.fingerprint = \"{old}\"  # of last year\napi.port"));
    let before = manifest(&site);
    for answer in [ENTER, "y"] {
        let screen = test(&site);
        screen.asks(REPLACE);
        shows_fingerprint(&screen, &pin);
        shows_fingerprint(&screen, &old);
        screen.sees("NOT the certificate that api.fingerprint names");
        screen.leave(answer);
        screen.asks(LEARN);
        screen.leave("n");
        let level = if answer == ENTER { "fail  tls" } else { "ok    tls" };
        finds(&screen, &[level]);
        assert_eq!(manifest(&site), before);
        if answer == ENTER {
            leave(screen);
            assert_eq!(manifest(&site), before);
        } else {
            save(screen);
        }
    }
    assert_eq!(manifest(&site), before.replace(&old, &pin), "in its place, with the comment kept");
}

fn esc_goes_one_step_back() {
    let site = stranger();
    let before = manifest(&site);
    let screen = test(&site);
    screen.asks(TRUST);
    screen.leave("y");
    screen.asks(LEARN);
    screen.leave(ESC);
    screen.asks(TRUST);
    screen.leave(ESC);
    screen.asks("edge1");
    screen.sees_not(FOUND);
    leave(screen);
    assert_eq!(manifest(&site), before);
    assert!(learnt(&site).is_none());
    site.assert_untouched();
}

/// Points the manifest's host at this port for its API and for SSH.
fn redirect(site: &Site, port: u16) {
    let ssh = site.lab().ssh_addr("edge1").port();
    site.replace(&format!("\"-p {ssh}\""), &format!("\"-p {port}\""));
    site.edit(|text| {
        let moved = |line: &str| {
            if line.starts_with("api.port") { format!("api.port = {port}\n") } else { format!("{line}\n") }
        };
        text.lines().map(moved).collect()
    });
}

fn nobody_there() {
    let site = vouched_for();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    redirect(&site, free.local_addr().expect("an address").port());
    drop(free);
    let screen = test(&site);
    finds(&screen, &["fail  api", "refused"]);
    leave(screen);
    assert!(!site.state().exists(), "a test makes no state directory");
}

fn esc_ends_the_wait_for_a_host_that_says_nothing() {
    let site = vouched_for();
    // It takes connections, and is silent.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    redirect(&site, silent.local_addr().expect("an address").port());
    for key in [ESC, CTRL_C] {
        let screen = test(&site);
        screen.sees("looking at the certificate");
        let _taken = silent.accept().expect("it has connected");
        screen.press(key);
        screen.asks("edge1");
        screen.sees_not(FOUND);
        leave(screen);
    }
}

fn variables_that_are_missing_are_named() {
    let mut site = vouched_for();
    site.env.retain(|(name, _)| name != "LAB_EDGE1_SECRET");
    let screen = test(&site);
    screen.confirm(LEARN, true);
    finds(&screen, &["LAB_EDGE1_SECRET is not", "pveum user token add"]);
    leave(screen);
}

fn what_is_wrong_with_the_host_comes_before_the_test() {
    let site = vouched_for();
    site.replace("api.port", "api.fingerprint = \"nonsense\"\napi.port");
    let screen = test(&site);
    screen.sees("it can't be tested before this is mended");
    screen.sees("nonsense");
    leave(screen);
    // What is wrong with another host does not matter.
    let site = vouched_for();
    site.edit(|text| text + "\n[[hosts]]\nhost = \"pve9\"\napi.fingerprint = \"nonsense\"\n");
    let screen = test(&site);
    screen.asks(LEARN);
    screen.leave("n");
    found(&screen);
    leave(screen);
}

fn keys_that_nobody_remembers_are_not_asked_about() {
    let site = vouched_for();
    site.edit(|text| {
        text.replace("ssh_extra_args = [\"-p ", "ssh_extra_args = [\"-o UserKnownHostsFile=/dev/null -p ")
    });
    let screen = test(&site);
    found(&screen);
    assert!(screen.said().contains("none is remembered"), "{}", screen.text());
    assert!(!screen.said().contains(LEARN), "{}", screen.text());
    leave(screen);
    assert!(learnt(&site).is_none());
}

fn a_jump_host_is_made_known_before_the_host_behind_it() {
    let world = World::builder().standalone("bastion").standalone("edge1").build();
    let site = Site::new(world);
    let port = site.lab().ssh_addr("bastion").port();
    let edge = site.lab().ssh_addr("edge1").port();
    site.replace(&format!("[\"-p {edge}\"]"), &format!("[\"-p {edge}\", \"-J root@127.0.0.1:{port}\"]"));
    let screen = test(&site);
    screen.asks(LEARN);
    screen.sees(&format!("The host key of root@127.0.0.1:{port}"));
    screen.leave("y");
    screen.sees(&format!("The host key of root@127.0.0.1:{edge}"));
    screen.asks(LEARN);
    screen.leave("y");
    finds(&screen, &["ok    host-key"]);
    leave(screen);
    assert_eq!(learnt(&site).map(|text| text.lines().count()), Some(2));
}

#[test]
fn a_host_is_made_known_and_examined() {
    side_by_side(&[
        ("both are shown and taken over", both_are_shown_and_taken_over),
        ("neither is taken over without a yes", neither_is_taken_over_without_a_yes),
        ("what is vouched for needs no pin", what_is_vouched_for_needs_no_pin),
        ("what is known is not asked about", what_is_known_is_not_asked_about),
        ("a host key that has changed", a_host_key_that_has_changed_is_told_and_never_replaced),
        ("a pin that does not match", a_pin_that_does_not_match_is_replaced_by_an_explicit_yes_alone),
        ("Esc goes one step back", esc_goes_one_step_back),
        ("a jump host", a_jump_host_is_made_known_before_the_host_behind_it),
    ]);
}

#[test]
fn a_host_that_can_not_be_tested_is_no_end_of_the_dialogue() {
    side_by_side(&[
        ("nobody there", nobody_there),
        ("a host that says nothing", esc_ends_the_wait_for_a_host_that_says_nothing),
        ("variables that are missing", variables_that_are_missing_are_named),
        ("what is wrong with the host", what_is_wrong_with_the_host_comes_before_the_test),
        ("keys that nobody remembers", keys_that_nobody_remembers_are_not_asked_about),
    ]);
}
