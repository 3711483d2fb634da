//! The command line's words. Parsing touches nothing: no file, no network, no runtime, so that `--help` is immediate.

mod help;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use self::help::{
    ADD_HOST_EXAMPLES, DOCTOR_EXAMPLES, EXAMPLES, INVENTORY_EXAMPLES, ORDER_EXAMPLES, PLAN_EXAMPLES, PRUNE_EXAMPLES,
    RESOLVE_EXAMPLES, RESTORE_EXAMPLES, ROLLBACK_EXAMPLES, RUN_EXAMPLES, SET_EXAMPLES, STATUS_EXAMPLES,
    WIZARD_EXAMPLES, help_end,
};
use super::exit_code::Exit;
use super::run::Aim;
use crate::choices::{HostReboot, Scope, Selector, SelectorError};
use crate::ids::{GuestId, HostId};
use crate::machine::guest::Resolution;

/// The whole command line.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "proxmaint",
    version,
    about = "Keeps fleets of Proxmox VE hosts and their guests patched; interrupted at any moment, it goes on where it stopped.",
    after_help = help_end(EXAMPLES),
    propagate_version = true,
    max_term_width = 110
)]
pub struct Cli {
    /// Where manifest and state are.
    #[command(flatten)]
    pub places: Places,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where manifest and state are.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Places {
    /// The manifest: which hosts there are and how to reach them
    #[arg(long, global = true, help_heading = "Places", value_name = "FILE", default_value = "proxmox-hosts.toml")]
    pub config: PathBuf,
    /// Where journal, logs and socket live [default: `state` beside the manifest]
    #[arg(
        long,
        global = true,
        help_heading = "Places",
        value_name = "DIR",
        env = "PROXMAINT_STATE_DIR",
        hide_env_values = true
    )]
    pub state_dir: Option<PathBuf>,
}

impl Places {
    /// Returns the state directory: the one that was named, else `state` beside the manifest.
    pub fn state_dir(&self) -> PathBuf {
        if let Some(dir) = &self.state_dir {
            return dir.clone();
        }
        // The manifest's canonical path is the identity of its state: a link to it leads to the same journal.
        let config = self.config.canonicalize().unwrap_or_else(|_| self.config.clone());
        config.parent().map_or_else(|| PathBuf::from("state"), |parent| parent.join("state"))
    }
}

/// The commands.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Upgrade hosts and guests, or go on with a run that was interrupted
    #[command(after_help = help_end(RUN_EXAMPLES))]
    Run(RunArgs),
    /// Show what a run would do, and save it to be done exactly so
    #[command(after_help = help_end(PLAN_EXAMPLES))]
    Plan(PlanArgs),
    /// Check each host as a run would, and say how to mend what is wrong
    #[command(after_help = help_end(DOCTOR_EXAMPLES))]
    Doctor(DoctorArgs),
    /// Show how a run stands, while it works as well as afterwards
    #[command(after_help = help_end(STATUS_EXAMPLES))]
    Status(StatusArgs),
    /// Begin nothing new on hosts of the run at work, until told to go on
    #[command(after_help = help_end(ORDER_EXAMPLES))]
    Pause(OrderArgs),
    /// Go on with hosts of the run at work that were paused or stopped
    #[command(after_help = help_end(ORDER_EXAMPLES))]
    Continue(OrderArgs),
    /// Begin nothing new on hosts of the run at work, and leave them for the next run
    #[command(after_help = help_end(ORDER_EXAMPLES))]
    Stop(OrderArgs),
    /// Decide about a step that is held because nobody can tell how it ended
    #[command(after_help = help_end(RESOLVE_EXAMPLES))]
    Resolve(ResolveArgs),
    /// Give back what a run borrowed (guests that it started or shut down), and do nothing else
    #[command(after_help = help_end(RESTORE_EXAMPLES))]
    Restore(RestoreArgs),
    /// Bring a guest back to the snapshot that its upgrade in a run was protected by: what was written since is lost
    #[command(after_help = help_end(ROLLBACK_EXAMPLES))]
    Rollback(RollbackArgs),
    /// Show or remove the snapshots and backups that runs made
    #[command(subcommand, after_help = help_end(""))]
    Snapshots(SnapshotsCommand),
    /// Make or edit the manifest in the terminal, question by question
    #[command(after_help = help_end(WIZARD_EXAMPLES))]
    Wizard(WizardArgs),
    /// Find the guests of hosts, check the way into them, and write them into the manifest
    #[command(after_help = help_end(INVENTORY_EXAMPLES))]
    Inventory(InventoryArgs),
    /// Look at the manifest, or change it without losing a comment
    #[command(subcommand, after_help = help_end(""))]
    Manifest(ManifestCommand),
    /// Look after the journal
    #[command(subcommand, after_help = help_end(""))]
    Journal(JournalCommand),
}

/// What `run` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RunArgs {
    /// Work on this host only (may be given several times)
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Work on the first N hosts of the manifest only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_hosts: Option<u32>,
    /// What it is about.
    #[command(flatten)]
    pub work: WorkArgs,
    /// Do what this saved plan says (`proxmaint plan --out FILE`), and nothing else: a host that is not as it was then is
    /// refused, with the difference
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = [
            "max_hosts", "guests", "guests_only", "hosts_only", "reboot", "dry_run", "resume", "replan", "keep_plan"
        ]
    )]
    pub plan: Option<PathBuf>,
    /// Change nothing anywhere: show what would be done, by which path and with which protection
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before beginning
    #[arg(long, short)]
    pub yes: bool,
    /// Show each step, and each package of the plan
    #[arg(long, short)]
    pub verbose: bool,
    /// How many hosts to work on at a time; nodes of one cluster always take turns
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub parallel_hosts: u32,
    /// Halt when more hosts and guests than this have failed: nothing more begins then, and the next run goes on
    #[arg(long, value_name = "N")]
    pub max_failures: Option<u32>,
    /// Begin a new run even though an unfinished one could be gone on with
    #[arg(long, conflicts_with = "resume")]
    pub fresh: bool,
    /// Go on with this run; a unique beginning of its name will do
    #[arg(long, value_name = "RUN")]
    pub resume: Option<String>,
    /// Go on with what manifest and command line say now for steps that have not begun
    #[arg(long, conflicts_with = "keep_plan")]
    pub replan: bool,
    /// Go on as planned, although manifest or command line say something else
    #[arg(long)]
    pub keep_plan: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// What the work of a run or plan is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct WorkArgs {
    /// Work on this guest only: a number, range, name, tag:NAME, pool:NAME, type:ct or type:vm; `!` negates (may be given
    /// several times; no node is upgraded)
    #[arg(long = "guest", value_name = "SELECTOR", value_parser = selector, conflicts_with = "hosts_only")]
    pub guests: Vec<Selector>,
    /// Upgrade guests, but no node
    #[arg(long, conflicts_with = "hosts_only")]
    pub guests_only: bool,
    /// Upgrade nodes, but no guest
    #[arg(long)]
    pub hosts_only: bool,
    /// Reboot nodes after their upgrade in this run: `if-needed`, which is meant where no word follows, or `always`
    #[arg(
        long,
        value_name = "WHEN",
        num_args = 0..=1,
        default_missing_value = "if-needed",
        value_parser = reboot_values(),
        conflicts_with_all = ["guests", "guests_only"]
    )]
    pub reboot: Option<HostReboot>,
}

impl WorkArgs {
    /// Returns what is said of the work, as far as something is said.
    pub fn aim(&self) -> Aim {
        let scope = match (self.guests_only || !self.guests.is_empty(), self.hosts_only) {
            (true, _) => Some(Scope::GuestsOnly),
            (false, true) => Some(Scope::HostsOnly),
            (false, false) => None,
        };
        Aim { work: scope.map(|scope| (scope, self.guests.clone())), reboot: self.reboot }
    }
}

/// What `plan` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct PlanArgs {
    /// Plan for this host only (may be given several times)
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// What it is about.
    #[command(flatten)]
    pub work: WorkArgs,
    /// Save the plan with the facts it rests on, for `proxmaint run --plan FILE`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Refresh the package lists of nodes and guests first, as a run does; nothing else is changed
    #[arg(long)]
    pub refresh: bool,
    /// Show each package
    #[arg(long, short)]
    pub verbose: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// Reads a selector; its error says what can be written.
fn selector(text: &str) -> Result<Selector, String> {
    text.parse().map_err(|error: SelectorError| format!("{}; {}", error.why, Selector::HELP))
}

/// The words that `--reboot` takes; a run that reboots nothing is one without it.
fn reboot_values() -> impl TypedValueParser<Value = HostReboot> {
    let words = [HostReboot::IfNeeded, HostReboot::Always].map(HostReboot::as_str);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<HostReboot>())
}

/// What `doctor` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DoctorArgs {
    /// Check this host only (may be given several times)
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// What `status` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct StatusArgs {
    /// The run; a unique beginning of its name will do [default: the latest]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// List all runs
    #[arg(long, conflicts_with_all = ["run", "host", "events"])]
    pub all: bool,
    /// Show everything about one host: each step, and the packages that changed
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Show what happened, one event a line
    #[arg(long)]
    pub events: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// What `pause`, `continue` and `stop` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct OrderArgs {
    /// The hosts
    #[arg(value_name = "HOST", required_unless_present = "all")]
    pub hosts: Vec<String>,
    /// All hosts that are not over
    #[arg(long, conflicts_with = "hosts")]
    pub all: bool,
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// What `resolve` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(group = ArgGroup::new("resolution").required(true).multiple(false).args(["retry", "done", "skip"]))]
pub struct ResolveArgs {
    /// The run; a unique beginning of its name will do
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The host
    #[arg(value_name = "HOST")]
    pub host: String,
    /// The guest's number; left out, it is about the node itself
    #[arg(value_name = "GUEST")]
    pub guest: Option<GuestId>,
    /// It was not done: try it anew
    #[arg(long)]
    pub retry: bool,
    /// It was done: go on behind it
    #[arg(long)]
    pub done: bool,
    /// Leave this guest or node alone for the rest of this run
    #[arg(long)]
    pub skip: bool,
}

impl ResolveArgs {
    /// Returns the operator's decision: exactly one of the three, as the argument group sees to.
    pub fn resolution(&self) -> Resolution {
        match (self.retry, self.done) {
            (true, _) => Resolution::Retry,
            (_, true) => Resolution::Done,
            _ => Resolution::Skip,
        }
    }

    /// Returns the host's name.
    pub fn host(&self) -> HostId {
        HostId::new(self.host.as_str())
    }
}

/// What `restore` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RestoreArgs {
    /// The run; a unique beginning of its name will do
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Give back on this host only (may be given several times)
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Do not ask before beginning
    #[arg(long, short)]
    pub yes: bool,
}

/// What `rollback` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RollbackArgs {
    /// The run; a unique beginning of its name will do
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The host
    #[arg(value_name = "HOST")]
    pub host: String,
    /// The guest's number
    #[arg(value_name = "GUEST")]
    pub guest: GuestId,
    /// Do not ask before beginning
    #[arg(long, short)]
    pub yes: bool,
}

/// What can be done about what runs made.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum SnapshotsCommand {
    /// Show what is there now of what runs made, and whether it would be removed
    List {
        /// Look at this host only (may be given several times)
        #[arg(long = "host", value_name = "NAME")]
        hosts: Vec<String>,
        /// How to report
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Remove what nobody needs any more: what is old, not among the newest, and whose guest came out well
    #[command(after_help = help_end(PRUNE_EXAMPLES))]
    Prune(SnapshotsArgs),
}

/// What `snapshots prune` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SnapshotsArgs {
    /// Remove on this host only (may be given several times)
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Remove what is older than this (`36h`, `7days`) [default: as the manifest says]
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub older_than: Option<Duration>,
    /// Keep the newest N snapshots and the newest N backups of each guest [default: as the manifest says]
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Remove nothing: show what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before beginning
    #[arg(long, short)]
    pub yes: bool,
}

/// What `wizard` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct WizardArgs {
    /// Begin at this host's entry
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
}

/// What `inventory` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct InventoryArgs {
    /// Look at this host only (may be given several times); one that the manifest does not have is added to it
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
    /// Log in to no guest: take what the API says
    #[arg(long)]
    pub skip_ssh_checks: bool,
    /// Ask nothing
    #[arg(long, short)]
    pub yes: bool,
    /// The login in guests that have none in the manifest [default: the host's `guest_user`]
    #[arg(long, value_name = "USER", requires = "yes")]
    pub user: Option<String>,
    /// Which guests are to be managed: `all`, `running`, `none`, or a selector as for `run --guest` (may be given several
    /// times) [default: as the manifest has it, and `running` for guests that it does not know]
    #[arg(long, value_name = "WHICH", requires = "yes")]
    pub manage: Vec<Manage>,
    /// Put this public key (a file) into guests that let in by password but by no key
    #[arg(long, value_name = "FILE", requires = "yes", conflicts_with = "skip_ssh_checks")]
    pub install_key: Option<PathBuf>,
    /// Save nothing: print the difference
    #[arg(long, conflicts_with = "output")]
    pub dry_run: bool,
    /// Change nothing, and print what there is for another program
    #[arg(long, value_enum, conflicts_with_all = ["user", "manage", "install_key"])]
    pub output: Option<Export>,
    /// With --output: ask no host, print what the manifest has
    #[arg(long, requires = "output")]
    pub offline: bool,
}

/// Which guests are to be managed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manage {
    /// All.
    All,
    /// Those that run.
    Running,
    /// None.
    None,
    /// Those that are selected.
    Selected(Selector),
}

impl FromStr for Manage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "running" => Ok(Self::Running),
            "none" => Ok(Self::None),
            _ => selector(text).map(Self::Selected).map_err(|error| format!("{error}; or all, running, none")),
        }
    }
}

/// For which program an inventory is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Export {
    /// Documented, versioned JSON
    Json,
    /// An inventory for Ansible: `ansible-inventory -i FILE --list`
    Ansible,
    /// Entries for ~/.ssh/config: `ssh -F FILE NAME`
    SshConfig,
}

/// What can be asked of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ManifestCommand {
    /// Show the manifest as it is understood, defaults filled in; no secrets
    Show(OutputArgs),
    /// Check the manifest, and name everything that is wrong with it
    Check,
    /// Set a key, in place and in the file's own style
    #[command(after_help = help_end(SET_EXAMPLES))]
    Set(SetArgs),
    /// Take a key out, so that what is above it or built in holds again
    Unset(UnsetArgs),
    /// Add a host behind the others; makes the file where there is none
    #[command(after_help = help_end(ADD_HOST_EXAMPLES))]
    AddHost(AddHostArgs),
    /// Take a host out, with its guests; comments above it stay
    RemoveHost(RemoveHostArgs),
}

/// Which table of the manifest is meant, and whether it is meant in earnest.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SpotArgs {
    /// In this host's entry [default: in `[defaults]`]
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// In the host's rule (`[[hosts.guests]]`) of this guest, which is made where there is none
    #[arg(long, value_name = "ID", requires = "host")]
    pub guest: Option<GuestId>,
    /// Save nothing: print the difference
    #[arg(long)]
    pub dry_run: bool,
}

/// What `manifest set` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SetArgs {
    /// The key, in any of its spellings: `ssh.user` or `user`
    #[arg(value_name = "KEY")]
    pub key: String,
    /// The value: a text without quotes, a number, `true`, `false`, or a list as in the file
    #[arg(value_name = "VALUE")]
    pub value: String,
    /// Where.
    #[command(flatten)]
    pub spot: SpotArgs,
}

/// What `manifest unset` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct UnsetArgs {
    /// The key, in any of its spellings
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Where.
    #[command(flatten)]
    pub spot: SpotArgs,
}

/// What `manifest add-host` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct AddHostArgs {
    /// DNS name or address of the node
    #[arg(value_name = "HOST")]
    pub host: String,
    /// Other keys of the host
    #[arg(value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub settings: Vec<(String, String)>,
    /// What it is called here [default: HOST]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Variable that holds USER@REALM!TOKENID [default: made from the name, such as PVE1_TOKEN]
    #[arg(long, value_name = "VARIABLE")]
    pub token_env: Option<String>,
    /// Variable that holds the token's secret [default: made from the name, such as PVE1_SECRET]
    #[arg(long, value_name = "VARIABLE")]
    pub secret_env: Option<String>,
    /// Save nothing: print the difference
    #[arg(long)]
    pub dry_run: bool,
}

/// What `manifest remove-host` can be told.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RemoveHostArgs {
    /// The host
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Save nothing: print the difference
    #[arg(long)]
    pub dry_run: bool,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is written KEY=VALUE, such as api.port=8006")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// What can be asked of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum JournalCommand {
    /// Rebuild the journal's store from its segments, after damage
    Recover,
    /// Check every record of the journal
    Verify,
    /// Write the records to standard output, one JSON object a line
    Export {
        /// The run; a unique beginning of its name will do [default: all]
        #[arg(value_name = "RUN")]
        run: Option<String>,
    },
}

/// How to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct OutputArgs {
    /// How to report
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// For whom the output is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Human,
    /// For programs: documented, versioned JSON on standard output and nothing else there
    Json,
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    /// Help and version, once printed, and wrong usage (2) come as the code to exit with.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, ExitCode> {
        Self::try_parse_from(args).map_err(|error| {
            // Nothing is left to be done about a terminal that can't even take the help text.
            let _printed = error.print();
            if error.use_stderr() { Exit::Usage.into() } else { Exit::Clean.into() }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bare_run_has_the_documented_defaults() {
        let cli = parse("proxmaint run").unwrap();
        assert_eq!(cli.places.config, PathBuf::from("proxmox-hosts.toml"));
        let Command::Run(run) = cli.command else { panic!("not a run") };
        assert_eq!((run.parallel_hosts, run.output, run.hosts.len()), (1, Output::Human, 0));
        assert!(!(run.dry_run || run.yes || run.fresh || run.replan || run.keep_plan));
    }

    #[test]
    fn state_lives_beside_the_manifest_unless_told_otherwise() {
        let places = |config: &str, state: Option<&str>| {
            Places { config: config.into(), state_dir: state.map(PathBuf::from) }.state_dir()
        };
        assert_eq!(places("hosts.toml", None), PathBuf::from("state"));
        assert_eq!(places("/etc/fleet/hosts.toml", None), PathBuf::from("/etc/fleet/state"));
        assert_eq!(places("/etc/fleet/hosts.toml", Some("/var/x")), PathBuf::from("/var/x"));
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for line in [
            "proxmaint run --replan --keep-plan",
            "proxmaint run --fresh --resume 2026",
            "proxmaint run --guests-only --hosts-only",
            "proxmaint run --guest 101 --hosts-only",
            "proxmaint run --guest 101 --reboot",
            "proxmaint run --guests-only --reboot always",
            "proxmaint run --reboot never",
            "proxmaint run --reboot sometimes",
            "proxmaint run --guest 199-100",
            "proxmaint run --guest",
            "proxmaint run --plan p --guest 101",
            "proxmaint run --plan p --guests-only",
            "proxmaint run --plan p --hosts-only",
            "proxmaint run --plan p --reboot",
            "proxmaint run --plan p --max-hosts 1",
            "proxmaint run --plan p --dry-run",
            "proxmaint run --plan p --resume 2026",
            "proxmaint run --plan p --replan",
            "proxmaint run --plan p --keep-plan",
            "proxmaint plan --guests-only --reboot",
            "proxmaint run --max-hosts 0",
            "proxmaint run --parallel-hosts 0",
            "proxmaint status --all --host pve1",
            "proxmaint resolve 2026 pve1",
            "proxmaint resolve 2026 pve1 --retry --skip",
            "proxmaint resolve 2026 pve1 web --retry",
            "proxmaint",
        ] {
            assert!(parse(line).is_err(), "{line} was accepted");
        }
    }

    #[test]
    fn an_aim_is_what_is_said_and_nothing_else() {
        let aim = |line| match parse(line).unwrap().command {
            Command::Run(args) => args.work.aim(),
            other => panic!("parsed as {other:?}"),
        };
        let guests = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Selector>>();
        let work = |scope, texts: &[&str]| Some((scope, guests(texts)));
        assert_eq!(aim("proxmaint run"), Aim::default());
        let one = aim("proxmaint run --guest 101 --guest !tag:a");
        assert_eq!(one.work, work(Scope::GuestsOnly, &["101", "!tag:a"]), "no node is meant");
        assert_eq!(aim("proxmaint run --guests-only").work, work(Scope::GuestsOnly, &[]));
        assert_eq!(aim("proxmaint run --hosts-only").work, work(Scope::HostsOnly, &[]));
        assert_eq!(aim("proxmaint run --reboot").reboot, Some(HostReboot::IfNeeded));
        assert_eq!(aim("proxmaint run --reboot --yes").reboot, Some(HostReboot::IfNeeded));
        assert_eq!(aim("proxmaint run --hosts-only --reboot always").reboot, Some(HostReboot::Always));
    }

    #[test]
    fn a_resolution_is_the_one_that_was_named() {
        let resolution = |line| match parse(line).unwrap().command {
            Command::Resolve(args) => (args.guest, args.resolution()),
            other => panic!("parsed as {other:?}"),
        };
        assert_eq!(resolution("proxmaint resolve 2026 pve1 104 --retry"), (Some(GuestId(104)), Resolution::Retry));
        assert_eq!(resolution("proxmaint resolve 2026 pve1 104 --done"), (Some(GuestId(104)), Resolution::Done));
        assert_eq!(resolution("proxmaint resolve 2026 pve1 --skip"), (None, Resolution::Skip));
    }

    #[test]
    fn places_may_be_named_before_and_behind_the_command() {
        assert_eq!(parse("proxmaint --config x.toml run").unwrap(), parse("proxmaint run --config x.toml").unwrap());
    }
}
