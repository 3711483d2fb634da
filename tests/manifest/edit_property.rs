//! Random manifests in random styles, random edits: what is not edited stays to the byte, and the rest is what was meant.
//!
//! The manifests are written here, pair by pair, so it is known where each one lies. What a text means is read here too, key
//! by key, without the editor. `PROXMAINT_EDIT_CASES` says how many cases are tried (`make fuzz-edit`).

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use proxmaint::manifest::edit::{Document, Kind, Scope, Setting, Spot, Value};
use toml_edit::{Item, TableLike};

/// How many cases the suite tries: some seconds' worth.
const CASES: u32 = 2_000;

/// Numbers that every choice is made by; where they run out all choices are 0, so that less of them is less of a manifest.
struct Dice<'d>(std::slice::Iter<'d, u8>);

impl Dice<'_> {
    fn roll(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % sides
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.roll(of.len())]
    }

    fn is(&mut self, one_in: usize) -> bool {
        self.roll(one_in) == one_in - 1
    }
}

/// A pair of the manifest, and where it lies.
#[derive(Debug, Clone)]
struct Pair {
    spot: Spot,
    name: &'static str,
    key: Range<usize>,
    value: Range<usize>,
    /// Whether it has lines of its own.
    in_block: bool,
}

/// A manifest that is being written.
struct Writer<'d> {
    dice: Dice<'d>,
    text: String,
    newline: &'static str,
    comments: usize,
    pairs: Vec<Pair>,
    /// Lines of each host, of its rules and of its entries; for those in braces the braces.
    regions: Vec<(Spot, Range<usize>)>,
    in_braces: bool,
}

/// How the keys of a table are written.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Mixed,
    Flat,
    Dotted,
    Sections,
    Braces,
}

/// The keys that hosts and defaults are made of; rules and entries have theirs in their functions.
const KEYS: [&str; 14] = [
    "user",
    "identity_file",
    "ssh_extra_args",
    "guest_user",
    "guest_ssh_extra_args",
    "api_port",
    "api_insecure",
    "protect",
    "protect_max_age",
    "backup.mode",
    "backup.keep_last",
    "max_parallel",
    "dry_run",
    "guest_reboot",
];

fn sample(dice: &mut Dice<'_>, name: &str) -> Value {
    let number = |dice: &mut Dice<'_>| Value::Number([1, 2, 17, 443, 9_999][dice.roll(5)]);
    match name {
        "api_port" | "max_parallel" | "backup.keep_last" => number(dice),
        "api_insecure" | "dry_run" | "managed" => Value::Boolean(dice.is(2)),
        "ssh_extra_args" | "guest_ssh_extra_args" => {
            let all = ["-p 22", "-l \"a b\"", "-o 'ConnectTimeout 5'", "-o Port=3", "-4"];
            let count = dice.roll(4);
            Value::texts((0..count).map(|_| dice.one(&all).to_owned()).collect::<Vec<_>>())
        }
        "protect" => match dice.roll(4) {
            0 => Value::texts(["snapshot"]),
            1 => Value::texts(["backup", "snapshot"]),
            2 => Value::texts(["snapshot", "backup"]),
            _ => Value::text("none"),
        },
        "protect_max_age" => Value::text(*dice.one(&[&"1h", &"90m", &"2days"])),
        "backup.mode" => Value::text(*dice.one(&[&"snapshot", &"suspend", &"stop"])),
        "guest_reboot" | "reboot" => Value::text(*dice.one(&[&"never", &"if-needed"])),
        "via" => Value::text(*dice.one(&[&"auto", &"ssh"])),
        "identity_file" => Value::text(*dice.one(&[&"~/.ssh/id", &"k#y", &"C:\\x", &"it's"])),
        "notes" => Value::text(*dice.one(&[&"a # b", &"\"quoted\"", &"two\nlines", &"ü \\ ]}", &"[x]"])),
        _ => Value::text(*dice.one(&[&"root", &"admin", &"op", &"a.b"])),
    }
}

impl Writer<'_> {
    fn put(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    fn end_line(&mut self) {
        let newline = self.newline;
        self.put(newline);
    }

    fn blank(&mut self) {
        let blanks = self.dice.one(&["", " ", "", "\t", "  "]);
        self.put(blanks);
    }

    /// Writes a comment that occurs once in the file.
    fn comment(&mut self) {
        self.comments += 1;
        let tail = self.dice.one(&["", " x = 1", " [[hosts]]", " \"", " ü"]);
        self.put(&format!("#{}{tail}", self.comments));
    }

    /// Ends the line of a pair or header, perhaps with a comment.
    fn finish(&mut self) {
        if self.dice.is(4) {
            self.put(" ");
            self.comment();
        }
        self.end_line();
    }

    /// Writes empty lines and comments, of which the last stands above what follows.
    fn pause(&mut self) {
        for _ in 0..self.dice.roll(3) {
            self.end_line();
        }
        if self.dice.is(3) {
            self.comment();
            self.end_line();
        }
    }

    fn name(&mut self, name: &str) {
        match self.dice.roll(12) {
            11 => self.put(&format!("\"{name}\"")),
            10 => self.put(&format!("'{name}'")),
            _ => self.put(name),
        };
    }

    fn value(&mut self, value: &Value) -> Range<usize> {
        let start = self.text.len();
        match value {
            Value::Text(text) => match self.dice.roll(6) {
                5 if !text.contains(['\'', '\n']) => drop(self.put(&format!("'{text}'"))),
                4 if !self.in_braces && !text.contains(['\\', '"']) => {
                    let newline = self.newline;
                    // The break behind the opening quotes is no part of the text.
                    drop(self.put(&format!("\"\"\"{newline}{}\"\"\"", text.replace('\n', "\\n"))));
                }
                _ => drop(self.put(&Value::text(text).to_toml())),
            },
            Value::Number(number) if *number > 999 && self.dice.is(3) => {
                drop(self.put(&format!("{}_{:03}", number / 1000, number % 1000)));
            }
            Value::List(items) => {
                let lines = !self.in_braces && self.dice.is(2);
                let trailing = !items.is_empty() && self.dice.is(2);
                self.put("[");
                for (i, item) in items.iter().enumerate() {
                    if lines {
                        self.finish();
                        self.put("    ");
                    } else {
                        self.blank();
                    }
                    self.put(&item.to_toml());
                    if i + 1 < items.len() || trailing {
                        self.blank();
                        self.put(",");
                    }
                }
                if lines {
                    self.finish()
                } else {
                    self.blank()
                }
                self.put("]");
            }
            other => drop(self.put(&other.to_toml())),
        }
        start..self.text.len()
    }

    /// Writes `key = value`; `path` is the part of the spelling that is written here.
    fn pair(&mut self, spot: Spot, setting: &Setting, path: &str, value: &Value) {
        let start = self.text.len();
        for (i, name) in path.split('.').enumerate() {
            if i > 0 {
                let dot = self.dice.one(&[".", ".", ".", " . "]);
                self.put(dot);
            }
            self.name(name);
        }
        let key = start..self.text.len();
        let equals = self.dice.one(&[" = ", "=", "  =\t", " = "]);
        self.put(equals);
        let value = self.value(value);
        self.pairs.push(Pair { spot, name: setting.name(), key, value, in_block: !self.in_braces });
    }

    /// Writes keys into a block; those for sections are left over.
    fn block_keys(
        &mut self,
        spot: Spot,
        keys: &[(Setting, Value)],
        style: Style,
    ) -> Vec<(Setting, &'static str, Value)> {
        let mut sections = Vec::new();
        let mut braced: Vec<(&'static str, Vec<(Setting, &'static str, Value)>)> = Vec::new();
        for (setting, value) in keys {
            let (spelling, style) = self.spelling(setting, style);
            match (spelling.rsplit_once('.'), style) {
                (Some((section, name)), Style::Braces) if !section.contains('.') => {
                    match braced.iter_mut().find(|(other, _)| *other == section) {
                        Some((_, keys)) => keys.push((*setting, name, value.clone())),
                        None => braced.push((section, vec![(*setting, name, value.clone())])),
                    }
                }
                (Some(_), Style::Sections) => sections.push((*setting, spelling, value.clone())),
                _ => {
                    self.pause();
                    self.blank();
                    self.pair(spot, setting, spelling, value);
                    self.finish();
                }
            }
        }
        for (section, keys) in braced {
            self.put(&format!("{section} = {{"));
            self.braces(spot, &keys);
            self.put("}");
            self.finish();
        }
        sections
    }

    fn braces(&mut self, spot: Spot, keys: &[(Setting, &str, Value)]) {
        let outer = std::mem::replace(&mut self.in_braces, true);
        for (i, (setting, name, value)) in keys.iter().enumerate() {
            self.blank();
            self.pair(spot, setting, name, value);
            if i + 1 < keys.len() {
                self.put(",");
            }
        }
        self.blank();
        self.in_braces = outer;
    }

    /// Chooses a spelling. What a section is written with must fit in with the others of its table, so each table has one
    /// style for what has a dot; `protect` is flat, beside which its section has no room.
    fn spelling(&mut self, setting: &Setting, style: Style) -> (&'static str, Style) {
        let wants_dot = match style {
            Style::Flat => false,
            Style::Mixed => self.dice.is(2),
            _ => true,
        };
        let fits: Vec<&'static str> = (setting.spellings().iter().copied())
            .filter(|s| s.contains('.') == wants_dot && *s != "protect" && s.split('.').count() < 3)
            .collect();
        match fits.len() {
            0 => (setting.spellings().iter().copied().find(|s| *s != "protect").unwrap_or(setting.name()), Style::Flat),
            n => (fits[self.dice.roll(n)], if style == Style::Mixed { Style::Dotted } else { style }),
        }
    }

    fn style(&mut self) -> Style {
        [Style::Mixed, Style::Flat, Style::Dotted, Style::Sections, Style::Braces][self.dice.roll(5)]
    }

    fn keys(&mut self, scope: Scope, names: &[&str], one_in: usize) -> Vec<(Setting, Value)> {
        let mut keys = Vec::new();
        for name in names {
            if self.dice.is(one_in) {
                let setting = scope.setting(name).expect("a key");
                let value = sample(&mut self.dice, setting.name());
                keys.push((setting, value));
            }
        }
        keys
    }

    fn header(&mut self, header: &str) {
        self.blank();
        self.put(header);
        self.finish();
    }

    fn sections(&mut self, spot: Spot, table: &str, sections: Vec<(Setting, &'static str, Value)>) {
        let mut by_name: BTreeMap<&str, Vec<(Setting, &str, Value)>> = BTreeMap::new();
        for (setting, spelling, value) in sections {
            let (section, name) = spelling.rsplit_once('.').expect("a dot");
            by_name.entry(section).or_default().push((setting, name, value));
        }
        for (section, keys) in by_name {
            self.pause();
            self.header(&format!("[{table}.{section}]"));
            for (setting, name, value) in keys {
                self.pair(spot, &setting, name, &value);
                self.finish();
            }
        }
    }

    fn defaults(&mut self) {
        let keys = self.keys(Scope::Defaults, &KEYS, 3);
        let style = self.style();
        self.pause();
        if self.dice.is(6) {
            self.put("defaults = {");
            let flat: Vec<_> = keys.iter().map(|(setting, value)| (*setting, flat(setting), value.clone())).collect();
            self.braces(Spot::Defaults, &flat);
            self.put("}");
            self.finish();
            return;
        }
        self.header("[defaults]");
        let sections = self.block_keys(Spot::Defaults, &keys, style);
        self.sections(Spot::Defaults, "defaults", sections);
    }

    fn required(&self, host: usize) -> Vec<(Setting, Value)> {
        [("host", format!("host{host}")), ("api_token_env", "T".to_owned()), ("api_secret_env", "S".to_owned())]
            .map(|(key, text)| (Scope::Host.setting(key).expect("a key"), Value::text(text)))
            .to_vec()
    }

    fn host(&mut self, host: usize) {
        self.pause();
        let start = self.text.len();
        let spot = Spot::Host(host);
        self.header("[[hosts]]");
        let mut keys = self.required(host);
        keys.extend(self.keys(Scope::Host, &KEYS, 4));
        let style = self.style();
        let sections = self.block_keys(spot, &keys, style);
        self.sections(spot, "hosts", sections);
        for rule in 0..self.dice.roll(3) {
            self.end_line();
            let start = self.text.len();
            let spot = Spot::Rule(host, rule);
            self.header("[[hosts.guests]]");
            let id = (Scope::Rule.setting("id").expect("a key"), Value::Number(100 + rule as i64));
            let mut keys = vec![id];
            keys.extend(self.keys(Scope::Rule, &["managed", "via", "backup.mode", "reboot"], 2));
            let sections = self.block_keys(spot, &keys, style);
            self.sections(spot, "hosts.guests", sections);
            self.regions.push((spot, start..self.text.len()));
        }
        for entry in 0..self.dice.roll(3) {
            self.end_line();
            let start = self.text.len();
            let spot = Spot::Entry(host, entry);
            self.header("[[hosts.guest_inventory.entries]]");
            let keys = self.entry(entry);
            self.block_keys(spot, &keys, style);
            self.regions.push((spot, start..self.text.len()));
        }
        self.regions.push((spot, start..self.text.len()));
        self.end_line();
    }

    fn entry(&mut self, entry: usize) -> Vec<(Setting, Value)> {
        let mut keys = [("kind", "ct".to_owned()), ("id", (100 + entry).to_string())]
            .map(|(key, text)| (Scope::Entry.setting(key).expect("a key"), Value::text(text)))
            .to_vec();
        keys.extend(self.keys(Scope::Entry, &["name", "managed", "notes"], 2));
        keys
    }

    /// Writes all hosts as one list in braces.
    fn list(&mut self, count: usize) {
        let lines = self.dice.is(2);
        self.put("hosts = [");
        for host in 0..count {
            if lines {
                self.finish();
                self.blank();
            }
            let start = self.text.len();
            self.put("{");
            let mut keys = self.required(host);
            keys.extend(self.keys(Scope::Host, &KEYS, 4));
            let flat: Vec<_> = keys.iter().map(|(setting, value)| (*setting, flat(setting), value.clone())).collect();
            self.braces(Spot::Host(host), &flat);
            if self.dice.is(3) {
                self.put(", guest_inventory = { entries = [{");
                let keys = self.entry(0);
                let flat: Vec<_> =
                    keys.iter().map(|(setting, value)| (*setting, setting.name(), value.clone())).collect();
                self.braces(Spot::Entry(host, 0), &flat);
                self.put("}] }");
            }
            self.put("}");
            self.regions.push((Spot::Host(host), start..self.text.len()));
            if host + 1 < count || lines && self.dice.is(2) {
                self.put(",");
            }
        }
        if lines {
            self.finish();
        }
        self.put("]");
        self.finish();
    }
}

fn flat(setting: &Setting) -> &'static str {
    let spellings = setting.spellings();
    spellings.iter().find(|s| !s.contains('.')).copied().unwrap_or(setting.name())
}

/// A manifest as text, with the places of what is in it.
struct Written {
    text: String,
    pairs: Vec<Pair>,
    regions: Vec<(Spot, Range<usize>)>,
    hosts: usize,
    in_braces: bool,
}

fn write(dice: &[u8]) -> (Written, Dice<'_>) {
    let mut writer = Writer {
        dice: Dice(dice.iter()),
        text: String::new(),
        newline: "\n",
        comments: 0,
        pairs: Vec::new(),
        regions: Vec::new(),
        in_braces: false,
    };
    if writer.dice.is(3) {
        writer.newline = "\r\n";
    }
    if writer.dice.is(4) {
        writer.put("\u{feff}");
    }
    let hosts = 1 + writer.dice.roll(3);
    let in_braces = writer.dice.is(4);
    let defaults = writer.dice.roll(3);
    if in_braces {
        writer.pause();
        writer.list(hosts);
        if defaults > 0 {
            writer.defaults();
        }
    } else {
        if defaults == 1 {
            writer.defaults();
            writer.end_line();
        }
        for host in 0..hosts {
            writer.host(host);
        }
        // Behind a header there is no room for `defaults = { .. }`.
        if defaults == 2 {
            writer.header("[defaults]");
            let keys = writer.keys(Scope::Defaults, &KEYS, 3);
            let style = writer.style();
            let sections = writer.block_keys(Spot::Defaults, &keys, style);
            writer.sections(Spot::Defaults, "defaults", sections);
        }
    }
    if writer.dice.is(3) {
        let end = writer.text.trim_end_matches(['\n', '\r']).len();
        writer.text.truncate(end);
    }
    let Writer { text, pairs, mut regions, dice, .. } = writer;
    regions.iter_mut().for_each(|(_, region)| region.end = region.end.min(text.len()));
    (Written { text, pairs, regions, hosts, in_braces }, dice)
}

/// What a table says, key by key, whatever the spelling.
type Said = BTreeMap<String, String>;

/// What a manifest says.
#[derive(Debug, Clone, Default, PartialEq)]
struct Facts {
    defaults: Said,
    hosts: Vec<HostFacts>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct HostFacts {
    said: Said,
    rules: Vec<Said>,
    entries: Vec<Said>,
}

fn said_of(value: &Value) -> String {
    value.to_toml()
}

fn value_of(value: &toml_edit::Value) -> Option<Value> {
    Some(match value {
        toml_edit::Value::String(text) => Value::text(text.value()),
        toml_edit::Value::Integer(number) => Value::Number(*number.value()),
        toml_edit::Value::Boolean(truth) => Value::Boolean(*truth.value()),
        toml_edit::Value::Array(items) => Value::List(items.iter().map(value_of).collect::<Option<_>>()?),
        _ => return None,
    })
}

fn said(scope: Scope, table: &dyn TableLike) -> Said {
    let mut said = Said::new();
    for setting in scope.settings().iter().filter(|setting| setting.kind() != Kind::Tables) {
        let mut given: Vec<Value> = Vec::new();
        for spelling in setting.spellings() {
            let mut table = Some(table);
            let mut names = spelling.split('.').peekable();
            while let (Some(name), Some(at)) = (names.next(), table) {
                let item = at.get(name);
                if names.peek().is_none() {
                    given.extend(item.and_then(Item::as_value).and_then(value_of));
                }
                table = item.and_then(Item::as_table_like);
            }
        }
        if let Some(value) = given.iter().find(|value| !value.is_empty()).or(given.first()) {
            said.insert(setting.name().to_owned(), said_of(value));
        }
    }
    said
}

fn tables(scope: Scope, item: Option<&Item>) -> Vec<Said> {
    match item {
        Some(Item::ArrayOfTables(tables)) => tables.iter().map(|table| said(scope, table)).collect(),
        Some(Item::Value(toml_edit::Value::Array(items))) => {
            items.iter().map(|item| said(scope, item.as_inline_table().expect("a table"))).collect()
        }
        _ => Vec::new(),
    }
}

fn facts(text: &str) -> Facts {
    let toml =
        toml_edit::Document::parse(text.trim_start_matches('\u{feff}')).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let root = toml.as_table();
    let defaults = root.get("defaults").and_then(Item::as_table_like).map(|table| said(Scope::Defaults, table));
    let one = |table: &dyn TableLike| HostFacts {
        said: said(Scope::Host, table),
        rules: tables(Scope::Rule, table.get("guests")),
        entries: {
            let inventory = table.get("guest_inventory").and_then(Item::as_table_like);
            tables(Scope::Entry, inventory.and_then(|inventory| inventory.get("entries")))
        },
    };
    let hosts = match root.get("hosts") {
        Some(Item::ArrayOfTables(tables)) => tables.iter().map(|table| one(table)).collect(),
        Some(Item::Value(toml_edit::Value::Array(items))) => {
            items.iter().map(|item| one(item.as_inline_table().expect("a table"))).collect()
        }
        _ => Vec::new(),
    };
    Facts { defaults: defaults.unwrap_or_default(), hosts }
}

impl Facts {
    fn table(&mut self, spot: Spot) -> &mut Said {
        match spot {
            Spot::Defaults => &mut self.defaults,
            Spot::Host(host) => &mut self.hosts[host].said,
            Spot::Rule(host, rule) => &mut self.hosts[host].rules[rule],
            Spot::Entry(host, entry) => &mut self.hosts[host].entries[entry],
            Spot::Inventory(_) => panic!("no keys of an inventory are made up here"),
        }
    }
}

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
