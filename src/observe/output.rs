//! The output of upgrades: a file for each guest and node of a run, as its package manager printed it.
//!
//! `logs/RUN/HOST-101-upgrade-guest-r1.log` under the state directory, for the owner alone. What stands in a file is, byte for
//! byte, what the job wrote on its target: nothing is added or left out, so that the file's length says from where a later
//! session goes on. Three things are replaced, each byte by one other:
//!
//! - control characters but line break and tab (C0, DEL, and C1 as UTF-8 writes them) by `?`: a file that is shown on a terminal
//!   commands nothing there;
//! - secrets of this process by `*`, should a target ever print one: none is handed to a job, so this is for the mistake alone,
//!   as with the log. One that comes in two pieces is found as well: the end of the file is looked at again with each piece;
//! - nothing else: what the package manager says about the target's own secrets is the target's.
//!
//! An observer can't stop the engine: what can't be written is logged once a file.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::log::Redactor;
use super::output_name;
use crate::engine::port::JobOutput;
use crate::ids::StepKey;

/// Most bytes at the end of a file that are looked at again for a secret that came in two pieces; a private key is shorter.
const OVERLAP: usize = 8 * 1024;

/// Writes the output of upgrades into files.
#[derive(Debug)]
pub struct LogFiles {
    state_dir: PathBuf,
    redactor: Redactor,
    /// Files about which an error was logged: at most one for each step of a run.
    told: Mutex<BTreeSet<String>>,
}

impl LogFiles {
    /// Makes the writer; nothing is made on disk before there is output.
    pub fn new(state_dir: &Path, redactor: &Redactor) -> Self {
        Self { state_dir: state_dir.to_owned(), redactor: redactor.clone(), told: Mutex::default() }
    }

    /// Returns where the output of a step is, or will be.
    pub fn path(&self, key: &StepKey) -> PathBuf {
        self.state_dir.join(output_name::file(key))
    }

    /// Opens the file of a step. Directories and file are opened one below the other, and no symbolic link is followed: the
    /// name of a host, or a link that somebody left there, leads nowhere else.
    fn open(&self, key: &StepKey, making: Making) -> io::Result<Option<File>> {
        let mut dir = match (File::open(&self.state_dir), making) {
            (Err(error), Making::No) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            (Err(error), Making::Yes) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.state_dir)?;
                File::open(&self.state_dir)?
            }
            (opened, _) => opened?,
        };
        let below = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for name in [output_name::LOGS.to_owned(), output_name::directory(&key.run)] {
            if making == Making::Yes {
                match rustix::fs::mkdirat(&dir, &name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            dir = match rustix::fs::openat(&dir, &name, below | OFlags::DIRECTORY, Mode::empty()) {
                Ok(dir) => dir.into(),
                Err(Errno::NOENT) if making == Making::No => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            if making == Making::Yes {
                rustix::fs::fchmod(&dir, Mode::RWXU)?;
            }
        }
        let mut how = below | OFlags::RDWR | OFlags::NONBLOCK;
        if making == Making::Yes {
            how |= OFlags::CREATE;
        }
        let name = output_name::file_name(key);
        let file: File = match rustix::fs::openat(&dir, &name, how, Mode::RUSR | Mode::WUSR) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) if making == Making::No => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let meta = file.metadata()?;
        // A second name of the file may lie anywhere.
        if !meta.is_file() || meta.nlink() > 1 {
            return Err(io::Error::other("it is no plain file of its own"));
        }
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        Ok(Some(file))
    }

    fn write(&self, key: &StepKey, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = self.open(key, Making::Yes)? else { return Ok(()) };
        let length = file.metadata()?.len();
        let overlap = self.redactor.longest().saturating_sub(1).clamp(1, OVERLAP);
        let overlap = overlap.min(usize::try_from(length).unwrap_or(usize::MAX));
        let at = length - overlap as u64;
        let mut piece = vec![0; overlap];
        file.read_exact_at(&mut piece, at)?;
        piece.extend_from_slice(bytes);
        make_harmless(&mut piece, overlap);
        self.redactor.blot_out(&mut piece);
        file.write_all_at(&piece, at)
    }

    /// Logs an error, the first one about a file.
    fn tell(&self, key: &StepKey, error: &io::Error) {
        let name = key.to_string();
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(name) {
            let path = self.path(key);
            tracing::warn!(%key, path = %path.display(), %error, "the output of this step is not kept");
        }
    }
}

/// Whether what is not there is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Making {
    Yes,
    No,
}

impl JobOutput for LogFiles {
    fn length(&self, key: &StepKey) -> u64 {
        let length = self.open(key, Making::No).and_then(|file| file.map_or(Ok(0), |file| Ok(file.metadata()?.len())));
        length.unwrap_or_else(|error| {
            self.tell(key, &error);
            0
        })
    }

    fn keep(&self, key: &StepKey, bytes: &[u8]) {
        if let Err(error) = self.write(key, bytes) {
            self.tell(key, &error);
        }
    }
}

/// Replaces the control characters from `from` on, each byte by one `?`; what is before tells how the text begins.
fn make_harmless(bytes: &mut [u8], from: usize) {
    for at in from..bytes.len() {
        let control = match bytes[at] {
            b'\n' | b'\t' => false,
            0..0x20 | 0x7f => true,
            // C1: both bytes, or the second alone where the first was written with the piece before.
            0x80..0xa0 if at > 0 && bytes[at - 1] == 0xc2 => {
                if at > from {
                    bytes[at - 1] = b'?';
                }
                true
            }
            _ => false,
        };
        if control {
            bytes[at] = b'?';
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use secrecy::SecretString;

    use super::*;
    use crate::ids::{GuestId, HostId, RunId, Step, Target};

    fn key(host: &str) -> StepKey {
        let run = RunId::new("20261122-222842-abcd");
        StepKey { run, target: Target::Guest(HostId::new(host), GuestId(101)), step: Step::UpgradeGuest, round: 1 }
    }

    fn files() -> (tempfile::TempDir, LogFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = LogFiles::new(&dir.path().join("state"), &Redactor::new());
        (dir, files)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn output_goes_to_a_private_file_of_its_own() {
        let (dir, files) = files();
        let key = key("pve1.example.org");
        assert_eq!(files.length(&key), 0);
        assert!(!dir.path().join("state").exists(), "asking makes nothing");
        files.keep(&key, b"one\n");
        files.keep(&key, "zwei ä\n".as_bytes());
        let path = dir.path().join("state/logs/20261122-222842-abcd/pve1.example.org-101-upgrade-guest-r1.log");
        assert_eq!(files.path(&key), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\nzwei ä\n");
        assert_eq!(files.length(&key), 12);
        assert_eq!(
            (mode(&path), mode(path.parent().unwrap()), mode(&dir.path().join("state/logs"))),
            (0o600, 0o700, 0o700)
        );
        let host = StepKey { target: Target::Host(HostId::new("pve1")), step: Step::UpgradeHost, ..key.clone() };
        assert!(files.path(&host).ends_with("pve1-node-upgrade-host-r1.log"));
        assert_eq!(files.length(&host), 0);
    }

    #[test]
    fn control_characters_become_question_marks_byte_for_byte() {
        let text = b"\x1b[31mred\x07\x00 a\tb\r\n\x7f \xc2\x9b31m \xc3\xa4 \xc4\x9b \xff\n";
        let wanted = b"?[31mred?? a\tb?\n? ??31m \xc3\xa4 \xc4\x9b \xff\n";
        assert_eq!(text.len(), wanted.len());
        // However the text is cut into pieces.
        for cut in 0..=text.len() {
            let (_dir, files) = files();
            let key = key("h");
            files.keep(&key, &text[..cut]);
            files.keep(&key, &text[cut..]);
            let written = fs::read(files.path(&key)).unwrap();
            assert_eq!(written.len(), text.len());
            let cut_in_two = text[..cut].ends_with(b"\xc2");
            let wanted =
                if cut_in_two { [&wanted[..cut - 1], b"\xc2", &wanted[cut..]].concat() } else { wanted.to_vec() };
            assert_eq!(written, wanted, "cut at {cut}");
            // Of a C1 character that is cut in two the first byte stands alone: no control character.
            assert!(!String::from_utf8_lossy(&written).contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        }
    }

    #[test]
    fn a_secret_is_blotted_out_even_in_two_pieces_and_the_length_stays() {
        let text = b"before hunter2-secret after\n";
        for cut in 0..=text.len() {
            let dir = tempfile::tempdir().unwrap();
            let redactor = Redactor::new();
            redactor.register(&SecretString::from("hunter2-secret"));
            let files = LogFiles::new(dir.path(), &redactor);
            let key = key("h");
            files.keep(&key, &text[..cut]);
            files.keep(&key, &text[cut..]);
            assert_eq!(fs::read(files.path(&key)).unwrap(), b"before ************** after\n", "cut at {cut}");
        }
    }

    #[test]
    fn odd_names_of_hosts_stay_within_the_directory() {
        let (dir, files) = files();
        let long = "x".repeat(400);
        let odd =
            ["../../etc/x", "/etc/x", "..", ".", ".hidden", "-rf", "a/b", "a_b", "a b", "a\nb", "ä", "", "a\0b", &long];
        for host in odd {
            files.keep(&key(host), b"x");
            assert_eq!(files.length(&key(host)), 1, "{host:?}");
        }
        let run = dir.path().join("state/logs/20261122-222842-abcd");
        let mut names: Vec<String> =
            fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names.len(), odd.len(), "each has a file of its own: {names:?}");
        for name in &names {
            assert!(name.ends_with("-101-upgrade-guest-r1.log") && name.len() < 255, "{name}");
            assert!(!name.starts_with(['.', '-']), "{name}");
        }
        let outside: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(outside.len(), 1, "nothing beside the state directory: {outside:?}");
    }

    #[test]
    fn no_link_is_followed() {
        let (dir, files) = files();
        let key = key("h");
        let outside = dir.path().join("outside");
        fs::write(&outside, "precious").unwrap();
        let path = files.path(&key);
        // A link in the place of the file, of the run's directory, of the directory of logs; a second name; a FIFO.
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(&outside, &path).unwrap();
        files.keep(&key, b"x");
        assert_eq!(files.length(&key), 0);
        fs::remove_file(&path).unwrap();
        fs::hard_link(&outside, &path).unwrap();
        files.keep(&key, b"x");
        fs::remove_file(&path).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        files.keep(&key, b"x");
        fs::remove_file(&path).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::remove_dir(path.parent().unwrap()).unwrap();
        symlink(&elsewhere, path.parent().unwrap()).unwrap();
        files.keep(&key, b"x");
        assert_eq!(files.length(&key), 0);
        assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn what_can_not_be_written_is_told_once_and_stops_nothing() {
        let (dir, files) = files();
        fs::write(dir.path().join("state"), "a file in the place of the directory").unwrap();
        let key = key("h");
        for _ in 0..3 {
            files.keep(&key, b"x");
            assert_eq!(files.length(&key), 0);
        }
        assert_eq!(files.told.lock().unwrap().len(), 1);
    }
}
