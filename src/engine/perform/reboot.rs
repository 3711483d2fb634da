//! Reboots a node: looks whether it may be, shuts its guests down, reboots it, and starts again what ran.

use super::{Context, Report, refused};
use crate::ids::{NodeName, StepKey};
use crate::inventory::PackageManager;
use crate::machine::effect::Mode;
use crate::machine::outcome::{Fault, Outcome, RebootFacts, RunningGuest};

/// Looks whether the node may be rebooted now, and notes what runs on it.
pub(super) async fn prepare(_cx: &Context, _node: &NodeName, _manager: PackageManager) -> Outcome {
    Outcome::Refused(Fault::permanent("not there yet"))
}

/// Shuts all guests down.
pub(super) async fn stop_guests(
    _cx: &Context,
    _key: &StepKey,
    _node: &NodeName,
    _ready: &RebootFacts,
    _mode: Mode,
) -> Report {
    refused(Fault::permanent("not there yet"))
}

/// Reboots the node.
pub(super) async fn reboot(
    _cx: &Context,
    _key: &StepKey,
    _node: &NodeName,
    _ready: &RebootFacts,
    _mode: Mode,
) -> Report {
    refused(Fault::permanent("not there yet"))
}

/// Starts again what ran.
pub(super) async fn start_guests(
    _cx: &Context,
    _key: &StepKey,
    _node: &NodeName,
    _guests: &[RunningGuest],
    _mode: Mode,
) -> Report {
    refused(Fault::permanent("not there yet"))
}
