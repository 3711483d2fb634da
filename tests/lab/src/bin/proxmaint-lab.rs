//! The lab as a program: serves a fleet until it is told to stop, and asks a running one.

#![allow(clippy::disallowed_methods, reason = "tests run programs and read the clock")]

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use proxmaint_lab::access::Manifest;
use proxmaint_lab::check::Judgement;
use proxmaint_lab::faults::Fault;
use proxmaint_lab::ledger::{Act, Entry, Outcome};
use proxmaint_lab::{Lab, control, fleet};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

const USAGE: &str = "\
A simulated fleet of Proxmox VE nodes on loopback.

usage: proxmaint-lab serve --fleet NAME --dir DIR [--faults FILE] [--until-eof]
       proxmaint-lab ledger --dir DIR [--json | --check]
       proxmaint-lab machines --dir DIR [--json]
       proxmaint-lab fault --dir DIR JSON
       proxmaint-lab stop --dir DIR

Fleets: demo (five nodes, 20 guests), small (one node, 4 guests), scale:HOSTS:GUESTS.
serve writes DIR/proxmox-hosts.toml and DIR/lab.env (`. DIR/lab.env` sets what the manifest needs), prints one line of
JSON when it is ready, and runs until SIGTERM, SIGINT, `stop` or, with --until-eof, the end of its input. Then everything
that it started and wrote is gone.
`ledger --check` exits with 1 if anything was done twice or forgotten.
";

/// What a command line says.
#[derive(Debug, Default)]
struct Args {
    command: String,
    dir: Option<PathBuf>,
    fleet: Option<String>,
    faults: Option<PathBuf>,
    flags: Vec<String>,
    rest: Vec<String>,
}

impl Args {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self { command: args.next().unwrap_or_default(), ..Self::default() };
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--dir" => parsed.dir = Some(value()?.into()),
                "--fleet" => parsed.fleet = Some(value()?),
                "--faults" => parsed.faults = Some(value()?.into()),
                "--json" | "--check" | "--until-eof" => parsed.flags.push(arg),
                option if option.starts_with("--") => return Err(format!("there is no option {option}")),
                _ => parsed.rest.push(arg),
            }
        }
        Ok(parsed)
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    fn dir(&self) -> io::Result<&Path> {
        self.dir.as_deref().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "--dir DIR is missing"))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let done = match args.command.as_str() {
        "serve" => serve(&args).await,
        "ledger" => ledger(&args).await,
        "machines" => machines(&args).await,
        "fault" => fault(&args).await,
        "stop" => stop(&args).await,
        "help" | "--help" | "-h" => say(USAGE).map(|()| ExitCode::SUCCESS),
        other => return usage(&format!("there is no command {other:?}")),
    };
    done.unwrap_or_else(|error| {
        eprintln!("proxmaint-lab: {error}");
        ExitCode::from(2)
    })
}

fn usage(error: &str) -> ExitCode {
    eprintln!("proxmaint-lab: {error}\n\n{USAGE}");
    ExitCode::from(2)
}

fn say(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

async fn serve(args: &Args) -> io::Result<ExitCode> {
    let name = args.fleet.as_deref().unwrap_or("demo");
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    let mut world = fleet::named(name).ok_or_else(|| invalid(format!("there is no fleet {name:?}")))?;
    if let Some(path) = &args.faults {
        let text = fs::read_to_string(path).map_err(|error| invalid(format!("reading {}: {error}", path.display())))?;
        let faults: Vec<Fault> =
            serde_json::from_str(&text).map_err(|error| invalid(format!("faults in {}: {error}", path.display())))?;
        faults.into_iter().for_each(|fault| world.plant(fault));
    }
    let dir = args.dir()?;
    fs::create_dir_all(dir)?;
    // A socket that nobody listens on is left by a lab that was killed; a lab that still runs there is left alone.
    if control::ask(dir, &json!({"do": "machines"})).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("a lab runs at {} already", dir.display())));
    }
    remove(&dir.join(control::SOCKET))?;
    let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let lab = Arc::new(Lab::start(world).await?);
    let mut manifest = lab.write_manifest(dir)?;
    manifest.files.extend([write_env(dir, &manifest)?, dir.join(control::SOCKET)]);
    let stop = watch::Sender::new(false);
    let mut controlling = tokio::spawn({
        let (lab, dir, stop) = (Arc::clone(&lab), dir.to_owned(), stop.clone());
        async move { control::serve(lab, &dir, stop).await }
    });
    let ready = json!({
        "ready": true,
        "fleet": name,
        "manifest": manifest.path,
        "env": dir.join("lab.env"),
        "control": dir.join(control::SOCKET),
        "pid": std::process::id(),
    });
    say(&format!("{ready}\n"))?;
    let until_eof = args.has("--until-eof");
    let end_of_input = async {
        match until_eof.then(end_of_input) {
            // An error of the thread ends the lab as well: nobody is left who could.
            Some(end) => drop(end.await),
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        _ = terminated.recv() => None,
        _ = interrupted.recv() => None,
        () = end_of_input => None,
        ended = &mut controlling => Some(ended),
    };
    stop.send_replace(true);
    let ended = match ended {
        Some(ended) => ended,
        None => controlling.await,
    };
    drop(lab);
    for file in &manifest.files {
        remove(file)?;
    }
    ended.map_err(io::Error::other)??;
    Ok(ExitCode::SUCCESS)
}

/// Tells when standard input ends. Read in a thread that nobody waits for: it can't be woken when the lab ends otherwise.
fn end_of_input() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // Whether it ends well or with an error, there is no more input.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = ended.send(());
    });
    end
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_env(dir: &Path, manifest: &Manifest) -> io::Result<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = dir.join("lab.env");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    for (name, value) in &manifest.env {
        writeln!(file, "export {name}='{value}'")?;
    }
    Ok(path)
}

async fn ledger(args: &Args) -> io::Result<ExitCode> {
    let dir = args.dir()?;
    if args.has("--check") {
        let found = control::ask(dir, &json!({"do": "check"})).await?;
        if args.has("--json") {
            say(&format!("{found}\n"))?;
        }
        let judgement: Judgement = serde_json::from_value(found)?;
        if !args.has("--json") {
            say(&judgement.to_string())?;
        }
        return Ok(if judgement.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let entries: Vec<Entry> = serde_json::from_value(control::ask(dir, &json!({"do": "ledger"})).await?)?;
    for entry in &entries {
        match args.has("--json") {
            true => say(&format!("{}\n", serde_json::to_string(entry)?))?,
            false => say(&format!("{}\n", line(entry)))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One entry for people: `  12.3 s  pve1   101  upgraded   by ssh:root as proxmaint-...`.
fn line(entry: &Entry) -> String {
    let what = match entry.act {
        Act::SnapshotCreate => "snapshot",
        Act::SnapshotDelete => "snapshot deleted",
        Act::Rollback => "rollback",
        Act::Backup => "backup",
        Act::BackupSuspended => "backup (suspended)",
        Act::BackupDelete => "backup deleted",
        Act::BackupChange => "backup changed",
        Act::RefreshLists => "lists refreshed",
        Act::Upgrade => "upgrade",
        Act::Configure => "packages configured",
        Act::Start => "start",
        Act::Shutdown => "shutdown",
        Act::Stop => "stop",
        Act::Reboot => "reboot",
        Act::Migrate => "migration",
        Act::HaMigrate => "HA migration asked for",
        Act::MaintenanceOn => "maintenance on",
        Act::MaintenanceOff => "maintenance off",
        Act::CephFlagSet => "Ceph flag set",
        Act::CephFlagClear => "Ceph flag cleared",
        Act::HaChange => "HA change",
        Act::AgentExec => "agent command",
        Act::Service => "service",
    };
    let how = match &entry.outcome {
        Outcome::Begun => "running".to_owned(),
        Outcome::Done => "done".to_owned(),
        Outcome::Failed(why) => format!("FAILED: {why}"),
        Outcome::Refused(why) => format!("refused: {why}"),
    };
    let key = entry.key.as_ref().map(|key| format!("  {key}")).unwrap_or_default();
    let seconds = format!("{}.{:03} s", entry.at / 1000, entry.at % 1000);
    format!("{seconds:>12}  {:<8} {:<8} {what:<16} {how:<10}{key}", entry.node, entry.machine)
}

async fn machines(args: &Args) -> io::Result<ExitCode> {
    let found = control::ask(args.dir()?, &json!({"do": "machines"})).await?;
    for machine in found.as_array().into_iter().flatten() {
        if args.has("--json") {
            say(&format!("{machine}\n"))?;
            continue;
        }
        let text = |key: &str| machine[key].as_str().unwrap_or("-").to_owned();
        let state = match (&machine["up"], &machine["upgrading"]) {
            (_, Value::String(_)) => "upgrading",
            (Value::Bool(true), _) => "up",
            _ => "off",
        };
        let (id, name, os) = (text("machine"), text("name"), text("os"));
        say(&format!("{id:<12} {name:<18} {os:<32} {state:<10} {} pending\n", machine["pending"]))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn fault(args: &Args) -> io::Result<ExitCode> {
    let text = args.rest.first().map_or("", String::as_str);
    let fault: Value = serde_json::from_str(text)?;
    control::ask(args.dir()?, &json!({"do": "fault", "fault": fault})).await?;
    Ok(ExitCode::SUCCESS)
}

async fn stop(args: &Args) -> io::Result<ExitCode> {
    control::ask(args.dir()?, &json!({"do": "stop"})).await?;
    Ok(ExitCode::SUCCESS)
}
