//! The question for one key: what it means, what holds now, and what is to hold.

use std::rc::Rc;

use super::Desk;
use super::check::{Before, one_line};
use super::standing::{Standing, shown};
use crate::cli::terminal::{Answered, Choice, Remark};
use crate::cli::wizard::unless_back;
use crate::manifest::Severity;
use crate::manifest::edit::{Form, Kind, Scope, Setting, Spot, Value, suggested_variable, suggested_variables};

/// What the operator may want of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wish {
    /// This value.
    Set(Value),
    /// One that is typed.
    Type,
    /// Nothing said here: what is above holds, or what is built in.
    Unset,
}

/// Asks what a key is to hold, and sees to it.
///
/// # Errors
/// The question was left: nothing has changed then.
pub(super) fn ask(desk: &mut Desk<'_>, spot: Spot, setting: &Setting) -> Answered<()> {
    let standing = Standing::of(&desk.draft.document, spot, setting);
    explain(desk, setting, &standing)?;
    let (choices, first) = choices(desk, spot, setting, &standing);
    if let [Choice { value: Wish::Type, .. }] = choices.as_slice() {
        let value = typed(desk, spot, setting, &standing)?;
        apply(desk, spot, setting, Some(&value))?;
        return Ok(());
    }
    loop {
        let change = match desk.terminal.choose(standing.spelling(), &choices, first.as_ref())? {
            Wish::Set(value) => Some(value),
            Wish::Unset => None,
            Wish::Type => match unless_back(typed(desk, spot, setting, &standing))? {
                Some(value) => Some(value),
                None => continue,
            },
        };
        if apply(desk, spot, setting, change.as_ref())? {
            return Ok(());
        }
    }
}

/// Sets a key, or takes it out. Refused, with a remark, where that would bring errors; says what it brings of warnings.
///
/// # Errors
/// The terminal is gone.
pub(super) fn apply(desk: &mut Desk<'_>, spot: Spot, setting: &Setting, change: Option<&Value>) -> Answered<bool> {
    let before = Before::setting(&desk.draft, spot, setting);
    let was = desk.draft.document.clone();
    let edited = desk.edit(|document| match change {
        Some(value) => document.set(spot, setting, value),
        None => document.unset(spot, setting).map(|_was_there| ()),
    })?;
    if !edited {
        return Ok(false);
    }
    let brought = before.brought(&desk.draft.document);
    let is_refused = brought.iter().any(|problem| problem.severity == Severity::Error);
    if is_refused {
        desk.replace(was);
    }
    for problem in &brought {
        match problem.severity {
            Severity::Error => desk.terminal.remark(Remark::Bad, &one_line(problem))?,
            Severity::Warning if !is_refused => desk.terminal.remark(Remark::Warn, &one_line(problem))?,
            Severity::Warning => {}
        }
    }
    match change {
        Some(Value::Text(name)) if setting.form() == Form::Variable && !is_refused => desk.tell_variable(name)?,
        _ => {}
    }
    Ok(!is_refused)
}

/// Says what a key means, what is built in, what it inherits, what holds, and how it is written.
fn explain(desk: &Desk<'_>, setting: &Setting, standing: &Standing) -> Answered<()> {
    let said = [
        Some(setting.meaning_alone()),
        Some(if setting.is_required() { "required".to_owned() } else { format!("default: {}", setting.built_in()) }),
        standing.inherited().map(|inherited| format!("inherits: {inherited}")),
        standing.given.as_ref().map(|(_, value)| format!("set here: {}", shown(setting, value))),
        setting.form().hint().map(|hint| format!("write: {hint}")),
    ];
    desk.show(standing.spelling(), &said.into_iter().flatten().collect::<Vec<_>>().join("\n"))
}

/// Returns what can be chosen, and which of it holds now.
fn choices(desk: &Desk<'_>, spot: Spot, setting: &Setting, standing: &Standing) -> (Vec<Choice<Wish>>, Option<Wish>) {
    let now = standing.given.as_ref().map(|(_, value)| normal(setting, value));
    let mut choices: Vec<Choice<Wish>> =
        offers(setting).into_iter().map(|(value, label)| Choice::new(Wish::Set(value), label, "")).collect();
    if setting.form() == Form::Variable {
        for name in now.iter().cloned().chain([Value::text(suggestion(desk, spot, setting))]) {
            let choice = Choice::new(Wish::Set(name.clone()), shown(setting, &name), variable_hint(&name));
            if setting.shown(&name).is_some() && !choices.iter().any(|other| other.value == choice.value) {
                choices.push(choice);
            }
        }
        choices.push(Choice::new(Wish::Type, "another name", ""));
    } else if choices.is_empty() && !setting.is_secret() && setting.kind() != Kind::Tables {
        choices.push(Choice::new(Wish::Type, "type a value", ""));
    }
    if !setting.is_required() {
        choices.push(Choice::new(Wish::Unset, standing.otherwise(), "nothing is said here"));
    }
    let is_offered = |wish: &Wish| choices.iter().any(|choice| choice.value == *wish);
    let held = now.map_or(Wish::Unset, Wish::Set);
    let first = [held, Wish::Type].into_iter().find(|wish| {
        // Where something can only be typed, that is what one comes for.
        is_offered(wish) && !(*wish == Wish::Unset && is_offered(&Wish::Type))
    });
    (choices, first)
}

/// Returns the values that can be chosen from, with how they are called; none where a value has to be typed.
fn offers(setting: &Setting) -> Vec<(Value, String)> {
    match (setting.kind(), setting.form()) {
        (Kind::Boolean, _) => {
            [true, false].map(|truth| (Value::Boolean(truth), truth.to_string())).into_iter().collect()
        }
        (Kind::List, Form::Words(words)) => {
            orders(words).into_iter().map(|order| (Value::texts(order.clone()), order.join(", then "))).collect()
        }
        (_, Form::Words(words)) => words.iter().map(|word| (Value::text(*word), (*word).to_owned())).collect(),
        _ => Vec::new(),
    }
}

/// Returns each selection of words in each order, the longest first; `none` stands alone.
fn orders(words: &'static [&'static str]) -> Vec<Vec<&'static str>> {
    const ALONE: &str = "none";
    let mut all: Vec<Vec<&'static str>> = vec![Vec::new()];
    // Each round puts one more word behind what the last round made.
    let mut from = 0;
    while from < all.len() {
        let longer: Vec<Vec<&'static str>> = all[from..]
            .iter()
            .flat_map(|order| {
                let rest = words.iter().copied().filter(|word| *word != ALONE && !order.contains(word));
                rest.map(|word| order.iter().copied().chain([word]).collect())
            })
            .collect();
        from = all.len();
        all.extend(longer);
    }
    all.remove(0);
    all.sort_by_key(|order| std::cmp::Reverse(order.len()));
    all.extend(words.iter().filter(|word| **word == ALONE).map(|word| vec![*word]));
    all
}

/// Returns a value as it would be offered: one text where a list may stand is a list of one.
fn normal(setting: &Setting, value: &Value) -> Value {
    match (setting.kind(), setting.form(), value) {
        (Kind::List, Form::Words(_), Value::Text(text)) => Value::texts([text]),
        _ => value.clone(),
    }
}

/// Asks for a value that is typed, checked at each key by what `run` would say of it.
fn typed(desk: &Desk<'_>, spot: Spot, setting: &Setting, standing: &Standing) -> Answered<Value> {
    let before = Before::setting(&desk.draft, spot, setting);
    let (document, setting) = (desk.draft.document.clone(), *setting);
    let read = Rc::new(move |text: &str| setting.parse(text.trim()).map_err(|error| error.to_string()));
    let reader = Rc::clone(&read);
    let check = move |text: &str| {
        let value = reader(text)?;
        if value.is_empty() {
            return Err("nothing and 0 count as not given: for that there is the list, one step back".to_owned());
        }
        let mut next = document.clone();
        next.set(spot, &setting, &value).map_err(|error| error.to_string())?;
        before.verdict(&next)
    };
    let now = standing.given.as_ref().and_then(|(_, value)| setting.shown(value));
    let mut question = desk.terminal.text(standing.spelling());
    if let Some(now) = now {
        question = question.placeholder(format!("{now}  (Enter keeps it)")).default(now);
    }
    let answer = question.check(check).ask()?;
    // What was accepted was read before; that it can't be read now is as good as no answer.
    read(&answer).map_err(|_| crate::cli::terminal::Left::Back)
}

/// Suggests a variable for a key that names one.
fn suggestion(desk: &Desk<'_>, spot: Spot, setting: &Setting) -> String {
    let document = &desk.draft.document;
    let name = |host: usize| document.hosts().get(host).cloned().unwrap_or_default();
    let (host, guest) = match spot {
        Spot::Defaults => {
            return if setting.name().starts_with("guest") { "GUEST_PASSWORD" } else { "PVE_PASSWORD" }.to_owned();
        }
        Spot::Host(host) | Spot::Inventory(host) => (host, None),
        Spot::Rule(host, _) | Spot::Entry(host, _) => (host, id(desk, spot)),
    };
    let (token, secret) = suggested_variables(&name(host));
    match (setting.name(), guest) {
        ("api.token_env", _) => token,
        ("api.secret_env", _) => secret,
        (_, Some(guest)) => suggested_variable(&name(host), &format!("{guest}_PASSWORD")),
        (name_of_key, None) if name_of_key.starts_with("guest") => suggested_variable(&name(host), "GUEST_PASSWORD"),
        (_, None) => suggested_variable(&name(host), "PASSWORD"),
    }
}

/// Returns the vmid that a rule or an entry is about.
fn id(desk: &Desk<'_>, spot: Spot) -> Option<String> {
    let scope: Scope = spot.scope();
    let setting = scope.settings().into_iter().find(|setting| setting.name() == "id")?;
    let (_, value) = desk.draft.document.given(spot, &setting)?;
    setting.shown(&value)
}

fn variable_hint(name: &Value) -> &'static str {
    match name {
        Value::Text(name) if super::is_set(name) => "is set in the environment",
        _ => "is not set in the environment now",
    }
}

#[cfg(test)]
mod tests {
    use super::orders;
    use crate::choices::ProtectChoice;

    #[test]
    fn each_order_of_protections_is_offered_once() {
        let all: Vec<String> = orders(ProtectChoice::WORDS).iter().map(|order| order.join(" ")).collect();
        assert_eq!(all, ["snapshot backup", "backup snapshot", "snapshot", "backup", "none"]);
    }
}
