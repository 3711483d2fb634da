//! What each kind of error looks like to the one who meets it: the text and the exit code, as snapshots.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const MANIFEST: &str = "\
[[hosts]]
name = \"edge1\"
host = \"127.0.0.1\"
api.token_env = \"EDGE1_TOKEN\"
api.secret_env = \"EDGE1_SECRET\"

[[hosts]]
name = \"edge2\"
host = \"127.0.0.2\"
api.token_env = \"EDGE2_TOKEN\"
api.secret_env = \"EDGE2_SECRET\"
";

/// A directory with a manifest and nothing else.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new(manifest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("proxmox-hosts.toml"), manifest).unwrap();
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs proxmaint there, with nothing in its environment but a home and these variables, and returns what it said.
    fn says(&self, args: &[&str], variables: &[(&str, &str)]) -> String {
        let done = Command::new(env!("CARGO_BIN_EXE_proxmaint"))
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        let mut text = String::new();
        writeln!(text, "$ proxmaint {}", args.join(" ")).unwrap();
        let printed = |bytes: &[u8]| {
            let canonical = self.path().canonicalize().unwrap();
            let text = String::from_utf8_lossy(bytes).replace(canonical.to_str().unwrap(), "/srv/fleet");
            text.replace(self.path().to_str().unwrap(), "/srv/fleet")
        };
        for (name, bytes) in [("stdout", &done.stdout), ("stderr", &done.stderr)] {
            if !bytes.is_empty() {
                writeln!(text, "--- {name}\n{}", printed(bytes).trim_end()).unwrap();
            }
        }
        writeln!(text, "--- exit code {}", done.status.code().unwrap()).unwrap();
        text
    }
}

#[test]
fn the_manifest() {
    let place = Place::new("[[hosts]]\nname = \"edge1\"\napi.port = \"8006\"\n\n[[hosts]]\nhost = 7\n");
    let missing = place.says(&["run", "--config", "no-such.toml"], &[]);
    insta::assert_snapshot!(format!("{missing}\n{}", place.says(&["run"], &[])));
}

#[test]
fn credentials_and_hosts() {
    let place = Place::new(MANIFEST);
    let set = [("EDGE1_TOKEN", "root@pam!proxmaint"), ("EDGE1_SECRET", "4f0e1a3c-0000-4000-8000-000000000000")];
    let all = [
        place.says(&["run", "--yes"], &set),
        place.says(&["run", "--host", "edge1"], &[("EDGE1_TOKEN", "root"), ("EDGE1_SECRET", "")]),
        place.says(&["run", "--host", "edge9"], &set),
    ];
    assert!(!place.path().join("state").exists(), "nothing was touched");
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn usage() {
    let place = Place::new(MANIFEST);
    let all = [
        place.says(&["rnu"], &[]),
        place.says(&["run", "--fresh", "--resume", "2026"], &[]),
        place.says(&["run", "--max-hosts", "0"], &[]),
        place.says(&["resolve", "2026", "edge1"], &[]),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_state_without_runs() {
    let place = Place::new(MANIFEST);
    let all = [
        place.says(&["status"], &[]),
        place.says(&["resolve", "2026", "edge1", "--retry"], &[]),
        place.says(&["journal", "verify"], &[]),
        place.says(&["journal", "export", "2026"], &[]),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_state_that_cant_be_trusted_or_read() {
    let place = Place::new(MANIFEST);
    let state = place.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    let open_to_all = place.says(&["status"], &[]);
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    fs::DirBuilder::new().mode(0o700).create(state.join("journal")).unwrap();
    fs::write(state.join("journal/watermark"), vec![b'x'; 1024]).unwrap();
    insta::assert_snapshot!(format!("{open_to_all}\n{}", place.says(&["status"], &[])));
}
