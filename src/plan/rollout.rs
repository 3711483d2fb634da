//! Who goes first in a run, and at how many failures it stops: frozen with the rest of its policy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::choices::{Canary, Selector};
use crate::ids::HostId;

/// What the operator wants of the order of a run, and of its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// The most hosts and guests that may fail in a session before it stops (`max_failures`, `--max-failures`); no bound where
    /// nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
    /// Whether that was said for this run alone (`--max-failures`), whatever the manifest says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub max_failures_asked: bool,
    /// Who goes first (`canary`); all go together where it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<Canary>,
    /// How long canaries are left alone before they are looked at again and the rest begins, in milliseconds (`soak`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub soak_ms: u64,
    /// Whether the run is about some hosts or guests only (`--host`, `--guest`): a canary that is not among them is none then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

impl RolloutPolicy {
    /// Tells whether nothing is said: a run in which all go together, and that goes on whatever fails.
    pub fn is_plain(&self) -> bool {
        self.max_failures.is_none() && self.canary.is_empty()
    }

    /// Returns how long canaries are left alone.
    pub fn soak(&self) -> Duration {
        Duration::from_millis(self.soak_ms)
    }

    /// Tells whether a host is a canary with all that is to be done there.
    pub fn is_canary(&self, host: &HostId) -> bool {
        self.canary.iter().any(|canary| matches!(canary, Canary::Host(named) if named == host))
    }

    /// Returns the selectors of the guests of a host that are canaries; none where the host is one wholly.
    pub fn selectors_of(&self, host: &HostId) -> Vec<Selector> {
        if self.is_canary(host) {
            return Vec::new();
        }
        self.canary.iter().filter_map(|canary| canary.selector_of(host).cloned()).collect()
    }

    /// Takes over what the command line said of the run when it was begun, where it does not say so again.
    pub fn inherit(&mut self, begun: &Self) {
        if begun.max_failures_asked && !self.max_failures_asked {
            (self.max_failures, self.max_failures_asked) = (begun.max_failures, true);
        }
    }

    /// Lists what differs from `newer`, in words, for the operator who decides between the two.
    pub fn differences(&self, newer: &Self) -> Vec<String> {
        let mut out = Vec::new();
        let mut differs = |key: &str, old: String, new: String| {
            if old != new {
                out.push(format!("{key} {old} -> {new}"));
            }
        };
        let number = |policy: &Self| policy.max_failures.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let canaries = |policy: &Self| match policy.canary.as_slice() {
            [] => "none".to_owned(),
            all => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        // What is said on the command line now is the operator's word for this session, and needs no other.
        if !newer.max_failures_asked {
            differs("max_failures", number(self), number(newer));
        }
        differs("canary", canaries(self), canaries(newer));
        differs("soak", format!("{} s", self.soak_ms / 1000), format!("{} s", newer.soak_ms / 1000));
        out
    }
}
