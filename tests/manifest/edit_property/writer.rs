//! Writes random manifests, and knows where each pair lies.

use std::collections::BTreeMap;
use std::ops::Range;

use proxmaint::manifest::edit::{Scope, Setting, Spot, Value};

/// Numbers that every choice is made by; where they run out all choices are 0, so that less of them is less of a manifest.
pub struct Dice<'d>(std::slice::Iter<'d, u8>);

impl Dice<'_> {
    pub fn roll(&mut self, sides: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % sides
    }

    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.roll(of.len())]
    }

    pub fn is(&mut self, one_in: usize) -> bool {
        self.roll(one_in) == one_in - 1
    }
}

/// A pair of the manifest, and where it lies.
#[derive(Debug, Clone)]
pub struct Pair {
    pub spot: Spot,
    pub name: &'static str,
    pub key: Range<usize>,
    pub value: Range<usize>,
    /// Whether it has lines of its own.
    pub in_block: bool,
}

/// A manifest that is being written.
pub struct Writer<'d> {
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
pub enum Style {
    Mixed,
    Flat,
    Dotted,
    Sections,
    Braces,
}

/// A key in one spelling, or the part of it that is written, and its value.
type Spelled = (Setting, &'static str, Value);

/// The keys that hosts and defaults are made of; rules and entries have theirs in their functions.
pub const KEYS: [&str; 14] = [
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

pub fn sample(dice: &mut Dice<'_>, name: &str) -> Value {
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
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
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
                5 if !text.contains(['\'', '\n']) => self.put(&format!("'{text}'")),
                4 if !self.in_braces && !text.contains(['\\', '"']) => {
                    let newline = self.newline;
                    // The break behind the opening quotes is no part of the text.
                    self.put(&format!("\"\"\"{newline}{}\"\"\"", text.replace('\n', "\\n")));
                }
                _ => self.put(&Value::text(text).to_toml()),
            },
            Value::Number(number) if *number > 999 && self.dice.is(3) => {
                self.put(&format!("{}_{:03}", number / 1000, number % 1000));
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
            other => self.put(&other.to_toml()),
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
    fn block_keys(&mut self, spot: Spot, keys: &[(Setting, Value)], style: Style) -> Vec<Spelled> {
        let mut sections = Vec::new();
        let mut braced: Vec<(&'static str, Vec<Spelled>)> = Vec::new();
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

    fn sections(&mut self, spot: Spot, table: &str, sections: Vec<Spelled>) {
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
            self.pause();
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
            self.pause();
            let start = self.text.len();
            let spot = Spot::Entry(host, entry);
            self.header("[[hosts.guest_inventory.entries]]");
            let keys = self.entry(entry);
            self.block_keys(spot, &keys, style);
            self.regions.push((spot, start..self.text.len()));
        }
        self.regions.push((spot, start..self.text.len()));
        if !self.dice.is(3) {
            self.end_line();
        }
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

pub fn flat(setting: &Setting) -> &'static str {
    let spellings = setting.spellings();
    spellings.iter().find(|s| !s.contains('.')).copied().unwrap_or(setting.name())
}

/// A manifest as text, with the places of what is in it.
pub struct Written {
    pub text: String,
    pub pairs: Vec<Pair>,
    pub regions: Vec<(Spot, Range<usize>)>,
    pub hosts: usize,
    pub in_braces: bool,
}

pub fn write(dice: &[u8]) -> (Written, Dice<'_>) {
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
