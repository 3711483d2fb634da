//! `proxmaint wizard` at a terminal: what is asked, what is shown, and the file afterwards, byte for byte.
//!
//! Nothing of it needs a lab: a manifest in a directory of its own is the whole world.

mod create;
mod guests;
mod hosts;
mod leaving;
mod prompts;
mod saving;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::Working;
use crate::support::screen::{SIZE, Screen};

/// Two hosts, as one writes them by hand.
const FLEET: &str = r#"# The fleet.

[defaults]
max_parallel = 7   # many

# The first.
[[hosts]]
name = "pve1"
host   =   "pve1.example.org"  # odd spacing
api.token_env = "PVE1_TOKEN"
api.secret_env = "PVE1_SECRET"
guests_include = ["100-199"]

[[hosts]]
host = "192.0.2.12"
api.token_env = "PVE2_TOKEN"
api.secret_env = "PVE2_SECRET"
"#;

/// A directory with a manifest, and the variables that are set.
struct Place {
    dir: TempDir,
    env: Vec<(&'static str, &'static str)>,
}

impl Place {
    /// Makes a directory without a manifest.
    fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("proxmaint-wizard-").tempdir().expect("a directory");
        fs::create_dir(dir.path().join("home")).expect("a home");
        Self { dir, env: Vec::new() }
    }

    fn with(text: &str) -> Self {
        let place = Self::empty();
        fs::write(place.path(), text).expect("the manifest is written");
        place
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("fleet.toml")
    }

    fn backup(&self) -> PathBuf {
        self.dir.path().join("fleet.toml.bak")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).expect("the manifest")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxmaint"));
        command.args(["--config", "fleet.toml", "wizard"]).args(args).current_dir(self.dir.path()).env_clear();
        command.env("HOME", self.dir.path().join("home")).env("TERM", "xterm-256color").env("LANG", "C.UTF-8");
        command.envs(self.env.iter().copied());
        command
    }

    /// Starts the wizard at a terminal.
    fn wizard(&self, args: &[&str]) -> Screen {
        Screen::run(&self.command(args), SIZE)
    }

    /// Starts the wizard without one.
    fn without_terminal(&self) -> Working {
        Working::start(self.command(&[]), &["wizard"])
    }

    /// The manifest is this, and there is nothing beside it but the previous one, where there was one.
    #[track_caller]
    fn assert_saved(&self, text: &str, before: Option<&str>) {
        assert_eq!(self.text(), text);
        assert_eq!(fs::read_to_string(self.backup()).ok().as_deref(), before, "the previous manifest");
        self.assert_tidy();
    }

    /// The manifest is as it was, and nothing was made beside it.
    #[track_caller]
    fn assert_untouched(&self, text: &str) {
        self.assert_saved(text, None);
    }

    /// There is no file that was forgotten, and no state.
    #[track_caller]
    fn assert_tidy(&self) {
        let known = ["home", "fleet.toml", "fleet.toml.bak"];
        for entry in fs::read_dir(self.dir.path()).expect("the directory") {
            let name = entry.expect("an entry").file_name();
            assert!(known.iter().any(|known| name == *known), "{} was left behind", name.display());
        }
    }
}

/// Opens the group of a host's keys, and one key of it.
#[track_caller]
fn open_key(screen: &Screen, host: &str, group: &str, key: &str) {
    screen.choose("What next?", host);
    screen.choose(host, group);
    screen.choose(group, key);
}

/// Goes back to the main menu by Esc.
#[track_caller]
fn back_to_main(screen: &Screen) {
    while screen.asks("").question != "What next?" {
        screen.leave(crate::support::screen::ESC);
    }
}

/// Saves from the main menu, and sees the program end well.
#[track_caller]
fn save(screen: Screen) -> String {
    screen.choose("What next?", "Save and leave");
    screen.confirm("Save?", true);
    screen.finish().expect(0).says(&["saved fleet.toml"]).stdout
}
