//! The script that puts a public key into `authorized_keys`: what it finds there, and what it leaves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use proxmaint::adapters::remote::access::{Installation, Installed, PublicKey, install_over};
use proxmaint::adapters::remote::{Exec, ExecLimit, ExecOutput};
use proxmaint::engine::port::Place;
use proxmaint::ids::GuestId;
use proxmaint::machine::outcome::{Fault, FaultClass};
use proxmaint_lab::ssh::keys::{KeyKind, derive, openssh_line};

use crate::world::{Shell, World, shells};

/// The limit of the answer's size here: nothing in these tests prints more.
const LIMIT: usize = 64 * 1024;

/// A user's home directory in a world.
struct Home {
    world: World,
}

impl Home {
    /// Makes a home directory as `adduser` makes it.
    fn new(shell: &Shell) -> Self {
        let home = Self { world: World::new(shell) };
        fs::create_dir_all(home.dir()).expect("a directory");
        mode(&home.dir(), 0o755);
        home
    }

    fn dir(&self) -> PathBuf {
        self.world.path("home of ops")
    }

    fn ssh(&self) -> PathBuf {
        self.dir().join(".ssh")
    }

    fn file(&self) -> PathBuf {
        self.ssh().join("authorized_keys")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).expect("authorized_keys")
    }

    /// Makes `~/.ssh` with a file in it, with these permissions.
    fn with_file(&self, text: &str, dir_mode: u32, file_mode: u32) {
        fs::create_dir_all(self.ssh()).expect("a directory");
        fs::write(self.file(), text).expect("a file");
        mode(&self.file(), file_mode);
        mode(&self.ssh(), dir_mode);
    }

    /// Lets a line of the script take the shim of a tool, which a busybox of its own would not look for.
    fn takes(&mut self, line: &str, tool: &str) {
        let shim = self.world.path("bin").join(tool).display().to_string();
        self.world.edit(line, &line.replace(tool, &shim));
    }

    async fn install(&self, key: &PublicKey) -> Result<Installation, Fault> {
        install_over(self, &place(), key).await
    }

    /// Installs a key where nothing stands in the way, and returns what was put right.
    async fn added(&self, key: &PublicKey) -> Vec<String> {
        let done = self.install(key).await.expect("installed");
        assert_eq!(done.outcome, Installed::Added);
        done.mended
    }

    /// Tries to install a key, and returns the text of the fault and its hint.
    async fn refused(&self, key: &PublicKey) -> (String, String) {
        let fault = self.install(key).await.expect_err("refused");
        assert_eq!(fault.class, FaultClass::Permanent, "{fault:?}");
        (fault.what, fault.hint.unwrap_or_default())
    }
}

#[async_trait]
impl Exec for Home {
    async fn exec(&self, _: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
        assert!(limit.timeout >= Duration::from_secs(10) && limit.max_output <= LIMIT);
        let mut command = self.world.command(&self.world.moved(script));
        command.env("HOME", self.dir());
        let run = tokio::task::spawn_blocking(move || command.output());
        let out = run.await.expect("the thread ends").expect("a shell");
        Ok(ExecOutput {
            exit: out.status.code().unwrap_or(-1),
            stdout: out.stdout,
            stderr: out.stderr,
            truncated: false,
        })
    }
}

fn place() -> Place {
    Place::Ssh(GuestId(103), "192.0.2.3".to_owned())
}

/// A key with a comment that a shell would take apart.
fn key(name: &str) -> PublicKey {
    let key = derive(KeyKind::Ed25519, name, 0).expect("a key");
    let line = openssh_line(key.public_key()).expect("a line");
    let bare = line.rsplit_once(' ').expect("a comment").0;
    PublicKey::parse(&format!("{bare} {name}'s \"$HOME\" `id` \\n %s key")).expect("a public key")
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

#[track_caller]
fn assert_modes(home: &Home, dir: u32, file: u32) {
    let of = |path: &Path| fs::metadata(path).expect("there").mode() & 0o7777;
    assert_eq!((of(&home.ssh()), of(&home.file())), (dir, file), "~/.ssh and authorized_keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_without_ssh_gets_all_of_it() {
    for shell in shells() {
        let home = Home::new(&shell);
        assert!(home.added(&key("me")).await.is_empty());
        assert_eq!(home.text(), format!("{}\n", key("me").line()), "{shell:?}");
        assert_modes(&home, 0o700, 0o600);
        let again = home.install(&key("me")).await;
        assert_eq!(again, Ok(Installation { outcome: Installed::AlreadyThere, mended: Vec::new() }));
        assert!(home.added(&key("other")).await.is_empty());
        assert_eq!(home.text(), format!("{}\n{}\n", key("me").line(), key("other").line()));
        let left: Vec<_> = fs::read_dir(home.ssh()).expect("a directory").collect();
        assert_eq!(left.len(), 1, "nothing beside it: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_known_whatever_stands_around_it() {
    for shell in shells() {
        let (me, other) = (key("me"), key("other"));
        let bare = format!("{} {}", me.kind(), me.data());
        for there in [
            bare.clone(),
            format!("{bare} another comment"),
            format!("  \t{}\t{}", me.kind(), me.data()),
            format!("{bare} windows\r"),
            format!("restrict,pty {bare}"),
            format!("from=\"10.0.0.0/8\",command=\"echo \\\"a b\\\" c\" {bare}"),
            format!("# mine\n\n{}\n{bare}", other.line()),
        ] {
            let home = Home::new(&shell);
            home.with_file(&there, 0o700, 0o600);
            let done = home.install(&me).await;
            let expected = Installation { outcome: Installed::AlreadyThere, mended: Vec::new() };
            assert_eq!(done, Ok(expected), "{there:?} with {shell:?}");
            assert_eq!(home.text(), there, "not a byte is changed");
        }
        for not_there in [
            format!("#{bare}"),
            format!("# {bare}"),
            format!("command=\"{bare}\" {}", other.line()),
            format!("{}A", bare),
            format!("{bare}A"),
            format!("ssh-rsa {}", me.data()),
            other.line(),
        ] {
            let home = Home::new(&shell);
            home.with_file(&format!("{not_there}\n"), 0o700, 0o600);
            assert!(home.added(&me).await.is_empty(), "{not_there:?} with {shell:?}");
            assert_eq!(home.text(), format!("{not_there}\n{}\n", me.line()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_line_without_its_end_gets_it() {
    for shell in shells() {
        let home = Home::new(&shell);
        home.with_file(&key("other").line(), 0o700, 0o600);
        let mended = home.added(&key("me")).await;
        assert_eq!(home.text(), format!("{}\n{}\n", key("other").line(), key("me").line()));
        assert!(mended.len() == 1 && mended[0].contains("gave the last line"), "{mended:?}");

        let home = Home::new(&shell);
        home.with_file("", 0o700, 0o600);
        assert!(home.added(&key("me")).await.is_empty());
        assert_eq!(home.text(), format!("{}\n", key("me").line()), "an empty file has no last line");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_sshd_does_not_stand_are_put_right_and_told() {
    for shell in shells() {
        let home = Home::new(&shell);
        home.with_file("", 0o777, 0o666);
        let mended = home.added(&key("me")).await;
        assert_modes(&home, 0o755, 0o600);
        assert_eq!(mended.len(), 2, "{mended:?}");
        assert!(mended[0].contains(".ssh from group and others (drwxrwxrwx"), "{mended:?}");
        assert!(mended[1].contains("authorized_keys to 0600 (-rw-rw-rw-"), "{mended:?}");

        // A key that is there is of use only with the right permissions.
        home.with_file(&home.text(), 0o770, 0o620);
        let done = home.install(&key("me")).await.expect("installed");
        assert_eq!((done.outcome, done.mended.len()), (Installed::AlreadyThere, 2));
        assert_modes(&home, 0o750, 0o600);
        assert_eq!(home.install(&key("me")).await.expect("installed").mended, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_others_may_write_to_is_left_as_it_is() {
    for shell in shells() {
        for wide in [0o775, 0o757] {
            let home = Home::new(&shell);
            mode(&home.dir(), wide);
            let (what, hint) = home.refused(&key("me")).await;
            assert!(what.contains("guest 103") && what.contains("the home directory"), "{what}");
            assert!(hint.contains("StrictModes"), "{hint}");
            assert!(!home.ssh().exists(), "nothing is made where it would be of no use");
            assert_eq!(fs::metadata(home.dir()).expect("there").mode() & 0o777, wide);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_somebody_else_is_refused() {
    for shell in shells() {
        let home = Home::new(&shell);
        // Whoever runs the tests is a stranger to a user of another number, unless it is root, whom sshd lets own anything.
        home.world.shim("id", "echo 4711");
        home.world.shim("ls", r#"/bin/ls "$@" | sed 's/^\([^ ]* *[0-9]* *\)[0-9]*/\14712/'"#);
        let (what, _) = home.refused(&key("me")).await;
        assert!(what.contains("home of ops belongs to uid 4712"), "{what}");
        home.world.shim("ls", r#"/bin/ls "$@" | sed 's/^\([^ ]* *[0-9]* *\)[0-9]*/\10/'"#);
        assert!(home.added(&key("me")).await.is_empty(), "root's may be");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_followed_to_what_sshd_reads() {
    for shell in shells() {
        let home = Home::new(&shell);
        let keys = home.dir().join("keys");
        fs::create_dir_all(&keys).expect("a directory");
        mode(&keys, 0o755);
        fs::write(keys.join("mine"), "# kept\n").expect("a file");
        fs::create_dir(home.ssh()).expect("a directory");
        mode(&home.ssh(), 0o700);
        symlink("../keys/mine", home.file()).expect("a link");
        home.added(&key("me")).await;
        assert_eq!(fs::read_to_string(keys.join("mine")).expect("a file"), format!("# kept\n{}\n", key("me").line()));
        assert!(fs::symlink_metadata(home.file()).expect("there").is_symlink(), "the link is left");

        mode(&keys, 0o775);
        let (what, _) = home.refused(&key("other")).await;
        assert!(what.contains("keys, to which a link leads"), "{what}");
        mode(&keys, 0o755);

        // The directory itself may be linked.
        let home = Home::new(&shell);
        fs::create_dir_all(home.dir().join("dot ssh")).expect("a directory");
        mode(&home.dir().join("dot ssh"), 0o700);
        symlink("dot ssh", home.ssh()).expect("a link");
        assert!(home.added(&key("me")).await.is_empty());
        assert_eq!(home.text(), format!("{}\n", key("me").line()));
        mode(&home.dir().join("dot ssh"), 0o720);
        assert_eq!(home.added(&key("other")).await.len(), 1);

        let home = Home::new(&shell);
        fs::create_dir(home.ssh()).expect("a directory");
        mode(&home.ssh(), 0o700);
        symlink("nowhere", home.file()).expect("a link");
        let (what, _) = home.refused(&key("me")).await;
        assert!(what.contains("is a link to nothing"), "{what}");
        assert!(!home.ssh().join("nowhere").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_named() {
    for shell in shells() {
        let home = Home::new(&shell);
        fs::write(home.ssh(), "").expect("a file");
        let (what, _) = home.refused(&key("me")).await;
        assert!(what.contains(".ssh is no directory"), "{what}");

        let home = Home::new(&shell);
        fs::create_dir_all(home.file()).expect("a directory");
        mode(&home.ssh(), 0o700);
        let (what, _) = home.refused(&key("me")).await;
        assert!(what.contains("authorized_keys is no regular file"), "{what}");
        assert!(home.file().is_dir());

        let home = Home::new(&shell);
        fs::create_dir(home.ssh()).expect("a directory");
        mode(&home.ssh(), 0o700);
        symlink("/dev/null", home.file()).expect("a link");
        let (what, _) = home.refused(&key("me")).await;
        assert!(what.contains("no regular file") || what.contains("to which a link leads"), "{what}");

        let home = Home::new(&shell);
        fs::remove_dir(home.dir()).expect("removed");
        let (what, _) = home.refused(&key("me")).await;
        assert!(what.contains("the login has no home directory"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_takes_nothing_is_said_with_its_own_words() {
    for shell in shells() {
        // Nothing at all.
        let mut home = Home::new(&shell);
        home.world.shim("cat", "echo 'cat: write error: No space left on device' >&2; exit 1");
        home.takes("| cat >>", "cat");
        let (what, _) = home.refused(&key("me")).await;
        assert!(what.contains("authorized_keys: cat: write error: No space left on device"), "{what}");
        // Less than it said.
        home.world.shim("cat", "head -c 20");
        let (what, _) = home.refused(&key("me")).await;
        assert!(what.contains("the key is not there afterwards"), "{what}");
        // With room again, what was cut off does not spoil the key.
        home.world.shim("cat", "exec /bin/cat");
        assert_eq!(home.added(&key("me")).await.len(), 1, "the piece gets its end");
        assert_eq!(home.text().lines().last(), Some(key("me").line().as_str()));

        let mut home = Home::new(&shell);
        home.world.shim("mkdir", "echo \"mkdir: can't create directory: Read-only file system\" >&2; exit 1");
        home.takes("$(mkdir", "mkdir");
        let (what, _) = home.refused(&key("me")).await;
        assert!(what.contains("Read-only file system"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn selinux_labels_are_set_where_there_are_any() {
    for shell in shells() {
        let home = Home::new(&shell);
        home.world.shim("restorecon", r#"echo "restorecon $*" >>"$W/calls""#);
        assert!(home.added(&key("me")).await.is_empty());
        assert_eq!(home.world.read("calls"), format!("restorecon -R {}\n", home.ssh().display()));
        home.world.shim("restorecon", "echo 'restorecon: no' >&2; exit 1");
        let mended = home.added(&key("other")).await;
        assert!(mended.len() == 1 && mended[0].contains("could not be set: restorecon: no"), "{mended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_lose_no_key() {
    for shell in shells() {
        let home = Home::new(&shell);
        let keys: Vec<PublicKey> = (0..8).map(|n| key(&format!("user{n}"))).collect();
        let all = futures_util::future::join_all(keys.iter().map(|key| home.install(key))).await;
        assert!(all.iter().all(|done| matches!(done, Ok(Installation { outcome: Installed::Added, .. }))), "{all:?}");
        let text = home.text();
        for key in &keys {
            assert_eq!(text.lines().filter(|line| *line == key.line()).count(), 1, "{text}");
        }
        assert_modes(&home, 0o700, 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_leaves_doubt_and_one_that_never_began_does_not() {
    for shell in shells() {
        let mut home = Home::new(&shell);
        home.world.edit("finish key", "exit 1 #");
        let fault = home.install(&key("me")).await.expect_err("cut off");
        assert_eq!(fault.class, FaultClass::Ambiguous, "{fault:?}");
        home.world.forget_edits();
        let done = home.install(&key("me")).await.expect("again");
        assert_eq!(done.outcome, Installed::AlreadyThere, "it was done all the same, and is not done twice");

        let forced = "echo 'Please login as the user \"debian\" rather than the user \"root\".'; exit 142\n";
        home.world.edit("printf '%s\\n' '@proxmaint 1'", forced);
        let fault = home.install(&key("other")).await.expect_err("something else ran");
        assert_eq!(fault.class, FaultClass::Transient, "{fault:?}");
        assert!(fault.what.contains("Please login as the user \"debian\""), "{fault:?}");
    }
}
