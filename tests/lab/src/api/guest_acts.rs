//! Guests, changed: power and snapshots.

use serde_json::Value;

use super::call::{Call, Failure};
use crate::world::{Asker, MachineId, Refusal, Time, World};

/// Does something to the guest of the path.
fn act(
    call: &mut Call<'_>,
    doing: impl FnOnce(&mut World, Time, &MachineId, &Asker) -> Result<String, Refusal>,
) -> Result<Value, Failure> {
    let (id, now, by) = (call.guest_id()?, call.now(), call.asker());
    Ok(doing(call.world, now, &id, &by)?.into())
}

/// `POST .../status/start`
pub(crate) fn start(call: &mut Call<'_>) -> Result<Value, Failure> {
    act(call, World::start_guest)
}

/// `POST .../status/shutdown`
pub(crate) fn shutdown(call: &mut Call<'_>) -> Result<Value, Failure> {
    let (timeout, force) = (call.count("timeout"), call.flag("forceStop").unwrap_or(false));
    act(call, |world, now, id, by| world.shutdown_guest(now, id, timeout, force, by))
}

/// `POST .../status/stop`
pub(crate) fn stop(call: &mut Call<'_>) -> Result<Value, Failure> {
    act(call, World::stop_guest)
}

/// `POST .../status/reboot`
pub(crate) fn reboot(call: &mut Call<'_>) -> Result<Value, Failure> {
    act(call, World::reboot_guest)
}

/// `POST .../snapshot`
pub(crate) fn snapshot(call: &mut Call<'_>) -> Result<Value, Failure> {
    let (name, description) = (call.text("snapname").to_owned(), call.text("description").to_owned());
    act(call, |world, now, id, by| world.create_snapshot(now, id, &name, &description, by))
}

/// `DELETE .../snapshot/{snapname}`
pub(crate) fn delete_snapshot(call: &mut Call<'_>) -> Result<Value, Failure> {
    let name = call.text("snapname").to_owned();
    act(call, |world, now, id, by| world.delete_snapshot(now, id, &name, by))
}

/// `POST .../snapshot/{snapname}/rollback`
pub(crate) fn rollback(call: &mut Call<'_>) -> Result<Value, Failure> {
    let (name, start) = (call.text("snapname").to_owned(), call.flag("start").unwrap_or(false));
    act(call, |world, now, id, by| world.rollback(now, id, &name, start, by))
}
