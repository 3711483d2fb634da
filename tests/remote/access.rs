//! Visits to guests of the lab, and keys put there, over real SSH.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use proxmaint::adapters::remote::access::{Accepted, Installation, Installed, PublicKey, install_key, visit};
use proxmaint::adapters::ssh::{Auth, JumpHop, SshTarget};
use proxmaint::ids::GuestId;
use proxmaint::machine::outcome::FaultClass;
use proxmaint_lab::Lab;
use proxmaint_lab::faults::{CommandFault, Fault as LabFault};
use proxmaint_lab::ssh::KeyKind;
use proxmaint_lab::ssh::keys::{derive, write_pair};
use proxmaint_lab::world::{MachineId, Os, World};
use secrecy::SecretString;
use tempfile::TempDir;

/// Far beyond what anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const PASSWORD: &str = "correct horse";
/// A container that takes root's password alone.
const CT: u32 = 103;
/// A VM that takes the password of root and of ops, who may become root.
const VM: u32 = 201;
/// An Alpine container that takes the lab's key.
const KEYED: u32 = 104;

/// A lab, and a desk with a key of its own that no guest knows.
struct Site {
    lab: Lab,
    desk: TempDir,
    key: PathBuf,
    public: PublicKey,
}

impl Site {
    async fn start() -> Self {
        let world = World::builder()
            .standalone("edge1")
            .ct("edge1", CT, |ct| ct.password_only(PASSWORD))
            .ct("edge1", KEYED, |ct| ct.os(Os::Alpine322).ssh_users(&["root", "ops"]))
            .vm("edge1", VM, |vm| vm.name("db").ssh_users(&["root", "ops"]).password_only(PASSWORD));
        let lab = Lab::start(world.build()).await.expect("the lab starts");
        let desk = tempfile::tempdir().expect("a directory");
        let key = desk.path().join("id_ed25519");
        write_pair(&derive(KeyKind::Ed25519, "operator", 0).expect("a key"), &key).expect("files");
        let public = PublicKey::of_private(&key).expect("its public half");
        Self { lab, desk, key, public }
    }

    /// Returns a target that offers the desk's key only.
    fn by_key(&self, vmid: u32, user: &str) -> SshTarget {
        let address = self.lab.vm_addr("edge1", vmid).expect("an SSH server");
        let mut target = SshTarget::new(address.ip().to_string(), user, self.desk.path().join("known_hosts"));
        target.port = address.port();
        target.auth = Auth::only_key(self.key.clone());
        target.host_keys.user_known_hosts = Vec::new();
        target.host_keys.global_known_hosts = Vec::new();
        target
    }

    fn by_password(&self, vmid: u32, user: &str) -> SshTarget {
        self.by_key(vmid, user).proven_by(Auth::only_password(SecretString::from(PASSWORD)))
    }

    fn with_labs_key(&self, vmid: u32, user: &str) -> SshTarget {
        self.by_key(vmid, user).proven_by(Auth::only_key(self.lab.client_key_path().to_owned()))
    }

    /// Returns a user's home directory within a guest.
    fn home(&self, vmid: u32, user: &str) -> PathBuf {
        let root = self.lab.root_of(&MachineId::guest("edge1", vmid));
        if user == "root" { root.join("root") } else { root.join("home").join(user) }
    }

    fn text(&self, vmid: u32, user: &str) -> String {
        fs::read_to_string(self.home(vmid, user).join(".ssh/authorized_keys")).unwrap_or_default()
    }

    /// Waits until a guest's server has seen that nobody is connected any more: a good-bye is on its way for a moment.
    async fn until_closed(&self, vmid: u32) {
        let server = self.lab.ssh.server(&MachineId::guest("edge1", vmid)).expect("a server");
        let closed = async {
            while server.stats().open > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.expect("the connection ends with the visit");
    }
}

fn guest(vmid: u32) -> GuestId {
    GuestId(vmid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_says_what_let_in_and_who_is_there() {
    let site = Site::start().await;
    let seen = visit(&site.by_password(CT, "root"), guest(CT)).await.expect("let in");
    assert_eq!((seen.accepted, seen.identity.hostname.as_str()), (Accepted::Password, "ct103"));
    let seen = visit(&site.with_labs_key(KEYED, "root"), guest(KEYED)).await.expect("let in");
    assert_eq!(seen.accepted, Accepted::Key(site.lab.client_key_path().to_owned()));
    // Whoever is not root becomes it, so the machine can be proven.
    let seen = visit(&site.by_password(VM, "ops"), guest(VM)).await.expect("let in");
    let uuid = site.lab.with(|world, _| world.guest_of("edge1", VM).expect("a VM").machine.product_uuid.clone());
    assert_eq!((seen.identity.hostname.as_str(), seen.identity.product_uuid), ("db", uuid));
    for vmid in [CT, KEYED, VM] {
        site.until_closed(vmid).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refused_or_of_no_use_is_told_apart() {
    let site = Site::start().await;
    let refused = visit(&site.by_key(CT, "root"), guest(CT)).await.expect_err("not there yet");
    assert_eq!(refused.class, FaultClass::Auth, "{refused:?}");
    let wrong = site.by_key(CT, "root").proven_by(Auth::only_password(SecretString::from("battery staple")));
    let refused = visit(&wrong, guest(CT)).await.expect_err("another password");
    assert_eq!(refused.class, FaultClass::Auth, "{refused:?}");
    assert!(!format!("{refused:?}").contains("battery"), "{refused:?}");
    let refused = install_key(&wrong, guest(CT), &site.public).await.expect_err("another password");
    assert_eq!(refused.class, FaultClass::Auth, "{refused:?}");

    // In, but not root: sudo wants a password, or there is none.
    let sudoers = site.lab.root_of(&MachineId::guest("edge1", VM)).join("etc/sudoers.d");
    fs::create_dir_all(&sudoers).expect("a directory");
    fs::write(sudoers.join("ops"), "ops ALL=(root) ALL\n").expect("a file");
    for (target, vmid, why) in
        [(site.by_password(VM, "ops"), VM, "wants a password"), (site.with_labs_key(KEYED, "ops"), KEYED, "no sudo")]
    {
        let of_no_use = visit(&target, guest(vmid)).await.expect_err("not root");
        assert_eq!(of_no_use.class, FaultClass::Permanent, "{of_no_use:?}");
        assert!(of_no_use.what.contains(why), "{of_no_use:?}");
        assert!(of_no_use.hint.expect("a hint").contains("`ops ALL=(root) NOPASSWD: ALL`"));
    }

    let server = site.lab.ssh.server(&MachineId::guest("edge1", CT)).expect("a server");
    visit(&site.by_password(CT, "root"), guest(CT)).await.expect("its host key is known from here on");
    site.lab.ssh.rekey(&MachineId::guest("edge1", CT), &[KeyKind::Ed25519], 1).expect("another host key");
    let logins = server.stats().sessions;
    for fault in [
        visit(&site.by_password(CT, "root"), guest(CT)).await.expect_err("another machine"),
        install_key(&site.by_password(CT, "root"), guest(CT), &site.public).await.expect_err("another machine"),
    ] {
        assert_eq!(fault.class, FaultClass::Identity, "{fault:?}");
    }
    assert_eq!(server.stats().sessions, logins, "nothing was run there");

    let mut nobody = site.by_password(CT, "root");
    nobody.port = 1;
    assert_eq!(visit(&nobody, guest(CT)).await.expect_err("nobody").class, FaultClass::Transient);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_put_there_lets_in_alone() {
    let site = Site::start().await;
    for (vmid, user) in [(CT, "root"), (VM, "root"), (VM, "ops")] {
        let refused = visit(&site.by_key(vmid, user), guest(vmid)).await.expect_err("not there yet");
        assert_eq!(refused.class, FaultClass::Auth, "{refused:?}");
        let done = install_key(&site.by_password(vmid, user), guest(vmid), &site.public).await;
        assert_eq!(done, Ok(Installation { outcome: Installed::Added, mended: Vec::new() }), "{vmid} {user}");
        let seen = visit(&site.by_key(vmid, user), guest(vmid)).await.expect("let in");
        assert_eq!(seen.accepted, Accepted::Key(site.key.clone()));
        // By either way in, it stays there once.
        for target in [site.by_password(vmid, user), site.by_key(vmid, user)] {
            let again = install_key(&target, guest(vmid), &site.public).await.expect("an answer");
            assert_eq!(again, Installation { outcome: Installed::AlreadyThere, mended: Vec::new() });
        }
        assert_eq!(site.text(vmid, user), format!("{}\n", site.public.line()));
        let of = |name: &str| fs::metadata(site.home(vmid, user).join(name)).expect("there").mode() & 0o777;
        assert_eq!((of(".ssh"), of(".ssh/authorized_keys")), (0o700, 0o600));
    }
    // Each user has a file of its own: sudo had no part in it.
    let elsewhere = visit(&site.by_key(KEYED, "ops"), guest(KEYED)).await.expect_err("another guest");
    assert_eq!(elsewhere.class, FaultClass::Auth);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_lets_in_once_the_permissions_are_right() {
    let site = Site::start().await;
    let ssh = site.home(CT, "root").join(".ssh");
    fs::create_dir(&ssh).expect("a directory");
    fs::write(ssh.join("authorized_keys"), format!("{}\n", site.public.line())).expect("a file");
    for (path, mode) in [(ssh.clone(), 0o770), (ssh.join("authorized_keys"), 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
    visit(&site.by_key(CT, "root"), guest(CT)).await.expect_err("sshd passes such a file over");
    let done = install_key(&site.by_password(CT, "root"), guest(CT), &site.public).await.expect("put right");
    assert_eq!((done.outcome, done.mended.len()), (Installed::AlreadyThere, 2), "{done:?}");
    visit(&site.by_key(CT, "root"), guest(CT)).await.expect("let in");

    fs::set_permissions(site.home(CT, "root"), fs::Permissions::from_mode(0o770)).expect("a mode");
    let fault = install_key(&site.by_password(CT, "root"), guest(CT), &site.public).await.expect_err("of no use");
    assert_eq!(fault.class, FaultClass::Permanent, "{fault:?}");
    assert!(fault.what.contains("the home directory"), "{fault:?}");
    visit(&site.by_key(CT, "root"), guest(CT)).await.expect_err("as it said");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_leaves_doubt_and_doing_it_again_ends_it() {
    for (fault, class, there) in
        [(CommandFault::CutAtEnd, FaultClass::Ambiguous, true), (CommandFault::CutBefore, FaultClass::Ambiguous, false)]
    {
        let site = Site::start().await;
        site.lab.with(|world, _| world.plant(LabFault::command("103", "*authorized_keys*", fault)));
        let lost = install_key(&site.by_password(CT, "root"), guest(CT), &site.public).await.expect_err("lost");
        assert_eq!(lost.class, class, "{lost:?}");
        assert_eq!(!site.text(CT, "root").is_empty(), there);
        let again = install_key(&site.by_password(CT, "root"), guest(CT), &site.public).await.expect("an answer");
        assert_eq!(again.outcome, if there { Installed::AlreadyThere } else { Installed::Added });
        assert_eq!(site.text(CT, "root").lines().count(), 1);
    }
    // A look that was lost is no doubt: it may be asked again.
    let site = Site::start().await;
    site.lab.with(|world, _| world.plant(LabFault::command("103", "*", CommandFault::CutAtEnd)));
    let lost = visit(&site.by_password(CT, "root"), guest(CT)).await.expect_err("lost");
    assert_eq!(lost.class, FaultClass::Transient, "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_behind_a_jump_host_is_visited_and_given_a_key() {
    let site = Site::start().await;
    let bastion = site.lab.ssh_addr("edge1");
    let through = |mut target: SshTarget| {
        target.host = "db".to_owned();
        target.jumps = vec![JumpHop { user: "root".to_owned(), host: bastion.ip().to_string(), port: bastion.port() }];
        target.jump_auth = Some(Auth::only_key(site.lab.client_key_path().to_owned()));
        target
    };
    let (by_key, by_password) = (through(site.by_key(VM, "ops")), through(site.by_password(VM, "ops")));
    let refused = visit(&by_key, guest(VM)).await.expect_err("not there yet");
    assert!(refused.class == FaultClass::Auth && refused.what.contains("ops@db"), "{refused:?}");
    let done = install_key(&by_password, guest(VM), &site.public).await.expect("added");
    assert_eq!(done.outcome, Installed::Added);
    let seen = visit(&by_key, guest(VM)).await.expect("let in");
    assert_eq!((seen.accepted, seen.identity.hostname.as_str()), (Accepted::Key(site.key.clone()), "db"));
}
