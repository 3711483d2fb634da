//! What concerns the run as a whole: canaries and their soak, a run that halts, and hosts that the operator pauses.

use std::time::Duration;

use tokio::time::Instant;

use super::{Driver, Durable, EngineError, OrderReport};
use crate::engine::observer::Seen;
use crate::ids::HostId;
use crate::journal::record::RunRecord;
use crate::machine::event::HostEvent;
use crate::machine::order::{NotOrdered, Order};
use crate::machine::outcome::{Outcome, Probed};
use crate::machine::rollout::Next;

/// While canaries are left alone, the clock is looked at so often: it may be set, and this machine may sleep.
const SOAK_LOOK: Duration = Duration::from_secs(60);

/// What the driver waits for besides steps.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Since when the canaries are left alone in this session: the clock may be set back, and then this counts.
    soaking: Option<Instant>,
    /// Until when a session with nothing else to do waits for hosts that are paused.
    paused_until: Option<Instant>,
}

impl Driver<'_> {
    /// Does what follows for the run as a whole, as far as something does; `idle` is whether nothing else can be handed out.
    /// Returns whether something did.
    pub(super) async fn steer(&mut self, idle: bool) -> Result<bool, EngineError> {
        if self.session.begins_nothing() || self.run.rollout().is_plain() {
            return Ok(false);
        }
        let mut moved = false;
        // Each turn is a stage further, and there are six.
        while !self.draining.is_cancelled() {
            let idle = idle && !moved && self.run.is_idle();
            let next = match self.run.next(self.engine.clock.now(), idle) {
                Next::Nothing if self.soaked() => Next::Recheck,
                next => next,
            };
            match &next {
                Next::Nothing => break,
                Next::Halt(why) => {
                    let why = why.clone();
                    self.append_run(RunRecord::Halted { why: why.clone() }, None).await?;
                    self.run.enter(&next);
                    self.tell(&Seen::Halted { why: &why, not_begun: self.run.not_begun() });
                }
                Next::Soak(since) => {
                    self.append_run(RunRecord::Soaking { since: *since }, None).await?;
                    self.run.enter(&next);
                }
                Next::Open => {
                    self.append_run(RunRecord::CanariesHeld, None).await?;
                    self.run.enter(&next);
                    self.tell(&Seen::CanariesHeld);
                }
                Next::Begin | Next::Recheck => self.run.enter(&next),
            }
            moved = true;
            self.note_soak();
        }
        if moved {
            self.set_gates().await?;
        }
        Ok(moved)
    }

    /// Takes note of whether the canaries are left alone from now on, and tells it.
    pub(super) fn note_soak(&mut self) {
        match self.run.rollout().soaks_until() {
            None => self.waits.soaking = None,
            Some(until) if self.waits.soaking.is_none() => {
                self.waits.soaking = Some(Instant::now());
                if self.engine.clock.now() < until {
                    self.tell(&Seen::Soaking { until });
                }
            }
            Some(_) => {}
        }
    }

    /// Tells whether canaries were left alone for the whole time within this session, whatever the clock says.
    fn soaked(&self) -> bool {
        let rollout = self.run.rollout();
        rollout.canaries_are_over()
            && rollout.soaks_until().is_some()
            && self.waits.soaking.is_some_and(|since| since.elapsed() >= rollout.soak())
    }

    /// Sets the gates as they are to be now.
    pub(super) async fn set_gates(&mut self) -> Result<(), EngineError> {
        for (host, event) in self.run.gate_events() {
            self.commit(host, event).await?;
        }
        Ok(())
    }

    /// Stops the run before an event is taken by which it goes wrong, so that nothing follows from that event any more.
    pub(super) async fn halt_before(&mut self, host: &HostId, event: &HostEvent) -> Result<(), EngineError> {
        let well = matches!(
            event,
            HostEvent::Ended { outcome: Outcome::Done(_) | Outcome::AlreadyDone(_), .. }
                | HostEvent::Probed { found: Probed::Running | Probed::NotDone, .. }
        );
        let at = self.engine.clock.now();
        if well || self.session.begins_nothing() || self.draining.is_cancelled() {
            return Ok(());
        }
        let Some(why) = self.run.would_halt(host, event, at) else { return Ok(()) };
        self.append_run(RunRecord::Halted { why: why.clone() }, None).await?;
        self.run.enter(&Next::Halt(why.clone()));
        self.tell(&Seen::Halted { why: &why, not_begun: self.run.not_begun() });
        self.set_gates().await
    }

    /// Takes an order of the operator. It is answered when what follows from it is durable.
    pub(super) async fn order(
        &mut self,
        order: Order,
        hosts: &[HostId],
        report: OrderReport,
    ) -> Result<(), EngineError> {
        let ending = self.draining.is_cancelled() || self.session.begins_nothing();
        let taken = match ending {
            true => Err(NotOrdered::Ending("it was asked to stop".to_owned())),
            false => self.run.order(order, hosts),
        };
        if taken.is_ok() {
            self.waits.paused_until = None;
            self.set_gates().await?;
        }
        let hand_over = report(&self.run, taken);
        self.submitted.push_back(Box::pin(async move { Ok(Durable::Look(hand_over)) }));
        self.hand_out_turns().await
    }

    /// Returns when to look again though nothing was reported; `busy` is whether something is at work.
    pub(super) fn wakes_at(&mut self, busy: bool, asking: bool) -> Option<Instant> {
        if self.draining.is_cancelled() || self.session.begins_nothing() || self.run.rollout().halted().is_some() {
            return None;
        }
        let soak = self.run.rollout().soaks_until().filter(|_| self.run.rollout().canaries_are_over()).map(|until| {
            let left = until.since(self.engine.clock.now());
            Instant::now() + left.min(SOAK_LOOK)
        });
        if busy || soak.is_some() {
            self.waits.paused_until = None;
            return soak;
        }
        if !asking || !self.run.waits_for_the_operator() {
            return None;
        }
        let longest = self.engine.limits.paused;
        Some(*self.waits.paused_until.get_or_insert_with(|| Instant::now() + longest))
    }

    /// Looks again: canaries may have been left alone for long enough, or paused hosts waited for.
    pub(super) async fn woken(&mut self) -> Result<(), EngineError> {
        if self.waits.paused_until.is_some_and(|until| Instant::now() >= until) {
            self.waits.paused_until = None;
            self.run.stop_paused();
            self.set_gates().await?;
        }
        self.hand_out_turns().await
    }
}
