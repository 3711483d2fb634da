//! A machine in namespaces of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use proxmaint::adapters::remote::{Adapter, Exec, ExecLimit, ExecOutput, command_line};
use proxmaint::engine::port::Place;
use proxmaint::ids::GuestId;
use proxmaint::machine::outcome::Fault;

/// The place that the tests ask for: a guest, of which may be either kind.
pub fn place() -> Place {
    Place::Ssh(GuestId(201), "192.0.2.1".to_owned())
}

/// A machine; gone with all of its processes when it is dropped.
pub struct Machine {
    holder: Child,
    /// A process of the machine's namespaces, as this machine numbers it.
    inside: u32,
    // Dropped after the holder, whose namespace has it mounted.
    _dir: tempfile::TempDir,
}

impl Machine {
    /// Makes a machine whose os-release is `os_release`, where this is run by root and all of `tools` are installed; says so otherwise.
    pub fn with(what: &str, tools: &[&str], os_release: &str) -> Option<Self> {
        let missing: Vec<&str> = tools.iter().copied().filter(|tool| !installed(tool)).collect();
        let why = if !rustix::process::getuid().is_root() {
            "not run by root".to_owned()
        } else if !missing.is_empty() {
            format!("not installed: {}", missing.join(", "))
        } else {
            match Self::start() {
                Ok(machine) => {
                    machine.write("/etc/os-release", os_release);
                    return Some(machine);
                }
                Err(why) => why,
            }
        };
        writeln!(std::io::stderr(), "not run: {what} ({why})").expect("stderr is open");
        None
    }

    fn start() -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let stage = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/sh/stage.sh");
        let mut holder = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", "sh", stage])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut said = String::new();
        let read = BufReader::new(holder.stdout.take().ok_or("no stdout")?).read_line(&mut said);
        if read.is_err() || said != "ready\n" {
            let out = holder.wait_with_output().map_err(|error| error.to_string())?;
            let lines = String::from_utf8_lossy(&out.stderr).trim().replace('\n', "; ");
            return Err(format!("no namespace with an overlay can be made: {lines}"));
        }
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", holder.id()));
        let inside = children.ok().and_then(|pids| pids.split_whitespace().next()?.parse().ok());
        Ok(Self { inside: inside.ok_or("unshare has no child")?, holder, _dir: dir })
    }

    /// Makes the command that runs a line on the machine, and on no other one.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        let guarded = format!(
            "[ -e /.made-for-a-test ] || {{ echo 'this is not the machine of the test' >&2; exit 97; }}\n{line}"
        );
        command
            .args(["--target", &self.inside.to_string(), "--mount", "--pid", "--root", "--wdns=/"])
            .args(["env", "-i", "HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "/bin/sh", "-c", &guarded])
            .stdin(Stdio::null());
        command
    }

    /// Runs a script of `sh/` with an argument; it is to end well.
    pub fn script(&self, text: &str, argument: &str) {
        let mut command = self.command(&format!("set -- {argument}\n{text}"));
        checked("a script of the test", &command.output().expect("nsenter runs"));
    }

    /// Runs a line, which is to end well, and returns what it printed.
    pub fn run(&self, line: &str) -> String {
        checked(line, &self.command(line).output().expect("nsenter runs"))
    }

    /// Starts a line that goes on by itself; it ends with the machine.
    pub fn spawn(&self, line: &str) -> Child {
        self.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nsenter runs")
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        self.run(&format!("mkdir -p \"$(dirname {path})\"; printf '%s\\n' '{}' >{path}", text.replace('\'', "'\\''")));
    }

    /// Waits until a line ends well, 60 s at most.
    pub async fn until(&self, line: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.command(line).output().expect("nsenter runs").status.success() {
            assert!(Instant::now() < deadline, "waited in vain for: {line}\n{}", self.at_work());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Says what is at work and what jobs have written, for a test that waited in vain.
    fn at_work(&self) -> String {
        let look = "for job in /var/lib/proxmaint/jobs/*; do echo \"$job:\"; ls -l \"$job\"; tail -n 20 \"$job/log\"; done; ps ax";
        let seen = self.command(look).output().expect("nsenter runs");
        format!("{}{}", String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr))
    }

    /// Makes an adapter to this machine.
    pub fn adapter(&self) -> Adapter<&Self> {
        Adapter::new(self)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The end of its stdin ends the first process of the namespace, and with that one all the others.
        drop(self.holder.stdin.take());
        if self.holder.wait().is_err() {
            eprintln!("a machine of the tests may be left: process {}", self.holder.id());
        }
    }
}

/// Whether a program is there.
fn installed(tool: &str) -> bool {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|dir| std::path::Path::new(dir).join(tool).exists())
}

fn checked(what: &str, out: &Output) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{what} ended with {}:\n{stdout}{stderr}", out.status);
    stdout.into_owned()
}

#[async_trait]
impl Exec for &Machine {
    async fn exec(&self, place: &Place, script: &str, limit: ExecLimit) -> Result<ExecOutput, Fault> {
        let mut command = self.command(&command_line(place, script));
        let run = tokio::task::spawn_blocking(move || command.output());
        let out = tokio::time::timeout(limit.timeout, run)
            .await
            .map_err(|_| Fault::ambiguous("the time is over"))?
            .expect("the thread ends")
            .map_err(|error| Fault::transient(error.to_string()))?;
        let truncated = out.stdout.len() > limit.max_output;
        let mut stdout = out.stdout;
        stdout.truncate(limit.max_output);
        Ok(ExecOutput { exit: out.status.code().unwrap_or(-1), stdout, stderr: out.stderr, truncated })
    }
}
