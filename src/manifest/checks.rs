//! Reads `checks`: what a guest is asked before and after its upgrade.

use std::time::Duration;

use toml_edit::{Item, TableLike, Value};

use crate::choices::health::{ADDRESS, Ask, HealthCheck};

use super::guests::tables;
use super::hosts::address;
use super::jump::is_host;
use super::keys;
use super::raw::{Found, Reader, find, key_span, kind_of, span_of};

/// The keys of a check.
const KEYS: [&str; 13] = [
    "name",
    "tcp",
    "http",
    "command",
    "host",
    "status",
    "text",
    "insecure",
    "redirects",
    "exit",
    "retries",
    "every",
    "timeout",
];
/// The keys that mean something in checks of one kind only.
const OF_KIND: [(&str, &str); 6] = [
    ("host", "tcp"),
    ("status", "http"),
    ("text", "http"),
    ("insecure", "http"),
    ("redirects", "http"),
    ("exit", "command"),
];
/// What a check looks like.
const HINT: &str =
    "{ tcp = 443 }, { http = \"https://{address}/\", status = 200 } or { command = \"systemctl is-active nginx\" }";
/// How long a name may be: it stands in a line of the report.
const LONGEST_NAME: usize = 100;
/// How long a command may be: with all others of a guest it is one script, which a guest agent takes only so much of.
const LONGEST_COMMAND: usize = 2048;
/// The most redirects that are followed.
const MOST_REDIRECTS: u32 = 10;

/// Reads a list of checks. An empty one is given as well: it takes those of the level below away.
pub(super) fn checks(reader: &mut Reader, found: &Found<'_>) -> Option<Vec<HealthCheck>> {
    let errors = reader.drafts.len();
    if !found.item.is_array() && !found.item.is_array_of_tables() {
        let message = format!("`{}` must be a list of tables, not {}", found.name, kind_of(found.item));
        reader.error(found.span.clone(), message, &[&format!("write {} = [{HINT}]", found.name)]);
        return None;
    }
    let mut all: Vec<HealthCheck> = Vec::new();
    for (table, span) in tables(reader, found) {
        let Some(check) = check(reader, table, &span) else { continue };
        if all.iter().any(|other| other.name == check.name) {
            let message = format!("`{}`: two checks are called \"{}\"", found.name, check.name);
            reader.error(span, message, &["give one of them another `name`"]);
        }
        all.push(check);
    }
    if all.len() > HealthCheck::MOST {
        let message = format!("`{}` has {} checks; {} are the most", found.name, all.len(), HealthCheck::MOST);
        reader.error(found.span.clone(), message, &["a command can ask several things at once"]);
    }
    (reader.drafts.len() == errors).then_some(all)
}

fn check(reader: &mut Reader, table: &dyn TableLike, span: &std::ops::Range<usize>) -> Option<HealthCheck> {
    unknown(reader, table);
    let kinds: Vec<Found<'_>> = ["tcp", "http", "command"].into_iter().filter_map(|kind| find(table, kind)).collect();
    let [kind] = kinds.as_slice() else {
        let message = match kinds.is_empty() {
            true => "a check asks nothing",
            false => "a check asks more than one thing",
        };
        reader.error(span.clone(), message, &[&format!("each check has one of `tcp`, `http` and `command`: {HINT}")]);
        return None;
    };
    for (key, of) in OF_KIND {
        if let Some(found) = find(table, key).filter(|_| kind.name != of) {
            let message = format!("`{key}` means nothing in a check with `{}`", kind.name);
            reader.error(found.span, message, &[&format!("it belongs to a check with `{of}`")]);
        }
    }
    let ask = match kind.name {
        "tcp" => Some(Ask::Tcp { port: port(reader, kind)?, host: given(reader, table, "host", address) }),
        "http" => http(reader, table, kind),
        _ => command(reader, table, kind),
    };
    let name = given(reader, table, "name", name);
    let retries = given(reader, table, "retries", |reader, found| whole(reader, found, HealthCheck::MOST_RETRIES));
    let every = given(reader, table, "every", |r, f| bounded(r, f, HealthCheck::LONGEST_EVERY_MS));
    let timeout = given(reader, table, "timeout", |r, f| bounded(r, f, HealthCheck::LONGEST_TIMEOUT_MS));
    let ask = ask?;
    Some(HealthCheck {
        name: name.unwrap_or_else(|| ask.to_string().chars().take(LONGEST_NAME).collect()),
        ask,
        retries: retries.unwrap_or(HealthCheck::RETRIES),
        every_ms: every.unwrap_or(HealthCheck::EVERY_MS),
        timeout_ms: timeout.unwrap_or(HealthCheck::TIMEOUT_MS),
    })
}

/// Refuses keys that a check does not have. Elsewhere they are let pass; a check that asks less than was meant is worse than none.
fn unknown(reader: &mut Reader, table: &dyn TableLike) {
    for (name, item) in table.iter().filter(|(name, _)| !KEYS.contains(name)) {
        let span = key_span(table, name).unwrap_or_else(|| span_of(table, name, item));
        let hint = match keys::nearest(name, KEYS) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("its keys are {}", KEYS.join(", ")),
        };
        reader.error(span, format!("a check has no key `{name}`"), &[&hint]);
    }
}

fn given<T>(
    reader: &mut Reader,
    table: &dyn TableLike,
    key: &'static str,
    read: impl Fn(&mut Reader, &Found<'_>) -> Option<T>,
) -> Option<T> {
    find(table, key).and_then(|found| read(reader, &found))
}

/// Reads a port, as a number or a text.
fn port(reader: &mut Reader, found: &Found<'_>) -> Option<u16> {
    let port = match (found.item.as_integer(), found.item.as_str()) {
        (Some(number), _) => u16::try_from(number).ok(),
        (_, Some(text)) => text.trim().parse().ok(),
        (None, None) => {
            reader.wrong_type(found, "a port");
            return None;
        }
    };
    let port = port.filter(|port| *port > 0);
    if port.is_none() {
        let message = format!("`{}` must be a port from 1 to {}", found.name, u16::MAX);
        reader.error(
            found.span.clone(),
            message,
            &["a name or an address stands in `host`: { tcp = 443, host = \"..\" }"],
        );
    }
    port
}

fn http(reader: &mut Reader, table: &dyn TableLike, found: &Found<'_>) -> Option<Ask> {
    let errors = reader.drafts.len();
    let url = url(reader, found);
    let insecure = given(reader, table, "insecure", Reader::boolean).unwrap_or(false);
    if let (Some(url), Some(found), true) = (&url, find(table, "insecure"), insecure)
        && url.starts_with("http://")
    {
        reader.warn(found.span, "`insecure` has no effect without https", &["leave it out"]);
    }
    let status = given(reader, table, "status", status).unwrap_or_default();
    let text = given(reader, table, "text", Reader::string);
    let redirects = given(reader, table, "redirects", |reader, found| whole(reader, found, MOST_REDIRECTS));
    // A warning is no reason to refuse it.
    let refused = reader.drafts[errors..].iter().any(|draft| draft.severity == super::problem::Severity::Error);
    let redirects = u8::try_from(redirects.unwrap_or(0)).ok()?;
    (!refused).then_some(Ask::Http { url: url?, status, text, insecure, redirects })
}

/// Reads the address of a page.
fn url(reader: &mut Reader, found: &Found<'_>) -> Option<String> {
    let url = reader.string(found);
    let Some(url) = url else {
        if found.item.as_str().is_some() {
            reader.error(found.span.clone(), "`http` is empty", &[HINT]);
        }
        return None;
    };
    let mut refuse = |message: &str, hint: &str| {
        reader.error(found.span.clone(), format!("`http`: {message}"), &[hint]);
        None
    };
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return refuse("the address begins with neither http:// nor https://", HINT);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if authority.contains('@') {
        // Whatever stands before it may be a secret.
        reader.secrets.push(found.span.clone());
        let hint = "what is shown to whoever may connect needs no login: check a page without one";
        reader.error(found.span.clone(), "`http`: a login in the address would be journaled", &[hint]);
        return None;
    }
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return refuse("the address holds blanks or control characters", "write a blank as %20");
    }
    let (host, port) = match authority.rfind(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if host != ADDRESS && !is_host(bare) {
        return refuse("there is no host name or address in it", "{address} stands for the guest's own address");
    }
    if !port.is_empty() && !port[1..].parse::<u16>().is_ok_and(|port| port > 0) {
        return refuse("its port is none", "a port is a number from 1 to 65535");
    }
    if rest[host.len()..].contains(ADDRESS) {
        return refuse("{address} stands only in the place of the host", "http = \"https://{address}:8443/health\"");
    }
    Some(url)
}

/// Reads the statuses that are well: one or several.
fn status(reader: &mut Reader, found: &Found<'_>) -> Option<Vec<u16>> {
    let one =
        |value: Option<i64>| value.and_then(|number| u16::try_from(number).ok()).filter(|n| (100..600).contains(n));
    let all: Option<Vec<u16>> = match found.item {
        Item::Value(Value::Array(array)) => array.iter().map(|value| one(value.as_integer())).collect(),
        item => one(item.as_integer()).map(|status| vec![status]),
    };
    if all.is_none() {
        let message = format!("`{}` must be a status from 100 to 599, or a list of such", found.name);
        reader.error(
            found.span.clone(),
            message,
            &["status = 200, status = [200, 401]; without it any from 200 to 299 is well"],
        );
    }
    all
}

fn command(reader: &mut Reader, table: &dyn TableLike, found: &Found<'_>) -> Option<Ask> {
    let exit = given(reader, table, "exit", |reader, found| whole(reader, found, 255));
    let line = match found.item.as_str() {
        None => {
            reader.wrong_type(found, "a string");
            return None;
        }
        Some(line) => line,
    };
    let message = match line {
        line if line.trim().is_empty() => "`command` is empty".to_owned(),
        line if line.contains('\0') => "`command` holds a zero byte".to_owned(),
        line if line.len() > LONGEST_COMMAND => format!("`command` is longer than {LONGEST_COMMAND} bytes"),
        line => {
            let exit = u8::try_from(exit.unwrap_or(0)).ok()?;
            return Some(Ask::Command { line: line.to_owned(), exit });
        }
    };
    reader.error(found.span.clone(), message, &["a longer one can lie in the guest as a script, and be called here"]);
    None
}

fn name(reader: &mut Reader, found: &Found<'_>) -> Option<String> {
    let name = reader.string(found)?;
    let is_name = !name.contains(char::is_control) && name.trim() == name && name.chars().count() <= LONGEST_NAME;
    if !is_name {
        let message = format!(
            "`{}` holds control characters, blanks at its ends, or more than {LONGEST_NAME} characters",
            found.name
        );
        reader.error(found.span.clone(), message, &[]);
        return None;
    }
    Some(name)
}

/// Reads a whole number from 0 to `most`.
fn whole(reader: &mut Reader, found: &Found<'_>, most: u32) -> Option<u32> {
    let Some(number) = found.item.as_integer() else {
        reader.wrong_type(found, "an integer");
        return None;
    };
    let number = u32::try_from(number).ok().filter(|number| *number <= most);
    if number.is_none() {
        reader.error(found.span.clone(), format!("`{}` must be from 0 to {most}", found.name), &[]);
    }
    number
}

/// Reads a time that may be no longer than so many milliseconds.
fn bounded(reader: &mut Reader, found: &Found<'_>, most_ms: u64) -> Option<u64> {
    let time = reader.duration(found)?;
    match u64::try_from(time.as_millis()).ok().filter(|ms| *ms <= most_ms) {
        Some(ms) => Some(ms.max(1)),
        None => {
            let most = humantime::format_duration(Duration::from_millis(most_ms));
            let message = format!("`{}` is longer than {most}", found.name);
            reader.error(
                found.span.clone(),
                message,
                &["a service that needs longer to come up can be asked more often: `retries`"],
            );
            None
        }
    }
}
