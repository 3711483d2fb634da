//! Questions with choices.

use super::look::{Room, beside_bar, clean_lines};
use super::{Answered, Choice, Left, Remark, Terminal};

/// How many choices are shown at a time where the terminal has room; the rest is scrolled to, or found by typing.
const ROWS: usize = 14;

impl Terminal {
    /// Asks for one of several. `first` is the one that Enter takes. Where all don't fit, typing finds.
    ///
    /// # Errors
    /// The question was left. With nothing to choose from it is, after saying so.
    pub fn choose<T: Clone + Eq>(&self, question: &str, choices: &[Choice<T>], first: Option<&T>) -> Answered<T> {
        if choices.is_empty() {
            self.remark(Remark::Warn, &format!("{question}\nThere is nothing to choose from."))?;
            return Err(Left::Back);
        }
        self.asked(|| {
            let room = Room::of_terminal();
            let rows = room.rows(question).min(ROWS);
            let finds = choices.len() > rows;
            let asked = if finds { format!("{question}\n(type to find)") } else { question.to_owned() };
            let mut select = cliclack::select(beside_bar(&asked)).max_rows(rows);
            if finds {
                select = select.filter_mode();
            }
            for choice in choices {
                let (label, hint) = room.choice(&choice.label, &choice.hint);
                select = select.item(choice.value.clone(), label, hint);
            }
            if let Some(first) = first {
                select = select.initial_value(first.clone());
            }
            select.interact()
        })
    }

    /// Asks which of several; `ticked` are ticked already. None is an answer as well, and the only one where there is nothing to
    /// choose from.
    ///
    /// The list scrolls and does not filter: cliclack panics where space is pressed and no choice matches.
    ///
    /// # Errors
    /// The question was left.
    pub fn choose_many<T: Clone + Eq>(&self, question: &str, choices: &[Choice<T>], ticked: &[T]) -> Answered<Vec<T>> {
        if choices.is_empty() {
            self.remark(Remark::Info, &format!("{question}\nThere is nothing to choose from."))?;
            return Ok(Vec::new());
        }
        let question = format!("{}\nspace ticks, Enter goes on, Esc goes back", clean_lines(question));
        self.asked(|| {
            let room = Room::of_terminal();
            let rows = room.rows(&question).min(ROWS);
            let mut select = cliclack::multiselect(beside_bar(&question)).max_rows(rows).required(false);
            for choice in choices {
                let (label, hint) = room.choice(&choice.label, &choice.hint);
                select = select.item(choice.value.clone(), label, hint);
            }
            select.initial_values(ticked.to_vec()).interact()
        })
    }
}
