//! Public keys that are put into guests.

use proxmaint_lab::world::World;

use super::{bare, edge, entry, public_key, text};
use crate::support::screen::{CTRL_C, ENTER, ESC};
use crate::support::{Screen, Site};

const PASSWORD: &str = "battery staple";

/// A VM that takes a password and no key, as yet, and has no guest agent that runs commands.
fn by_password() -> Site {
    let world = World::builder()
        .standalone("edge1")
        .vm("edge1", 201, |vm| vm.name("db").password_only(PASSWORD).agent_exec_disabled().pending(1));
    let mut site = bare(world.build());
    site.env.push(("DB_PASSWORD".to_owned(), PASSWORD.to_owned()));
    site
}

fn authorized_keys(site: &Site) -> String {
    std::fs::read_to_string(site.lab().root_of(&edge(201)).join("root/.ssh/authorized_keys")).unwrap_or_default()
}

#[test]
fn the_command_line_puts_a_key_where_a_password_lets_in() {
    let site = by_password();
    let key = public_key(&site).display().to_string();
    site.edit(|text| {
        text + "\n[[hosts.guest_inventory.entries]]\nkind = \"vm\"\nid = \"201\"\npassword_env = \"DB_PASSWORD\"\n"
    });
    site.run(&["inventory", "--yes", "--dry-run", "--install-key", &key])
        .expect(0)
        .says(&["would be put into root@", "SHA256:"]);
    assert_eq!(authorized_keys(&site), "");
    site.run(&["inventory", "--yes"]).expect(0).says(&["logged in by password"]);
    assert_eq!(authorized_keys(&site), "", "a key is put there only where that is asked for");
    let done = site
        .run(&["inventory", "--yes", "--install-key", &key])
        .expect(0)
        .says(&["the key was added to root@", "lets in by itself"]);
    assert!(!done.stderr.contains(PASSWORD) && !text(&site).contains(PASSWORD), "{done}");
    let installed = authorized_keys(&site);
    assert_eq!(installed.matches("ops@desk").count(), 1, "{installed}");
    assert!(text(&site).contains("ssh_public_key = \"ssh-"), "{}", text(&site));
    let found = entry(&site, "edge1", 201);
    assert!(found["ssh_key_path"].as_str().is_some_and(|path| path.ends_with("id_ed25519")), "{found}");
    // The key lets in from now on: there is nothing left to be done.
    site.run(&["inventory", "--yes", "--install-key", &key]).expect(0).says(&["logged in by the key"]);
    assert_eq!(authorized_keys(&site), installed);
    site.run(&["run"]).expect(0);
    assert_eq!(site.behind(&edge(201)), 0, "{}", site.ledger_text());
}

#[test]
fn what_is_no_public_key_is_refused_before_anything() {
    let site = by_password();
    let before = text(&site);
    let private = site.fleet().join("id_ed25519").display().to_string();
    site.run(&["inventory", "--yes", "--install-key", &private]).expect(2).says(&["private key", ".pub"]);
    site.run(&["inventory", "--yes", "--install-key", "nowhere.pub"]).expect(2).says(&["nowhere.pub"]);
    assert_eq!(text(&site), before);
}

#[test]
fn a_password_that_is_typed_opens_the_way_for_a_key() {
    let site = by_password();
    public_key(&site);
    let screen = Screen::start(&site, &["inventory"], &[]);
    screen.asks("Which guests of edge1");
    screen.leave(ENTER);
    screen.choose("Who logs in", "As it is: root");
    screen.choose("Where are the passwords", "Not stored");
    screen.choose("1 guest refuses the login", "Type one for all of them");
    screen.answer("Their password", PASSWORD);
    let prompt = screen.asks("1 guest lets in by password only");
    assert!(prompt.items.iter().any(|item| item.text.contains("SHA256:") && item.text.contains("ops@desk")));
    screen.pick("ssh-ed25519");
    screen.asks("Into which guests?");
    screen.sees("~/.ssh/authorized_keys of VM 201 (db)");
    assert_eq!(authorized_keys(&site), "", "nothing is done before it is agreed to");
    screen.pick("Into 1 guest");
    screen.confirm("Save?", true);
    let done = screen.finish().expect(0).says(&["the key was added to root@", "and lets in by", "saved"]);
    assert!(!done.stdout.contains(PASSWORD) && !text(&site).contains(PASSWORD), "{done}");
    assert_eq!(authorized_keys(&site).lines().count(), 1);
    let found = entry(&site, "edge1", 201);
    assert_eq!(found["ssh_verified"], true);
    assert!(found["password_env"].is_null(), "{found}");
    site.run(&["run"]).expect(0);
    assert_eq!(site.behind(&edge(201)), 0, "{}", site.ledger_text());
}

#[test]
fn a_variable_is_named_and_its_password_used() {
    let site = by_password();
    let screen = Screen::start(&site, &["inventory"], &[]);
    screen.asks("Which guests of edge1");
    screen.leave(ENTER);
    screen.choose("Who logs in", "As it is: root");
    screen.choose("Where are the passwords", "In environment variables, one for each guest");
    screen.asks("The variable that holds the password of VM 201 (db) on edge1");
    screen.sees("DB_201_PASSWORD");
    screen.press("two words");
    screen.objects("no name of an environment variable");
    screen.press(&"\u{7f}".repeat("two words".len()));
    screen.leave(&format!("DB_PASSWORD{ENTER}"));
    screen.choose("1 guest lets in by password only", "No");
    screen.confirm("Save?", true);
    screen.finish().expect(0).says(&["DB_PASSWORD is set", "logged in by password"]);
    let found = entry(&site, "edge1", 201);
    assert_eq!((&found["password_env"], &found["ssh_verified"]), (&"DB_PASSWORD".into(), &true.into()));
    assert!(!text(&site).contains(PASSWORD));
    assert_eq!(authorized_keys(&site), "");
}

#[test]
fn each_guest_is_asked_about_and_a_step_back_undoes_nothing() {
    let vm = |name: &'static str| {
        move |vm: proxmaint_lab::world::GuestSpec| vm.name(name).password_only(PASSWORD).agent_exec_disabled()
    };
    let world = World::builder().standalone("edge1").vm("edge1", 201, vm("db")).vm("edge1", 202, vm("mail"));
    let site = bare(world.build());
    let screen = Screen::start(&site, &["inventory"], &[]);
    screen.asks("Which guests of edge1");
    screen.leave(ENTER);
    screen.choose("Who logs in", "As it is: root");
    screen.choose("Where are the passwords", "Not stored");
    screen.choose("2 guests refuse the login", "Type one for each");
    screen.answer("The password of root in VM 201 (db)", "wrong");
    screen.answer("The password of root in VM 202 (mail)", PASSWORD);
    // The one that was wrong is typed again.
    screen.asks("1 guest lets in by password only");
    screen.leave(ESC);
    screen.asks("The password of root in VM 202 (mail)");
    screen.leave(ESC);
    screen.answer("The password of root in VM 201 (db)", PASSWORD);
    screen.answer("The password of root in VM 202 (mail)", PASSWORD);
    screen.choose("2 guests let in by password only", "ssh-ed25519");
    screen.choose("Into which guests?", "Ask for each guest");
    screen.confirm("authorized_keys of VM 201 (db)?", true);
    screen.confirm("authorized_keys of VM 202 (mail)?", false);
    screen.asks("Save?");
    assert_eq!(authorized_keys(&site).lines().count(), 1);
    // What is in a guest stays there.
    screen.leave(ESC);
    screen.asks("authorized_keys of VM 202 (mail)?");
    screen.press(CTRL_C);
    screen.confirm("lost", true);
    screen.finish().expect(0).says(&[
        "a password that was typed is refused",
        "the key stays in the guests",
        "nothing was saved",
    ]);
    assert_eq!(authorized_keys(&site).lines().count(), 1);
    assert!(!text(&site).contains("guest_inventory"), "{}", text(&site));
    assert!(!site.lab().root_of(&edge(202)).join("root/.ssh/authorized_keys").exists());
}
