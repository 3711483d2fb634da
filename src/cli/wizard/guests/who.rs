//! Asks which guests a rule is about: one by its vmid, or those that a selector matches.

use std::rc::Rc;

use super::super::check::Before;
use super::super::{Desk, unless_back};
use super::said;
use crate::choices::Selector;
use crate::cli::terminal::{Answered, Choice, Left};
use crate::manifest::edit::{Document, EditError, Scope, Setting, Spot, Value};

/// An edit that makes a rule be about these guests.
type Edit = dyn Fn(&mut Document, &Setting, &Value) -> Result<(), EditError>;

/// The two ways to say which guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    One,
    Several,
}

impl Way {
    /// Returns the key that says it.
    fn key(self) -> &'static str {
        match self {
            Self::One => "id",
            Self::Several => "match",
        }
    }

    fn question(self) -> &'static str {
        match self {
            Self::One => "Its vmid",
            Self::Several => "Selector",
        }
    }

    fn placeholder(self) -> &'static str {
        match self {
            Self::One => "a number from 100 on: 104",
            Self::Several => "tag:prod, web-*, 100-199, type:ct, pool:customers; ! in front negates",
        }
    }
}

/// Asks which guests a new rule of a host is about; returns the key and its value.
///
/// # Errors
/// The question was left.
pub(super) fn of_new(desk: &Desk<'_>, host: usize) -> Answered<(Setting, Value)> {
    let add = move |document: &mut Document, key: &Setting, value: &Value| {
        document.add_rule(host, &[(*key, value.clone())]).map(|_spot| ())
    };
    ask(desk, None, Rc::new(add))
}

/// Asks which guests a rule is to be about, and sees to it.
///
/// # Errors
/// The question was left: nothing has changed then.
pub(super) fn change(desk: &mut Desk<'_>, rule: Spot) -> Answered<()> {
    let now =
        [Way::One, Way::Several].into_iter().find_map(|way| Some((way, said(&desk.draft.document, rule, way.key())?)));
    let set = move |document: &mut Document, key: &Setting, value: &Value| {
        document.set(rule, key, value)?;
        // A rule has one of the two keys.
        for other in [Way::One, Way::Several].map(Way::key).into_iter().filter(|other| *other != key.name()) {
            if let Ok(other) = Scope::Rule.setting(other) {
                document.unset(rule, &other)?;
            }
        }
        Ok(())
    };
    let (key, value) = ask(desk, now, Rc::new(set))?;
    desk.edit(|document| set(document, &key, &value)).map(|_edited| ())
}

/// Asks for one of the ways, then for the guests. `now` is what holds, and `edit` what the answer is for: it must bring no error.
fn ask(desk: &Desk<'_>, now: Option<(Way, String)>, edit: Rc<Edit>) -> Answered<(Setting, Value)> {
    let mut first = now.as_ref().map_or(Way::One, |(way, _)| *way);
    loop {
        let choices = [
            Choice::new(Way::One, "one guest", "by its vmid"),
            Choice::new(Way::Several, "several guests", "by tag, name, pool, kind or a range of vmids"),
        ];
        let way = desk.terminal.choose("Which guests is the rule about?", &choices, Some(&first))?;
        let held = now.as_ref().filter(|(held, _)| *held == way).map(|(_, text)| text.as_str());
        if let Some(answer) = unless_back(typed(desk, way, held, &edit))? {
            return Ok(answer);
        }
        first = way;
    }
}

/// Asks for the guests, checked at each key by what `run` would say of the rule.
fn typed(desk: &Desk<'_>, way: Way, held: Option<&str>, edit: &Rc<Edit>) -> Answered<(Setting, Value)> {
    // Both are keys of every rule.
    let key = Scope::Rule.setting(way.key()).map_err(|_| Left::Back)?;
    let (before, document, edit) = (Before::adding(&desk.draft), desk.draft.document.clone(), Rc::clone(edit));
    let check = move |text: &str| {
        let value = read(way, &key, text)?;
        let mut next = document.clone();
        edit(&mut next, &key, &value).map_err(|error| error.to_string())?;
        before.verdict(&next)
    };
    let mut question = desk.terminal.text(way.question());
    question = match held {
        Some(held) => question.placeholder(format!("{held}  (Enter keeps it)")).default(held),
        None => question.placeholder(way.placeholder()),
    };
    let answer = question.check(check).ask()?;
    // What was accepted was read before; that it can't be read now is as good as no answer.
    Ok((key, read(way, &key, &answer).map_err(|_| Left::Back)?))
}

/// Reads what was typed.
fn read(way: Way, key: &Setting, text: &str) -> Result<Value, String> {
    let text = text.trim();
    match way {
        Way::One => {
            let expected = "a vmid is a number from 100 on, as in the web interface".to_owned();
            key.parse(text).ok().filter(|value| !value.is_empty()).ok_or(expected)
        }
        Way::Several => match text.parse::<Selector>() {
            Ok(_) => Ok(Value::text(text)),
            Err(error) => Err(format!("{error}; {}", Selector::HELP)),
        },
    }
}
