//! `~/.ssh/authorized_keys` as sshd reads it, with its default `StrictModes yes`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use russh::keys::PublicKey;

/// Permissions that sshd does not stand: to write, for group and others.
const WRITE_FOR_OTHERS: u32 = 0o022;

/// Tells whether a key is in the `authorized_keys` below a home directory, and sshd would heed that file.
pub(super) fn holds(home: &Path, key: &PublicKey) -> bool {
    let file = home.join(".ssh/authorized_keys");
    // What links lead to counts, not the links.
    let (Ok(file), Ok(home)) = (file.canonicalize(), home.canonicalize()) else { return false };
    if !is_trusted(&file, &home) {
        return false;
    }
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(key_of).any(|known| known.key_data() == key.key_data())
}

/// Tells whether nobody else may write to a regular file and the directories above it up to the home directory, or to `/`.
fn is_trusted(file: &Path, home: &Path) -> bool {
    let safe = |path: &Path| {
        // All that is a machine's belongs to the lab's own user, who is each of its users in turn.
        fs::metadata(path).is_ok_and(|found| found.mode() & WRITE_FOR_OTHERS == 0)
    };
    let up_to = if file.starts_with(home) { home } else { Path::new("/") };
    file.is_file() && file.ancestors().take_while(|path| path.starts_with(up_to)).all(safe)
}

/// Takes the key out of a line, whatever options stand before it; of a comment or of what is damaged there is none.
fn key_of(line: &str) -> Option<PublicKey> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    PublicKey::from_openssh(line).or_else(|_| PublicKey::from_openssh(behind_options(line))).ok()
}

/// Returns what follows the first blank that is not between quotes.
fn behind_options(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => return line[at..].trim_start(),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    ""
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::ssh::keys::{KeyKind, derive, openssh_line};

    fn key(name: &str) -> PublicKey {
        derive(KeyKind::Ed25519, name, 0).unwrap().public_key().clone()
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_line_is_read_as_sshd_reads_it() {
        let line = openssh_line(&key("me")).unwrap();
        for good in [
            line.clone(),
            format!("  {line}\r"),
            format!("no-pty {line}"),
            format!("from=\"10.0.0.0/8\",command=\"say \\\"a b\\\" c\"  {line}"),
        ] {
            assert_eq!(
                key_of(&good).map(|found| found.key_data().clone()),
                Some(key("me").key_data().clone()),
                "{good}"
            );
        }
        for bad in [format!("# {line}"), String::new(), "ssh-ed25519 AAAA".to_owned(), format!("command=\"{line}\"")] {
            assert!(key_of(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_to_is_passed_over() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        assert!(!holds(home, &key("me")), "there is none");
        let (dir, file) = (home.join(".ssh"), home.join(".ssh/authorized_keys"));
        fs::create_dir(&dir).unwrap();
        fs::write(&file, openssh_line(&key("other")).unwrap() + "\n" + &openssh_line(&key("me")).unwrap()).unwrap();
        for (path, good) in [(home, 0o700), (&dir, 0o700), (&file, 0o600)] {
            mode(path, good);
        }
        assert!(holds(home, &key("me")) && holds(home, &key("other")) && !holds(home, &key("stranger")));
        for (path, usual, wide) in [(home, 0o755, 0o775), (&dir, 0o755, 0o702), (&file, 0o644, 0o620)] {
            mode(path, usual);
            assert!(holds(home, &key("me")), "{usual:o} {}", path.display());
            mode(path, wide);
            assert!(!holds(home, &key("me")), "{wide:o} {}", path.display());
            mode(path, usual);
        }
        fs::rename(&file, home.join("keys")).unwrap();
        symlink("../keys", &file).unwrap();
        assert!(holds(home, &key("me")), "a link is followed");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(!holds(home, &key("me")), "a directory");
    }
}
