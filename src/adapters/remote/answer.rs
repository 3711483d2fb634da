//! Reads what a script of ours printed, and tells "the script said so" from "the script never ran".
//!
//! Every script prints `@proxmaint 1` first and `@end` last. An exit status alone proves nothing: `pct exec` passes the
//! inner one on, but ends with 255 for a container that is off and with 2 for one that does not exist, which a script
//! could do as well. So the first marker says that the script ran, the last one that its answer is whole, and exit
//! statuses carry no meaning.

use std::collections::BTreeMap;

use super::exec::{At, ExecOutput};
use super::text::fragment;
use crate::engine::port::Place;
use crate::machine::outcome::{Fault, FaultClass};

/// The line that says that a script of ours began.
const BEGIN: &str = "@proxmaint 1";

/// What a script does, which decides what an answer that is cut off means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// It only looks: it can be asked again.
    Reads,
    /// It may have changed something before it was cut off.
    Changes,
}

impl Nature {
    /// Returns the class of a fault that leaves open how far the script got.
    pub(crate) fn doubt(self) -> FaultClass {
        match self {
            Self::Reads => FaultClass::Transient,
            Self::Changes => FaultClass::Ambiguous,
        }
    }
}

/// One entry of an answer: the rest of its `@key` line, and the `|` lines below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The text after the key.
    pub(crate) value: String,
    /// The lines below, without their `|`.
    pub(crate) lines: Vec<String>,
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer(BTreeMap<String, Entry>);

impl Answer {
    /// Puts the markers around a script's text.
    pub(crate) fn envelope(parts: &[&str]) -> String {
        let mut script = format!("printf '%s\\n' '{BEGIN}'\n");
        for part in parts {
            script.push_str(part);
            if !part.ends_with('\n') {
                script.push('\n');
            }
        }
        script
    }

    /// Reads the output of a script; `doing` says in a lowercase fragment what it was for.
    pub(crate) fn read(place: &Place, doing: &str, nature: Nature, out: &ExecOutput) -> Result<Self, Fault> {
        let stdout = String::from_utf8_lossy(&out.stdout);
        // A login shell's start-up file may print something before the script does.
        let mut lines = stdout.lines().skip_while(|line| *line != BEGIN);
        if lines.next().is_none() {
            return Err(never_ran(place, doing, out));
        }
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        let mut current: Option<String> = None;
        for line in lines {
            if let Some(rest) = line.strip_prefix('@') {
                let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                if key == "end" {
                    return Ok(Self(entries));
                }
                entries.insert(key.to_owned(), Entry { value: value.trim().to_owned(), lines: Vec::new() });
                current = Some(key.to_owned());
            } else if let (Some(text), Some(key)) = (line.strip_prefix('|'), &current)
                && let Some(entry) = entries.get_mut(key)
            {
                entry.lines.push(text.to_owned());
            }
        }
        let stderr = said(out);
        if out.truncated {
            return Err(Fault::new(
                if nature == Nature::Reads { FaultClass::Permanent } else { FaultClass::Ambiguous },
                format!("{doing} on {}: the answer is longer than {} bytes", At(place), out.stdout.len()),
            ));
        }
        Err(Fault::new(
            nature.doubt(),
            format!("{doing} on {}: the answer was cut off (exit status {}){stderr}", At(place), out.exit),
        ))
    }

    /// Makes an answer of a script's lines, without the markers around them.
    #[cfg(test)]
    pub(crate) fn of_text(text: &str) -> Self {
        let stdout = format!("{BEGIN}\n{text}\n@end\n").into_bytes();
        let out = ExecOutput { exit: 0, stdout, stderr: Vec::new(), truncated: false };
        Self::read(&Place::Node, "reading", Nature::Reads, &out).unwrap_or_default()
    }

    /// Returns an entry.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.0.get(key)
    }

    /// Returns an entry's value, where it is there and not empty.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(|entry| entry.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns an entry's lines; none where there is no such entry.
    pub(crate) fn lines(&self, key: &str) -> &[String] {
        self.get(key).map_or(&[], |entry| &entry.lines)
    }

    /// Returns an entry's value as a number.
    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        self.value(key)?.parse().ok()
    }
}

/// Returns whether a script of ours began, by what came of it.
pub(super) fn began(stdout: &[u8]) -> bool {
    stdout.split(|byte| *byte == b'\n').any(|line| line == BEGIN.as_bytes())
}

/// Writes stderr as the end of a message.
fn said(out: &ExecOutput) -> String {
    let stderr = String::from_utf8_lossy(&out.stderr);
    let text = fragment(&stderr.lines().collect::<Vec<_>>());
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// Makes the fault of a script that did not begin: whatever was in between (`pct`, the login shell)
/// refused; a refusal of `sudo` is told by [`super::sudo`].
fn never_ran(place: &Place, doing: &str, out: &ExecOutput) -> Fault {
    let stderr = String::from_utf8_lossy(&out.stderr);
    // A login that is forced to something else says so there: "Please login as the user ..." of cloud images.
    let stdout = String::from_utf8_lossy(&out.stdout);
    let instead = match (said(out), fragment(&stdout.lines().collect::<Vec<_>>())) {
        (said, _) if !said.is_empty() => said,
        (_, printed) if !printed.is_empty() => format!("; instead there came: {printed}"),
        _ => String::new(),
    };
    let what = format!("{doing} on {}: nothing was run (exit status {}){instead}", At(place), out.exit);
    if matches!(place, Place::Ct(_)) {
        if stderr.contains("not running") {
            return Fault::permanent(format!("{doing} on {}: the container is not running", At(place)))
                .hint("start it, or leave it out of the manifest");
        }
        if stderr.contains("Configuration file") && stderr.contains("does not exist") {
            return Fault::permanent(format!("{doing} on {}: there is no such container on this node", At(place)))
                .hint("it may have moved to another node or been destroyed");
        }
    }
    if matches!(out.exit, 126 | 127) {
        return Fault::permanent(what).hint("a POSIX shell at /bin/sh is needed there");
    }
    Fault::transient(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GuestId;

    fn output(exit: i32, stdout: &str, stderr: &str) -> ExecOutput {
        ExecOutput { exit, stdout: stdout.as_bytes().to_vec(), stderr: stderr.as_bytes().to_vec(), truncated: false }
    }

    fn read(place: &Place, out: &ExecOutput) -> Result<Answer, Fault> {
        Answer::read(place, "looking", Nature::Reads, out)
    }

    #[test]
    fn keys_and_lines_are_read() {
        let out = output(0, "@proxmaint 1\n@kernel 6.8.12-1-pve\n@log\n|one\n|@end\n\n|\n@end\n", "");
        let answer = read(&Place::Node, &out).expect("a whole answer");
        assert_eq!(answer.value("kernel"), Some("6.8.12-1-pve"));
        assert_eq!(answer.lines("log"), ["one", "@end", ""]);
        assert_eq!(answer.value("log"), None);
        assert_eq!(answer.lines("absent"), [] as [&str; 0]);
    }

    #[test]
    fn a_talkative_login_shell_is_read_past() {
        let out = output(0, "Welcome!\n@kernel fake\n@proxmaint 1\n@kernel real\n@end\n", "");
        assert_eq!(read(&Place::Node, &out).expect("a whole answer").value("kernel"), Some("real"));
    }

    #[test]
    fn an_answer_without_its_end_is_in_doubt_where_it_changes_something() {
        let out = output(0, "@proxmaint 1\n@start started\n", "");
        assert_eq!(read(&Place::Node, &out).expect_err("cut off").class, FaultClass::Transient);
        let fault = Answer::read(&Place::Node, "starting", Nature::Changes, &out).expect_err("cut off");
        assert_eq!(fault.class, FaultClass::Ambiguous);
    }

    #[test]
    fn pct_refusing_is_not_the_script_failing() {
        let ct = Place::Ct(GuestId(103));
        let off = read(&ct, &output(255, "", "container '103' not running!\n")).expect_err("never ran");
        assert_eq!(off.class, FaultClass::Permanent);
        assert!(off.what.contains("CT 103") && off.what.contains("not running"), "{off}");
        let gone = read(&ct, &output(2, "", "Configuration file 'nodes/pve1/lxc/103.conf' does not exist\n"));
        assert!(gone.expect_err("never ran").what.contains("no such container"));
        // The same texts and codes from within a script that ran are its own business.
        let inner = output(255, "@proxmaint 1\n@end\n", "container '103' not running!\n");
        assert!(read(&ct, &inner).is_ok());
    }

    #[test]
    fn a_missing_shell_is_named() {
        let fault =
            read(&Place::Ct(GuestId(1)), &output(127, "", "lxc-attach: No such file or directory")).expect_err("none");
        assert_eq!(fault.class, FaultClass::Permanent);
    }

    #[test]
    fn an_answer_that_was_cut_at_the_limit_says_so() {
        let mut out = output(0, "@proxmaint 1\n@log\n|x\n", "");
        out.truncated = true;
        assert!(read(&Place::Node, &out).expect_err("cut").what.contains("longer than"));
    }
}
