//! What a terminal sends, key by key.
//!
//! The prompts read bytes and guess where a key ends. Here each key is told apart first, so that none reaches them in parts,
//! and none that they would misread.

/// A key that ends the question it is pressed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    /// Esc, alone.
    Esc,
    /// Ctrl-C.
    CtrlC,
}

impl Cancel {
    /// Returns the byte that a terminal sends for it.
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Esc => 0x1b,
            Self::CtrlC => 0x03,
        }
    }
}

/// A key, as far as prompts are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// One that a prompt understands, by these bytes.
    Typed(Vec<u8>),
    /// One that ends a question.
    Cancel(Cancel),
    /// One that means nothing here.
    Nothing,
}

/// Reads the first key; `None` where there is none yet. `settled` says that nothing more is about to come: then an escape at
/// the end is a key of its own. Returns how many bytes it takes as well.
pub(super) fn first(bytes: &[u8], settled: bool) -> Option<(usize, Key)> {
    match *bytes.first()? {
        0x03 => Some((1, Key::Cancel(Cancel::CtrlC))),
        0x1b => escape(&bytes[1..], settled).map(|(more, key)| (more + 1, key)),
        // Quit and suspend: the terminal would make signals of them.
        0x1a | 0x1c => Some((1, Key::Nothing)),
        byte if byte.is_ascii() => Some((1, Key::Typed(vec![byte]))),
        _ => character(bytes),
    }
}

/// Reads a character beyond ASCII. Bytes that are none are no key.
fn character(bytes: &[u8]) -> Option<(usize, Key)> {
    let bytes = &bytes[..bytes.len().min(4)];
    let whole = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() == 0 => return error.error_len().map(|wrong| (wrong, Key::Nothing)),
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    let length = whole.chars().next()?.len_utf8();
    Some((length, Key::Typed(bytes[..length].to_vec())))
}

/// Reads what follows an escape.
fn escape(rest: &[u8], settled: bool) -> Option<(usize, Key)> {
    match rest.first() {
        None => settled.then_some((0, Key::Cancel(Cancel::Esc))),
        // What follows is a key of its own.
        Some(0x1b | 0x03) => Some((0, Key::Cancel(Cancel::Esc))),
        Some(b'[') => match control_sequence(&rest[1..]) {
            Some((length, key)) => Some((length + 1, key)),
            None => settled.then_some((rest.len(), Key::Nothing)),
        },
        // How some terminals send arrows, Home and End.
        Some(b'O') => match rest.get(1) {
            Some(end @ (b'A'..=b'D' | b'H' | b'F')) => Some((2, sequence(&[*end]))),
            Some(_) => Some((2, Key::Nothing)),
            None => settled.then_some((1, Key::Nothing)),
        },
        // Alt with a key: b, f and backspace move and delete by words.
        Some(byte @ (b'b' | b'f' | 0x7f)) => Some((1, Key::Typed(vec![0x1b, *byte]))),
        Some(_) => Some((1, Key::Nothing)),
    }
}

/// Reads a control sequence from behind its bracket on; `None` where it has no end yet.
fn control_sequence(rest: &[u8]) -> Option<(usize, Key)> {
    let end = rest.iter().position(|byte| !matches!(byte, b' '..=b'?'))?;
    let length = end + 1;
    let key = match &rest[..length] {
        known @ ([b'A'..=b'D' | b'H' | b'F' | b'Z'] | [b'1'..=b'8', b'~']) => sequence(known),
        // Ctrl and Alt with an arrow. The prompts read these through a buffer that swallows the keys after it, so they get what
        // means the same.
        b"1;3D" | b"1;5D" => Key::Typed(b"\x1bb".to_vec()),
        b"1;3C" | b"1;5C" => Key::Typed(b"\x1bf".to_vec()),
        _ => Key::Nothing,
    };
    Some((length, key))
}

fn sequence(end: &[u8]) -> Key {
    Key::Typed([b"\x1b[", end].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All keys of what was sent, and what is left over.
    fn keys(mut bytes: &[u8], settled: bool) -> (Vec<Key>, &[u8]) {
        let mut found = Vec::new();
        while let Some((length, key)) = first(bytes, settled) {
            found.push(key);
            bytes = &bytes[length..];
        }
        (found, bytes)
    }

    fn typed(text: &str) -> Key {
        Key::Typed(text.as_bytes().to_vec())
    }

    #[test]
    fn text_goes_through_character_by_character() {
        assert_eq!(keys("aé€😀\r".as_bytes(), false).0, ["a", "é", "€", "😀", "\r"].map(typed));
    }

    #[test]
    fn a_character_in_two_parts_waits_for_the_second() {
        assert_eq!(keys(b"a\xe2\x82", true), (vec![typed("a")], &b"\xe2\x82"[..]));
        assert_eq!(keys(b"\xe4rger", false).0, [Key::Nothing, typed("r"), typed("g"), typed("e"), typed("r")]);
    }

    #[test]
    fn an_escape_is_a_key_where_nothing_follows() {
        assert_eq!(keys(b"\x1b", false), (vec![], &b"\x1b"[..]));
        assert_eq!(keys(b"\x1b", true).0, [Key::Cancel(Cancel::Esc)]);
        assert_eq!(
            keys(b"\x1b\x1b[A\x1b\x03", true).0,
            [Key::Cancel(Cancel::Esc), typed("\x1b[A"), Key::Cancel(Cancel::Esc), Key::Cancel(Cancel::CtrlC)]
        );
    }

    #[test]
    fn arrows_go_through_in_either_form_and_never_in_parts() {
        assert_eq!(keys(b"\x1b[A\x1bOB\x1b[3~", false).0, ["\x1b[A", "\x1b[B", "\x1b[3~"].map(typed));
        for part in [&b"\x1b["[..], b"\x1b[1", b"\x1b[1;", b"\x1b[1;5", b"\x1bO"] {
            assert_eq!(keys(part, false), (vec![], part));
            assert_eq!(keys(part, true), (vec![Key::Nothing], &b""[..]));
        }
    }

    #[test]
    fn moving_by_words_is_sent_as_what_the_prompts_read_whole() {
        assert_eq!(keys(b"\x1b[1;5D\x1b[1;3C", false).0, ["\x1bb", "\x1bf"].map(typed));
    }

    #[test]
    fn what_means_nothing_to_a_prompt_does_not_reach_it() {
        for sent in [&b"\x1a"[..], b"\x1c", b"\x1b[1;2A", b"\x1b[200~", b"\x1b[<0;1;1M", b"\x1bOP", b"\x1bx"] {
            assert_eq!(keys(sent, false), (vec![Key::Nothing], &b""[..]), "{sent:?}");
        }
    }
}
