//! Random manifests in random styles, random edits: what is not edited stays to the byte, and the rest is what was meant.
//!
//! The manifests are written here, pair by pair, so it is known where each one lies. What a text means is read here too, key
//! by key, without the editor. `PROXMAINT_EDIT_CASES` says how many cases are tried (`make fuzz-edit`).

mod facts;
mod writer;

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use proxmaint::manifest::edit::{Document, Scope, Setting, Spot, Value};

use facts::{Facts, HostFacts, Said, facts, said_of};
use writer::{Dice, KEYS, Written, sample, write};

/// How many cases the suite tries: some seconds' worth.
const CASES: u32 = 2_000;

/// Tells whether `new` is `old` with something put in at one place.
fn is_grown(old: &str, new: &str) -> bool {
    let (old, new) = (old.as_bytes(), new.as_bytes());
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    new.len() >= old.len() && head + tail >= old.len()
}

/// Tells whether all of `part` stands in `whole`, in that order.
fn is_within(part: &str, whole: &str) -> bool {
    let mut rest = whole.chars();
    part.chars().all(|c| rest.any(|other| other == c))
}

fn lines_beside(text: &str, region: &Range<usize>) -> Vec<String> {
    let full = |piece: &str| {
        let piece = piece.trim_start_matches('\u{feff}');
        piece.lines().map(|line| line.trim_end().to_owned()).filter(|l| !l.is_empty()).collect::<Vec<_>>()
    };
    let mut lines = full(&text[..region.start]);
    lines.extend(full(&text[region.end..]));
    lines
}

type Tested = Result<(), TestCaseError>;

/// Makes a random edit and holds the result against what is known of the manifest.
fn try_one(dice: &[u8]) -> Tested {
    let (written, mut dice) = write(dice);
    let before = facts(&written.text);
    prop_assert_eq!(before.hosts.len(), written.hosts, "the writer slipped:\n{}", written.text);
    let document = Document::parse(&written.text).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&document.text(), &written.text, "reading changes nothing");
    let (edited, meant) = match dice.roll(9) {
        0..=2 if !written.pairs.is_empty() => change(&written, document, &before, &mut dice)?,
        3 | 4 if !written.pairs.is_empty() => take_out(&written, document, &before, &mut dice)?,
        5 => add(&written, document, &before, &mut dice)?,
        6 => remove(&written, document, &before, &mut dice)?,
        7 => duplicate(&written, document, &before, &mut dice)?,
        _ => put_in(&written, document, &before, &mut dice)?,
    };
    let text = edited.text();
    prop_assert_eq!(facts(&text), meant, "before:\n{}\nafter:\n{}", &written.text, &text);
    if written.text.contains("\r\n") {
        let bare = text.replace("\r\n", "").contains('\n');
        prop_assert!(!bare, "a bare line feed:\n{:?}", text);
    } else {
        prop_assert!(!text.contains('\r'), "a carriage return:\n{:?}", text);
    }
    prop_assert_eq!(text.starts_with('\u{feff}'), written.text.starts_with('\u{feff}'));
    Ok(())
}

fn refused(written: &Written, error: impl std::fmt::Display) -> TestCaseError {
    TestCaseError::fail(format!("refused: {error}\n{}", written.text))
}

/// Sets a key that is there.
fn change(
    written: &Written,
    mut document: Document,
    before: &Facts,
    dice: &mut Dice<'_>,
) -> Result<(Document, Facts), TestCaseError> {
    let pair = &written.pairs[dice.roll(written.pairs.len())];
    let setting = pair.spot.scope().setting(pair.name).expect("a key");
    let value = match setting.kind() {
        _ if ["host", "id", "kind", "name"].contains(&setting.name()) => Value::text("other"),
        _ => sample(dice, setting.name()),
    };
    document.set(pair.spot, &setting, &value).map_err(|error| refused(written, error))?;
    let (old, new) = (&written.text, document.text());
    // Everything but the value itself is as it was; its key, the comment behind it and all other lines among it.
    prop_assert!(new.starts_with(&old[..pair.value.start]), "before:\n{}\nafter:\n{}", old, new);
    prop_assert!(new.ends_with(&old[pair.value.end..]), "before:\n{}\nafter:\n{}", old, new);
    if !old[pair.value.clone()].contains('\n') {
        prop_assert_eq!(old.lines().count(), new.lines().count(), "more than a line:\n{}\n{}", old, new);
    }
    let mut meant = before.clone();
    meant.table(pair.spot).insert(pair.name.to_owned(), said_of(&value));
    Ok((document, meant))
}

/// Takes a key out that is there.
fn take_out(
    written: &Written,
    mut document: Document,
    before: &Facts,
    dice: &mut Dice<'_>,
) -> Result<(Document, Facts), TestCaseError> {
    let pair = &written.pairs[dice.roll(written.pairs.len())];
    let setting = pair.spot.scope().setting(pair.name).expect("a key");
    let found = document.unset(pair.spot, &setting).map_err(|error| refused(written, error))?;
    prop_assert!(found, "{} is there:\n{}", pair.name, written.text);
    let (old, new) = (&written.text, document.text());
    if pair.in_block {
        let start = old[..pair.key.start].rfind('\n').map_or(0, |n| n + 1);
        let start = start.max(if old.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 });
        let end = old[pair.value.end..].find('\n').map_or(old.len(), |n| pair.value.end + n + 1);
        let rest = format!("{}{}", &old[..start], &old[end..]);
        let rest = if old.ends_with('\n') || end < old.len() {
            rest
        } else {
            rest.strip_suffix("\r\n").or(rest.strip_suffix('\n')).unwrap_or(&rest).to_owned()
        };
        prop_assert_eq!(&new, &rest, "before:\n{}", old);
    } else {
        prop_assert!(is_within(&new, old), "before:\n{}\nafter:\n{}", old, new);
        let own = old[..pair.key.start].rfind('\n').map_or(0, |n| n + 1)
            ..old[pair.value.end..].find('\n').map_or(old.len(), |n| pair.value.end + n + 1);
        for line in lines_beside(old, &own) {
            prop_assert!(new.contains(&line), "{} is gone:\n{}\nafter:\n{}", line, old, new);
        }
    }
    let mut meant = before.clone();
    meant.table(pair.spot).remove(pair.name);
    Ok((document, meant))
}

/// Sets a key that is not there.
fn put_in(
    written: &Written,
    mut document: Document,
    before: &Facts,
    dice: &mut Dice<'_>,
) -> Result<(Document, Facts), TestCaseError> {
    let mut meant = before.clone();
    let mut spots = vec![Spot::Defaults];
    spots.extend(written.regions.iter().map(|(spot, _)| *spot));
    let spot = spots[dice.roll(spots.len())];
    let names: &[&str] = match spot.scope() {
        Scope::Rule => &["managed", "via", "backup.mode", "reboot", "protect"],
        Scope::Entry => &["name", "managed", "notes", "user"],
        _ => &KEYS,
    };
    let name = names[dice.roll(names.len())];
    let setting = spot.scope().setting(name).expect("a key");
    let value = sample(dice, setting.name());
    let was_there = meant.table(spot).contains_key(setting.name());
    document.set(spot, &setting, &value).map_err(|error| refused(written, error))?;
    let (old, new) = (&written.text, document.text());
    if !was_there {
        prop_assert!(is_grown(old, &new), "before:\n{}\nafter:\n{}", old, new);
    }
    meant.table(spot).insert(setting.name().to_owned(), said_of(&value));
    Ok((document, meant))
}

/// Adds a host, a rule or an entry.
fn add(
    written: &Written,
    mut document: Document,
    before: &Facts,
    dice: &mut Dice<'_>,
) -> Result<(Document, Facts), TestCaseError> {
    let mut meant = before.clone();
    let host = dice.roll(written.hosts);
    let mut said = Said::new();
    let mut keys = |scope: Scope, keys: &[(&str, Value)]| -> Vec<(Setting, Value)> {
        let keys: Vec<_> =
            keys.iter().map(|(key, value)| (scope.setting(key).expect("a key"), value.clone())).collect();
        said = keys.iter().map(|(setting, value)| (setting.name().to_owned(), said_of(value))).collect();
        keys
    };
    let added = match dice.roll(3) {
        0 => {
            let port = sample(dice, "api_port");
            let keys = keys(
                Scope::Host,
                &[
                    ("host", Value::text("new")),
                    ("api.token_env", Value::text("T")),
                    ("api.port", port),
                    ("protect", Value::texts(["backup"])),
                ],
            );
            let added = document.add_host(&keys);
            meant.hosts.push(HostFacts { said, ..HostFacts::default() });
            added
        }
        1 => {
            let keys = keys(
                Scope::Rule,
                &[("id", Value::Number(150)), ("via", Value::text("ssh")), ("backup.mode", Value::text("stop"))],
            );
            let added = document.add_rule(host, &keys);
            meant.hosts[host].rules.push(said);
            added
        }
        _ => {
            let notes = sample(dice, "notes");
            let keys = keys(Scope::Entry, &[("kind", Value::text("vm")), ("id", Value::text("150")), ("notes", notes)]);
            let added = document.add_entry(host, &keys);
            meant.hosts[host].entries.push(said);
            added
        }
    };
    added.map_err(|error| refused(written, error))?;
    let (old, new) = (&written.text, document.text());
    let grown = if written.in_braces { is_within(old, &new) } else { is_grown(old, &new) };
    prop_assert!(grown, "before:\n{}\nafter:\n{}", old, new);
    Ok((document, meant))
}

/// Takes a host, a rule or an entry out.
fn remove(
    written: &Written,
    mut document: Document,
    before: &Facts,
    dice: &mut Dice<'_>,
) -> Result<(Document, Facts), TestCaseError> {
    let mut meant = before.clone();
    let (spot, region) = &written.regions[dice.roll(written.regions.len())];
    document.remove_item(*spot).map_err(|error| refused(written, error))?;
    let (old, new) = (&written.text, document.text());
    prop_assert!(is_within(&new, old), "before:\n{}\nafter:\n{}", old, new);
    if written.in_braces {
        // A comment behind it on its line is its own.
        let own = region.start..old[region.end..].find('\n').map_or(old.len(), |n| region.end + n);
        for line in lines_beside(old, &own).iter().filter(|line| line.trim_start().starts_with('#')) {
            prop_assert!(new.contains(line.as_str()), "{} is gone:\n{}\nafter:\n{}", line, old, new);
        }
    } else {
        prop_assert_eq!(lines_beside(&new, &(0..0)), lines_beside(old, region), "before:\n{}\nafter:\n{}", old, new);
    }
    match *spot {
        Spot::Host(host) => drop(meant.hosts.remove(host)),
        Spot::Rule(host, rule) => drop(meant.hosts[host].rules.remove(rule)),
        Spot::Entry(host, entry) => drop(meant.hosts[host].entries.remove(entry)),
        Spot::Defaults | Spot::Inventory(_) => {}
    }
    Ok((document, meant))
}

/// Copies a host.
fn duplicate(
    written: &Written,
    mut document: Document,
    before: &Facts,
    dice: &mut Dice<'_>,
) -> Result<(Document, Facts), TestCaseError> {
    let host = dice.roll(written.hosts);
    let name = Scope::Host.setting("host").expect("a key");
    document.duplicate_host(host, &[(name, Value::text("copy"))]).map_err(|error| refused(written, error))?;
    let mut meant = before.clone();
    let mut copy = meant.hosts[host].clone();
    copy.said.insert("host".to_owned(), said_of(&Value::text("copy")));
    meant.hosts.insert(host + 1, copy);
    let (old, new) = (&written.text, document.text());
    let grown = if written.in_braces { is_within(old, &new) } else { is_grown(old, &new) };
    prop_assert!(grown, "before:\n{}\nafter:\n{}", old, new);
    Ok((document, meant))
}

fn from_environment(name: &str, otherwise: u32) -> u32 {
    match std::env::var(name) {
        Ok(number) => number.parse().unwrap_or_else(|_| panic!("{name} is no number")),
        Err(_) => otherwise,
    }
}

#[test]
fn random_edits_lose_nothing_and_mean_what_they_should() {
    let cases = from_environment("PROXMAINT_EDIT_CASES", CASES);
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&from_environment("PROXMAINT_EDIT_SEED", 0).to_le_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let dice = proptest::collection::vec(any::<u8>(), 0..400);
    match runner.run(&dice, |dice| try_one(&dice)) {
        Ok(()) => {}
        Err(TestError::Fail(why, dice)) => panic!("{why}\nwith the dice {dice:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
