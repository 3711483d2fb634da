//! How a run, all runs, and what happened in one are written for people. Each function returns text; `run` and the
//! `status` command print it.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::ids::{GuestId, HostId, RunId, Step};
use crate::machine::event::HostEvent;
use crate::machine::host::HostResult;
use crate::machine::run::RunResult;
use crate::observe::project::RunHeader;
use crate::observe::report::{painted, verdict};
use crate::observe::sanitize::{clean, clean_json, shorten};
use crate::observe::style::Paint;
use crate::observe::view::{
    GateView, GuestStanding, GuestView, HostCounts, HostStanding, HostView, Kept, RemarksView, RolloutStage,
    RolloutView, RunView, SMALL_FLEET, Standing, StepStanding, StepView, VIEW_VERSION,
};
use crate::observe::when;
use crate::observe::words::{self, Teller, count, list, some};
use crate::time::Timestamp;

/// Longest reason beside a command: the whole of it stands with the step that it is about.
const MAX_REASON: usize = 200;

/// Writes a run as a tree: host, guest, step. In a large fleet hosts that came out well, or have not begun, are one line;
/// steps are shown of what is at work or went wrong. With `everything`, for one host, nothing is left out.
pub fn tree(view: &RunView, everything: bool, paint: Paint) -> String {
    let mut out = String::new();
    head(&mut out, view, paint);
    for host in &view.hosts {
        let folded = !everything && view.counts.total > SMALL_FLEET && host.is_quiet();
        let running = matches!(view.standing, Standing::Running { .. });
        let writer = Writer { out: &mut out, running, everything, paint };
        writer.host(host, folded);
    }
    foot(&mut out, view, everything, paint);
    out
}

/// Writes a view as JSON, ending in a line break.
pub fn json(view: &RunView) -> String {
    to_json(view) + "\n"
}

fn head(out: &mut String, view: &RunView, paint: Paint) {
    let standing = standing(view.standing, view.result, paint);
    let _ok = writeln!(out, "Run {} of {}: {standing}", paint.strong(view.run.as_str()), view.opened_at);
    let _ok = writeln!(out, "{}", host_counts(&view.counts));
    if let Some(text) = view.rollout.as_ref().and_then(|rollout| rollout_line(rollout, paint)) {
        let _ok = writeln!(out, "{text}");
    }
    out.push('\n');
}

/// Says how far a run is with its canaries, and why it halted; nothing where there is nothing to wait for.
fn rollout_line(rollout: &RolloutView, paint: Paint) -> Option<String> {
    if let Some(why) = &rollout.halted {
        return Some(paint.bad(&format!("Halted: {}", clean(why))));
    }
    let text = match (rollout.stage, rollout.until) {
        (RolloutStage::Rest, _) => return None,
        (RolloutStage::Finding, _) => "Canaries first: looking for them".to_owned(),
        (RolloutStage::Canaries, _) => "Canaries first: at work on them".to_owned(),
        (RolloutStage::Soaking, Some(until)) => format!("The canaries are done: soaking until {until}"),
        (RolloutStage::Soaking, None) => "The canaries are done and left alone".to_owned(),
        (RolloutStage::Rechecking, _) => "The canaries are looked at once more".to_owned(),
    };
    Some(paint.note(&text))
}

fn standing(standing: Standing, result: RunResult, paint: Paint) -> String {
    let outcome = match result {
        RunResult::Clean => "everything came out well",
        RunResult::Failed => "not everything came out well",
        RunResult::Held => "something is held",
        RunResult::Unfinished => "not over",
    };
    let word = match standing {
        Standing::Running { pid } => format!("at work (process {pid})"),
        Standing::Interrupted if result == RunResult::Unfinished => "interrupted".to_owned(),
        Standing::Interrupted => format!("stopped, {outcome}"),
        Standing::Finished => format!("finished, {outcome}"),
        Standing::Expired => "closed, since it was too old to go on with".to_owned(),
    };
    match (standing, result) {
        (Standing::Running { .. }, _) => paint.note(&word),
        (_, RunResult::Clean) => paint.good(&word),
        (_, RunResult::Failed) => paint.bad(&word),
        (_, RunResult::Held | RunResult::Unfinished) => paint.warn(&word),
    }
}

/// Sums hosts up: `5 hosts: 2 done, 1 failed, 2 not over (1 at work)`.
fn host_counts(counts: &HostCounts) -> String {
    let open = match (counts.unfinished, counts.active) {
        (0, _) => String::new(),
        (open, 0) => format!("{open} not over"),
        (open, active) => format!("{open} not over ({active} at work)"),
    };
    let parts = list([
        some(counts.succeeded, "done"),
        some(counts.nothing_to_do, "with nothing to do"),
        some(counts.skipped, "left out"),
        some(counts.blocked, "blocked"),
        some(counts.failed, "failed"),
        some(counts.held, "held"),
        open,
    ]);
    format!("{}: {parts}", count(counts.total, "host"))
}

struct Writer<'a> {
    out: &'a mut String,
    running: bool,
    everything: bool,
    paint: Paint,
}

/// The two marks with which a branch of the tree begins: its own, and that of the lines below it.
fn marks(last: bool) -> (&'static str, &'static str) {
    if last { ("`- ", "   ") } else { ("|- ", "|  ") }
}

impl Writer<'_> {
    fn host(self, host: &HostView, folded: bool) {
        let Self { out, running, everything, paint } = self;
        let state = painted(host.result, &host_state(host, running), paint);
        let _ok = write!(out, "{}  {state}", paint.strong(&clean(host.host.as_str())));
        if let Some(spent) = host.duration() {
            let _ok = write!(out, "  {}", paint.faint(&words::span(spent)));
        }
        let counts = guest_counts(host);
        if !counts.is_empty() {
            let _ok = write!(out, "  {counts}");
        }
        out.push('\n');
        // A guest's reason stands in the guest's own line.
        let own = host.reason.as_deref().filter(|_| folded || !host.reason_is_a_guests());
        if let Some(reason) = own {
            let _ok = writeln!(out, "   {}", clean(reason));
        }
        if let Some(hint) = host.hint.as_deref().filter(|_| own.is_some()) {
            let _ok = writeln!(out, "   {} {}", paint.note("hint:"), clean(hint));
        }
        if folded {
            return;
        }
        let labels: Vec<String> = host.guests.iter().map(|guest| clean(&guest.label()).into_owned()).collect();
        let wide = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).min(40);
        for owed in &host.owed {
            let _ok = writeln!(out, "   {} {}", paint.warn("owed:"), clean(&owed.line()));
        }
        if let Some(own) = &host.own {
            let _ok = writeln!(out, "   {}", paint.note(&format!("comes last: {}", clean(own))));
        }
        let node = node_line(host);
        for (n, (guest, label)) in host.guests.iter().zip(&labels).enumerate() {
            let (own, below) = marks(n + 1 == host.guests.len() && node.is_none());
            guest_line(out, guest, label, wide, own, paint);
            if everything || worth_steps(guest) {
                details(out, below, &guest.steps, paint);
            }
            if let Some(hint) = &guest.hint {
                let _ok = writeln!(out, "{below}{} {}", paint.note("hint:"), clean(hint));
            }
            if everything {
                packages(out, below, &guest.packages);
                remarks(out, below, &guest.remarks);
                kept(out, below, &guest.kept);
            }
        }
        if let Some(text) = node {
            let (own, below) = marks(true);
            let line = format!("{own}{:wide$}  {text}", "node");
            let _ok = writeln!(out, "{}", line.trim_end());
            let steps = everything || host.in_doubt || !matches!(host.phase, HostStanding::Done);
            let not_removed = |step: &StepView| {
                let is_removal = matches!(step.step, Step::PruneSnapshot | Step::PruneBackup);
                is_removal && step.state == StepStanding::Refused
            };
            let failed = host.steps.iter().any(|step| step.state == StepStanding::Failed || not_removed(step));
            if steps || failed {
                details(out, below, &host.steps, paint);
            }
            if everything {
                packages(out, below, &host.packages);
                remarks(out, below, &host.remarks);
            }
        }
        out.push('\n');
    }
}

/// Says where a host stands, or how it came out.
pub(super) fn host_state(host: &HostView, running: bool) -> String {
    let phase = match host.phase {
        HostStanding::Pending => "not begun",
        HostStanding::Discovering => "looking for updates",
        HostStanding::AwaitingTurn => "waiting for its turn",
        HostStanding::Pruning => "removing old snapshots and backups",
        HostStanding::Snapshotting => "protecting guests",
        HostStanding::UpgradingGuests => "upgrading guests",
        HostStanding::UpgradingHost => "upgrading the node",
        HostStanding::Verifying => "verifying",
        HostStanding::AwaitingReboot => "waiting for its reboot",
        HostStanding::PreparingReboot => "preparing its reboot",
        HostStanding::SettingNoout => "setting Ceph's flag noout",
        HostStanding::Evacuating => "moving guests away",
        HostStanding::Returning => "giving back what was borrowed for the reboot",
        HostStanding::StoppingGuests => "shutting guests down",
        HostStanding::Rebooting => "rebooting",
        HostStanding::StartingGuests => "starting guests again",
        HostStanding::GivingBack => "stopping started guests",
        HostStanding::Rechecking => "looking at canaries once more",
        HostStanding::Held => "held",
        HostStanding::Done => verdict(host.result),
    };
    let phase = match host.gate {
        GateView::Paused => "paused",
        GateView::Stopped => "stopped",
        _ => phase,
    };
    match host.result {
        HostResult::Held => "held".to_owned(),
        _ if matches!(host.gate, GateView::Paused | GateView::Stopped) && running => phase.to_owned(),
        _ if !running
            && !matches!(
                host.phase,
                HostStanding::Pending | HostStanding::AwaitingTurn | HostStanding::AwaitingReboot | HostStanding::Done
            ) =>
        {
            format!("stopped while {phase}")
        }
        _ if host.in_doubt => format!("{phase}, in doubt"),
        _ => phase.to_owned(),
    }
}

/// Sums a host's guests up: `5 guests: 4 upgraded, 1 failed`; nothing where it has none.
pub(super) fn guest_counts(host: &HostView) -> String {
    let counts = host.counts;
    if counts.total == 0 {
        return String::new();
    }
    let parts = list([
        some(counts.upgraded, "upgraded"),
        some(counts.skipped, "skipped"),
        some(counts.blocked, "blocked"),
        some(counts.failed, "failed"),
        some(counts.rolled_back, "rolled back"),
        some(counts.held, "held"),
        some(counts.unfinished, "not over"),
    ]);
    format!("{}: {parts}", count(counts.total, "guest"))
}

fn worth_steps(guest: &GuestView) -> bool {
    guest.in_doubt
        || matches!(
            guest.state,
            GuestStanding::Protecting
                | GuestStanding::Measuring
                | GuestStanding::Upgrading
                | GuestStanding::Checking
                | GuestStanding::Starting
                | GuestStanding::Looking
                | GuestStanding::Rebooting
                | GuestStanding::RollingBack
                | GuestStanding::Reviving
                | GuestStanding::Rechecking
                | GuestStanding::RolledBack
                | GuestStanding::Stopping
                | GuestStanding::Held
                | GuestStanding::Failed
        )
        || (guest.state == GuestStanding::Blocked && !guest.steps.is_empty())
}

fn guest_line(out: &mut String, guest: &GuestView, label: &str, wide: usize, mark: &str, paint: Paint) {
    let word = match guest.state {
        GuestStanding::Waiting => "waiting",
        GuestStanding::Starting => "being started",
        GuestStanding::Looking => "being looked into",
        GuestStanding::Rebooting => "being rebooted",
        GuestStanding::RollingBack => "being rolled back",
        GuestStanding::Reviving => "rolled back, being started again",
        GuestStanding::Rechecking => "rolled back, being checked",
        GuestStanding::RolledBack => "rolled back",
        GuestStanding::Stopping => "being stopped again",
        GuestStanding::Protecting => "being protected",
        GuestStanding::Protected => "protected, waiting",
        GuestStanding::Measuring => "being measured",
        GuestStanding::Upgrading => "being upgraded",
        GuestStanding::Checking => "being checked",
        GuestStanding::Held => "held",
        GuestStanding::Upgraded => "upgraded",
        GuestStanding::Skipped => "skipped",
        GuestStanding::Blocked => "blocked",
        GuestStanding::Failed if guest.held => "failed, held",
        GuestStanding::Failed => "failed",
    };
    let state = match guest.state {
        _ if guest.in_doubt => paint.warn("in doubt"),
        GuestStanding::Upgraded => paint.good(word),
        GuestStanding::Skipped | GuestStanding::Waiting | GuestStanding::Protected => paint.faint(word),
        GuestStanding::Blocked | GuestStanding::Failed | GuestStanding::RolledBack => paint.bad(word),
        GuestStanding::Held => paint.warn(word),
        GuestStanding::Protecting
        | GuestStanding::Measuring
        | GuestStanding::Upgrading
        | GuestStanding::Checking
        | GuestStanding::Starting
        | GuestStanding::Looking
        | GuestStanding::Rebooting
        | GuestStanding::RollingBack
        | GuestStanding::Reviving
        | GuestStanding::Rechecking
        | GuestStanding::Stopping => paint.note(word),
    };
    let _ok = write!(out, "{mark}{label:wide$}  {state}");
    if let Some(ms) = guest.duration_ms {
        let _ok = write!(out, "  {}", paint.faint(&words::span(Duration::from_millis(ms))));
    }
    let packages = match (guest.state, guest.changed, guest.pending) {
        (GuestStanding::Upgraded, changed, _) => count(changed, "package") + " changed",
        (GuestStanding::Skipped | GuestStanding::Blocked, _, _) | (_, _, 0) => String::new(),
        (_, _, pending) => count(pending, "package") + " pending",
    };
    if !packages.is_empty() {
        let _ok = write!(out, "  {packages}");
    }
    if guest.unprotected {
        let _ok = write!(out, "  {}", paint.warn("without a protection"));
    }
    if guest.own {
        let _ok = write!(out, "  {}", paint.note("proxmaint runs here: comes last"));
    }
    if guest.rebooted {
        out.push_str("  rebooted");
    }
    if let Some(why) = &guest.reboot_wanted {
        let _ok = write!(out, "  {} {}", paint.warn("wants a reboot:"), clean(why));
    }
    if let Some(reason) = &guest.reason {
        let _ok = write!(out, "  {}", clean(reason));
    }
    out.push('\n');
}

/// Returns what is shown of the node itself, or `None` where nothing is known or to be said.
fn node_line(host: &HostView) -> Option<String> {
    let said = host.changed + host.pending + host.removed > 0
        || host.reboot_wanted.is_some()
        || host.rebooted.is_some()
        || host.left_out.is_some();
    if host.steps.is_empty() && !said {
        return None;
    }
    let what = match (host.phase, host.changed, host.pending) {
        _ if host.left_out.is_some() => {
            format!("left alone: {}", host.left_out.as_deref().map(clean).unwrap_or_default())
        }
        (HostStanding::Done, 0, _) if host.result == HostResult::NothingToDo => "nothing to do".to_owned(),
        (HostStanding::Done, 0, _) => String::new(),
        (HostStanding::Done, changed, _) => count(changed, "package") + " changed",
        (_, _, 0) => String::new(),
        (_, _, pending) => count(pending, "package") + " pending",
    };
    let reboot = match &host.reboot_wanted {
        Some(why) => format!("wants a reboot: {}", clean(why)),
        None => String::new(),
    };
    let rebooted = match &host.rebooted {
        Some(kernel) => format!("rebooted into kernel {}", clean(kernel)),
        None => String::new(),
    };
    Some(list([what, some(host.removed, "old snapshots and backups removed"), rebooted, reboot]))
}

fn details(out: &mut String, below: &str, steps: &[StepView], paint: Paint) {
    for (n, step) in steps.iter().enumerate() {
        let (own, _) = marks(n + 1 == steps.len());
        let word = match step.state {
            StepStanding::Planned => "not begun",
            StepStanding::Working => "at work",
            StepStanding::InDoubt => "in doubt",
            StepStanding::Interrupted => "interrupted",
            StepStanding::Done => "done",
            StepStanding::Refused => "not begun",
            StepStanding::Failed => "failed",
            StepStanding::NotDone => "came to nothing",
            StepStanding::Held => "held",
        };
        let state = match step.state {
            StepStanding::Done => paint.good(word),
            StepStanding::Failed | StepStanding::Refused => paint.bad(word),
            StepStanding::InDoubt | StepStanding::Held => paint.warn(word),
            StepStanding::Working => paint.note(word),
            StepStanding::Planned | StepStanding::Interrupted | StepStanding::NotDone => paint.faint(word),
        };
        // Each removal is a round of its own: what it is about says more.
        let round = match (step.step, &step.thing) {
            (Step::PruneSnapshot | Step::PruneBackup, Some(thing)) => format!(" {}", clean(thing)),
            _ if step.round > 1 => format!(" (attempt {})", step.round),
            _ => String::new(),
        };
        let _ok = write!(out, "{below}{own}{}{round}: {state}", step.step);
        if let Some(ms) = step.duration_ms {
            let _ok = write!(out, "  {}", paint.faint(&words::span(Duration::from_millis(ms))));
        }
        if let Some(reason) = &step.reason {
            let _ok = write!(out, "  {}", clean(reason));
        }
        if let Some(log) = &step.log {
            let _ok = write!(out, "  {}", paint.faint(&clean(log)));
        }
        if let Some(task) = step.task.as_ref().filter(|_| step.state != StepStanding::Done) {
            let _ok = write!(out, "  {}", paint.faint(&clean(task.as_str())));
        }
        out.push('\n');
    }
}

fn packages(out: &mut String, below: &str, packages: &[crate::inventory::PackageChange]) {
    for change in packages {
        let _ok = writeln!(out, "{below}   {}", words::package(change));
    }
}

fn remarks(out: &mut String, below: &str, left: &RemarksView) {
    for remark in words::remarks(left) {
        let _ok = writeln!(out, "{below}   {remark}");
    }
}

fn kept(out: &mut String, below: &str, kept: &[Kept]) {
    for kept in kept {
        let at = kept.at.map_or_else(String::new, |at| format!(" of {at}"));
        let _ok = writeln!(out, "{below}   kept for a rollback: {} {}{at}", kept.kind.word(), clean(&kept.name));
    }
}

/// Writes what is in doubt, kept and to be done next.
fn foot(out: &mut String, view: &RunView, everything: bool, paint: Paint) {
    if !out.ends_with("\n\n") {
        out.push('\n');
    }
    let doubtful =
        |host: &HostView| host.guests.iter().filter(|guest| guest.in_doubt).count() + usize::from(host.in_doubt);
    let in_doubt: usize = view.hosts.iter().map(doubtful).sum();
    if in_doubt > 0 {
        let what = count(in_doubt, "step");
        let _ok = writeln!(
            out,
            "In doubt: {}. Nobody knows yet how {} ended; it is looked at before anything else is done.",
            paint.warn(&what),
            if in_doubt == 1 { "it" } else { "they" }
        );
    }
    let (snapshots, backups) =
        view.hosts.iter().fold((0, 0), |sum, host| (sum.0 + host.snapshots, sum.1 + host.backups));
    if snapshots + backups > 0 && !everything {
        let text = [(snapshots, "snapshot"), (backups, "backup")];
        let text = list(text.map(|(n, noun)| if n == 0 { String::new() } else { count(n, noun) }));
        let _ok = writeln!(out, "Kept for a rollback: {text}.");
    }
    for advice in &view.next {
        let command = paint.note(&clean(&advice.command));
        match advice.host {
            Some(_) => {
                let _ok = writeln!(out, "To decide: {command}  ({})", shorten(&advice.why, MAX_REASON));
            }
            None => {
                let _ok = writeln!(out, "To go on: {command}  ({})", clean(&advice.why));
            }
        }
    }
    let some_changed = view.hosts.iter().find(|host| host.changed > 0 || host.guests.iter().any(|g| g.changed > 0));
    if let Some(host) = some_changed.filter(|_| !everything) {
        let name = shell_words::quote(host.host.as_str()).into_owned();
        let command = format!("proxmaint status {} --host {}", view.run, clean(&name));
        let _ok = writeln!(out, "Packages, old and new: {}", paint.note(&command));
    }
}

/// One line of `status --all`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLine {
    /// The run.
    pub header: RunHeader,
    /// How it stands.
    pub result: RunResult,
    /// Its hosts, counted.
    pub counts: HostCounts,
    /// How many of them are owed something.
    pub owed: usize,
}

/// Writes the list of runs, in the order given.
pub fn runs(lines: &[RunLine], paint: Paint) -> String {
    if lines.is_empty() {
        return "There is no run yet. `proxmaint run` begins one.\n".to_owned();
    }
    let mut out = String::new();
    for line in lines {
        let word = standing(line.header.standing, line.result, paint);
        let run = paint.strong(line.header.run.as_str());
        let owed = match line.owed {
            0 => String::new(),
            n => format!("; {}", paint.warn(&format!("still owed on {}", count(n, "host")))),
        };
        let _ok = writeln!(out, "{run}  {}  {word}; {}{owed}", line.header.opened_at, host_counts(&line.counts));
    }
    out
}

/// Writes the list of runs as one JSON object: `{"v": 1, "runs": [{"run", "opened_at", "parallel_hosts", "standing",
/// "result", "counts", "owed"}]}`, the fields as in `status`; `owed` counts the hosts that are owed something.
pub fn runs_json(lines: &[RunLine]) -> String {
    let runs = lines.iter().map(|line| RunEntry {
        run: &line.header.run,
        opened_at: line.header.opened_at,
        parallel_hosts: line.header.parallel_hosts,
        standing: line.header.standing,
        result: line.result,
        counts: line.counts,
        owed: line.owed,
    });
    to_json(&RunEntries { v: VIEW_VERSION, runs: runs.collect() }) + "\n"
}

#[derive(Serialize)]
struct RunEntries<'a> {
    v: u32,
    runs: Vec<RunEntry<'a>>,
}

#[derive(Serialize)]
struct RunEntry<'a> {
    run: &'a RunId,
    #[serde(with = "when")]
    opened_at: Timestamp,
    parallel_hosts: u32,
    standing: Standing,
    result: RunResult,
    counts: HostCounts,
    owed: usize,
}

#[derive(Serialize)]
struct EventEntry<'a> {
    v: u32,
    seq: u64,
    #[serde(with = "when")]
    at: Timestamp,
    run: &'a RunId,
    host: &'a HostId,
    guest: Option<GuestId>,
    event: &'static str,
    text: &'a str,
}

/// Writes plain data as JSON that is harmless on a terminal, too.
fn to_json(data: &impl Serialize) -> String {
    match serde_json::to_string(data) {
        Ok(json) => clean_json(json),
        // Plain data without odd map keys always serialises.
        Err(error) => serde_json::json!({"v": VIEW_VERSION, "error": error.to_string()}).to_string(),
    }
}

/// Tells the events of a run one by one, for `status --events`: feed it every event from the run's beginning, so that it
/// learns the guests' names, and print what is wanted.
#[derive(Debug, Default)]
pub struct EventLines {
    teller: Teller,
}

impl EventLines {
    /// Makes a writer that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes one event on one line, without its line break.
    pub fn line(&mut self, at: Timestamp, host: &HostId, event: &HostEvent, paint: Paint) -> String {
        let told = self.teller.tell(host, event);
        let guest = told.guest.map_or_else(String::new, |guest| format!("{guest}: "));
        format!("{}  {}  {guest}{}", paint.faint(&at.to_string()), paint.strong(&clean(host.as_str())), told.what)
    }

    /// Writes one event as a JSON line, without its line break: `{"v": 1, "seq", "at", "run", "host", "guest", "event",
    /// "text"}`, where `event` is the name of the journal's event and `text` the words for people.
    pub fn json_line(&mut self, run: &RunId, seq: u64, at: Timestamp, host: &HostId, event: &HostEvent) -> String {
        let told = self.teller.tell(host, event);
        let guest = match event {
            HostEvent::Ended { key, .. } | HostEvent::Probed { key, .. } | HostEvent::TaskStarted { key, .. } => {
                key.target.guest()
            }
            HostEvent::Resolved { guest, .. } => *guest,
            _ => None,
        };
        let (event, text) = (event.name(), told.what.as_str());
        to_json(&EventEntry { v: VIEW_VERSION, seq, at, run, host, guest, event, text })
    }
}
