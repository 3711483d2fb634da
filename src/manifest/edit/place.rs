//! Where a new key goes: in the spelling and the form that the file prefers, beside what it belongs to.
//!
//! Not every place that looks right is allowed: TOML lets no dotted key into a table that has a header, and `host.reboot` has
//! no room beside `host`. So the places are an ordered list, and the editor takes the first that proves to mean what it should.

use super::layout::{Block, Home, Layout, Pair, Path, Step, spelled};
use super::setting::{Setting, Spot};
use super::splice::{self, Splices};

/// The form of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `api.port = 1`.
    Dotted,
    /// `api_port = 1`.
    Flat,
    /// `port = 1` below `[hosts.api]`.
    Section,
    /// `api = { port = 1 }`.
    Braces,
}

/// A place where a pair could go.
#[derive(Debug)]
struct Place<'a> {
    form: Form,
    /// The names from the table that it goes into, the key's own last.
    names: Vec<&'a str>,
    into: Into,
    /// The place of the spelling among those of the key.
    spelling: usize,
}

/// What a pair goes into.
#[derive(Debug)]
enum Into {
    /// What is there.
    Home(Home),
    /// What is there, as `section = { .. }`, the section being the first of the names.
    NewBraces(Home),
    /// A header that is to be made, for the table at this path.
    NewHeader(Path),
}

/// The votes of a file on the form of keys.
#[derive(Debug, Default)]
struct Votes(Vec<(Path, &'static str, Form)>);

impl Votes {
    fn of(layout: &Layout) -> Self {
        let mut votes = Vec::new();
        for pair in &layout.pairs {
            let Some((spot, steps)) = Spot::of(&pair.path) else { continue };
            let Some(spelling) = dotted(&pair.path[steps..]) else { continue };
            let Ok(setting) = spot.scope().setting(&spelling) else { continue };
            if setting.has_choice() && layout.braces_at(&pair.path).is_none_or(|braces| !braces.is_table) {
                let form = match pair.home_path().len() > steps {
                    true if matches!(pair.home, Home::Block(_)) => Form::Section,
                    true => Form::Braces,
                    false if spelling.contains('.') => Form::Dotted,
                    false => Form::Flat,
                };
                votes.push((pair.path[..steps].to_vec(), setting.group(), form));
            }
        }
        Self(votes)
    }

    /// Counts the votes for a form, those that matter most first: of the same table and section, of the same table, of the
    /// same section elsewhere, of all.
    fn count(&self, table: &[Step], group: &str, form: Form) -> [usize; 4] {
        let count = |fits: &dyn Fn(&[Step], &str) -> bool| {
            self.0.iter().filter(|(path, section, vote)| *vote == form && fits(path, section)).count()
        };
        [
            count(&|path, section| path == table && section == group),
            count(&|path, _| path == table),
            count(&|_, section| section == group),
            count(&|_, _| true),
        ]
    }
}

/// Returns the names of steps joined by dots; `None` where one is an index.
fn dotted(steps: &[Step]) -> Option<String> {
    Some(names(steps)?.join("."))
}

/// Returns the names of the steps of a path; `None` where one is an index.
fn names(steps: &[Step]) -> Option<Vec<&str>> {
    let names = steps.iter().map(|step| match step {
        Step::Key(name) => Some(name.as_str()),
        Step::Index(_) => None,
    });
    names.collect()
}

/// Returns the edits that would put a new key there, the best first.
pub(super) fn of_setting(text: &str, layout: &Layout, spot: Spot, setting: &Setting, value: &str) -> Vec<Splices> {
    let table = spot.path();
    let votes = Votes::of(layout);
    let paths: Vec<Path> = setting.spellings().iter().map(|spelling| below(&table, spelling)).collect();
    let mut places: Vec<Place<'_>> = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        // Beside [[hosts.guests]] there is no room for `guests.include`, so it is not written where it is not the custom.
        let crowds = setting.spellings()[number].starts_with("guests.");
        let found = places_of(layout, &table, path, number);
        places.extend(
            found.into_iter().filter(|place| !crowds || votes.count(&table, setting.group(), place.form)[0] > 0),
        );
    }
    let in_braces = matches!(spot, Spot::Inventory(_)) && inventories_are_in_braces(layout);
    let rank = |place: &Place<'_>| {
        let against_custom = in_braces && !matches!(place.into, Into::NewBraces(_));
        let made = !matches!(place.into, Into::Home(_));
        // A section that is there, if with nothing in it, is a vote too.
        let into_section = !made && matches!(place.form, Form::Section | Form::Braces);
        let form = match place.form {
            Form::Dotted => 0,
            Form::Flat => 1,
            Form::Section => 2,
            Form::Braces => 3,
        };
        let votes = votes.count(&table, setting.group(), place.form);
        (against_custom, std::cmp::Reverse(votes), !into_section, made, form, place.spelling)
    };
    places.sort_by_cached_key(rank);
    places.iter().map(|place| place.write(text, layout, &table, setting.group(), value)).collect()
}

/// Tells whether the hosts that have an inventory write it as `guest_inventory = { .. }`, most of them.
fn inventories_are_in_braces(layout: &Layout) -> bool {
    let is_inventory =
        |path: &[Step]| matches!(path, [_, Step::Index(_), Step::Key(name)] if name == "guest_inventory");
    let in_braces = layout.braces.iter().filter(|braces| braces.is_table && is_inventory(&braces.path)).count();
    in_braces > layout.blocks.iter().filter(|block| is_inventory(&block.path)).count()
}

/// Returns the edits that would put a list of tables there, as the value that is given.
pub(super) fn of_list(text: &str, layout: &Layout, list: &[Step], value: &str) -> Vec<Splices> {
    let (Some(host), Some((Step::Key(name), table))) = (list.get(..2), list.split_last()) else { return Vec::new() };
    let path = list.to_vec();
    let places = places_of(layout, host, &path, 0);
    let places = places.iter().filter(|place| !matches!(place.into, Into::NewHeader(_)) && place.form != Form::Dotted);
    places.map(|place| place.write(text, layout, table, name, value)).collect()
}

fn below(table: &[Step], spelling: &str) -> Path {
    table.iter().cloned().chain(spelling.split('.').map(Step::key)).collect()
}

/// Finds all places for a path below a table.
fn places_of<'a>(layout: &Layout, table: &[Step], path: &'a [Step], spelling: usize) -> Vec<Place<'a>> {
    let mut places = Vec::new();
    let plain = if path.len() == table.len() + 1 { Form::Flat } else { Form::Dotted };
    let blocks = layout.blocks.iter().enumerate().map(|(i, block)| (Home::Block(i), &block.path));
    let braces = layout.braces.iter().enumerate().filter(|(_, braces)| braces.is_table);
    let homes = blocks.chain(braces.map(|(i, braces)| (Home::Braces(i), &braces.path)));
    for (home, at) in homes {
        if at.len() >= path.len() || !path.starts_with(at) {
            continue;
        }
        let Some(names) = names(&path[at.len()..]) else { continue };
        let form = match (at.len() > table.len(), home) {
            (true, Home::Block(_)) => Form::Section,
            (true, Home::Braces(_)) => Form::Braces,
            (false, _) => plain,
        };
        // From above a table is only written into where that is done already: `defaults.user` before any header.
        let goes_in = |pair: &Pair| pair.home == home && pair.path.starts_with(table);
        if at.len() >= table.len() || layout.pairs.iter().any(goes_in) {
            places.push(Place { form, names: names.clone(), into: Into::Home(home), spelling });
        }
        if names.len() > 1 && (at.len() == table.len() || at.len() + 1 == table.len() && !at.is_empty()) {
            places.push(Place { form: Form::Braces, names, into: Into::NewBraces(home), spelling });
        }
    }
    // A header for the section of the key, or for the table itself.
    let is_there = |path: &[Step]| layout.blocks.iter().any(|block| block.path == path);
    let section = &path[..path.len() - 1];
    let has_blocks = !layout.blocks_below(&path[..table.len().min(2)]).is_empty() || table.len() == 1;
    if section.len() > table.len() && has_blocks && !is_there(section) {
        let names = names(&path[section.len()..]).unwrap_or_default();
        places.push(Place { form: Form::Section, names, into: Into::NewHeader(section.to_vec()), spelling });
    }
    if matches!(table.last(), Some(Step::Key(_))) && has_blocks && !is_there(table) {
        let names = names(&path[table.len()..]).unwrap_or_default();
        places.push(Place { form: plain, names, into: Into::NewHeader(table.to_vec()), spelling });
    }
    places
}

impl Place<'_> {
    /// Writes `key = value` into it.
    fn write(&self, text: &str, layout: &Layout, table: &[Step], group: &str, value: &str) -> Splices {
        let key = |names: &[&str]| names.iter().map(|name| spelled(name)).collect::<Vec<_>>().join(".");
        match &self.into {
            Into::Home(home) => into_home(text, layout, *home, table, group, &key(&self.names), value),
            Into::NewBraces(home) => {
                let (first, rest) = self.names.split_at(1);
                let value = format!("{{ {} = {value} }}", key(rest));
                into_home(text, layout, *home, table, group, &key(first), &value)
            }
            Into::NewHeader(path) => {
                let pair = format!("{} = {value}", key(&self.names));
                with_header(text, layout, path, &header(path, false), &[pair])
            }
        }
    }
}

/// Returns the header of a table, or of a new item of a list of tables.
pub(super) fn header(path: &[Step], is_list: bool) -> String {
    let names = path.iter().filter_map(|step| match step {
        Step::Key(name) => Some(spelled(name)),
        Step::Index(_) => None,
    });
    let names = names.collect::<Vec<_>>().join(".");
    if is_list { format!("[[{names}]]") } else { format!("[{names}]") }
}

/// Puts a pair into a block or into braces, behind what it belongs to.
fn into_home(text: &str, layout: &Layout, home: Home, table: &[Step], group: &str, key: &str, value: &str) -> Splices {
    let pairs: Vec<&Pair> = layout.pairs.iter().filter(|pair| pair.home == home).collect();
    let anchor = anchor(&pairs, table, group);
    match home {
        Home::Braces(number) => {
            let braces = &layout.braces[number];
            let sign = pairs.first().map_or(" = ", |pair| sign(text, pair));
            let index = anchor.map_or(0, |anchor| anchor + 1);
            splice::insert_item(text, braces, index, &format!("{key}{sign}{value}"))
        }
        Home::Block(number) => {
            let block = &layout.blocks[number];
            let line = |indent: &str| format!("{indent}{key}{}{value}", gap(text, &pairs, indent, key));
            match anchor {
                Some(anchor) => {
                    let at = splice::comment_end(text, pairs[anchor].value.end);
                    splice::insert_lines(text, at, &line(splice::indent(text, pairs[anchor].key.start)))
                }
                None => {
                    let at = splice::comment_end(text, block.header.end);
                    splice::insert_lines(text, at, &line(splice::indent(text, block.header.start)))
                }
            }
        }
    }
}

/// Returns behind which of the pairs a new one goes: the last of its group, else the last that is no list of guests.
fn anchor(pairs: &[&Pair], table: &[Step], group: &str) -> Option<usize> {
    let group_of = |pair: &Pair| {
        let spelling = dotted(pair.path.get(table.len()..)?)?;
        let (spot, _) = Spot::of(&pair.path)?;
        // A whole section in braces is of the group that it is named for.
        Some(spot.scope().setting(&spelling).map_or(spelling.clone(), |setting| setting.group().to_owned()))
    };
    let last = |fits: &dyn Fn(&Pair) -> bool| pairs.iter().rposition(|pair| fits(pair));
    let is_bulk = |pair: &Pair| {
        let step = pair.path.get(table.len());
        [Step::key("guests"), Step::key("guest_inventory")].iter().any(|bulk| step == Some(bulk))
    };
    last(&|pair| group_of(pair).is_some_and(|of| of == group))
        .or_else(|| last(&|pair| pair.path.starts_with(table) && !is_bulk(pair)))
        .or_else(|| last(&|pair| !is_bulk(pair)))
}

/// Returns what stands between a key and its value, without the blanks of a column.
fn sign(text: &str, pair: &Pair) -> &'static str {
    if &text[pair.key.end..pair.value.start] == "=" { "=" } else { " = " }
}

/// Returns what goes between a new key and its value: as its neighbours have it, in their column where they have one.
fn gap(text: &str, pairs: &[&Pair], indent: &str, key: &str) -> String {
    let equals = |pair: &Pair| pair.key.end + text[pair.key.end..pair.value.start].find('=').unwrap_or(0);
    let column = |pair: &Pair| text[splice::line_start(text, pair.key.start)..equals(pair)].chars().count();
    let own = indent.chars().count() + key.chars().count();
    if let [first, _, ..] = pairs {
        let shared = column(first);
        let is_column = pairs.iter().all(|pair| column(pair) == shared);
        if is_column && pairs.iter().any(|pair| equals(pair) > pair.key.end + 1) && shared > own {
            return format!("{}= ", " ".repeat(shared - own));
        }
    }
    pairs.last().map_or(" = ", |pair| sign(text, pair)).to_owned()
}

/// Puts a header, with pairs below it, where the table's neighbours are.
pub(super) fn with_header(text: &str, layout: &Layout, path: &[Step], header: &str, pairs: &[String]) -> Splices {
    let lines = |indent: &str, newline: &str| {
        let below = pairs.iter().map(|pair| format!("{newline}{indent}{pair}"));
        format!("{indent}{header}{}", below.collect::<String>())
    };
    if let Some(block) = neighbour(layout, path) {
        let at = splice::own_comments_end(text, block.end);
        let newline = splice::newline(text, at);
        let indent = splice::indent(text, block.header.start);
        return splice::insert_lines(text, at, &format!("{newline}{}", lines(indent, newline)));
    }
    let newline = splice::newline(text, 0);
    let first = layout.blocks.get(1).filter(|_| path.first() == Some(&Step::key("defaults")));
    match first {
        // Defaults go before the hosts, and before the comment that belongs to the first of them.
        Some(block) => {
            let at = comments_start(text, block.header.start);
            Splices::new().insert(at, format!("{}{newline}{newline}", lines("", newline)))
        }
        None if text.trim().is_empty() => Splices::new().insert(text.len(), format!("{}{newline}", lines("", newline))),
        None => splice::insert_lines(text, text.trim_end().len(), &format!("{newline}{}", lines("", newline))),
    }
}

/// Returns the block that a new header for a table goes behind: a host's sections come before its rules, and these before its
/// inventory.
fn neighbour<'l>(layout: &'l Layout, path: &[Step]) -> Option<&'l Block> {
    let last = |fits: &dyn Fn(&Block) -> bool| {
        layout.blocks.iter().skip(1).filter(|block| fits(block)).max_by_key(|block| block.end)
    };
    let below = |path: &[Step]| last(&|block| block.path.starts_with(path));
    let (guests, inventory) = (Step::key("guests"), Step::key("guest_inventory"));
    let [_, Step::Index(_), rest @ ..] = path else { return below(&path[..1]) };
    let host = &path[..2];
    let is_at = |block: &Block, name: &Step| block.path.get(2) == Some(name);
    let sections =
        || last(&|block| block.path.starts_with(host) && !is_at(block, &guests) && !is_at(block, &inventory));
    let rules = || last(&|block| block.path.starts_with(host) && !is_at(block, &inventory));
    match rest {
        [first, Step::Index(_), ..] if *first == guests => below(&path[..4]),
        [first] if *first == guests => below(path).or_else(sections),
        [first] if *first == inventory => rules(),
        [first, ..] if *first == inventory => below(path).or_else(|| below(&path[..3])).or_else(rules),
        _ => sections(),
    }
}

/// Returns where the comments begin that stand directly above a header; the header itself, where they begin the file and so
/// are about all of it.
fn comments_start(text: &str, header: usize) -> usize {
    let own = splice::line_start(text, header);
    let mut start = own;
    while start > 0 {
        let above = splice::line_start(text, start - 1);
        if !text[above..start].trim_start().starts_with('#') {
            return start;
        }
        start = above;
    }
    own
}
