//! Each case is a manifest before and after, compared to the byte.

use super::*;
use crate::ids::{ClusterId, NodeName};

const NOW: Timestamp = Timestamp(1_795_386_522_125);

fn seen(kind: GuestKind, id: u32, name: &str) -> Sighting {
    Sighting {
        id: GuestId(id),
        kind,
        name: name.to_owned(),
        power: Power::Running,
        template: false,
        tags: Vec::new(),
        pool: None,
        identity: None,
        addresses: vec![format!("192.0.2.{}", id % 250)],
        unaddressed: None,
    }
}

fn ct(id: u32, name: &str) -> Sighting {
    seen(GuestKind::Ct, id, name)
}

fn vm(id: u32, name: &str) -> Sighting {
    seen(GuestKind::Vm, id, name)
}

fn survey(guests: &[Sighting]) -> Survey {
    Survey { node: NodeName::new("pve1"), ca: ClusterId::new("AA:BB"), guests: guests.to_vec(), unseen: None }
}

fn note(sighting: &Sighting) -> Note<'_> {
    Note { sighting, managed: None, user: None, password_env: None, check: None }
}

fn worked(address: &str, key: Option<&str>) -> Option<Check> {
    Some(Check { at: NOW, address: Some(address.to_owned()), key: key.map(PathBuf::from) })
}

const FAILED: Option<Check> = Some(Check { at: NOW, address: None, key: None });

fn header() -> Header {
    Header { at: NOW, public_key: None }
}

/// Merges into the first host.
fn merged(before: &str, survey: &Survey, notes: &[Note<'_>], header: &Header) -> String {
    let mut document = Document::parse(before).unwrap();
    merge(&mut document, 0, survey, notes, header).unwrap();
    let after = document.text();
    // Whatever is done is done: a second time there is nothing to do.
    let mut again = Document::parse(&after).unwrap();
    let later = Header { at: Timestamp(NOW.0 + 86_400_000), ..header.clone() };
    let notes: Vec<Note<'_>> = notes
        .iter()
        .cloned()
        .map(|note| Note { check: note.check.map(|check| Check { at: later.at, ..check }), ..note })
        .collect();
    merge(&mut again, 0, survey, &notes, &later).unwrap();
    assert_eq!(again.text(), after, "a second inventory changes something");
    after
}

#[track_caller]
fn case(before: &str, guests: &[Sighting], notes: &[Note<'_>], after: &str) {
    assert_eq!(merged(before, &survey(guests), notes, &header()), after);
}

const BLOCKS: &str = r#"# the fleet

[[hosts]]
name = "pve1"
host = "192.0.2.1"

# the other one
[[hosts]]
name = "pve2"
host = "192.0.2.2"
"#;

#[test]
fn a_new_inventory_has_its_head_first_and_its_guests_in_order() {
    let off = Sighting { power: Power::Stopped, addresses: Vec::new(), ..ct(102, "") };
    let guests = [ct(101, "web"), vm(201, "db"), off, Sighting { template: true, ..vm(900, "golden") }];
    let notes = [
        Note { managed: Some(false), ..note(&guests[1]) },
        Note {
            managed: Some(true),
            user: Some("ops".to_owned()),
            password_env: Some("WEB_PASSWORD".to_owned()),
            check: worked("192.0.2.80", Some("/home/ops/.ssh/maint")),
            ..note(&guests[0])
        },
        note(&guests[2]),
        note(&guests[3]),
    ];
    let head = Header { public_key: Some("ssh-ed25519 AAAA maint".to_owned()), ..header() };
    let after = r#"# the fleet

[[hosts]]
name = "pve1"
host = "192.0.2.1"

[hosts.guest_inventory]
version = 1
ssh_public_key = "ssh-ed25519 AAAA maint"
updated_at = "2026-11-22T22:28:42Z"

[[hosts.guest_inventory.entries]]
kind = "ct"
id = "101"
name = "web"
status = "running"
ip = "192.0.2.80"
user = "ops"
managed = true
ssh_verified = true
ssh_key_path = "/home/ops/.ssh/maint"
last_checked = "2026-11-22T22:28:42Z"
password_env = "WEB_PASSWORD"

[[hosts.guest_inventory.entries]]
kind = "ct"
id = "102"
status = "stopped"

[[hosts.guest_inventory.entries]]
kind = "vm"
id = "201"
name = "db"
status = "running"
ip = "192.0.2.201"
managed = false

# the other one
[[hosts]]
name = "pve2"
host = "192.0.2.2"
"#;
    assert_eq!(merged(BLOCKS, &survey(&guests), &notes, &head), after);
    let dos = |text: &str| text.replace('\n', "\r\n");
    assert_eq!(merged(&dos(BLOCKS), &survey(&guests), &notes, &head), dos(after));
}

#[test]
fn where_nobody_is_noted_no_inventory_is_made() {
    case(BLOCKS, &[ct(101, "web"), Sighting { template: true, ..vm(900, "golden") }], &[], BLOCKS);
    let template = Sighting { template: true, ..vm(900, "golden") };
    case(BLOCKS, std::slice::from_ref(&template), &[note(&template)], BLOCKS);
}

#[test]
fn hosts_and_inventories_in_braces() {
    let guests = [ct(101, "web"), vm(201, "db")];
    let notes = [note(&guests[0]), note(&guests[1])];
    case(
        "hosts = [\n  { name = \"pve1\", host = \"192.0.2.1\" },  # first\n  { name = \"pve2\", host = \"192.0.2.2\" },\n]\n",
        &guests,
        &notes,
        r#"hosts = [
  { name = "pve1", host = "192.0.2.1", guest_inventory = { version = 1, updated_at = "2026-11-22T22:28:42Z", entries = [
      { kind = "ct", id = "101", name = "web", status = "running", ip = "192.0.2.101" },
      { kind = "vm", id = "201", name = "db", status = "running", ip = "192.0.2.201" },
  ] } },  # first
  { name = "pve2", host = "192.0.2.2" },
]
"#,
    );
    // One that is in braces already goes on so, and so does one beside a host that has it so.
    let other = "\n[[hosts]]\nhost = \"192.0.2.2\"\nguest_inventory = { version = 1, entries = [\n    { kind = \"ct\", id = \"300\" },\n] }\n";
    case(
        &format!(
            "[[hosts]]\nhost = \"192.0.2.1\"\nguest_inventory = {{ version = 1, updated_at = \"old\", entries = [\n    \
             {{ kind = \"ct\", id = \"101\", name = \"web\", notes = \"mine\" }}, # first\n] }}\n{other}"
        ),
        &guests,
        &notes,
        &format!(
            "[[hosts]]\nhost = \"192.0.2.1\"\nguest_inventory = {{ version = 1, updated_at = \"2026-11-22T22:28:42Z\", \
             entries = [\n    {{ kind = \"ct\", id = \"101\", name = \"web\", notes = \"mine\", status = \"running\", \
             ip = \"192.0.2.101\" }}, # first\n    {{ kind = \"vm\", id = \"201\", name = \"db\", status = \"running\", \
             ip = \"192.0.2.201\" }},\n] }}\n{other}"
        ),
    );
}

#[test]
fn a_new_inventory_beside_ones_in_braces_is_in_braces_as_well() {
    let other = "\n[[hosts]]\nhost = \"192.0.2.2\"\nguest_inventory = { version = 1, entries = [\n    { kind = \"ct\", id = \"300\" },\n] }\n";
    let guests = [ct(101, "web"), vm(201, "db")];
    case(
        &format!("[[hosts]]\nhost = \"192.0.2.1\"\n{other}"),
        &guests,
        &[note(&guests[0]), note(&guests[1])],
        &format!(
            "[[hosts]]\nhost = \"192.0.2.1\"\nguest_inventory = {{ version = 1, updated_at = \"2026-11-22T22:28:42Z\", \
             entries = [\n    {{ kind = \"ct\", id = \"101\", name = \"web\", status = \"running\", ip = \"192.0.2.101\" \
             }},\n    {{ kind = \"vm\", id = \"201\", name = \"db\", status = \"running\", ip = \"192.0.2.201\" }},\n] }}\n{other}"
        ),
    );
}

#[test]
fn an_inventory_in_dotted_keys() {
    let guests = [ct(101, "web"), vm(201, "db")];
    case(
        "[[hosts]]\nhost = \"192.0.2.1\"\nguest_inventory.version = 1\nguest_inventory.entries = [\n  { kind = \"ct\", id = \
         \"101\" },\n]\nmax_parallel = 2\n",
        &guests,
        &[note(&guests[0]), note(&guests[1])],
        "[[hosts]]\nhost = \"192.0.2.1\"\nguest_inventory.version = 1\nguest_inventory.entries = [\n  { kind = \"ct\", id = \
         \"101\", name = \"web\", status = \"running\", ip = \"192.0.2.101\" },\n  { kind = \"vm\", id = \"201\", name = \
         \"db\", status = \"running\", ip = \"192.0.2.201\" },\n]\nguest_inventory.updated_at = \"2026-11-22T22:28:42Z\"\n\
         max_parallel = 2\n",
    );
}

/// An inventory in which hands have been at work.
const LIVED_IN: &str = r#"[[hosts]]
host = "192.0.2.1"

  [hosts.guest_inventory]
  version    = 1
  updated_at = 2026-11-01T03:00:00Z   # by the night shift

  # Looked after by its vendor.
  [[hosts.guest_inventory.entries]]
  kind = "vm"
  id = "201"
  name = "database"            # they call it so
  status = "running"
  ip = "192.0.2.5/24"          # by hand
  managed = false
  password = "never-shown"     # old
  rack = 4

  # the web server

  [[hosts.guest_inventory.entries]]
  kind  = 'ct'
  id    = '101'
  name  = 'web'
  status = 'stopped'
  ip    = "web.example.org"
  ssh_verified = true
  ssh_key_path = "~/.ssh/maint"
  last_checked = 2026-11-01T03:00:00Z
  notes = """
two lines, and
# no comment"""

[[hosts]]
host = "192.0.2.2"
"#;

/// The inventory with replacements, each of which must be of something that is there once.
fn lived_in(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(LIVED_IN.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text.replace(from, to)
    })
}

const UPDATED: (&str, &str) = ("updated_at = 2026-11-01T03:00:00Z", "updated_at = 2026-11-22T22:28:42Z");

fn stopped(sighting: Sighting) -> Sighting {
    Sighting { power: Power::Stopped, ..sighting }
}

#[test]
fn what_is_so_already_stays_to_the_byte() {
    let guests = [vm(201, "database"), stopped(ct(101, "web"))];
    case(LIVED_IN, &guests, &[], LIVED_IN);
    case(LIVED_IN, &guests, &[note(&guests[0]), note(&guests[1])], LIVED_IN);
    // A check that comes out as before is none that changes anything, and neither is the same address or key in other words.
    let same = Note { check: worked("web.example.org", Some("/home/ops/.ssh/maint")), ..note(&guests[1]) };
    case(LIVED_IN, &guests, &[same], LIVED_IN);
}

#[test]
fn name_and_status_follow_the_survey_whoever_was_asked_about() {
    let guests = [stopped(vm(201, "db")), ct(101, "web")];
    let after = lived_in(&[
        UPDATED,
        ("name = \"database\" ", "name = \"db\" "),
        ("status = \"running\"", "status = \"stopped\""),
        ("status = 'stopped'", "status = 'running'"),
    ]);
    case(LIVED_IN, &guests, &[], &after);
    // What was not told is no news.
    let nameless = [vm(201, ""), stopped(ct(101, ""))];
    case(LIVED_IN, &nameless, &[], LIVED_IN);
}

#[test]
fn an_address_of_a_hand_stays_until_another_one_proves_itself() {
    let guests = [vm(201, "database"), stopped(ct(101, "web"))];
    let at = |address: &str| Note { check: worked(address, None), ..note(&guests[0]) };
    let verified = "rack = 4\n  ssh_verified = true\n  last_checked = \"2026-11-22T22:28:42Z\"";
    // The same one, with its prefix length in the file.
    let verified_only = lived_in(&[UPDATED, ("rack = 4", verified)]);
    case(LIVED_IN, &guests, &[at("192.0.2.5")], &verified_only);
    let moved = lived_in(&[UPDATED, ("rack = 4", verified), ("ip = \"192.0.2.5/24\" ", "ip = \"192.0.2.77\" ")]);
    case(LIVED_IN, &guests, &[at("192.0.2.77")], &moved);
    let failed = lived_in(&[UPDATED, ("rack = 4", &verified.replace("true", "false"))]);
    case(LIVED_IN, &guests, &[Note { check: FAILED, ..note(&guests[0]) }], &failed);
}

#[test]
fn the_time_of_a_check_is_told_with_a_result_that_is_new() {
    let guests = [vm(201, "database"), stopped(ct(101, "web"))];
    let failed = Note { check: FAILED, ..note(&guests[1]) };
    let after = lived_in(&[
        UPDATED,
        ("ssh_verified = true", "ssh_verified = false"),
        ("last_checked = 2026-11-01T03:00:00Z", "last_checked = 2026-11-22T22:28:42Z"),
    ]);
    case(LIVED_IN, &guests, &[failed], &after);
    let other_key = Note { check: worked("web.example.org", Some("/root/.ssh/other")), ..note(&guests[1]) };
    let after = lived_in(&[
        UPDATED,
        ("ssh_key_path = \"~/.ssh/maint\"", "ssh_key_path = \"/root/.ssh/other\""),
        ("last_checked = 2026-11-01T03:00:00Z", "last_checked = 2026-11-22T22:28:42Z"),
    ]);
    case(LIVED_IN, &guests, &[other_key], &after);
}

#[test]
fn a_guest_that_is_gone_keeps_its_entry_and_comes_back() {
    let guests = [vm(201, "database")];
    let gone = lived_in(&[UPDATED, ("status = 'stopped'", "status = 'gone'")]);
    case(LIVED_IN, &guests, &[], &gone);
    let back = gone.replace("status = 'gone'", "status = 'running'");
    case(&gone, &[guests[0].clone(), ct(101, "web")], &[], &back);
    // Where the token does not see all guests, one that it does not see may be there.
    let partly = Survey { unseen: Some("the token lacks VM.Audit".to_owned()), ..survey(&guests) };
    assert_eq!(merged(LIVED_IN, &partly, &[], &header()), LIVED_IN);
}

#[test]
fn a_vmid_of_another_kind_is_another_guest() {
    let guests = [ct(201, "new"), stopped(ct(101, "web"))];
    let after = lived_in(&[
        UPDATED,
        ("status = \"running\"", "status = \"gone\""),
        (
            "# no comment\"\"\"\n",
            "# no comment\"\"\"\n\n  [[hosts.guest_inventory.entries]]\n  kind = \"ct\"\n  id = \"201\"\n  name = \"new\"\n  \
             status = \"running\"\n  ip = \"192.0.2.201\"\n",
        ),
    ]);
    case(LIVED_IN, &guests, &[note(&guests[0])], &after);
}

#[test]
fn what_the_operator_says_is_noted() {
    let guests = [vm(201, "database"), stopped(ct(101, "web"))];
    let told = Note {
        managed: Some(true),
        user: Some("admin".to_owned()),
        password_env: Some("DB_PASSWORD".to_owned()),
        ..note(&guests[0])
    };
    let after = lived_in(&[
        UPDATED,
        ("managed = false", "managed = true"),
        ("rack = 4", "rack = 4\n  user = \"admin\"\n  password_env = \"DB_PASSWORD\""),
    ]);
    case(LIVED_IN, &guests, &[told], &after);
}

#[test]
fn a_key_that_was_put_into_guests_is_noted_once() {
    let guests = [vm(201, "database"), stopped(ct(101, "web"))];
    let head = Header { public_key: Some("ssh-ed25519 AAAA maint".to_owned()), ..header() };
    let after = merged(LIVED_IN, &survey(&guests), &[], &head);
    assert_eq!(
        after,
        lived_in(&[(
            "updated_at = 2026-11-01T03:00:00Z   # by the night shift\n",
            "updated_at = 2026-11-22T22:28:42Z   # by the night shift\n  ssh_public_key = \"ssh-ed25519 AAAA maint\"\n",
        )])
    );
}

#[test]
fn of_two_entries_of_a_guest_the_first_counts() {
    let entry = "[[hosts.guest_inventory.entries]]\nkind = \"ct\"\nid = \"101\"\n";
    let before = format!("[[hosts]]\nhost = \"h\"\n\n{entry}name = \"old\"\n\n{entry}name = \"other\"\n");
    let after = format!(
        "[[hosts]]\nhost = \"h\"\n\n[hosts.guest_inventory]\nversion = 1\nupdated_at = \"2026-11-22T22:28:42Z\"\n\n{entry}name \
         = \"web\"\nstatus = \"running\"\n\n{entry}name = \"other\"\n"
    );
    case(&before, &[ct(101, "web")], &[], &after);
}

#[test]
fn a_host_that_is_not_there_is_an_error_and_changes_nothing() {
    let guest = ct(101, "web");
    let mut document = Document::parse(BLOCKS).unwrap();
    let refused = merge(&mut document, 7, &survey(std::slice::from_ref(&guest)), &[note(&guest)], &header());
    assert!(matches!(refused, Err(EditError::NoSuchSpot(_))), "{refused:?}");
    assert_eq!(document.text(), BLOCKS);
}

/// What was found of a guest, made of dice.
fn found(dice: u32, id: u32) -> Sighting {
    let kind = if dice & 1 == 0 { GuestKind::Ct } else { GuestKind::Vm };
    let power = [Power::Running, Power::Stopped, Power::Other][(dice >> 1) as usize % 3];
    let name = ["", "web", "a \"b\" c", "#no comment"][(dice >> 3) as usize % 4];
    let addresses = if dice & 32 == 0 { Vec::new() } else { vec!["192.0.2.9".to_owned(), "2001:db8::9".to_owned()] };
    Sighting { power, template: dice & 0x1c0 == 0, addresses, ..seen(kind, id, name) }
}

/// What is noted of it, made of dice.
fn noted(dice: u32, sighting: &Sighting) -> Note<'_> {
    let roll = |shift: u32, of: u32| (dice >> shift) % of;
    Note {
        sighting,
        managed: [None, Some(true), Some(false)][roll(9, 3) as usize],
        user: (roll(11, 2) == 0).then(|| "ops".to_owned()),
        password_env: (roll(12, 3) == 0).then(|| "GUEST_PASSWORD".to_owned()),
        check: match roll(14, 4) {
            0 => FAILED,
            1 => worked("192.0.2.77", None),
            2 => worked("192.0.2.9", Some("/home/ops/.ssh/maint")),
            _ => None,
        },
    }
}

fn manifest(text: &str) -> crate::manifest::Manifest {
    let env = |name: &str| (name == "HOME").then(|| "/home/ops".into());
    let path = Path::new("/fleet/proxmox-hosts.toml");
    crate::manifest::Manifest::parse(path, text.as_bytes(), &env).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        cases: 48,
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    })]

    #[test]
    fn whatever_was_found_the_rest_of_the_file_stays(
        file in 0..5_usize,
        host in 0..64_usize,
        crlf in proptest::bool::ANY,
        dice in proptest::collection::vec((proptest::bits::u32::ANY, 0..7_usize), 0..5),
    ) {
        // What a host can't do without is no matter of the other tests.
        let whole = |text: &str| text.replace("[[hosts]]\n", "[[hosts]]\napi_token_env = \"T\"\napi_secret_env = \"S\"\n");
        let files = [
            whole(BLOCKS),
            whole(LIVED_IN),
            include_str!("../../../../fixtures/manifests/flat.toml").to_owned(),
            include_str!("../../../../fixtures/manifests/dotted.toml").to_owned(),
            include_str!("../../../../fixtures/manifests/commented.toml").to_owned(),
        ];
        let before = if crlf { files[file].replace('\n', "\r\n") } else { files[file].clone() };
        let mut document = Document::parse(&before).unwrap();
        let host = host % document.hosts().len();
        let guests: BTreeMap<u32, Sighting> = dice
            .iter()
            .map(|(_, id)| [101, 102, 201, 203, 213, 300, 900][*id])
            .zip(&dice)
            .map(|(id, (dice, _))| (id, found(*dice, id)))
            .collect();
        let guests: Vec<Sighting> = guests.into_values().collect();
        let notes: Vec<Note<'_>> =
            guests.iter().zip(&dice).filter(|(_, (dice, _))| dice >> 31 == 0).map(|(g, (dice, _))| noted(*dice, g)).collect();
        merge(&mut document, host, &survey(&guests), &notes, &header()).unwrap();
        let after = document.text();

        // Other hosts, to the byte.
        let parts = |text: &str| format!("\n{text}").split("\n[[hosts]]").map(str::to_owned).collect::<Vec<_>>();
        let (old, new) = (parts(&before), parts(&after));
        proptest::prop_assert_eq!(old.len(), new.len());
        for (n, (old, new)) in old.iter().zip(&new).enumerate().filter(|(n, _)| *n != host + 1) {
            proptest::prop_assert_eq!(old, new, "part {} of a merge into host {}", n, host);
        }
        // Comments, notes and passwords, whosever they are.
        for mark in ["#", "notes", "password =", "rack = 4", "\r\n"].iter().filter(|mark| **mark != "\r\n" || !crlf) {
            let count = |text: &str| text.matches(mark).count();
            let names = guests.iter().filter(|guest| guest.name.contains(mark)).count();
            proptest::prop_assert!((count(&before)..=count(&before) + names).contains(&count(&after)), "{}:\n{}", mark, after);
        }
        proptest::prop_assert_eq!(crlf, !after.replace("\r\n", "").contains('\n') && after.contains("\r\n"));
        // And what it says is what was found.
        let (old, new) = (manifest(&before), manifest(&after));
        let entries = new.hosts[host].inventory.as_ref().map_or(&[][..], |inventory| &inventory.entries);
        for entry in entries {
            let seen = guests.iter().find(|guest| (guest.kind, guest.id) == (entry.kind, entry.id));
            proptest::prop_assert_eq!(entry.status.as_deref() == Some(GONE), seen.is_none());
        }
        for note in notes.iter().filter(|note| !note.sighting.template) {
            let entry = entries.iter().find(|entry| (entry.id, entry.kind) == guest_of(note.sighting)).unwrap();
            proptest::prop_assert!(note.managed.is_none() || entry.managed == note.managed);
            let verified = note.check.as_ref().map(|check| check.address.is_some());
            proptest::prop_assert!(verified.is_none() || entry.ssh_verified == verified);
        }
        for old in old.hosts[host].inventory.iter().flat_map(|inventory| &inventory.entries) {
            let new = entries.iter().find(|new| (new.id, new.kind) == (old.id, old.kind)).unwrap();
            proptest::prop_assert_eq!(&old.notes, &new.notes);
            proptest::prop_assert_eq!(old.password.is_some(), new.password.is_some());
        }
    }
}
