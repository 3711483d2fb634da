//! `proxmaint wizard`: makes and edits the manifest in the terminal, question by question.
//!
//! All edits are made on a draft in memory; the file is touched by saving alone, which replaces it as a whole. So whenever
//! the dialogue ends, by Esc, Ctrl-C or a terminal that is gone, the file is as it was. The state directory is only read.

mod check;
mod group;
mod guests;
mod host;
pub(super) mod identity;
mod last_run;
mod menu;
pub(super) mod saving;
mod setting;
mod standing;
pub(super) mod test_host;

use super::args::{Places, WizardArgs};
use super::diagnostics::Failure;
use super::draft::{Draft, env};
use super::exit_code::Exit;
use super::last_run::LastRuns;
use super::manifest::edit::host as host_named;
use super::reach;
use super::terminal::{Answered, Choice, Left, Remark, Terminal};
use crate::adapters::clock::SystemClock;
use crate::engine::port::Clock;
use crate::ids::HostId;
use crate::manifest::edit::{Document, EditError, Scope, Spot};
use crate::observe::log::Redactor;
use crate::observe::sanitize::{clean, shorten};

/// How many characters the main menu shows of a host's last run: what fits beside its name and address.
const LAST_RUN: usize = 56;

/// What a dialogue works with.
pub(super) struct Desk<'a> {
    pub(super) terminal: Terminal,
    pub(super) draft: Draft,
    pub(super) places: &'a Places,
    pub(super) redactor: &'a Redactor,
    pub(super) runtime: tokio::runtime::Runtime,
}

impl Desk<'_> {
    /// Makes edits, all or none; says why where one is refused. Returns whether they were made.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn edit(&mut self, edits: impl FnOnce(&mut Document) -> Result<(), EditError>) -> Answered<bool> {
        let mut next = self.draft.document.clone();
        if let Err(error) = edits(&mut next) {
            self.terminal.remark(Remark::Bad, &format!("{error}; {}", error.hint()))?;
            return Ok(false);
        }
        self.replace(next);
        Ok(true)
    }

    /// Puts another document in place of the present one; Ctrl-C asks from then on where something would be lost.
    pub(super) fn replace(&mut self, document: Document) {
        self.draft.document = document;
        self.terminal.set_unsaved(self.draft.is_changed());
    }

    /// Returns what a host is called.
    pub(super) fn name(&self, host: usize) -> String {
        match self.draft.document.hosts().get(host).map(String::as_str) {
            None | Some("") => format!("host {} of the file", host + 1),
            Some(name) => name.to_owned(),
        }
    }

    /// Shows a text of several lines.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn show(&self, title: &str, text: &str) -> Answered<()> {
        let lines: Vec<_> = text.lines().map(clean).collect();
        self.terminal.note(title, &lines.join("\n"))
    }

    /// Says whether a variable is set now; never what it holds.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(super) fn tell_variable(&self, name: &str) -> Answered<()> {
        match is_set(name) {
            true => self.terminal.remark(Remark::Good, &format!("{name} is set in the environment")),
            false => {
                let text = format!("{name} is not set in the environment now; `proxmaint run` will need it");
                self.terminal.remark(Remark::Warn, &text)
            }
        }
    }
}

/// Tells whether a variable of the environment holds something.
pub(super) fn is_set(name: &str) -> bool {
    env(name).is_some_and(|value| !value.is_empty())
}

/// Takes Esc for an answer: within a menu it leads back to that menu.
///
/// # Errors
/// The dialogue was left for good.
pub(super) fn unless_back<T>(answer: Answered<T>) -> Answered<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Left::Back) => Ok(None),
        Err(left) => Err(left),
    }
}

/// Runs `proxmaint wizard`.
///
/// # Errors
/// There is nobody to ask, there is no such host, or the terminal went away.
pub fn wizard(places: &Places, args: &WizardArgs, redactor: &Redactor) -> Result<Exit, Failure> {
    let terminal = Terminal::open().ok_or_else(|| {
        Failure::new(Exit::Usage, "the wizard needs a terminal")
            .hint("scripts edit with `proxmaint manifest set KEY VALUE` and `proxmaint manifest add-host HOST`")
    })?;
    let draft = match Draft::open(&places.config) {
        Ok(draft) => draft,
        Err(exit) => return Ok(exit),
    };
    let first = args.host.as_deref().map(|name| host_named(&draft.document, name)).transpose()?;
    let mut desk = Desk { terminal, draft, places, redactor, runtime: reach::runtime()? };
    let ended = dialogue(&mut desk, first).and_then(|outcome| desk.terminal.outro(&outcome));
    match ended {
        // Whoever leaves on purpose gets what he wants.
        Ok(()) | Err(Left::Back | Left::Quit) => Ok(Exit::Clean),
        // As where there was no terminal from the beginning: there is nobody to ask.
        Err(Left::Gone(why)) => {
            let state = if desk.draft.is_changed() { "nothing was saved" } else { "nothing is lost" };
            Err(Failure::new(Exit::Usage, format!("the terminal is gone: {why}")).hint(state))
        }
    }
}

/// What the main menu offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Item {
    Host(usize),
    Add,
    Defaults,
    Changes,
    Save,
    Leave,
}

/// Leads through the menus; returns what is said in the end.
fn dialogue(desk: &mut Desk<'_>, first: Option<usize>) -> Answered<String> {
    greet(desk)?;
    let last = last_run::of_all(desk);
    if let Some(first) = first {
        unless_back(host::host(desk, first))?;
    } else if desk.draft.document.hosts().is_empty() {
        unless_back(host::add(desk))?;
    }
    let mut at = None;
    loop {
        let item =
            unless_back(desk.terminal.choose("What next?", &items(desk, &last), at.as_ref()))?.unwrap_or(Item::Leave);
        let ended = match item {
            Item::Host(host) => host::host(desk, host).map(|()| None),
            Item::Add => host::add(desk).map(|()| None),
            Item::Defaults => menu::defaults(desk).map(|()| None),
            Item::Changes => saving::show_changes(desk).map(|()| None),
            Item::Save => saving::save(desk),
            Item::Leave => saving::may_leave(desk).map(|may| may.then(|| "left; nothing was saved".to_owned())),
        };
        if let Some(Some(outcome)) = unless_back(ended)? {
            return Ok(outcome);
        }
        at = Some(item);
    }
}

/// Says what is edited, and what is wrong with it already.
fn greet(desk: &Desk<'_>) -> Answered<()> {
    let shown = desk.draft.shown().display().to_string();
    desk.terminal.intro(&format!("proxmaint wizard: {shown}"))?;
    if !desk.draft.existed() {
        return desk.terminal.remark(Remark::Info, "there is no manifest yet: it begins with the first host");
    }
    if let Err(error) = desk.draft.manifest() {
        saving::show_problems(desk, "What is wrong with it", error.problems())?;
        desk.terminal.remark(Remark::Warn, "`proxmaint run` refuses this manifest until that is mended")?;
    }
    Ok(())
}

fn items(desk: &Desk<'_>, last: &LastRuns) -> Vec<Choice<Item>> {
    let address = Scope::Host.settings().into_iter().find(|setting| setting.name() == "host");
    let now = SystemClock.now();
    let lines: Vec<[String; 3]> = (0..desk.draft.document.hosts().len())
        .map(|host| {
            let given = address.and_then(|setting| {
                let (_, value) = desk.draft.document.given(Spot::Host(host), &setting)?;
                setting.shown(&value)
            });
            let name = desk.name(host);
            let last = shorten(&last.brief(&HostId::new(&*name), now), LAST_RUN);
            [name, given.unwrap_or_else(|| "no address yet".to_owned()), last]
        })
        .collect();
    let width = |column: fn(&[String; 3]) -> &str| {
        lines.iter().map(|line| column(line).chars().count()).max().unwrap_or_default()
    };
    let (names, addresses) = (width(|[name, ..]| name), width(|[_, address, _]| address));
    let hosts = lines.iter().enumerate().map(|(host, [name, address, last])| {
        let label = format!("{name:names$}  {address:addresses$}  {last}");
        Choice::new(Item::Host(host), label.trim_end(), "")
    });
    let others = [
        Choice::new(Item::Add, "Add a host", ""),
        Choice::new(Item::Defaults, "Defaults for all hosts", "[defaults]"),
        Choice::new(Item::Changes, "Show what changed", ""),
        Choice::new(Item::Save, "Save and leave", "shows the difference first"),
        Choice::new(Item::Leave, "Leave", "saves nothing"),
    ];
    hosts.chain(others).collect()
}
