//! Asks which guests are to be managed, and says what that means.

use super::Dialogue;
use super::walk::Taken;
use crate::cli::inventory::guests::Guest;
use crate::cli::terminal::{Answered, Choice, Remark};
use crate::observe::words::list;

impl Dialogue<'_, '_, '_> {
    /// Asks about the guests of one host.
    pub(super) fn manage(&mut self, host: usize) -> Answered<Taken> {
        let of_host: Vec<usize> = (0..self.subjects.len())
            .filter(|at| std::ptr::eq(self.subjects[*at].guest.host, &raw const self.hosts[host]))
            .collect();
        let (decided, open): (Vec<usize>, Vec<usize>) =
            of_host.into_iter().partition(|at| self.subjects[*at].guest.decided().is_some());
        let name = self.hosts[host].entry.id.to_string();
        self.tell_decided(&name, &decided)?;
        if open.is_empty() {
            return Ok(Taken::Passed);
        }
        let terminal = &self.desk.terminal;
        terminal.remark(
            Remark::Info,
            "ticked: managed = true. Runs maintain it; where it can't be reached it is blocked (exit code 3)\n\
             not ticked: managed = false. Runs never touch it",
        )?;
        let choices: Vec<Choice<usize>> = open.iter().map(|at| choice(*at, &self.subjects[*at].guest)).collect();
        let ticked: Vec<usize> = open.iter().copied().filter(|at| self.subjects[*at].is_managed()).collect();
        let question = format!("Which guests of {name} are to be managed?");
        let answer = terminal.choose_many(&question, &choices, &ticked)?;
        for at in open {
            self.subjects[at].wish.managed = Some(answer.contains(&at));
        }
        Ok(Taken::Asked)
    }

    /// Says of which guests something else than a tick decides.
    fn tell_decided(&self, host: &str, decided: &[usize]) -> Answered<()> {
        let guests = decided.iter().filter_map(|at| {
            let guest = &self.subjects[*at].guest;
            let decided = guest.decided()?;
            let word = if decided.managed { "managed" } else { "not managed" };
            Some(format!("{}: {word} ({})", guest.label(), decided.by))
        });
        let text = list(guests);
        if text.is_empty() {
            return Ok(());
        }
        let text = format!("decided already on {host}, by what goes before a tick: {text}");
        self.desk.terminal.remark(Remark::Info, &text)
    }
}

fn choice(at: usize, guest: &Guest<'_>) -> Choice<usize> {
    let power = if guest.runs() { "running" } else { "off" };
    let address = guest.addresses().into_iter().next();
    let address = address.or_else(|| guest.sighting.unaddressed.clone()).unwrap_or_default();
    let label = format!("{}  {power}", guest.label());
    let ways = match guest.ways().is_empty() {
        true => "no way in".to_owned(),
        false => format!("entered by {}", guest.named_ways()),
    };
    Choice::new(at, label, list([address, ways]))
}
