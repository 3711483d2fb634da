//! The commands, one file each. They build what they need, call it, and print; everything else is below them.

/// Writes a line to stderr. One that is gone (a closed pipe, a terminal that hung up) changes nothing about what is done, where
/// `eprintln!` panics.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _written = writeln!(std::io::stderr().lock(), $($words)*);
    }};
}

mod acquaint;
pub mod args;
pub mod connect;
pub mod debts;
pub mod diagnostics;
pub mod doctor;
mod draft;
pub mod exit_code;
pub mod inventory;
pub mod journal;
pub mod kept;
mod last_run;
pub mod manifest;
pub mod order_command;
pub mod plan;
pub mod policy;
mod reach;
pub mod resolve;
pub mod restore;
pub mod rollback;
pub mod run;
pub mod session;
pub mod snapshots;
pub mod state;
pub mod status;
pub mod status_command;
pub mod terminal;
pub mod wizard;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::adapters::clock::SystemClock;
use crate::engine::port::Clock;
use crate::machine::order::Order;
use crate::manifest::Manifest;
use crate::observe::log::Redactor;
use args::{Cli, Command, JournalCommand, ManifestCommand, Output, Places};
use diagnostics::Failure;
use exit_code::Exit;
use manifest::edit::Edit;

/// Does what the command line asks for.
pub fn main(cli: Cli) -> ExitCode {
    let redactor = Redactor::new();
    match dispatch(&cli, &redactor) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.print(&redactor),
    }
}

fn dispatch(cli: &Cli, redactor: &Redactor) -> Result<Exit, Failure> {
    let places = &cli.places;
    match &cli.command {
        Command::Run(args) => {
            install_tls();
            run::run(places, args, redactor)
        }
        Command::Plan(args) => {
            install_tls();
            plan::plan(places, args, redactor)
        }
        Command::Doctor(args) => {
            install_tls();
            doctor::doctor(places, args, redactor)
        }
        Command::Status(args) => status_command::status(places, args),
        Command::Pause(args) => order_command::order(places, Order::Pause, args),
        Command::Continue(args) => order_command::order(places, Order::Continue, args),
        Command::Stop(args) => order_command::order(places, Order::Stop, args),
        Command::Resolve(args) => resolve::resolve(places, args),
        Command::Restore(args) => {
            install_tls();
            restore::restore(places, args, redactor)
        }
        Command::Rollback(args) => {
            install_tls();
            rollback::rollback(places, args, redactor)
        }
        Command::Snapshots(command) => {
            install_tls();
            snapshots::snapshots(places, command, redactor)
        }
        Command::Wizard(args) => {
            install_tls();
            wizard::wizard(places, args, redactor)
        }
        Command::Inventory(args) => {
            install_tls();
            inventory::inventory(places, args, redactor)
        }
        Command::Manifest(command) => manifest_command(&places.config, command),
        Command::Journal(command) => journal_command(places, command),
    }
}

/// Chooses ring as the one TLS provider. That somebody chose before is fine: there is no other one in this program.
fn install_tls() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
}

/// Loads the manifest, or prints all that is wrong with it.
///
/// # Errors
/// How the program ends where the manifest can't be used.
pub fn load_manifest(path: &Path) -> Result<Manifest, Exit> {
    Manifest::load(path, &|name| std::env::var_os(name)).map_err(|error| {
        // A closed stderr leaves only the exit code to tell of the failure.
        let _written = manifest::write_error(&error, &mut io::stderr().lock());
        Exit::Config
    })
}

fn journal_command(places: &Places, command: &JournalCommand) -> Result<Exit, Failure> {
    let dir = places.state_dir();
    let now = SystemClock.now();
    let mut out = io::stdout().lock();
    let verdict = match command {
        JournalCommand::Recover => journal::recover(&dir, now, &mut out),
        JournalCommand::Verify => journal::verify(&dir, now, &mut out),
        JournalCommand::Export { run } => {
            let run = run.as_deref().map(|prefix| status_command::find_run(&dir, prefix)).transpose()?;
            journal::export(&dir, run, &mut out).map(|_| journal::Verdict::Whole)
        }
    };
    match verdict.map_err(run::journal_failure)? {
        journal::Verdict::Whole => Ok(Exit::Clean),
        journal::Verdict::Damaged => Ok(Exit::Journal),
    }
}

fn manifest_command(path: &Path, command: &ManifestCommand) -> Result<Exit, Failure> {
    let env = |name: &str| std::env::var_os(name);
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let code = match command {
        ManifestCommand::Show(args) => {
            let format = match args.output {
                Output::Human => manifest::ShowFormat::Human,
                Output::Json => manifest::ShowFormat::Json,
            };
            manifest::show(path, format, &env, &mut out, &mut err)
        }
        ManifestCommand::Check => manifest::check(path, &env, &mut out, &mut err),
        ManifestCommand::Set(args) => return manifest::edit::edit(path, Edit::Set(args), &env, &mut out, &mut err),
        ManifestCommand::Unset(args) => return manifest::edit::edit(path, Edit::Unset(args), &env, &mut out, &mut err),
        ManifestCommand::AddHost(args) => {
            return manifest::edit::edit(path, Edit::AddHost(args), &env, &mut out, &mut err);
        }
        ManifestCommand::RemoveHost(args) => {
            return manifest::edit::edit(path, Edit::RemoveHost(args), &env, &mut out, &mut err);
        }
    };
    match code {
        Ok(0) => Ok(Exit::Clean),
        Ok(_) => Ok(Exit::Config),
        // Whoever closed the pipe has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Clean),
        Err(error) => Err(Failure::new(Exit::Config, error)),
    }
}

/// Returns the boot of the machine that this program runs on (`/proc/sys/kernel/random/boot_id`; a container has its own).
fn own_boot() -> Option<crate::ids::BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(crate::ids::BootId::new(text.trim()))
}

/// Says who this is: user, machine and process, for other orchestrators that find a lease taken.
fn own_name() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = match machine.trim() {
        "" => "an unnamed machine",
        name => name,
    };
    format!("{}@{machine} (process {})", connect::local_user(), std::process::id())
}
