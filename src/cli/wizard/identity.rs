//! Asks what a new host needs of its own: address, name, and the variables of its token.

use super::Desk;
use super::check::Before;
use crate::cli::terminal::{Answered, Left};
use crate::manifest::edit::{Document, Identity, suggested_variables};

/// The questions, in their order; Esc goes from each to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Address,
    Name,
    Token,
    Secret,
}

impl Question {
    const ALL: [Self; 4] = [Self::Address, Self::Name, Self::Token, Self::Secret];
}

/// What was answered so far.
#[derive(Debug, Clone, Default)]
struct Answers {
    address: String,
    name: String,
    token: String,
    secret: String,
}

impl Answers {
    /// Returns the identity; what is not answered yet is made up so that nothing is wrong with it.
    fn identity(&self, document: &Document) -> Identity {
        let name = match self.name.as_str() {
            "" => unused(document),
            name => name.to_owned(),
        };
        let suggested = Identity::suggested(Some(name).filter(|name| *name != self.address), self.address.clone());
        let or = |answer: &String, suggestion: String| if answer.is_empty() { suggestion } else { answer.clone() };
        Identity {
            token_env: or(&self.token, suggested.token_env),
            secret_env: or(&self.secret, suggested.secret_env),
            ..suggested
        }
    }

    /// Returns the answers with one more. Those behind it were given in view of another one and are asked for anew.
    fn with(&self, question: Question, text: &str) -> Self {
        let text = text.trim();
        let mut answers = self.clone();
        let (answer, behind): (_, Vec<&mut String>) = match question {
            Question::Address => {
                (&mut answers.address, vec![&mut answers.name, &mut answers.token, &mut answers.secret])
            }
            Question::Name => (&mut answers.name, vec![&mut answers.token, &mut answers.secret]),
            Question::Token => (&mut answers.token, vec![]),
            Question::Secret => (&mut answers.secret, vec![]),
        };
        if answer != text {
            behind.into_iter().for_each(String::clear);
            text.clone_into(answer);
        }
        answers
    }
}

/// Asks for all of it; `address` is what is known of that already, where anything is.
///
/// # Errors
/// The first question was left by Esc, or the dialogue for good.
pub(in crate::cli) fn ask(desk: &Desk<'_>, address: &str) -> Answered<Identity> {
    let mut answers = Answers { address: address.to_owned(), ..Answers::default() };
    let mut at = 0;
    while let Some(question) = Question::ALL.get(at) {
        match one(desk, &answers, *question) {
            Ok(text) => {
                answers = answers.with(*question, &text);
                at += 1;
            }
            Err(Left::Back) if at > 0 => at -= 1,
            Err(left) => return Err(left),
        }
    }
    Ok(answers.identity(&desk.draft.document))
}

fn one(desk: &Desk<'_>, answers: &Answers, question: Question) -> Answered<String> {
    let document = desk.draft.document.clone();
    let default = default(&document, answers, question);
    let (before, so_far) = (Before::adding(&desk.draft), answers.clone());
    let check = move |text: &str| {
        if text.trim().is_empty() {
            return Err("type a value, or press Esc to go back".to_owned());
        }
        let mut next = document.clone();
        let identity = so_far.with(question, text).identity(&document);
        next.add_host(&identity.settings()).map_err(|error| error.to_string())?;
        before.verdict(&next)
    };
    let words = match question {
        Question::Address => "Address of the node: its DNS name or IP address",
        Question::Name => "What it is called here",
        Question::Token => "Variable that holds the API token's name, USER@REALM!TOKENID",
        Question::Secret => "Variable that holds the token's secret",
    };
    let mut asked = desk.terminal.text(words);
    asked = match default {
        Some(default) => {
            let state = match question {
                Question::Token | Question::Secret if super::is_set(&default) => "; it is set now",
                Question::Token | Question::Secret => "; it is not set now",
                Question::Address | Question::Name => "",
            };
            asked.placeholder(format!("{default}  (Enter takes it{state})")).default(default)
        }
        None => asked.placeholder(if question == Question::Address { "pve1.example.org" } else { "pve1" }),
    };
    asked.check(check).ask()
}

/// Returns what Enter alone stands for: the answer given before, else a suggestion that is free.
fn default(document: &Document, answers: &Answers, question: Question) -> Option<String> {
    let (given, suggestions) = match question {
        Question::Address => (&answers.address, Vec::new()),
        Question::Name => {
            let address = answers.address.clone();
            // The first label of an IP address says nothing.
            let is_ip = address.parse::<std::net::IpAddr>().is_ok();
            let short = address.split('.').next().filter(|_| !is_ip).map(str::to_owned);
            (&answers.name, short.into_iter().chain([address]).collect())
        }
        Question::Token => (&answers.token, vec![suggested_variables(&answers.name).0]),
        Question::Secret => (&answers.secret, vec![suggested_variables(&answers.name).1]),
    };
    let taken = document.hosts();
    let is_free = |name: &String| question != Question::Name || !taken.contains(name);
    if given.is_empty() { suggestions.into_iter().find(is_free) } else { Some(given.clone()) }
}

/// Returns a name that no host has.
fn unused(document: &Document) -> String {
    let taken = document.hosts();
    let mut name = "new".to_owned();
    while taken.contains(&name) {
        name.push('_');
    }
    name
}
