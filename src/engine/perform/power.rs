//! Starts, stops and reboots a guest.

use super::{Context, Report, refused};
use crate::ids::{BootId, StepKey};
use crate::inventory::Via;
use crate::machine::effect::Mode;
use crate::machine::outcome::Fault;
use crate::plan::GuestAddr;

/// Starts a guest that does not run.
pub(super) async fn start(_cx: &Context, _key: &StepKey, _guest: &GuestAddr, _mode: Mode) -> Report {
    refused(Fault::permanent("not there yet"))
}

/// Shuts a guest down that was started.
pub(super) async fn stop(_cx: &Context, _key: &StepKey, _guest: &GuestAddr, _mode: Mode) -> Report {
    refused(Fault::permanent("not there yet"))
}

/// Reboots a VM.
pub(super) async fn reboot(
    _cx: &Context,
    _key: &StepKey,
    _guest: &GuestAddr,
    _via: &Via,
    _boot_id: &BootId,
    _mode: Mode,
) -> Report {
    refused(Fault::permanent("not there yet"))
}
