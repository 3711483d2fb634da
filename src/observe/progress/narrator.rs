//! Tells a run as it goes on, one sentence for each thing that a newcomer wants to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::observer::{RunEnd, Seen};
use crate::ids::{GuestId, GuestKind, RunId, Step};
use crate::machine::effect::Mode;
use crate::machine::event::HostEvent;
use crate::machine::guest::{Attempt, GuestPhase, GuestState, GuestVerdict};
use crate::machine::host::{Debt, HostPhase, HostResult, HostState, HostVerdict};
use crate::machine::outcome::{Fault, FaultClass, Protection, RebootFacts, Remarks};
use crate::machine::run::RunResult;
use crate::observe::project::{resolve_command, rollback_command};
use crate::observe::sanitize::{clean, shorten};
use crate::observe::view::GuestCounts;
use crate::observe::watch::{News, Watch};
use crate::observe::words::{self, Teller, count, list, some};
use crate::plan::{Decision, ProtectBy};

/// Longest reason that a line of progress carries: the whole of it stands in `status` and the log.
const MAX_REASON: usize = 300;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// For `--verbose`.
    Detail,
    /// A step of a host or guest.
    Step,
    /// What stays on the screen when bars are drawn: how hosts came out, and what went wrong.
    Headline,
}

/// The tone of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Plain,
    /// Came out well.
    Good,
    /// Failed or blocked.
    Bad,
    /// Held or in doubt.
    Warn,
}

/// One line of progress. Its text is clean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub weight: Weight,
    /// Its tone.
    pub tone: Tone,
    /// The host that it is about.
    pub host: Option<Arc<str>>,
    /// What to say.
    pub text: String,
}

/// Tells what is seen.
#[derive(Debug)]
pub struct Narrator {
    watch: Watch,
    teller: Teller,
    least: Weight,
    /// Whether all of the run is worked on.
    whole: bool,
    /// What each host is owed, as it was last seen.
    owed: BTreeMap<Arc<str>, Vec<String>>,
}

impl Narrator {
    /// Makes a narrator; a verbose one tells details too.
    pub fn new(verbose: bool) -> Self {
        let least = if verbose { Weight::Detail } else { Weight::Step };
        Self { watch: Watch::new(), teller: Teller::new(), least, whole: true, owed: BTreeMap::new() }
    }

    /// Tells what is seen, in lines.
    pub fn tell(&mut self, seen: &Seen<'_>) -> Vec<Line> {
        let mut lines = match seen {
            Seen::RunBegan { run, hosts, resumed, whole } => {
                self.whole = *whole;
                if *whole { vec![run_began(run, hosts.len(), *resumed)] } else { Vec::new() }
            }
            Seen::Host { event, state, .. } => self.host(event, state),
            Seen::Soaking { until } => {
                vec![headline(Tone::Plain, format!("the canaries are done and left alone; soaking until {until}"))]
            }
            Seen::CanariesHeld => vec![headline(Tone::Good, "the canaries are well: the rest begins".to_owned())],
            Seen::Halted { why, not_begun } => vec![headline(
                Tone::Bad,
                format!(
                    "halted: {}; nothing more begins, {} not begun; `proxmaint run` goes on when it is mended",
                    shorten(why, MAX_REASON),
                    count(*not_begun, "host")
                ),
            )],
            Seen::Draining => vec![Line {
                weight: Weight::Headline,
                tone: Tone::Warn,
                host: None,
                text: "stopping: no new step begins; what is at work is waited for or left to itself. Once more stops at once"
                    .to_owned(),
            }],
            // How the run stands was not asked, and what came of the rest of it is not known here.
            Seen::RunEnded(_) if !self.whole => self.owed(),
            Seen::RunEnded(end) => self.owed().into_iter().chain([run_ended(*end)]).collect(),
        };
        lines.retain(|line| line.weight >= self.least);
        lines
    }

    /// Tells what is still owed when the work ends.
    fn owed(&mut self) -> Vec<Line> {
        let line = |host: &Arc<str>, what: &String| Line {
            weight: Weight::Headline,
            tone: Tone::Warn,
            host: Some(Arc::clone(host)),
            text: format!("still owed: {what}"),
        };
        self.owed.iter().flat_map(|(host, all)| all.iter().map(move |what| line(host, what))).collect()
    }

    fn host(&mut self, event: &HostEvent, state: &HostState) -> Vec<Line> {
        let name: Arc<str> = clean(state.host().as_str()).into();
        self.teller.learn(state);
        match state.owed() {
            owed if owed.is_empty() => drop(self.owed.remove(&name)),
            owed => drop(self.owed.insert(Arc::clone(&name), owed.iter().map(ToString::to_string).collect())),
        }
        let told = self.teller.tell(state.host(), event);
        let mut lines = Vec::new();
        let mut say = |weight, tone, guest: Option<String>, text: String| {
            let text = guest.map_or_else(|| text.clone(), |guest| format!("{guest}: {text}"));
            lines.push(Line { weight, tone, host: Some(Arc::clone(&name)), text });
        };
        match event {
            // These are told below, by what follows from them.
            HostEvent::Planned { .. } | HostEvent::Begun => {}
            HostEvent::Resolved { .. }
            | HostEvent::PolicyChanged { .. }
            | HostEvent::NewRound
            | HostEvent::Gated { .. }
            | HostEvent::Recheck
            | HostEvent::GiveBack => say(Weight::Step, Tone::Plain, told.guest, told.what),
            _ => say(Weight::Detail, Tone::Plain, told.guest, told.what),
        }
        if let HostEvent::Planned { plan, .. } = event
            && plan.refusal.is_none()
        {
            say(Weight::Step, Tone::Plain, None, words::plan_summary(plan));
            for guest in &plan.guests {
                let label = || words::guest(guest.guest.kind, guest.guest.id, &guest.name);
                // Where it keeps its verdict of an earlier round the plan is not about it.
                match state.guests.get(&guest.guest.id).map(|guest| &guest.phase) {
                    Some(GuestPhase::Settled(GuestVerdict::Blocked(why))) => {
                        let text = format!("blocked, not touched: {}", shorten(why, MAX_REASON));
                        say(Weight::Headline, Tone::Bad, Some(label()), text);
                    }
                    Some(GuestPhase::Settled(GuestVerdict::Skipped(why))) => {
                        let text = format!("left alone: {}", shorten(&why.to_string(), MAX_REASON));
                        say(Weight::Detail, Tone::Plain, Some(label()), text);
                    }
                    Some(GuestPhase::Settled(GuestVerdict::Failed { fault, held: true, .. })) => {
                        say(
                            Weight::Headline,
                            Tone::Bad,
                            Some(label()),
                            format!("still held: failed: {}", shorten(&fault.what, MAX_REASON)),
                        );
                    }
                    _ => {}
                }
            }
        }
        for news in self.watch.note(state) {
            let (weight, tone, guest, text) = match news {
                // It only stands again where it stood.
                News::Host if !self.whole && matches!(state.phase, HostPhase::Done(_)) => continue,
                News::Host => {
                    let Some((weight, tone, text)) = host_line(state) else { continue };
                    (weight, tone, None, text)
                }
                News::Guest(id, guest) => {
                    let Some((weight, tone, text)) = guest_line(state, id, guest) else { continue };
                    let plan = &guest.plan;
                    (weight, tone, Some(words::guest(plan.guest.kind, id, &plan.name)), text)
                }
            };
            say(weight, tone, guest, text);
        }
        lines
    }
}

fn headline(tone: Tone, text: String) -> Line {
    Line { weight: Weight::Headline, tone, host: None, text }
}

type Said = Option<(Weight, Tone, String)>;

fn run_began(run: &RunId, hosts: usize, resumed: bool) -> Line {
    let text = if resumed {
        format!("run {run} goes on where it stopped: {}", count(hosts, "host"))
    } else {
        format!("run {run} begins: {}", count(hosts, "host"))
    };
    Line { weight: Weight::Headline, tone: Tone::Plain, host: None, text }
}

fn run_ended(end: RunEnd) -> Line {
    let (tone, text) = match (end.result, end.interrupted) {
        (RunResult::Clean, _) => (Tone::Good, "the run is over: everything is verified, or there was nothing to do"),
        (_, _) if end.halted => (Tone::Bad, "the run has halted; `proxmaint run` goes on from here"),
        (_, true) => (Tone::Warn, "the run was interrupted; `proxmaint run` goes on from here"),
        (RunResult::Failed, _) => (Tone::Bad, "the run is over: not everything came out well"),
        (RunResult::Held, _) => (Tone::Warn, "the run is over for now: something is held for you to decide"),
        (RunResult::Unfinished, _) => (Tone::Warn, "the run is not over; `proxmaint run` goes on from here"),
    };
    Line { weight: Weight::Headline, tone, host: None, text: text.to_owned() }
}

/// How a step in doubt or found at work is told; `None` for a plain attempt.
fn approach(attempt: Attempt) -> Said {
    let name = words::step(attempt.step);
    match attempt.mode {
        Mode::Act => None,
        Mode::Probe => Some((Weight::Step, Tone::Warn, format!("can't tell how its {name} ended; looking"))),
        Mode::Attach => Some((Weight::Step, Tone::Plain, format!("its {name} is still at work; waiting for it"))),
    }
}

fn again(attempt: Attempt) -> String {
    if attempt.round > 1 { format!(" (attempt {})", attempt.round) } else { String::new() }
}

fn guest_line(state: &HostState, id: GuestId, guest: &GuestState) -> Said {
    if let Some(attempt) = guest.phase.attempt()
        && let Some(said) = approach(attempt)
    {
        return Some(said);
    }
    let reason = |fault: &Fault| shorten(&fault.what, MAX_REASON);
    let upgrade = match &guest.plan.decision {
        Decision::Upgrade(upgrade) => Some(upgrade),
        Decision::Skip(_) | Decision::Block(_) | Decision::Start(_) => None,
    };
    Some(match &guest.phase {
        // The end of the protecting step has told it.
        GuestPhase::Waiting | GuestPhase::Protected { .. } => return None,
        GuestPhase::Protecting { way, attempt } => {
            let text = match upgrade.and_then(|upgrade| upgrade.protection.get(*way)) {
                Some(ProtectBy::Backup { storage, .. }) => format!("backing up to {}", clean(storage)),
                Some(ProtectBy::Snapshot | ProtectBy::Waived) | None => "taking a snapshot".to_owned(),
            };
            (Weight::Step, Tone::Plain, text + &again(*attempt))
        }
        GuestPhase::Measuring { .. } => (Weight::Detail, Tone::Plain, "looking how it does".to_owned()),
        GuestPhase::Upgrading { attempt, .. } => {
            let packages = count(upgrade.map_or(0, |upgrade| upgrade.pending.len()), "package");
            let bare = match &guest.phase {
                GuestPhase::Upgrading { protection: Protection::Waived, .. } => ", without a protection",
                _ => "",
            };
            (Weight::Step, Tone::Plain, format!("upgrading {packages}{bare}{}", again(*attempt)))
        }
        GuestPhase::Checking { .. } => (Weight::Detail, Tone::Plain, "checking".to_owned()),
        GuestPhase::Starting { attempt } => (Weight::Step, Tone::Plain, format!("starting{}", again(*attempt))),
        GuestPhase::Looking { .. } => (Weight::Step, Tone::Plain, "runs now: looking for pending updates".to_owned()),
        GuestPhase::Rebooting { attempt, .. } => (Weight::Step, Tone::Plain, format!("rebooting{}", again(*attempt))),
        GuestPhase::RollingBack { undo, attempt } => {
            let why = match &undo.before {
                GuestVerdict::Failed { fault, .. } if !undo.by_operator => format!("went wrong: {}; ", reason(fault)),
                _ => String::new(),
            };
            let text = format!("{why}rolling back to {}{}", clean(undo.snapshot.as_str()), again(*attempt));
            (Weight::Headline, Tone::Warn, text)
        }
        GuestPhase::Reviving { attempt, .. } => {
            (Weight::Step, Tone::Plain, format!("rolled back; starting it again{}", again(*attempt)))
        }
        GuestPhase::Rechecking { .. } => {
            (Weight::Detail, Tone::Plain, "runs again: checking it after its rollback".to_owned())
        }
        GuestPhase::Stopping { attempt, .. } => {
            (Weight::Step, Tone::Plain, format!("shutting it down again{}", again(*attempt)))
        }
        GuestPhase::Held { fault, .. } => {
            let command = resolve_command(&state.run, state.host(), Some(id));
            (Weight::Headline, Tone::Warn, format!("held: {}; decide with: {}", reason(fault), clean(&command)))
        }
        GuestPhase::Settled(GuestVerdict::Upgraded { changes, reboot_wanted, rebooted, remarks, .. }) => {
            let mut text = format!("upgraded, {} changed", count(changes.len(), "package"));
            if *rebooted {
                text.push_str("; rebooted");
            }
            if let Some(why) = reboot_wanted {
                text.push_str(&format!("; wants a reboot: {}", shorten(why, MAX_REASON)));
            }
            if let Some(why) = guest.not_rebooted() {
                text.push_str(&format!("; not rebooted: {why}"));
            }
            text.push_str(&left(remarks));
            (Weight::Step, Tone::Good, text)
        }
        GuestPhase::Settled(GuestVerdict::Skipped(why)) => {
            (Weight::Step, Tone::Plain, format!("left alone: {}", shorten(&why.to_string(), MAX_REASON)))
        }
        GuestPhase::Settled(GuestVerdict::Blocked(why)) => {
            (Weight::Headline, Tone::Bad, format!("blocked, not upgraded: {}", shorten(why, MAX_REASON)))
        }
        GuestPhase::Settled(GuestVerdict::RolledBack { undo, unwell, .. }) => {
            let tone = if undo.by_operator && unwell.is_none() { Tone::Good } else { Tone::Bad };
            let but = unwell.as_ref().map_or_else(String::new, |fault| format!("; but: {}", reason(fault)));
            let runs = if undo.runs { "" } else { "; it is off, as it was" };
            (Weight::Headline, tone, format!("rolled back to {}{runs}{but}", clean(undo.snapshot.as_str())))
        }
        GuestPhase::Settled(GuestVerdict::Failed { fault, protection, held }) => {
            let kept = match protection {
                // It is as it was, or could not be looked at.
                _ if !held && fault.class == FaultClass::Transient => "the next run tries again".to_owned(),
                Protection::Waived => "there is nothing to bring it back from".to_owned(),
                Protection::Snapshot { .. } => {
                    let command = rollback_command(&state.run, state.host(), id);
                    format!("to bring it back to its snapshot: {}", clean(&command))
                }
                protection => format!("kept for a rollback: {}", clean(&protection.to_string())),
            };
            let held = if *held { "held; " } else { "" };
            (Weight::Headline, Tone::Bad, format!("failed: {}; {held}{kept}", reason(fault)))
        }
    })
}

fn host_line(state: &HostState) -> Said {
    if let Some(attempt) = state.phase.attempt()
        && let Some(said) = approach(attempt)
    {
        return Some(said);
    }
    Some(match &state.phase {
        HostPhase::Pending => return None,
        HostPhase::Discovering { attempt } => {
            let text = format!("{}{}", words::step(Step::Discover), again(*attempt));
            (Weight::Step, Tone::Plain, text)
        }
        HostPhase::AwaitingTurn { plan } => match plan.own {
            Some(own) => (Weight::Step, Tone::Plain, format!("comes last: {own}")),
            None => (Weight::Detail, Tone::Plain, "waits for its turn".to_owned()),
        },
        HostPhase::Pruning { plan, nth, .. } => {
            let snapshot = plan.prune.get(*nth).map(|old| ("snapshot", old.name.to_string(), &old.guest));
            let backup = nth.checked_sub(plan.prune.len()).and_then(|nth| plan.prune_backups.get(nth));
            let backup = backup.map(|old| ("backup", old.volid.clone(), &old.guest));
            let (what, name, guest) = snapshot.or(backup)?;
            let text = format!("removing the old {what} {} of {} {}", clean(&name), guest.kind, guest.id);
            (Weight::Step, Tone::Plain, text)
        }
        HostPhase::Snapshotting { .. } => (Weight::Detail, Tone::Plain, "protecting guests".to_owned()),
        HostPhase::UpgradingGuests { .. } => (Weight::Detail, Tone::Plain, "upgrading guests".to_owned()),
        HostPhase::UpgradingHost { plan, attempt } => {
            let packages = count(plan.upgrade.pending.len(), "package");
            (Weight::Step, Tone::Plain, format!("upgrading the node: {packages}{}", again(*attempt)))
        }
        HostPhase::Verifying { .. } => (Weight::Step, Tone::Plain, "verifying the node and its guests".to_owned()),
        HostPhase::AwaitingReboot { .. } => (Weight::Detail, Tone::Plain, "waits for its reboot".to_owned()),
        HostPhase::PreparingReboot { .. } => {
            (Weight::Step, Tone::Plain, "looking whether the node may be rebooted".to_owned())
        }
        HostPhase::SettingNoout { attempt, .. } => {
            (Weight::Step, Tone::Plain, format!("setting Ceph's flag noout{}", again(*attempt)))
        }
        HostPhase::Evacuating { ready, nth, attempt, .. } => {
            let planned = ready.own_moves().nth(*nth).filter(|_| attempt.step == Step::MoveGuest);
            let text = match planned {
                // The rounds of the step count the guests as well: they say nothing of this one.
                Some(planned) => format!("moving {planned}; {}", moved_so_far(ready, *nth, *attempt)),
                None => {
                    let guests = count(ready.by_ha().count(), "guest");
                    format!("entering HA maintenance mode{}: HA moves {guests} away", again(*attempt))
                }
            };
            (Weight::Step, Tone::Plain, clean(&text).into_owned())
        }
        HostPhase::Returning { debt, .. } => (Weight::Step, Tone::Plain, giving_back(state, *debt)),
        HostPhase::StoppingGuests { attempt, .. } => {
            let text = format!("shutting down {}{}", count(state.shut.len(), "guest"), again(*attempt));
            (Weight::Step, Tone::Plain, text)
        }
        HostPhase::Rebooting { attempt, .. } => {
            (Weight::Headline, Tone::Plain, format!("rebooting the node{}", again(*attempt)))
        }
        HostPhase::StartingGuests { guests, attempt, .. } => {
            (Weight::Step, Tone::Plain, format!("{}{}", starting(guests.len()), again(*attempt)))
        }
        HostPhase::Rechecking { .. } => (Weight::Step, Tone::Plain, "looking at its canaries once more".to_owned()),
        // Its guest's line says so.
        HostPhase::GivingBack { .. } if state.is_rolling_back() => return None,
        HostPhase::GivingBack { .. } => {
            (Weight::Step, Tone::Plain, "stopping guests that were started to be upgraded".to_owned())
        }
        HostPhase::Held { fault, .. } => {
            let command = resolve_command(&state.run, state.host(), None);
            let text = format!("held: {}; decide with: {}", shorten(&fault.what, MAX_REASON), clean(&command));
            (Weight::Headline, Tone::Warn, text)
        }
        HostPhase::Done(verdict) => {
            let (tone, text) = over(state, verdict);
            (Weight::Headline, tone, text)
        }
    })
}

fn over(state: &HostState, verdict: &HostVerdict) -> (Tone, String) {
    let tone = match state.result() {
        HostResult::NothingToDo | HostResult::Succeeded => Tone::Good,
        HostResult::Skipped | HostResult::Unfinished => Tone::Plain,
        HostResult::Blocked | HostResult::Failed => Tone::Bad,
        HostResult::Held => Tone::Warn,
    };
    let reboot = |wanted: &Option<String>| match wanted {
        Some(why) => format!("; the node wants a reboot: {}", shorten(why, MAX_REASON)),
        None => String::new(),
    };
    let text = match verdict {
        HostVerdict::NothingToDo { reboot_wanted } => match state.removed().count() {
            0 => format!("done: nothing to do{}", reboot(reboot_wanted)),
            n => format!("done: {n} old snapshots and backups removed, nothing else to do{}", reboot(reboot_wanted)),
        },
        HostVerdict::Verified(report) => {
            let spent = match (state.began, state.touched) {
                (Some(began), Some(ended)) => format!(" in {}", words::span(ended.since(began))),
                _ => String::new(),
            };
            let node = match report.changes.len() {
                0 => String::new(),
                n => format!("{} of the node", count(n, "package")),
            };
            let what = list([guests_summary(&GuestCounts::of(state)), node]);
            let what = if what.is_empty() { "verified".to_owned() } else { what };
            let kernel = report
                .rebooted
                .as_ref()
                .map_or_else(String::new, |kernel| format!("; rebooted into kernel {}", clean(kernel)));
            format!("done{spent}: {what}{kernel}{}{}", reboot(&report.reboot_wanted), left(&report.remarks))
        }
        HostVerdict::NotRebooted { why, .. } => {
            format!("done, but not rebooted, though it should have been: {}", shorten(why, MAX_REASON))
        }
        HostVerdict::Blocked(why) => format!("blocked, not touched: {}", shorten(why, MAX_REASON)),
        HostVerdict::Failed(fault) => format!("failed: {}", shorten(&fault.what, MAX_REASON)),
        HostVerdict::Skipped => "left out by the operator".to_owned(),
    };
    (tone, text)
}

/// Says what an upgrade left for the administrator.
fn left(remarks: &Remarks) -> String {
    let all = words::remarks(&remarks.into());
    all.iter().fold(String::new(), |text, remark| text + "; " + remark)
}

/// Sums up guests: `3 guests upgraded, 1 skipped, 1 failed`.
fn guests_summary(counts: &GuestCounts) -> String {
    let upgraded = if counts.upgraded > 0 { count(counts.upgraded, "guest") + " upgraded" } else { String::new() };
    list([
        upgraded,
        some(counts.skipped, "skipped"),
        some(counts.blocked, "blocked"),
        some(counts.failed, "failed"),
        some(counts.rolled_back, "rolled back"),
        some(counts.held, "held"),
    ])
}

/// Counts the guests that are away: `3 of 7 guests moved`.
fn moved_so_far(ready: &RebootFacts, nth: usize, attempt: Attempt) -> String {
    // HA's own go first, and all at once.
    let by_ha = if attempt.step == Step::MoveGuest { ready.by_ha().count() } else { 0 };
    format!("{} of {} moved", by_ha + nth, count(ready.moves.len(), "guest"))
}

/// Says what is waited for once a node is back: also where none of its guests was shut down, it may start some by itself.
fn starting(guests: usize) -> String {
    match guests {
        0 => "waiting until the node is ready".to_owned(),
        guests => format!("starting {} again", count(guests, "guest")),
    }
}

/// Says what of a reboot's debts is being given back.
fn giving_back(state: &HostState, debt: Debt) -> String {
    match debt {
        Debt::Maintenance => "leaving HA maintenance mode".to_owned(),
        Debt::Noout => "waiting for Ceph's health, to clear its flag noout".to_owned(),
        Debt::Guest(id) => {
            let kind = state.moved.iter().find(|moved| moved.id == id).map_or("guest", |moved| match moved.kind {
                GuestKind::Ct => "CT",
                GuestKind::Vm => "VM",
            });
            format!("bringing {kind} {id} back, {} to go", count(state.moved.len(), "guest"))
        }
    }
}

/// Says in a few words what a host is at: the text of its bar.
pub fn doing(state: &HostState) -> String {
    let counts = GuestCounts::of(state);
    let guests = || match counts.total - counts.skipped - counts.blocked {
        0 => String::new(),
        all => format!(", {} of {} done", counts.upgraded + counts.failed + counts.held, count(all, "guest")),
    };
    match &state.phase {
        HostPhase::Pending => "waits".to_owned(),
        HostPhase::Discovering { .. } => words::step(Step::Discover).to_owned(),
        HostPhase::AwaitingTurn { .. } => "waits for its turn".to_owned(),
        HostPhase::Pruning { plan, nth, .. } => {
            let left = (plan.prune.len() + plan.prune_backups.len()).saturating_sub(*nth);
            format!("removing old snapshots and backups, {left} to go")
        }
        HostPhase::Snapshotting { .. } => {
            let still =
                |guest: &&GuestState| matches!(guest.phase, GuestPhase::Waiting | GuestPhase::Protecting { .. });
            let left = state.guests.values().filter(still).count();
            format!("protecting guests, {left} to go")
        }
        HostPhase::UpgradingGuests { .. } => format!("upgrading guests{}", guests()),
        HostPhase::UpgradingHost { plan, .. } => {
            format!("upgrading the node, {}", count(plan.upgrade.pending.len(), "package"))
        }
        HostPhase::Verifying { .. } => "verifying the node and its guests".to_owned(),
        HostPhase::AwaitingReboot { .. } => "waits for its reboot".to_owned(),
        HostPhase::PreparingReboot { .. } => "looking whether it may be rebooted".to_owned(),
        HostPhase::SettingNoout { .. } => "setting Ceph's flag noout".to_owned(),
        HostPhase::Evacuating { ready, nth, attempt, .. } => {
            format!("evacuating: {}", moved_so_far(ready, *nth, *attempt))
        }
        HostPhase::Returning { debt, .. } => giving_back(state, *debt),
        HostPhase::StoppingGuests { .. } => format!("shutting down {}", count(state.shut.len(), "guest")),
        HostPhase::Rebooting { .. } => "rebooting".to_owned(),
        HostPhase::StartingGuests { guests, .. } => starting(guests.len()),
        HostPhase::GivingBack { .. } if state.is_rolling_back() => "rolling a guest back".to_owned(),
        HostPhase::GivingBack { .. } => "stopping guests that were started".to_owned(),
        HostPhase::Rechecking { .. } => "looking at its canaries once more".to_owned(),
        HostPhase::Held { .. } => "held".to_owned(),
        HostPhase::Done(_) => "done".to_owned(),
    }
}
