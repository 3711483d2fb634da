//! Counts hosts and guests by how they stand.

use std::collections::BTreeMap;

use super::guest_standing;
use crate::machine::host::{HostResult, HostState};
use crate::machine::run::RunResult;
use crate::observe::view::{GuestCounts, GuestStanding, HostCounts};

impl HostCounts {
    /// Counts a host of a run that is, or is not, being worked on.
    pub fn add(&mut self, state: &HostState, running: bool) {
        self.put(state.result(), 1);
        if running && !state.is_parked() {
            self.active += 1;
        }
    }

    /// Makes the counts of a run that is not being worked on.
    pub fn of(results: &BTreeMap<HostResult, usize>) -> Self {
        let mut counts = Self::default();
        for (result, count) in results {
            counts.put(*result, *count);
        }
        counts
    }

    fn put(&mut self, result: HostResult, count: usize) {
        let slot = match result {
            HostResult::NothingToDo => &mut self.nothing_to_do,
            HostResult::Succeeded => &mut self.succeeded,
            HostResult::Skipped => &mut self.skipped,
            HostResult::Blocked => &mut self.blocked,
            HostResult::Failed => &mut self.failed,
            HostResult::Held => &mut self.held,
            HostResult::Unfinished => &mut self.unfinished,
        };
        *slot += count;
        self.total += count;
    }

    /// Returns how the run stands as a whole.
    pub fn result(&self) -> RunResult {
        if self.failed + self.blocked > 0 {
            RunResult::Failed
        } else if self.held > 0 {
            RunResult::Held
        } else if self.unfinished > 0 {
            RunResult::Unfinished
        } else {
            RunResult::Clean
        }
    }

    /// Returns how many hosts are over, however they came out.
    pub fn over(&self) -> usize {
        self.total - self.unfinished - self.held
    }
}

impl GuestCounts {
    /// Counts one more guest.
    pub fn add(&mut self, state: GuestStanding) {
        self.total += 1;
        let slot = match state {
            GuestStanding::Upgraded => &mut self.upgraded,
            GuestStanding::Skipped => &mut self.skipped,
            GuestStanding::Blocked => &mut self.blocked,
            GuestStanding::Failed => &mut self.failed,
            GuestStanding::RolledBack => &mut self.rolled_back,
            GuestStanding::Held => &mut self.held,
            GuestStanding::Waiting
            | GuestStanding::Protecting
            | GuestStanding::Protected
            | GuestStanding::Measuring
            | GuestStanding::Upgrading
            | GuestStanding::Checking
            | GuestStanding::Starting
            | GuestStanding::Looking
            | GuestStanding::Rebooting
            | GuestStanding::RollingBack
            | GuestStanding::Reviving
            | GuestStanding::Rechecking
            | GuestStanding::Stopping => &mut self.unfinished,
        };
        *slot += 1;
    }

    /// Counts the guests of a host.
    pub fn of(state: &HostState) -> Self {
        let mut counts = Self::default();
        for guest in state.guests.values() {
            counts.add(guest_standing(&guest.phase));
        }
        counts
    }
}
