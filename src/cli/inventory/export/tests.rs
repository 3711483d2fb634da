//! What is written, read by those for whom it is: the real `ssh -G` and the real `ansible-inventory`, where they are installed.
#![expect(clippy::disallowed_methods, reason = "the programs that read it are run on this machine")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::manifest::edit::Value;

/// Odd in every way that a manifest lets through.
const ODD: &str = r##"
[[hosts]]
name = "pve one*"
host = "2001:db8::1"
api.token_env = "TOKEN"
api.secret_env = "SECRET"
api.node = "pve1"
ssh.password_env = "NODE_PASSWORD"
identity_file = "/keys/with blank/50%/k\"1\"#"
ssh_extra_args = ["-p 2222", "-J alice@bastion,[2001:db8::b]:2200"]
guest_user = "debian"
guest_identity_file = "/keys/guests"
guest_ssh_extra_args = ["-o StrictHostKeyChecking=no", "-o 'UserKnownHostsFile \"/known hosts/a\" /b%%'", "-o ConnectTimeout=7", "-o ServerAliveInterval=9"]
guests = [
    { id = 110, address = "db.example.org", user = "adm{{x}}", identity_file = "/keys/{{ y }}", password_env = "DB" },
    { id = 300, address = "192.0.2.30" },
    { match = "100-105", managed = false },
    { match = "name:web", managed = true },
]
[hosts.guest_inventory]
version = 1
ssh_public_key = "ssh-ed25519 AAAA me"
updated_at = "2026-11-01T10:00:00Z"
entries = [
    { kind = "ct", id = "101", name = "web", status = "running", ip = "192.0.2.101/24", ssh_verified = true, last_checked = "2026-11-01T10:00:00Z", notes = "mine" },
    { kind = "ct", id = "102", name = "left-alone", status = "running", ip = "192.0.2.102" },
    { kind = "vm", id = "110", name = "* !x ?\n Host *", status = "stopped", ip = "192.0.2.110" },
    { kind = "vm", id = "111", name = "twice", ip = "fe80::1%eth0", user = "DOM\\admin", ssh_key_path = "/keys/111" },
    { kind = "vm", id = "112", name = "Twice", ip = "192.0.2.112", password = "INLINE-SECRET" },
    { kind = "vm", id = "113", name = "gone", status = "gone", ip = "192.0.2.113" },
    { kind = "vm", id = "114", name = "no-address" },
    { kind = "vm", id = "115", name = "odd address", ip = "-oProxyCommand=x" },
    { kind = "vm", id = "116", name = "ct", ip = "192.0.2.116" },
    { kind = "vm", id = "117", name = "10.0.0.1", ip = "192.0.2.117" },
    { kind = "vm", id = "118", name = "no words", ip = "192.0.2.118", ssh_key_path = "/keys/${HOME}" },
]

[[hosts]]
host = "pve2.example.org"
api.token_env = "TOKEN"
api.secret_env = "SECRET"
guest_inventory.entries = [{ kind = "ct", id = "101", name = "mail", ip = "198.51.100.1" }]
"##;

fn manifest(text: &str) -> Manifest {
    Manifest::parse(Path::new("/srv/fleet/m.toml"), text.as_bytes(), &|_| None).unwrap()
}

fn is_installed(program: &str, version: &str) -> bool {
    let tried = Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is = tried.is_ok_and(|status| status.success());
    if !is {
        writeln!(std::io::stderr(), "not run: reading exports by {program}, which is not installed").unwrap();
    }
    is
}

/// What `ssh -G` makes of a name, by keyword; the values of a keyword that comes several times in a list.
fn openssh(file: &Path, name: &str) -> BTreeMap<String, Vec<String>> {
    let output = Command::new("ssh").arg("-G").arg("-F").arg(file).arg(name).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let mut said: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
        said.entry(keyword.to_owned()).or_default().push(value.to_owned());
    }
    said
}

/// The names of the `Host` entries.
fn entries(config: &str) -> Vec<&str> {
    config.lines().filter_map(|line| line.strip_prefix("Host ")).collect()
}

#[test]
fn openssh_reads_each_entry_as_it_is_meant() {
    if !is_installed("ssh", "-V") {
        return;
    }
    let text = text(&manifest(ODD), &[], Export::SshConfig);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    std::fs::write(&file, &text).unwrap();
    let names = ["pve-one", "web", "left-alone", "x-Host-110", "twice-111", "Twice-112", "ct-116", "10.0.0.1-117"];
    assert_eq!(entries(&text), [&names[..], &["guest-300", "pve2.example.org", "mail"]].concat(), "{text}");
    assert!(text.contains("118 (no words) on pve one*: left out, since its IdentityFile can't be"), "{text}");
    let is = |name: &str, expected: &[(&str, &[&str])]| {
        let said = openssh(&file, name);
        for (keyword, values) in expected {
            let said = said.get(*keyword).map_or(&[][..], Vec::as_slice);
            assert_eq!(said, *values, "{keyword} of {name} in\n{text}");
        }
    };
    is("pve-one", &[("hostname", &["2001:db8::1"]), ("user", &["root"]), ("port", &["2222"])]);
    // `%%` is one `%` to OpenSSH, which says it as it is written.
    is("pve-one", &[("identityfile", &["/keys/with blank/50%%/k\"1\"#"])]);
    is(
        "web",
        &[
            ("hostname", &["192.0.2.101"]),
            ("user", &["debian"]),
            ("port", &["22"]),
            ("identityfile", &["/keys/guests"]),
            ("proxyjump", &[]),
            ("stricthostkeychecking", &["false"]),
            ("userknownhostsfile", &["/known hosts/a /b%"]),
            ("connecttimeout", &["7"]),
            ("serveraliveinterval", &["9"]),
        ],
    );
    is("x-Host-110", &[("hostname", &["db.example.org"]), ("user", &["adm{{x}}"])]);
    is("x-Host-110", &[("identityfile", &["/keys/{{ y }}", "/keys/guests"])]);
    is("twice-111", &[("hostname", &["fe80::1%eth0"]), ("user", &["DOM\\admin"])]);
    is("mail", &[("hostname", &["198.51.100.1"]), ("user", &["root"]), ("stricthostkeychecking", &["ask"])]);
    // No entry is a pattern: another name gets nothing of it.
    let other = openssh(&file, "elsewhere.example.org");
    assert_eq!(other["hostname"], ["elsewhere.example.org"]);
    assert_eq!(other["port"], ["22"]);
}

#[test]
fn jump_hosts_are_said_with_user_and_port() {
    if !is_installed("ssh", "-V") {
        return;
    }
    let text = text(&manifest(ODD), &[], Export::SshConfig);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    std::fs::write(&file, &text).unwrap();
    let said = openssh(&file, "pve-one").remove("proxyjump").unwrap().remove(0);
    let (first, second) = said.split_once(',').unwrap();
    // The user of a hop that names none is the one who runs this.
    assert_eq!(first, "alice@bastion:22");
    assert!(second.ends_with("@[2001:db8::b]:2200") && !second.starts_with('@'), "{said}");
}

#[test]
fn ansible_reads_the_inventory_under_either_name() {
    if !is_installed("ansible-inventory", "--version") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for name in ["hosts.yml", "hosts.json"] {
        let file = directory.path().join(name);
        std::fs::write(&file, text(&manifest(ODD), &[], Export::Ansible)).unwrap();
        let listed = ansible(&file, directory.path());
        let members = |group: &str| {
            let mut names = listed[group]["hosts"].as_array().unwrap().clone();
            names.sort_by_key(Json::to_string);
            Json::from(names)
        };
        assert_eq!(members("proxmox_nodes"), json!(["pve-one", "pve2.example.org"]));
        assert_eq!(
            members("ct"),
            json!(["mail", "web"]),
            "two are left alone by a rule, one of them by a later one not"
        );
        let vms = json!(["10.0.0.1-117", "Twice-112", "ct-116", "twice-111", "x-Host-110"]);
        assert_eq!(members("vm"), vms);
        assert_eq!(members("pve2_example_org_guests"), json!(["mail"]));
        let vars = &listed["_meta"]["hostvars"];
        assert_eq!(vars["x-Host-110"]["ansible_user"], json!({"__ansible_unsafe": "adm{{x}}"}));
        assert_eq!(vars["x-Host-110"]["proxmaint_vmid"], json!(110));
        assert_eq!(vars["twice-111"]["ansible_host"], json!("fe80::1%eth0"));
        assert_eq!(vars["pve-one"]["ansible_port"], json!(2222));
    }
}

fn ansible(file: &Path, home: &Path) -> Json {
    let mut command = Command::new("ansible-inventory");
    command.arg("-i").arg(file).arg("--list").env("ANSIBLE_HOME", home.join("ansible")).current_dir(home);
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !complaint.contains("WARNING"), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The variables of a machine as they are written, whichever group they stand in.
fn variables(inventory: &str, name: &str) -> Json {
    let inventory: Json = serde_json::from_str(inventory).unwrap();
    let groups = inventory["all"]["children"].as_object().unwrap().values();
    let found = groups.filter_map(|group| group["hosts"].get(name)).find(|vars| !vars.is_null());
    found.cloned().unwrap_or_default()
}

#[test]
fn ansible_gets_what_its_variables_have_no_word_for_as_arguments() {
    let inventory = text(&manifest(ODD), &[], Export::Ansible);
    let node = variables(&inventory, "pve-one");
    assert_eq!(node.get("ansible_ssh_private_key_file"), None, "Ansible would put it between quotes as it is");
    let args = shell_words::split(node["ansible_ssh_common_args"].as_str().unwrap()).unwrap();
    assert_eq!(args[..2], ["-o", "IdentityFile=\"/keys/with blank/50%%/k\\\"1\\\"#\""]);
    assert!(args[3].starts_with("ProxyJump=alice@bastion:22,"), "{args:?}");
    let guest = variables(&inventory, "twice-111");
    assert_eq!(guest["ansible_ssh_private_key_file"], json!("/keys/111"));
    assert_eq!(guest["ansible_ssh_timeout"], json!(7));
    let args = shell_words::split(guest["ansible_ssh_common_args"].as_str().unwrap()).unwrap();
    let expected =
        ["IdentityFile=/keys/guests", "StrictHostKeyChecking=no", "UserKnownHostsFile=\"/known hosts/a\" /b%%"];
    assert_eq!(args.iter().filter(|word| *word != "-o").take(3).collect::<Vec<_>>(), expected);
}

#[test]
fn the_json_holds_everything_but_secrets() {
    let text = text(&manifest(ODD), &[], Export::Json);
    assert!(!text.contains("INLINE-SECRET"));
    let all: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(all["v"], json!(1));
    let host = &all["hosts"][0];
    assert_eq!(host["name"], json!("pve one*"));
    assert_eq!((&host["host"], &host["node"], &host["port"]), (&json!("2001:db8::1"), &json!("pve1"), &json!(2222)));
    assert_eq!(host["password_env"], json!("NODE_PASSWORD"));
    let guests = host["guests"].as_array().unwrap();
    assert_eq!(guests.len(), 12);
    let web = json!({
        "id": 101, "kind": "ct", "name": "web", "status": "running", "managed": true, "address": "192.0.2.101",
        "user": "debian", "port": 22, "identity_file": "/keys/guests",
        "ssh_args": ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=\"/known hosts/a\" /b%%",
            "-o", "ConnectTimeout=7", "-o", "ServerAliveInterval=9"],
        "password_env": null, "has_password": false, "ssh_verified": true, "last_checked": "2026-11-01T10:00:00Z",
        "notes": "mine",
    });
    assert_eq!(guests[0], web);
    assert_eq!((&guests[1]["managed"], &guests[5]["status"]), (&json!(false), &json!("gone")));
    assert_eq!((&guests[4]["has_password"], &guests[2]["password_env"]), (&json!(true), &json!("DB")));
    assert_eq!(
        guests[10]["ssh_args"][1],
        json!("IdentityFile=/keys/guests"),
        "the key itself stands in `identity_file`"
    );
    assert_eq!((&guests[11]["id"], &guests[11]["kind"]), (&json!(300), &json!(null)));
}

#[test]
fn only_the_hosts_that_are_named_are_written_and_names_do_not_depend_on_it() {
    let more = "guest_inventory.entries = [{ kind = \"ct\", id = \"7777\", name = \"web\", ip = \"192.0.2.77\" }]\n";
    let manifest = manifest(&ODD.replace(
        "guest_inventory.entries = [{ kind = \"ct\", id = \"101\", name = \"mail\", ip = \"198.51.100.1\" }]",
        more,
    ));
    let all = text(&manifest, &[], Export::SshConfig);
    let one = text(&manifest, &[HostId::new("pve2.example.org")], Export::SshConfig);
    assert_eq!(entries(&one), ["pve2.example.org", "web-7777"]);
    assert!(entries(&all).contains(&"web-101") && entries(&all).contains(&"web-7777"));
    let ansible = text(&manifest, &[HostId::new("pve2.example.org")], Export::Ansible);
    assert_eq!(variables(&ansible, "web-7777")["ansible_host"], json!("192.0.2.77"));
    let json: Json = serde_json::from_str(&text(&manifest, &[HostId::new("pve2.example.org")], Export::Json)).unwrap();
    assert_eq!(json["hosts"].as_array().unwrap().len(), 1);
}

/// A guest as somebody may have written it.
#[derive(Debug, Clone)]
struct Written {
    name: String,
    ip: String,
    user: Option<String>,
    key: String,
    kind: &'static str,
}

fn written() -> impl Strategy<Value = Written> {
    let name = prop_oneof!["[a-c]{0,2}", "[a-z*?!.\"#\\-\\\\ %]{0,6}", "\\PC{0,6}", Just("all".to_owned())];
    // Names that begin like no number: OpenSSH says `73` as the address that it is, `0.0.0.73`.
    let ip = prop_oneof![
        "192\\.0\\.2\\.[1-9]",
        "[g-z][a-z0-9.%:\\-]{0,4}",
        "[ü*-]\\PC{0,3}",
        Just(String::new()),
        Just("2001:db8::7/64".to_owned()),
    ];
    let user = prop::option::of("[a-zA-Z0-9_.@\\\\{}\"'#%$+]{1,6}");
    let key = "[a-z %\"'\\\\#{}$~=]{1,8}".prop_map(|name| format!("/k/{name}"));
    let kind = prop_oneof![Just("ct"), Just("vm")];
    (name, ip, user, key, kind).prop_map(|(name, ip, user, key, kind)| Written { name, ip, user, key, kind })
}

fn written_manifest(guests: &[Written]) -> Manifest {
    let quote = |text: &str| Value::text(text).to_toml();
    let entries = guests.iter().enumerate().map(|(index, guest)| {
        let user = guest.user.as_ref().map_or_else(String::new, |user| format!(", user = {}", quote(user)));
        let Written { name, ip, key, kind, .. } = guest;
        let (name, ip, key) = (quote(name), quote(ip), quote(key));
        format!(
            "{{ kind = \"{kind}\", id = \"{}\", name = {name}, ip = {ip}, ssh_key_path = {key}{user} }},",
            100 + index
        )
    });
    let head =
        "[[hosts]]\nhost = \"pve1\"\napi.token_env = \"T\"\napi.secret_env = \"S\"\nguest_inventory.entries = [\n";
    manifest(&format!("{head}{}]", entries.collect::<String>()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_guests_are_called_what_is_written_can_be_read(guests in prop::collection::vec(written(), 0..6)) {
        let manifest = written_manifest(&guests);
        let config = text(&manifest, &[], Export::SshConfig);
        let known = known::hosts(&manifest);
        let reachable: Vec<_> = known[0].guests.iter().filter(|guest| guest.is_reachable()).collect();
        let left_out = config.lines().filter(|line| line.contains(": left out, since its ")).count();
        prop_assert_eq!(entries(&config).len() + left_out, 1 + reachable.len(), "{}", config);
        // Nothing but what is meant to begins a line.
        for line in config.lines() {
            prop_assert!(line.is_empty() || ["# ", "Host ", "    "].iter().any(|head| line.starts_with(head)), "{}", config);
        }
        let inventory: Json = serde_json::from_str(&text(&manifest, &[], Export::Ansible)).unwrap();
        let written = inventory["all"]["children"]["pve1_guests"]["hosts"].as_object().map_or(0, |hosts| hosts.len());
        prop_assert_eq!(written + left_out, reachable.len());
        let json: Json = serde_json::from_str(&text(&manifest, &[], Export::Json)).unwrap();
        prop_assert_eq!(json["hosts"][0]["guests"].as_array().unwrap().len(), guests.len());
        if HAS_SSH.with(|has| *has) {
            read_back(&config, &known);
        }
    }
}

thread_local! {
    static HAS_SSH: bool = is_installed("ssh", "-V");
}

/// Asks OpenSSH for each entry, and compares with how a run would log in.
fn read_back(config: &str, known: &[known::Host<'_>]) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    std::fs::write(&file, config).unwrap();
    let guests: BTreeMap<&str, &known::Guest<'_>> = known[0].guests.iter().map(|guest| (&*guest.name, guest)).collect();
    for name in entries(config).into_iter().filter(|name| *name != known[0].name) {
        let (said, guest) = (openssh(&file, name), guests[name]);
        assert_eq!(said["hostname"], [guest.login.host().to_ascii_lowercase()], "{config}");
        assert_eq!(said["user"], [guest.login.user()], "{config}");
        let key = said["identityfile"][0].replace("%%", "%");
        assert_eq!(Some(PathBuf::from(key).as_path()), guest.login.key(), "{config}");
    }
}
