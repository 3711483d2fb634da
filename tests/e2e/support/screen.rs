//! What an operator sees at a terminal, and the keys that they press.
//!
//! Everything waits for what is shown, up to [`PATIENCE`]; what never comes fails the test with the whole screen.

use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use rustix::process::Signal;
use rustix::termios::Termios;

use super::picture::{Item, Picture, Prompt};
use super::pty::{Pty, Watch};
use super::{Done, PATIENCE};

pub const ENTER: &str = "\r";
pub const ESC: &str = "\u{1b}";
pub const CTRL_C: &str = "\u{3}";
pub const CTRL_Z: &str = "\u{1a}";
pub const UP: &str = "\u{1b}[A";
pub const DOWN: &str = "\u{1b}[B";
pub const SPACE: &str = " ";
pub const BACKSPACE: &str = "\u{7f}";

/// Columns and rows where a test does not care.
pub const SIZE: (u16, u16) = (100, 40);

/// What the terminal shows by now.
struct Shown {
    picture: Picture,
    /// All that was written, byte for byte.
    raw: Vec<u8>,
    /// How the program left the terminal, once it is over.
    left: Option<Termios>,
}

struct Watched {
    shown: Mutex<Shown>,
    news: Condvar,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Shown> {
        // A test that fails while it looks leaves nothing half done.
        self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Watch for Watched {
    fn wrote(&self, bytes: &[u8]) {
        let mut shown = self.lock();
        shown.picture.draw(bytes);
        shown.raw.extend(bytes);
        self.news.notify_all();
    }

    fn ended(&self, left: Termios) {
        self.lock().left = Some(left);
        self.news.notify_all();
    }
}

/// The program at a terminal, seen from the chair before it.
pub struct Screen {
    args: String,
    watched: Arc<Watched>,
    pty: Pty,
}

impl Screen {
    /// Starts a program at a terminal of so many columns and rows. Of the environment it has what the command says.
    pub fn run(command: &Command, size: (u16, u16)) -> Self {
        let shown = Shown { picture: Picture::new(size), raw: Vec::new(), left: None };
        let watched = Arc::new(Watched { shown: Mutex::new(shown), news: Condvar::new() });
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        Self { args: args.join(" "), pty: Pty::start(command, size, Arc::clone(&watched)), watched }
    }

    /// Everything that was shown and not drawn over, from the first line on; wrapped lines are joined.
    pub fn text(&self) -> String {
        self.watched.lock().picture.whole()
    }

    /// The words of [`Screen::text`], without line breaks and the bars beside them.
    pub fn said(&self) -> String {
        self.text().split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
    }

    /// All that the program wrote, byte for byte.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.watched.lock().raw).into_owned()
    }

    /// Waits until this is on the screen.
    #[track_caller]
    pub fn sees(&self, text: &str) {
        self.until(&format!("{text:?} is on the screen"), |picture| picture.visible().contains(text));
    }

    /// Asserts that this is not on the screen. Wait for something that comes after it before.
    #[track_caller]
    pub fn sees_not(&self, text: &str) {
        let shown = self.watched.lock();
        assert!(!shown.picture.visible().contains(text), "{text:?} is on the screen:\n{}", shown.picture.framed());
    }

    /// Waits until this is on the screen or was scrolled away from it.
    #[track_caller]
    pub fn awaits_text(&self, text: &str) {
        self.until(&format!("{text:?} is shown"), |picture| picture.whole().contains(text));
    }

    /// Waits until this is asked (a part of the question will do), with the prompt waiting for keys.
    #[track_caller]
    pub fn asks(&self, question: &str) -> Prompt {
        self.awaits(&format!("{question:?} is asked"), |picture| {
            picture.prompt().filter(|prompt| prompt.asks(question))
        })
    }

    /// Waits until this is asked and exactly this is typed.
    #[track_caller]
    pub fn until_typed(&self, question: &str, text: &str) {
        self.until(&format!("{text:?} is typed below {question:?}"), |picture| {
            picture.prompt().is_some_and(|prompt| prompt.asks(question) && prompt.has_typed(text))
        });
    }

    /// Waits until this is shown below the active prompt, as what is wrong with the answer.
    #[track_caller]
    pub fn objects(&self, text: &str) {
        self.until(&format!("{text:?} is said of the answer"), |picture| {
            picture.prompt().is_some_and(|prompt| prompt.message.contains(text))
        });
    }

    /// Presses keys.
    pub fn press(&self, keys: &str) {
        self.pty.write(keys.as_bytes());
    }

    /// Presses keys that end the active prompt, and waits until it has ended.
    #[track_caller]
    pub fn leave(&self, keys: &str) {
        let asked = self.awaits("something is asked", Picture::prompt);
        self.press(keys);
        // That no prompt is in sight is also so for a moment while one is drawn anew.
        self.until(&format!("{:?} has ended", asked.question), |picture| picture.is_over(asked.row));
    }

    /// Waits for a question, types the answer and Enter.
    #[track_caller]
    pub fn answer(&self, question: &str, text: &str) {
        self.asks(question);
        self.leave(&format!("{text}{ENTER}"));
    }

    /// Waits for a question of yes or no, and answers it.
    #[track_caller]
    pub fn confirm(&self, question: &str, yes: bool) {
        self.asks(question);
        self.leave(if yes { "y" } else { "n" });
    }

    /// Waits for a question with choices and takes the one with this label.
    #[track_caller]
    pub fn choose(&self, question: &str, label: &str) {
        self.asks(question);
        self.pick(label);
    }

    /// Takes the choice with this label (or the only one that begins with these words) of what is asked.
    #[track_caller]
    pub fn pick(&self, label: &str) {
        self.go_to(label);
        self.leave(ENTER);
    }

    /// Ticks the choice with this label, and stays there.
    #[track_caller]
    pub fn tick(&self, label: &str) {
        self.set_ticked(label, true);
    }

    /// Takes the tick of this choice away.
    #[track_caller]
    pub fn untick(&self, label: &str) {
        self.set_ticked(label, false);
    }

    #[track_caller]
    fn set_ticked(&self, label: &str, ticked: bool) {
        let item = self.go_to(label);
        if item.ticked != ticked {
            self.press(SPACE);
            self.until(&format!("{label:?} is ticked: {ticked}"), |picture| {
                picture.prompt().is_some_and(|prompt| prompt.item(label).is_some_and(|item| item.ticked == ticked))
            });
        }
    }

    /// Moves to the choice with this label, waiting for each step to be drawn. Where it is not in sight it is looked for further
    /// down, then further up.
    #[track_caller]
    pub fn go_to(&self, label: &str) -> Item {
        let mut prompt = self.awaits("there are choices", |picture| picture.prompt().filter(|p| !p.items.is_empty()));
        let mut lost = if prompt.more_below { DOWN } else { UP };
        loop {
            let active = prompt.active().expect("one of the choices is the active one");
            let key = match prompt.item(label) {
                Some(item) if item.row == active.row => return item.clone(),
                Some(item) => {
                    if item.row > active.row {
                        DOWN
                    } else {
                        UP
                    }
                }
                None => {
                    // The edge of what is in sight can be the list's own.
                    let at_end = prompt.items.last().is_some_and(|last| last.row == active.row) && !prompt.more_below;
                    if at_end {
                        lost = UP;
                    }
                    lost
                }
            };
            let from = active.text.clone();
            self.press(key);
            prompt = self.awaits(&format!("the cursor has left {from:?} for {label:?}"), |picture| {
                picture.prompt().filter(|now| now.active().is_some_and(|active| active.text != from))
            });
        }
    }

    pub fn signal(&self, signal: Signal) {
        self.pty.signal(signal);
    }

    /// Stops the program and lets it go on, with a shell in between; see [`Pty::suspend`].
    #[track_caller]
    pub fn suspend(&self) {
        self.pty.suspend();
    }

    /// Waits for the program's end, and asserts that it left the terminal as it found it.
    #[track_caller]
    pub fn finish(mut self) -> Done {
        let left = self.wait(|shown| shown.left.clone());
        let left = left.unwrap_or_else(|| panic!("it does not end\n{}", self.framed()));
        let code = self.pty.wait().expect("it has ended");
        let done = Done { args: self.args.clone(), code, stdout: self.text(), stderr: String::new() };
        self.pty.assert_as_before(&left);
        assert!(!self.watched.lock().picture.hides_cursor(), "the cursor is hidden\n{done}");
        done
    }

    /// Takes the terminal away and waits for the program's end. What it still had to say nobody saw.
    #[track_caller]
    pub fn hang_up(mut self) -> Done {
        self.pty.hang_up();
        let Some(code) = self.pty.wait() else { panic!("it outlives its terminal\n{}", self.framed()) };
        Done { args: self.args.clone(), code, stdout: self.text(), stderr: String::new() }
    }

    #[track_caller]
    fn until(&self, what: &str, is: impl Fn(&Picture) -> bool) {
        self.awaits(what, |picture| is(picture).then_some(()));
    }

    /// Waits until something can be seen, and returns it.
    #[track_caller]
    fn awaits<T>(&self, what: &str, look: impl Fn(&Picture) -> Option<T>) -> T {
        match self.wait(|shown| look(&shown.picture)) {
            Some(seen) => seen,
            None => panic!("waited in vain: {what}\n{}", self.framed()),
        }
    }

    /// Waits until a look finds something; `None` where the program ends without it, or too much time passes.
    fn wait<T>(&self, look: impl Fn(&Shown) -> Option<T>) -> Option<T> {
        let began = Instant::now();
        let mut shown = self.watched.lock();
        loop {
            if let Some(found) = look(&shown) {
                return Some(found);
            }
            let left = PATIENCE.saturating_sub(began.elapsed());
            if shown.left.is_some() || left.is_zero() {
                return None;
            }
            let woken = self.watched.news.wait_timeout(shown, left);
            shown = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    fn framed(&self) -> String {
        let shown = self.watched.lock();
        let end = if shown.left.is_some() { "it has ended" } else { "it is at work" };
        format!("proxmaint {} ({end}):\n{}", self.args, shown.picture.framed())
    }
}
