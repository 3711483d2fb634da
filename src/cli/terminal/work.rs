//! Work that the operator waits for.

use tokio::runtime::Runtime;

use super::look::Room;
use super::{Answered, Left, Terminal};

/// Says how far work has come, while it goes on.
#[derive(Clone)]
pub struct Progress(cliclack::ProgressBar);

impl Progress {
    /// Replaces what is said.
    pub fn say(&self, text: &str) {
        self.0.set_message(Room::of_terminal().beside_spinner(text));
    }
}

impl Terminal {
    /// Waits for some work, and says so. Esc and Ctrl-C end it: it is dropped, and that is a step back. Other keys that are
    /// pressed meanwhile are for nobody.
    ///
    /// # Errors
    /// It was ended before it was done.
    pub fn work<T>(&self, runtime: &Runtime, what: &str, work: impl Future<Output = T>) -> Answered<T> {
        self.work_telling(runtime, what, |_progress| work)
    }

    /// As [`Terminal::work`], for work that says how far it has come.
    ///
    /// # Errors
    /// It was ended before it was done.
    pub fn work_telling<T, W: Future<Output = T>>(
        &self,
        runtime: &Runtime,
        what: &str,
        work: impl FnOnce(Progress) -> W,
    ) -> Answered<T> {
        self.is_there()?;
        let spinner = cliclack::spinner();
        let watch = self.keyboard.watch_work();
        spinner.start(Room::of_terminal().beside_spinner(what));
        let done = runtime.block_on(async {
            tokio::select! {
                biased;
                () = watch.ended() => None,
                done = work(Progress(spinner.clone())) => Some(done),
            }
        });
        spinner.clear();
        match done {
            Some(done) => Ok(done),
            None => self.is_there().and(Err(Left::Back)),
        }
    }
}
