//! What is typed, on its way to the prompts.

use std::io::Write;

use super::keys::{Cancel, Key, first};

/// How much may wait, in bytes: more than anybody pastes into a line. What comes beyond it is thrown away.
const MOST: usize = 64 * 1024;

/// Hands keys on to the prompts, and stops behind each that ends a question until it is known to have been read: so it is
/// plain which key ended a question, and nothing typed after it is taken for a part of it. It can't be shown (`Debug`): what is
/// typed may be a secret.
pub(super) struct Feed<W> {
    prompts: W,
    waiting: Vec<u8>,
    /// The key that was handed on last, where it ends a question.
    held: Option<Cancel>,
    /// Whether there is work instead of a prompt, and whether a key has ended it.
    work: Option<bool>,
    /// Why nobody is there any more.
    gone: Option<String>,
}

impl<W: Write> Feed<W> {
    pub(super) fn new(prompts: W) -> Self {
        Self { prompts, waiting: Vec::new(), held: None, work: None, gone: None }
    }

    /// Takes what was typed.
    pub(super) fn typed(&mut self, bytes: &[u8]) {
        let room = MOST.saturating_sub(self.waiting.len());
        self.waiting.extend(&bytes[..bytes.len().min(room)]);
        self.hand_on(false);
    }

    /// Nothing more came: an escape that waits for its rest is a key of its own.
    pub(super) fn settle(&mut self) {
        self.hand_on(true);
    }

    /// Tells whether [`Feed::settle`] would make a difference.
    pub(super) fn is_unsettled(&self) -> bool {
        self.waiting.first() == Some(&Cancel::Esc.byte()) && (self.held.is_none() || self.work.is_some())
    }

    /// Returns which key ended the question that was just left; `None` where none did.
    pub(super) fn take_cancel(&mut self) -> Option<Cancel> {
        let taken = self.held.take();
        // What waited behind it has waited long enough to be whole.
        self.hand_on(true);
        taken
    }

    /// Types for the operator: before anything else that waits.
    pub(super) fn retype(&mut self, text: &str) {
        self.waiting.splice(..0, text.bytes());
        self.hand_on(true);
    }

    /// Work begins: what is typed from here on is for nobody.
    pub(super) fn begin_work(&mut self) {
        self.work = Some(false);
    }

    /// Work has ended. The beginning of a key is dropped with the rest of it.
    pub(super) fn end_work(&mut self) {
        self.work = None;
        self.waiting.clear();
    }

    /// Tells whether a key has ended the work.
    pub(super) fn work_is_ended(&self) -> bool {
        self.work == Some(true)
    }

    /// Nobody is there any more: the open question, and each that would follow, has no answer.
    pub(super) fn leave(&mut self, why: &str) {
        self.gone.get_or_insert_with(|| why.to_owned());
        self.write(&[Cancel::CtrlC.byte()]);
    }

    /// Returns why nobody is there any more.
    pub(super) fn gone(&self) -> Option<&str> {
        self.gone.as_deref()
    }

    fn hand_on(&mut self, settled: bool) {
        while self.held.is_none() || self.work.is_some() {
            let Some((length, key)) = first(&self.waiting, settled) else { return };
            self.waiting.drain(..length);
            match (key, &mut self.work) {
                (Key::Cancel(_), Some(ended)) => *ended = true,
                (_, Some(_)) | (Key::Nothing, None) => {}
                (Key::Typed(bytes), None) => {
                    self.write(&bytes);
                }
                (Key::Cancel(cancel), None) => {
                    if self.write(&[cancel.byte()]) {
                        self.held = Some(cancel);
                    }
                }
            }
        }
    }

    /// Tells whether the prompts have it. They have not where more waits for them than a terminal holds; then the key is lost,
    /// as in any terminal.
    fn write(&mut self, bytes: &[u8]) -> bool {
        self.prompts.write_all(bytes).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Feed<Vec<u8>> {
        Feed::new(Vec::new())
    }

    #[test]
    fn nothing_passes_a_key_that_ends_a_question_until_it_was_taken() {
        let mut feed = feed();
        feed.typed(b"ab\x03cd\x1b");
        assert_eq!(feed.prompts, b"ab\x03");
        assert_eq!(feed.take_cancel(), Some(Cancel::CtrlC));
        assert_eq!(feed.prompts, b"ab\x03cd\x1b");
        assert_eq!((feed.take_cancel(), feed.take_cancel()), (Some(Cancel::Esc), None));
    }

    #[test]
    fn an_escape_waits_until_it_is_settled() {
        let mut feed = feed();
        feed.typed(b"\x1b");
        assert!(feed.is_unsettled() && feed.prompts.is_empty());
        feed.typed(b"[A\x1b");
        assert_eq!(feed.prompts, b"\x1b[A");
        feed.settle();
        assert!(!feed.is_unsettled());
        assert_eq!((feed.take_cancel(), feed.prompts), (Some(Cancel::Esc), b"\x1b[A\x1b".to_vec()));
    }

    #[test]
    fn during_work_keys_are_thrown_away_and_esc_or_ctrl_c_ends_it() {
        for (keys, ends) in [("abc\r", false), ("a\u{3}b", true), ("\u{1b}\u{1b}", true), ("\u{1b}[A", false)] {
            let mut feed = feed();
            feed.begin_work();
            feed.typed(keys.as_bytes());
            assert_eq!(feed.work_is_ended(), ends, "{keys:?}");
            feed.typed(b"\x1b");
            feed.end_work();
            feed.settle();
            feed.typed(b"x");
            assert_eq!((feed.take_cancel(), feed.prompts), (None, b"x".to_vec()), "{keys:?}");
        }
    }

    #[test]
    fn what_is_typed_anew_comes_before_what_waits() {
        let mut feed = feed();
        feed.typed(b"\x03later");
        feed.retype("before ");
        feed.take_cancel();
        assert_eq!(feed.prompts, b"\x03before later");
    }

    #[test]
    fn who_is_gone_stays_gone_and_the_first_reason_counts() {
        let mut feed = feed();
        feed.leave("SIGTERM");
        feed.leave("hung up");
        assert_eq!((feed.take_cancel(), feed.gone()), (None, Some("SIGTERM")));
        assert_eq!(feed.prompts, b"\x03\x03");
    }

    #[test]
    fn what_waits_has_a_bound() {
        let mut feed = feed();
        feed.typed(b"\x03");
        feed.typed(&vec![b'x'; 2 * MOST]);
        assert_eq!(feed.waiting.len(), MOST);
    }
}
