//! Edits case by case: the text before, the edit, the text after.

use proxmaint::ids::{GuestId, GuestKind};
use proxmaint::manifest::edit::{Document, EditError, Kind, Scope, Setting, Spot, Value, suggested_variables, unified};

pub fn setting(spot: Spot, key: &str) -> Setting {
    spot.scope().setting(key).unwrap_or_else(|error| panic!("{error}"))
}

fn document(text: &str) -> Document {
    Document::parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn set(text: &str, spot: Spot, key: &str, value: impl Into<Typed>) -> String {
    let mut document = document(text);
    document.set(spot, &setting(spot, key), &value.into().0).unwrap_or_else(|error| panic!("{error}\n{text}"));
    document.text()
}

fn unset(text: &str, spot: Spot, key: &str) -> String {
    let mut document = document(text);
    assert!(document.unset(spot, &setting(spot, key)).unwrap(), "{key} was not there");
    document.text()
}

struct Typed(Value);

impl From<&str> for Typed {
    fn from(text: &str) -> Self {
        Self(Value::text(text))
    }
}

impl From<i64> for Typed {
    fn from(number: i64) -> Self {
        Self(Value::Number(number))
    }
}

impl From<bool> for Typed {
    fn from(truth: bool) -> Self {
        Self(Value::Boolean(truth))
    }
}

impl<const N: usize> From<[&str; N]> for Typed {
    fn from(texts: [&str; N]) -> Self {
        Self(Value::texts(texts))
    }
}

const HOST: Spot = Spot::Host(0);

#[test]
fn a_value_is_replaced_where_it_stands() {
    for (before, after) in [
        ("user = \"old\"  # why\n", "user = \"new\"  # why\n"),
        ("  user=\"old\"# why\n", "  user=\"new\"# why\n"),
        ("ssh.user\t=\t\"old\"\n", "ssh.user\t=\t\"new\"\n"),
        ("ssh . \"user\"   =   'old'\n", "ssh . \"user\"   =   'new'\n"),
        ("\"user\" = \"\"\"\nold\"\"\"\n", "\"user\" = \"new\"\n"),
        ("ssh = { user = \"old\", }\n", "ssh = { user = \"new\", }\n"),
        ("ssh = {user=\"old\",identity_file='~/k'} # why\n", "ssh = {user=\"new\",identity_file='~/k'} # why\n"),
        ("\n[hosts.ssh] # here\nuser = \"old\"\n", "\n[hosts.ssh] # here\nuser = \"new\"\n"),
        // Of two spellings the one that counts is changed.
        ("ssh.user = \"no effect\"\nuser = \"old\"\n", "ssh.user = \"no effect\"\nuser = \"new\"\n"),
        ("ssh.user = \"old\"\nuser = \"\"\n", "ssh.user = \"new\"\nuser = \"\"\n"),
        // Scattered over its table.
        (
            "guest.user = \"a\"\ndry_run = true\nssh.user = \"old\"\nguest.reboot = \"never\"\n",
            "guest.user = \"a\"\ndry_run = true\nssh.user = \"new\"\nguest.reboot = \"never\"\n",
        ),
    ] {
        for (mark, newline) in [("", "\n"), ("\u{feff}", "\n"), ("", "\r\n"), ("\u{feff}", "\r\n")] {
            for end in ["", "\n", "\n\n# the end"] {
                let whole = |body: &str| {
                    let body = format!("# fleet\n\n[[hosts]]\n{}{end}", body.trim_end_matches('\n'));
                    format!("{mark}{}", body.replace('\n', newline))
                };
                assert_eq!(set(&whole(before), HOST, "ssh.user", "new"), whole(after));
            }
        }
    }
}

#[test]
fn what_is_so_already_stays_as_it_is_written() {
    let text = "[defaults]\napi_port = 8_006\nuser = \"\\u0072oot\"\nssh_extra_args = [ '-p 1' , ]\n";
    assert_eq!(set(text, Spot::Defaults, "api.port", 8006), text);
    assert_eq!(set(text, Spot::Defaults, "user", "root"), text);
    assert_eq!(set(text, Spot::Defaults, "ssh.extra_args", ["-p 1"]), text);
}

#[test]
fn an_empty_value_silences_the_other_spelling_too() {
    let text = "[[hosts]]\nuser = \"a\" # one\nssh.user = \"b\" # two\nhost = \"x\"\n";
    assert_eq!(set(text, HOST, "user", ""), "[[hosts]]\nuser = \"\" # one\nhost = \"x\"\n");
}

#[test]
fn lists_keep_their_items_and_the_comments_at_them() {
    let text = "[defaults]\nprotect = [\n    \"snapshot\",  # quick\n    \"backup\"     # safe\n] # both\n";
    let protect = |ways: &[&str]| {
        let mut document = document(text);
        document.set(Spot::Defaults, &setting(Spot::Defaults, "protect"), &Value::texts(ways.to_vec())).unwrap();
        document.text()
    };
    assert_eq!(protect(&["snapshot"]), "[defaults]\nprotect = [\n    \"snapshot\",  # quick\n] # both\n");
    assert_eq!(protect(&["backup"]), "[defaults]\nprotect = [\n    \"backup\"     # safe\n] # both\n");
    assert_eq!(protect(&["none"]), "[defaults]\nprotect = [\n    \"none\",  # quick\n] # both\n");
    assert_eq!(
        protect(&["snapshot", "backup", "none"]),
        "[defaults]\nprotect = [\n    \"snapshot\",  # quick\n    \"backup\",     # safe\n    \"none\"\n] # both\n"
    );
    assert_eq!(
        protect(&["none", "snapshot", "backup"]),
        "[defaults]\nprotect = [\n    \"none\",\n    \"snapshot\",  # quick\n    \"backup\"     # safe\n] # both\n"
    );
    let flat = "[defaults]\nprotect = [\"snapshot\", \"backup\"] # both\n";
    assert_eq!(set(flat, Spot::Defaults, "protect", ["backup"]), "[defaults]\nprotect = [\"backup\"] # both\n");
    assert_eq!(set(flat, Spot::Defaults, "protect", ["snapshot"]), "[defaults]\nprotect = [\"snapshot\"] # both\n");
    assert_eq!(
        set(flat, Spot::Defaults, "protect", ["snapshot", "none", "backup"]),
        "[defaults]\nprotect = [\"snapshot\", \"none\", \"backup\"] # both\n"
    );
    assert_eq!(set(flat, Spot::Defaults, "protect", "none"), "[defaults]\nprotect = \"none\" # both\n");
    let leading = "[defaults]\nprotect = [ \"snapshot\" # a\n          , \"backup\"   # b\n          ]\n";
    assert_eq!(
        set(leading, Spot::Defaults, "protect", ["snapshot", "none", "backup"]),
        "[defaults]\nprotect = [ \"snapshot\", \"none\" # a\n          , \"backup\"   # b\n          ]\n"
    );
}

#[test]
fn a_new_key_takes_the_style_of_its_neighbours() {
    for (before, after) in [
        // Nothing to go by: dotted, as the sample is.
        ("[[hosts]]\nhost = \"a\"\n", "[[hosts]]\nhost = \"a\"\napi.port = 1\n"),
        ("[[hosts]]\napi_node = \"n\"\nhost = \"a\"\n", "[[hosts]]\napi_node = \"n\"\napi_port = 1\nhost = \"a\"\n"),
        ("[[hosts]]\nuser = \"a\"\n", "[[hosts]]\nuser = \"a\"\napi_port = 1\n"),
        (
            "[[hosts]]\napi.node = \"n\" # its name\n               # in the cluster\n# more\nuser = \"a\"\n",
            "[[hosts]]\napi.node = \"n\" # its name\n               # in the cluster\napi.port = 1\n# more\nuser = \"a\"\n",
        ),
        (
            "[[hosts]]\nhost = \"a\"\n[hosts.api]\nnode = \"n\"",
            "[[hosts]]\nhost = \"a\"\n[hosts.api]\nnode = \"n\"\nport = 1",
        ),
        ("[[hosts]]\napi = {}\n", "[[hosts]]\napi = { port = 1 }\n"),
        ("[[hosts]]\napi = { node = \"n\" }\n", "[[hosts]]\napi = { node = \"n\", port = 1 }\n"),
        (
            "[[hosts]]\nhost = \"a\"\n# its end\n\n[[hosts]]\nhost = \"b\"\n\n[hosts.api]\nnode = \"n\"\n",
            "[[hosts]]\nhost = \"a\"\n# its end\n\n[hosts.api]\nport = 1\n\n[[hosts]]\nhost = \"b\"\n\n[hosts.api]\nnode = \"n\"\n",
        ),
        (
            "[[hosts]]\nhost = \"a\"\n[[hosts]]\nssh = { user = \"b\" }\n",
            "[[hosts]]\nhost = \"a\"\napi = { port = 1 }\n[[hosts]]\nssh = { user = \"b\" }\n",
        ),
        ("hosts = [{host=\"a\"}]\n", "hosts = [{host=\"a\", api.port=1}]\n"),
        (
            "hosts = [\n  { host = \"a\" }, # one\n  { host = \"b\", api_port = 2 },\n]\n",
            "hosts = [\n  { host = \"a\", api_port = 1 }, # one\n  { host = \"b\", api_port = 2 },\n]\n",
        ),
        // A column is kept.
        (
            "[[hosts]]\r\nhost     = \"a\"\r\napi_node = \"n\"\r\nuser     = \"u\"",
            "[[hosts]]\r\nhost     = \"a\"\r\napi_node = \"n\"\r\napi_port = 1\r\nuser     = \"u\"",
        ),
        // A list of guests stays last.
        (
            "[[hosts]]\nhost = \"a\"\nguest_inventory = { version = 1 }\n",
            "[[hosts]]\nhost = \"a\"\napi.port = 1\nguest_inventory = { version = 1 }\n",
        ),
        ("[[hosts]] # empty\n", "[[hosts]] # empty\napi.port = 1\n"),
    ] {
        assert_eq!(set(before, HOST, "api_port", 1), after);
    }
}

#[test]
fn what_toml_has_no_room_for_is_written_otherwise() {
    let dotted = "[[hosts]]\nhost = \"a\"\napi.port = 1\n";
    assert_eq!(
        set(dotted, HOST, "host.reboot", "always"),
        "[[hosts]]\nhost = \"a\"\nhost_reboot = \"always\"\napi.port = 1\n"
    );
    assert_eq!(
        set("[defaults]\napi.port = 1\n", Spot::Defaults, "host.reboot", "always"),
        "[defaults]\napi.port = 1\nhost.reboot = \"always\"\n"
    );
    // `protect` is a key here and a section there.
    let section = "[defaults]\nprotect.max_age = \"2h\"\n";
    assert_eq!(set(section, Spot::Defaults, "protect", ["backup"]), format!("{section}protect.with = [\"backup\"]\n"));
    let key = "[defaults]\nprotect = [\"backup\"]\napi.port = 1\n";
    assert_eq!(
        set(key, Spot::Defaults, "protect.max_age", "2h"),
        "[defaults]\nprotect = [\"backup\"]\nprotect_max_age = \"2h\"\napi.port = 1\n"
    );
    // Beside rules there is no room for a table `guests`.
    assert_eq!(
        set("[[hosts]]\napi.port = 1\n", HOST, "guests.exclude", ["tag:x"]),
        "[[hosts]]\napi.port = 1\nguests_exclude = [\"tag:x\"]\n"
    );
    let section = "[[hosts]]\nhost = \"a\"\n[hosts.api]\nport = 1\n[hosts.guests]\ninclude = [\"1-9\"]\n";
    let error = document(section).add_rule(0, &[]).unwrap_err();
    assert!(matches!(error, EditError::NoPlace { .. }) && error.hint().contains("by hand"), "{error}");
}

#[test]
fn defaults_come_to_be_before_the_hosts() {
    let set = |text| set(text, Spot::Defaults, "max_parallel", 4);
    assert_eq!(set(""), "[defaults]\nmax_parallel = 4\n");
    assert_eq!(
        set("# my fleet\n\n# the first\n[[hosts]]\nhost = \"a\"\n"),
        "# my fleet\n\n[defaults]\nmax_parallel = 4\n\n# the first\n[[hosts]]\nhost = \"a\"\n"
    );
    assert_eq!(
        set("# my fleet\n[[hosts]]\nhost = \"a\"\n"),
        "# my fleet\n[defaults]\nmax_parallel = 4\n\n[[hosts]]\nhost = \"a\"\n"
    );
    assert_eq!(set("hosts = [] # none"), "hosts = [] # none\n\n[defaults]\nmax_parallel = 4");
    assert_eq!(
        set("defaults.dry_run = true\n[[hosts]]\n"),
        "defaults.dry_run = true\ndefaults.max_parallel = 4\n[[hosts]]\n"
    );
    assert_eq!(set("defaults = { dry_run = true }\n"), "defaults = { dry_run = true, max_parallel = 4 }\n");
    assert_eq!(
        set("[[hosts]]\nhost = \"a\"\n\n[defaults]\n# nothing yet\n"),
        "[[hosts]]\nhost = \"a\"\n\n[defaults]\nmax_parallel = 4\n# nothing yet\n"
    );
}

#[test]
fn a_key_is_taken_out_with_its_line() {
    for (before, after) in [
        ("host = \"a\"\n# above\nuser = \"u\" # why\n# below\n", "host = \"a\"\n# above\n# below\n"),
        ("host = \"a\"\nssh.user = \"u\"", "host = \"a\""),
        ("user = \"u\"\nssh . user = \"v\"\n", ""),
        ("ssh = { user = \"u\" } # why\nhost = \"a\"\n", "host = \"a\"\n"),
        ("ssh = { user = \"u\", identity_file = \"k\" } # why\n", "ssh = { identity_file = \"k\" } # why\n"),
        ("ssh = { identity_file = \"k\", user = \"u\" } # why\n", "ssh = { identity_file = \"k\" } # why\n"),
        ("user = \"\"\"\nu\n\"\"\" # why\nhost = \"a\"\n", "host = \"a\"\n"),
        ("[hosts.ssh]\nuser = \"u\"\nidentity_file = \"k\"\n", "[hosts.ssh]\nidentity_file = \"k\"\n"),
    ] {
        for newline in ["\n", "\r\n"] {
            let whole = |body: &str| format!("[[hosts]]\n{body}").replace('\n', newline);
            assert_eq!(unset(&whole(before), HOST, "user"), whole(after));
        }
    }
    let section = "[defaults]\nprotect.max_age = \"2h\"\n";
    let mut document = document(section);
    assert!(!document.unset(Spot::Defaults, &setting(Spot::Defaults, "protect")).unwrap());
    assert_eq!(document.text(), section);
}

fn host_of(document: &Document, name: &str) -> Spot {
    document.host(name).unwrap_or_else(|| panic!("no host {name}"))
}

fn host_keys(keys: &[(&str, &str)]) -> Vec<(Setting, Value)> {
    keys.iter().map(|(key, text)| (setting(HOST, key), Value::text(*text))).collect()
}

#[test]
fn a_host_is_added_behind_the_others() {
    let keys = host_keys(&[("name", "b"), ("host", "b.example"), ("api.token_env", "T"), ("api.secret_env", "S")]);
    for (before, after) in [
        ("", "[[hosts]]\nname = \"b\"\nhost = \"b.example\"\napi.token_env = \"T\"\napi.secret_env = \"S\"\n"),
        (
            "# fleet\n\n[[hosts]]\nhost = \"a\"\napi_token_env = \"A\"\n# its end\n\n# about the rest\n[other]\nx = 1\n",
            "# fleet\n\n[[hosts]]\nhost = \"a\"\napi_token_env = \"A\"\n# its end\n\n[[hosts]]\nname = \"b\"\nhost = \"b.example\"\n\
             api_token_env = \"T\"\napi_secret_env = \"S\"\n\n# about the rest\n[other]\nx = 1\n",
        ),
        (
            "[[hosts]]\r\nhost = \"a\"\r\n[hosts.api]\r\ntoken_env = \"A\"",
            "[[hosts]]\r\nhost = \"a\"\r\n[hosts.api]\r\ntoken_env = \"A\"\r\n\r\n[[hosts]]\r\nname = \"b\"\r\nhost = \"b.example\"\r\n\r\n\
             [hosts.api]\r\ntoken_env = \"T\"\r\nsecret_env = \"S\"",
        ),
        (
            "hosts = [ { host = \"a\", api.port = 1 } ]",
            "hosts = [ { host = \"a\", api.port = 1 }, { name = \"b\", host = \"b.example\", api.token_env = \"T\", api.secret_env = \"S\" } ]",
        ),
        (
            "hosts = [\n  { host = \"a\" } # first\n  # more to come\n]\n",
            "hosts = [\n  { host = \"a\" }, # first\n  { name = \"b\", host = \"b.example\", api.token_env = \"T\", api.secret_env = \"S\" }\n  # more to come\n]\n",
        ),
    ] {
        let mut document = document(before);
        let spot = document.add_host(&keys).unwrap();
        assert_eq!(document.text(), after);
        assert_eq!(host_of(&document, "b"), spot);
    }
}

const THREE: &str = "\
# The fleet.
[[hosts]]
host = \"a\" # one
# within

[hosts.api]
port = 1

# About b.
[[hosts]]
host = \"b\"

[[hosts.guest_inventory.entries]]
kind = \"ct\"
id = \"101\"
# the end of b

# About c.
[[hosts]]
host = \"c\"
";

#[test]
fn a_host_is_removed_and_comments_above_it_stay() {
    let without = |name: &str| {
        let mut document = document(THREE);
        let spot = host_of(&document, name);
        document.remove_item(spot).unwrap();
        document.text()
    };
    let (a, rest) = THREE.split_once("# About b.").unwrap();
    let (_, c) = rest.split_once("# About c.").unwrap();
    assert_eq!(without("a"), format!("# The fleet.\n\n# About b.{rest}"));
    assert_eq!(without("b"), format!("{a}# About b.\n\n# About c.{c}"));
    assert_eq!(without("c"), THREE.strip_suffix("[[hosts]]\nhost = \"c\"\n").unwrap());
    let inline = |text: &str, host| {
        let mut document = document(text);
        document.remove_item(Spot::Host(host)).unwrap();
        document.text()
    };
    let list = "hosts = [ { host = \"a\" }, { host = \"b\" } ] # both\n";
    assert_eq!(inline(list, 0), "hosts = [ { host = \"b\" } ] # both\n");
    assert_eq!(inline(list, 1), "hosts = [ { host = \"a\" } ] # both\n");
    let lines = "hosts = [\n  # one\n  { host = \"a\" }, # a\n  # two\n  { host = \"b\" }  # b\n]\n";
    assert_eq!(inline(lines, 0), "hosts = [\n  # one\n  # two\n  { host = \"b\" }  # b\n]\n");
    assert_eq!(inline(lines, 1), "hosts = [\n  # one\n  { host = \"a\" }, # a\n  # two\n]\n");
    // A comment between two hosts, with no empty line about it, may be about either: it stays.
    let dense = "[[hosts]]\nhost = \"a\"\n# which?\n[[hosts]]\nhost = \"b\"\n# of b\n";
    assert_eq!(inline(dense, 0), "# which?\n[[hosts]]\nhost = \"b\"\n# of b\n");
    assert_eq!(inline(dense, 1), "[[hosts]]\nhost = \"a\"\n# which?\n");
    // Its tables may be scattered over the file.
    let scattered = "[[hosts]]\nhost = \"a\"\n\n[defaults]\ndry_run = true\n\n[hosts.api]\nport = 1\n";
    assert_eq!(inline(scattered, 0), "[defaults]\ndry_run = true\n");
    assert_eq!(inline("x = 1\n\n[[hosts]]\nhost = \"a\"", 0), "x = 1");
}

#[test]
fn a_host_is_duplicated_behind_itself() {
    let mut copied = document(THREE);
    let spot = copied.duplicate_host(0, &host_keys(&[("host", "a2"), ("api.token_env", "T")])).unwrap();
    assert_eq!(spot, Spot::Host(1));
    assert_eq!(copied.hosts(), ["a", "a2", "b", "c"]);
    let (a, rest) = THREE.split_once("\n# About b.").unwrap();
    let copy = "[[hosts]]\nhost = \"a2\" # one\n# within\n\n[hosts.api]\nport = 1\ntoken_env = \"T\"\n";
    assert_eq!(copied.text(), format!("{a}\n{copy}\n# About b.{rest}"));

    let mut inline = document("hosts = [\n\t{ host = \"a\" }, # a\n]");
    inline.duplicate_host(0, &host_keys(&[("host", "b")])).unwrap();
    assert_eq!(inline.text(), "hosts = [\n\t{ host = \"a\" }, # a\n\t{ host = \"b\" },\n]");
}

#[test]
fn rules_come_after_the_hosts_own_sections_and_before_its_inventory() {
    let rule = |key: &str, value: Value| (setting(Spot::Rule(0, 0), key), value);
    let add = |text: &str| {
        let mut document = document(text);
        let keys = [rule("id", Value::Number(104)), rule("via", Value::text("ssh"))];
        let spot = document.add_rule(0, &keys).unwrap();
        assert_eq!(document.rule(0, GuestId(104)), Some(spot));
        document.text()
    };
    const NEW: &str = "[[hosts.guests]]\nid = 104\nvia = \"ssh\"\n";
    assert_eq!(
        add("[[hosts]]\nhost = \"a\"\n\n[[hosts.guest_inventory.entries]]\nkind = \"ct\"\nid = \"1\"\n"),
        format!("[[hosts]]\nhost = \"a\"\n\n{NEW}\n[[hosts.guest_inventory.entries]]\nkind = \"ct\"\nid = \"1\"\n")
    );
    assert_eq!(
        add("[[hosts]]\n[[hosts.guests]]\nid = 103\n[hosts.guests.backup]\nmode = \"stop\"\n[[hosts]]\n"),
        format!("[[hosts]]\n[[hosts.guests]]\nid = 103\n[hosts.guests.backup]\nmode = \"stop\"\n\n{NEW}[[hosts]]\n")
    );
    assert_eq!(
        add("hosts = [{ host = \"a\" }]\n"),
        "hosts = [{ host = \"a\", guests = [{ id = 104, via = \"ssh\" }] }]\n"
    );
    assert_eq!(
        add("[[hosts]]\nguests = [\n  { id = 103 },\n]\n"),
        "[[hosts]]\nguests = [\n  { id = 103 },\n  { id = 104, via = \"ssh\" },\n]\n"
    );
    assert_eq!(
        add("[[hosts]]\nguests.include = [\"1-9\"] # few\n"),
        format!("[[hosts]]\nguests_include = [\"1-9\"] # few\n\n{NEW}")
    );
    let mut document = document("[[hosts]]\n[[hosts.guests]]\nid = 103\n# its end\n\n[[hosts.guests]]\nid = 104\n");
    document.remove_item(Spot::Rule(0, 0)).unwrap();
    assert_eq!(document.text(), "[[hosts]]\n\n[[hosts.guests]]\nid = 104\n");
    document.set(Spot::Rule(0, 0), &setting(Spot::Rule(0, 0), "backup.mode"), &Value::text("stop")).unwrap();
    assert_eq!(document.text(), "[[hosts]]\n\n[[hosts.guests]]\nid = 104\nbackup.mode = \"stop\"\n");
}

#[test]
fn a_date_stays_a_date_and_the_entries_go_behind_the_head() {
    let mut dated = document("[[hosts]]\n[hosts.guest_inventory]\nupdated_at = 2026-11-01T03:00:00Z # by whom\n");
    let spot = Spot::Inventory(0);
    let set = |document: &mut Document, text: &str| {
        document.set(spot, &setting(spot, "updated_at"), &Value::text(text)).unwrap();
        document.text()
    };
    let same = dated.text();
    assert_eq!(set(&mut dated, "2026-11-01T03:00:00Z"), same);
    let expected = |value: &str| format!("[[hosts]]\n[hosts.guest_inventory]\nupdated_at = {value} # by whom\n");
    assert_eq!(set(&mut dated, "2026-11-22T22:28:42Z"), expected("2026-11-22T22:28:42Z"));
    assert_eq!(set(&mut dated, "yesterday"), expected("\"yesterday\""));
    assert_eq!(set(&mut dated, "2026-11-22T22:28:42Z"), expected("\"2026-11-22T22:28:42Z\""));

    let entry = Spot::Entry(0, 0);
    let mut braces = document("  [[hosts]]\r\n  guest_inventory = { version = 1 }\r\n");
    braces
        .add_entry(0, &[(setting(entry, "kind"), Value::text("ct")), (setting(entry, "id"), Value::text("101"))])
        .unwrap();
    assert_eq!(
        braces.text(),
        "  [[hosts]]\r\n  guest_inventory = { version = 1, entries = [\r\n      { kind = \"ct\", id = \"101\" },\r\n  ] }\r\n"
    );
}

#[test]
fn an_inventory_grows_entry_by_entry() {
    let entry = Spot::Entry(0, 0);
    let keys = |id: &str| [("kind", "ct"), ("id", id)].map(|(key, text)| (setting(entry, key), Value::text(text)));
    let mut fresh = document("[[hosts]]\nhost = \"a\"\n\n# next\n[[hosts]]\nhost = \"b\"\n");
    fresh.set(Spot::Inventory(0), &setting(Spot::Inventory(0), "version"), &Value::Number(1)).unwrap();
    fresh.add_entry(0, &keys("101")).unwrap();
    fresh.add_entry(0, &keys("102")).unwrap();
    let second = fresh.entry(0, GuestKind::Ct, GuestId(102)).unwrap();
    fresh.set(second, &setting(entry, "managed"), &Value::Boolean(true)).unwrap();
    assert_eq!(
        fresh.text(),
        "[[hosts]]\nhost = \"a\"\n\n[hosts.guest_inventory]\nversion = 1\n\n[[hosts.guest_inventory.entries]]\nkind = \"ct\"\nid = \"101\"\n\n\
         [[hosts.guest_inventory.entries]]\nkind = \"ct\"\nid = \"102\"\nmanaged = true\n\n# next\n[[hosts]]\nhost = \"b\"\n"
    );
    fresh.remove_item(Spot::Entry(0, 0)).unwrap();
    assert_eq!(fresh.entries(0).len(), 1);

    let mut inline =
        document("[[hosts]]\nguest_inventory = { version = 1, entries = [\n    { kind = \"vm\", id = \"1\" },\n] }\n");
    inline.add_entry(0, &keys("101")).unwrap();
    assert_eq!(
        inline.text(),
        "[[hosts]]\nguest_inventory = { version = 1, entries = [\n    { kind = \"vm\", id = \"1\" },\n    { kind = \"ct\", id = \"101\" },\n] }\n"
    );
    let mut whole = document("hosts = [{ host = \"a\" }]\n");
    whole.add_entry(0, &keys("101")).unwrap();
    assert_eq!(
        whole.text(),
        "hosts = [{ host = \"a\", guest_inventory = { entries = [\n    { kind = \"ct\", id = \"101\" },\n] } }]\n"
    );

    let secret = setting(entry, "password");
    assert_eq!(whole.set(entry, &secret, &Value::text("x")), Err(EditError::NotSettable("password")));
}

#[test]
fn what_a_key_means_and_inherits_can_be_asked() {
    let document = document(
        "[defaults]\nvia = \"ssh\"\nguest.user = \"\"\n[[hosts]]\nhost = \"a\"\nguest_user = \"g\"\n[[hosts.guests]]\nid = 1\n",
    );
    let rule = Spot::Rule(0, 0);
    let inherited = |spot, key| document.inherited(spot, &setting(spot, key)).map(|i| (i.from, i.value));
    assert_eq!(inherited(rule, "via"), Some((Scope::Defaults, Value::text("ssh"))));
    assert_eq!(inherited(rule, "user"), Some((Scope::Host, Value::text("g"))));
    assert_eq!(inherited(HOST, "guest.user"), None, "an empty value is none");
    assert_eq!(inherited(rule, "managed"), None);
    assert_eq!(document.given(HOST, &setting(HOST, "guest.user")), Some(("guest_user", Value::text("g"))));
    for scope in [Scope::Defaults, Scope::Host, Scope::Rule, Scope::Inventory, Scope::Entry] {
        for setting in scope.settings() {
            assert!(!setting.meaning().is_empty() && !setting.default().is_empty(), "{}", setting.name());
            for spelling in setting.spellings() {
                assert_eq!(scope.setting(spelling).as_ref().map(Setting::name), Ok(setting.name()));
            }
        }
    }
    let unknown = |scope: Scope, key| scope.setting(key).unwrap_err().hint();
    assert_eq!(unknown(Scope::Host, "api.prot"), "did you mean `api.port`?");
    assert_eq!(unknown(Scope::Defaults, "name"), "it stands in [[hosts]] only");
    assert!(unknown(Scope::Rule, "xyz").starts_with("the keys are id, match"), "{}", unknown(Scope::Rule, "xyz"));
}

#[test]
fn what_is_known_of_a_guest_holds_where_its_rule_says_nothing() {
    let document = document(
        "[[hosts]]\nhost = \"a\"\nguest_user = \"g\"\n[[hosts.guests]]\nid = \"101\"\n[[hosts.guests]]\nid = 102\n\
         [[hosts.guests]]\nmatch = \"101\"\n[hosts.guest_inventory]\nentries = [\n\
         { kind = \"ct\", id = \"101\", ip = \"192.0.2.1\", user = \"e\", ssh_key_path = \"k\", managed = false },\n\
         { kind = \"vm\", id = \"102\", user = \"\" },\n]\n",
    );
    let inherited = |spot, key| document.inherited(spot, &setting(spot, key)).map(|i| (i.from, i.value));
    let known = |value| Some((Scope::Entry, value));
    let rule = Spot::Rule(0, 0);
    assert_eq!(inherited(rule, "address"), known(Value::text("192.0.2.1")));
    assert_eq!(inherited(rule, "user"), known(Value::text("e")));
    assert_eq!(inherited(rule, "identity_file"), known(Value::text("k")));
    assert_eq!(inherited(rule, "managed"), known(Value::Boolean(false)));
    assert_eq!(inherited(rule, "password_env"), None);
    // An empty value is none, and of several guests no single one is known.
    for other in [Spot::Rule(0, 1), Spot::Rule(0, 2), Spot::Entry(0, 1)] {
        assert_eq!(inherited(other, "user"), Some((Scope::Host, Value::text("g"))), "{other:?}");
    }
}

/// The loader is asked what it takes: so no key that is added later can be forgotten in the table of kinds.
#[test]
fn each_key_takes_the_kind_of_value_that_the_loader_wants() {
    let host = "host = \"a\"\napi_token_env = \"T\"\napi_secret_env = \"S\"\n";
    for scope in [Scope::Defaults, Scope::Host, Scope::Rule] {
        for setting in scope.settings() {
            if setting.kind() == Kind::Tables {
                continue;
            }
            let name = setting.name();
            let key = setting.spellings().iter().find(|s| !s.contains('.')).unwrap_or(&name);
            let refused = |value: &str| {
                let (defaults, own, rule) = match scope {
                    Scope::Defaults => (format!("{key} = {value}\n"), host.to_owned(), String::new()),
                    Scope::Host if host.contains(&format!("{key} =")) => {
                        let line = host.lines().find(|line| line.starts_with(&format!("{key} ="))).unwrap();
                        (String::new(), host.replace(line, &format!("{key} = {value}")), String::new())
                    }
                    Scope::Host => (String::new(), format!("{host}{key} = {value}\n"), String::new()),
                    _ if *key == "id" || *key == "match" => {
                        (String::new(), host.to_owned(), format!("[[hosts.guests]]\n{key} = {value}\n"))
                    }
                    _ => (String::new(), host.to_owned(), format!("[[hosts.guests]]\nid = 100\n{key} = {value}\n")),
                };
                let text = format!("[defaults]\n{defaults}[[hosts]]\n{own}{rule}");
                let errors = crate::parse(text.as_bytes()).err().map(|error| error.to_string()).unwrap_or_default();
                errors.contains(&format!("error: `{key}` must be ")) && errors.contains(", not ")
                    || errors.contains(&format!("each item of `{key}` must be"))
            };
            let takes = match (refused("100"), refused("true"), refused("[]"), refused("\"snapshot\"")) {
                (false, true, ..) => Kind::Number,
                (true, false, ..) => Kind::Boolean,
                (true, true, false, false) => Kind::List,
                (true, true, true, false) => Kind::Text,
                other => panic!("{key} in {}: {other:?}", scope.as_str()),
            };
            assert_eq!(setting.kind(), takes, "{key} in {}", scope.as_str());
        }
    }
}

#[test]
fn edits_of_what_is_not_there_change_nothing() {
    let mut document = document(THREE);
    let user = setting(HOST, "user");
    assert_eq!(document.set(Spot::Host(9), &user, &Value::text("u")), Err(EditError::NoSuchSpot(Spot::Host(9))));
    assert!(matches!(document.set(Spot::Defaults, &user, &Value::text("u")), Err(EditError::Misplaced { .. })));
    assert!(matches!(document.remove_item(Spot::Defaults), Err(EditError::NoSuchSpot(_))));
    assert!(matches!(document.add_entry(3, &[]), Err(EditError::NoSuchSpot(_))));
    assert_eq!(document.text(), THREE);
    assert!(matches!(Document::parse("x ="), Err(EditError::Syntax(_))));
}

#[test]
fn a_difference_shows_no_secret_and_no_control_character() {
    let old = "[[hosts]]\r\nhost = \"a\"\r\nguest_inventory = { entries = [{ kind = \"ct\", id = \"1\", password = \"hunter2\" }] }\r\n";
    let new = set(old, HOST, "user", "u");
    let diff = unified("m.toml", old, &new);
    assert!(diff.contains("+ssh.user = \"u\"\n") && !diff.contains("hunter2") && !diff.contains('\r'), "{diff}");
    assert_eq!(diff.lines().filter(|line| line.starts_with('+') && !line.starts_with("+++")).count(), 1, "{diff}");
    // What stands where the name of a variable belongs may be the secret itself.
    let token = "[[hosts]]\nhost = \"a\"\napi.secret_env = \"c0ffee00-1111-2222-3333-444455556666\"\n";
    let diff = unified("m.toml", token, &set(token, HOST, "api.secret_env", "S"));
    assert!(diff.contains("+api.secret_env = \"S\"") && !diff.contains("c0ffee00"), "{diff}");
    assert_eq!(unified("m.toml", old, old), "");
}

#[test]
fn variables_are_named_for_the_host() {
    let named = |name: &str| suggested_variables(name).0;
    assert_eq!(named("pve1.example.org"), "PVE1_TOKEN");
    assert_eq!(named("pve-east"), "PVE_EAST_TOKEN");
    assert_eq!(named("192.0.2.7"), "PVE_192_0_2_7_TOKEN");
    assert_eq!(named("ü"), "PVE___TOKEN");
}

#[test]
fn the_blanks_of_an_empty_table_stay() {
    for (before, after) in [
        ("defaults = {}\n", "defaults = { max_parallel = 4 }\n"),
        ("defaults = { }\n", "defaults = { max_parallel = 4 }\n"),
        ("defaults = {\t}\n", "defaults = {\tmax_parallel = 4 }\n"),
        ("defaults = {   }\n", "defaults = {   max_parallel = 4 }\n"),
    ] {
        assert_eq!(set(before, Spot::Defaults, "max_parallel", 4), after);
    }
}
