//! The program itself, run on the journal that was written: what it takes from its start to its answer, or to its first act.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::host_name;
use crate::{Outcome, report};

/// How often a command that changes nothing is measured; the median counts.
const TIMES: usize = 5;
/// How long the resumed run may take until it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

const HELP: Duration = Duration::from_millis(10);
const SOCKET: Duration = Duration::from_millis(100);
const OFFLINE: Duration = Duration::from_secs(1);
const FIRST_ACT: Duration = Duration::from_secs(2);

/// A manifest with its state directory. The hosts' API is a socket that takes connections and never answers.
pub struct Program {
    pub manifest: PathBuf,
    pub state: PathBuf,
    api: TcpListener,
}

impl Program {
    pub fn prepare(root: &Path, hosts: usize) -> Outcome<Self> {
        let root = root.canonicalize()?;
        let api = TcpListener::bind("127.0.0.1:0")?;
        let port = api.local_addr()?.port();
        let mut text = format!("[defaults]\napi.port = {port}\napi.insecure = true\n");
        for n in 0..hosts {
            let name = host_name(n);
            text.push_str(&format!(
                "\n[[hosts]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\n\
                 api.token_env = \"SCALE_TOKEN\"\napi.secret_env = \"SCALE_SECRET\"\n"
            ));
        }
        let manifest = root.join("proxmox-hosts.toml");
        std::fs::write(&manifest, text)?;
        Ok(Self { manifest, state: root.join("state"), api })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxmaint"));
        command.arg("--config").arg(&self.manifest).args(args);
        command.env_remove("PROXMAINT_STATE_DIR").env("SCALE_TOKEN", "root@pam!scale").env("SCALE_SECRET", "none");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end, several times where it is `steady`, and reports the median.
    fn measure(&self, what: &str, args: &[&str], times: usize, promised: Option<Duration>) -> Outcome<()> {
        let mut spent = Vec::new();
        let mut bytes = 0;
        for _ in 0..times {
            let started = Instant::now();
            let output = self.command(args).output()?;
            spent.push(started.elapsed());
            if !output.status.success() {
                return Err(format!("{args:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
            }
            bytes = output.stdout.len();
        }
        spent.sort();
        report(&format!("{what}: {} ({} kB)", args.join(" "), bytes.div_ceil(1024)), spent[spent.len() / 2], promised);
        Ok(())
    }

    pub fn help(&self) -> Outcome<()> {
        self.measure("start", &["--help"], 4 * TIMES, Some(HELP))
    }

    /// Measures `status` while nobody works.
    pub fn offline(&self, what: &str) -> Outcome<()> {
        self.measure(what, &["status"], 1, Some(OFFLINE))?;
        for args in
            [&["status"][..], &["status", "--host", "pve0007"], &["status", "--output", "json"], &["status", "--all"]]
        {
            self.measure("offline", args, TIMES, Some(OFFLINE))?;
        }
        println!();
        Ok(())
    }

    /// Measures how long a resumed run takes to act, and `status` while it works.
    pub fn resume(&self) -> Outcome<()> {
        let started = Instant::now();
        let told = self.manifest.with_file_name("stderr");
        let mut run = self
            .command(&["run", "--yes", "--parallel-hosts", "50"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&told)?)
            .spawn()?;
        let acted = self.first_connection(started);
        let measured = acted.and_then(|acted| {
            report("resumed run: from its start to its first call of a host", acted, Some(FIRST_ACT));
            let socket: [&[&str]; 4] =
                [&["status"], &["status", "--host", "pve0007"], &["status", "--output", "json"], &["status", "--all"]];
            socket.iter().try_for_each(|args| self.measure("beside a run", args, TIMES, Some(SOCKET)))
        });
        run.kill()?;
        run.wait()?;
        if measured.is_err() {
            eprintln!("{}", std::fs::read_to_string(&told)?);
        }
        measured
    }

    fn first_connection(&self, started: Instant) -> Outcome<Duration> {
        self.api.set_nonblocking(true)?;
        while started.elapsed() < PATIENCE {
            match self.api.accept() {
                Ok(_) => return Ok(started.elapsed()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err("the resumed run called no host".into())
    }
}
