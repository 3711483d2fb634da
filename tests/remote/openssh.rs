//! A detached job and the real sshd of OpenSSH, which an upgrade of it restarts: here the worst of it, the daemon killed with
//! every session that it serves. Where sshd is not installed, or the tests are not root's, it says so and does nothing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use proxmaint::adapters::remote::{Adapter, Exec, ExecLimit, ExecOutput, command_line};
use proxmaint::adapters::ssh::pool::Connection;
use proxmaint::adapters::ssh::{Auth, ExecLimits, SshTarget};
use proxmaint::engine::port::{JobStart, JobState, Place, Remote};
use proxmaint::machine::outcome::{Fault, FaultClass};
use proxmaint_lab::ssh::keys::{KeyKind, derive, openssh_line, write_pair};

use crate::world::{JOB, World, job, kill, over, place, shells};

/// Where Debian and most others have it.
const SSHD: &str = "/usr/sbin/sshd";
/// What sshd wants to be there when root runs it.
const PRIVSEP: &str = "/run/sshd";

/// A running sshd; killed with its sessions when dropped.
struct Sshd(Option<Child>);

impl Sshd {
    fn start(config: &Path) -> Self {
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd starts");
        Self(Some(child))
    }

    /// Kills the daemon and all that descends from it: its sessions and what they run.
    fn kill(&mut self) {
        let Some(mut daemon) = self.0.take() else { return };
        let parents: Vec<(i32, i32)> = fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| {
                let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
                let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                // After the name in brackets: the state, then the parent.
                let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
                Some((pid, parent))
            })
            .collect();
        let mut family = vec![i32::try_from(daemon.id()).expect("a pid")];
        let mut at = 0;
        while at < family.len() {
            let one = family[at];
            family.extend(parents.iter().filter(|(_, parent)| *parent == one).map(|(pid, _)| *pid));
            at += 1;
        }
        family.into_iter().for_each(kill);
        daemon.wait().expect("a child of ours");
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Carries the world's scripts over a real connection.
struct OverSshd<'a> {
    world: &'a World,
    connection: Connection,
}

#[async_trait]
impl Exec for &OverSshd<'_> {
    async fn exec(&self, place: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
        let line = self.world.over_ssh(&command_line(place, &self.world.moved(script)));
        let limits = ExecLimits { timeout: limit.timeout, max_output: limit.max_output };
        let out = self.connection.exec(&line, limits).await.map_err(Fault::from)?;
        let truncated = !out.is_complete();
        Ok(ExecOutput { exit: out.exit, stdout: out.stdout, stderr: out.stderr, truncated })
    }
}

/// Returns why the test can't be run here.
fn missing() -> Option<&'static str> {
    if !Path::new(SSHD).exists() {
        return Some("sshd is not installed");
    }
    (!rustix::process::getuid().is_root()).then_some("only root may run sshd for a login of any user")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_outlives_the_real_sshd_and_every_session_of_it() {
    if let Some(why) = missing() {
        writeln!(std::io::stderr(), "not run: a job under the real sshd ({why})").expect("stderr is open");
        return;
    }
    let made = fs::create_dir(PRIVSEP).is_ok();
    for shell in shells() {
        outlive(&World::new(&shell)).await;
    }
    if made {
        // Another sshd of this machine may have come to use it.
        let _still_used = fs::remove_dir(PRIVSEP);
    }
}

async fn outlive(world: &World) {
    let (host, user) =
        (derive(KeyKind::Ed25519, "sshd", 0).expect("a key"), derive(KeyKind::Ed25519, "user", 0).expect("a key"));
    let (host_file, user_file) = (world.path("host_key"), world.path("user_key"));
    for (file, key) in [(&host_file, &host), (&user_file, &user)] {
        write_pair(key, file).expect("a pair of files");
    }
    fs::write(world.path("authorized"), openssh_line(user.public_key()).expect("a line")).expect("a file");
    fs::set_permissions(world.path("authorized"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let config = world.path("sshd_config");
    let text = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
         PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n",
        host_file.display(),
        world.path("authorized").display(),
    );
    fs::write(&config, text).expect("a file");
    let ways = |world| {
        let mut target = SshTarget::new("127.0.0.1", "root", world_known_hosts(world));
        target.port = port;
        target.auth = Auth { identity_files: vec![user_file.clone()], agent: false, ..Auth::default() };
        target.host_keys.user_known_hosts = Vec::new();
        target.host_keys.global_known_hosts = Vec::new();
        target.connect_timeout = Duration::from_secs(5);
        OverSshd { world, connection: Connection::new(target) }
    };

    world.upgrade_waits();
    let mut sshd = Sshd::start(&config);
    let before = ways(world);
    let adapter = Adapter::new(&before);
    answers(&adapter, JobState::Absent).await;
    assert_eq!(adapter.start_job(&place(), &job()).await, Ok(JobStart::Started));
    answers(&adapter, JobState::Running { log_bytes: 6 }).await;
    sshd.kill();
    let gone = adapter.job(&place(), JOB).await.expect_err("nobody answers");
    assert_eq!(gone.class, FaultClass::Transient, "{gone:?}");

    let _sshd = Sshd::start(&config);
    let after = ways(world);
    let adapter = Adapter::new(&after);
    answers(&adapter, JobState::Running { log_bytes: 6 }).await;
    assert_eq!(adapter.start_job(&place(), &job()).await, Ok(JobStart::AlreadyThere));
    world.go();
    assert!(matches!(world.until(over).await, JobState::Finished { exit: 0, .. }));
    assert_eq!(adapter.job_output(&place(), JOB, 0).await, Ok(b"begun\nended\n".to_vec()));
    assert_eq!(world.runs(), 1);
}

fn world_known_hosts(world: &World) -> std::path::PathBuf {
    world.path("known_hosts")
}

/// Asks until the job is in that state: an sshd that was just started takes a moment to listen.
async fn answers(adapter: &Adapter<&OverSshd<'_>>, wanted: JobState) {
    let asking = async {
        loop {
            match adapter.job(&place(), JOB).await {
                Ok(state) if state == wanted => return,
                Ok(_) => {}
                Err(fault) => assert_eq!(fault.class, FaultClass::Transient, "{fault:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), asking).await.unwrap_or_else(|_| panic!("never {wanted:?}"));
}
