//! Reads what a manifest says, key by key, without the editor.

use std::collections::BTreeMap;

use proxmaint::manifest::edit::{Kind, Scope, Spot, Value};
use toml_edit::{Item, TableLike};

/// What a table says, key by key, whatever the spelling.
pub type Said = BTreeMap<String, String>;

/// What a manifest says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub defaults: Said,
    pub hosts: Vec<HostFacts>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostFacts {
    pub said: Said,
    pub rules: Vec<Said>,
    pub entries: Vec<Said>,
}

pub fn said_of(value: &Value) -> String {
    value.to_toml()
}

pub fn value_of(value: &toml_edit::Value) -> Option<Value> {
    Some(match value {
        toml_edit::Value::String(text) => Value::text(text.value()),
        toml_edit::Value::Integer(number) => Value::Number(*number.value()),
        toml_edit::Value::Boolean(truth) => Value::Boolean(*truth.value()),
        toml_edit::Value::Array(items) => Value::List(items.iter().map(value_of).collect::<Option<_>>()?),
        _ => return None,
    })
}

pub fn said(scope: Scope, table: &dyn TableLike) -> Said {
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

pub fn tables(scope: Scope, item: Option<&Item>) -> Vec<Said> {
    match item {
        Some(Item::ArrayOfTables(tables)) => tables.iter().map(|table| said(scope, table)).collect(),
        Some(Item::Value(toml_edit::Value::Array(items))) => {
            items.iter().map(|item| said(scope, item.as_inline_table().expect("a table"))).collect()
        }
        _ => Vec::new(),
    }
}

pub fn facts(text: &str) -> Facts {
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
    pub fn table(&mut self, spot: Spot) -> &mut Said {
        match spot {
            Spot::Defaults => &mut self.defaults,
            Spot::Host(host) => &mut self.hosts[host].said,
            Spot::Rule(host, rule) => &mut self.hosts[host].rules[rule],
            Spot::Entry(host, entry) => &mut self.hosts[host].entries[entry],
            Spot::Inventory(_) => panic!("no keys of an inventory are made up here"),
        }
    }
}
