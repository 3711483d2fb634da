//! A running upgrade, whichever package manager shows it: it is begun, watched, and aborted if its process is killed.

use std::sync::Arc;

use crate::shim::call::Call;
use crate::shim::stage::Stage;
use crate::world::{Asker, Change, Finished, MachineId, PackageError, Time};

/// An upgrade that runs for as long as this is held; dropping it early is what a SIGKILL of the package manager does.
pub(super) struct Running {
    stage: Arc<Stage>,
    machine: MachineId,
    number: u64,
    /// What it changes.
    pub changes: Vec<Change>,
    started: Time,
    ends: Option<Time>,
}

impl Running {
    /// Begins to upgrade everything that is pending.
    pub(super) fn begin(stage: &Arc<Stage>, call: &Call) -> Result<Self, PackageError> {
        let asker = Asker::ssh(call.login());
        let (number, running) = stage.with(|world, now| {
            let number = world.begin_upgrade(now, &call.machine, call.job().as_deref(), &asker)?;
            Ok((number, world.machine(&call.machine).and_then(|machine| machine.packages.running.clone())))
        })?;
        let (changes, started, ends) =
            running.map_or((Vec::new(), 0, Some(0)), |running| (running.changes, running.started, running.ends));
        stage.refresh(&call.machine);
        Ok(Self { stage: Arc::clone(stage), machine: call.machine.clone(), number, changes, started, ends })
    }

    /// Waits until `step` of `steps` equal parts of the work are done; for ever, where it hangs and that is not the first part.
    pub(super) async fn reach(&self, step: usize, steps: usize) {
        let Some(ends) = self.ends else {
            if step == 0 {
                return;
            }
            return std::future::pending().await;
        };
        let (step, steps) = (step as u64, steps.max(1) as u64);
        self.stage.until(self.started + (ends - self.started) * step / steps).await;
    }

    /// Waits for the end and says how it ended; `None` where the machine is gone.
    pub(super) async fn end(&self) -> Option<Finished> {
        self.reach(1, 1).await;
        self.stage.with(|world, _| world.finished_upgrade(&self.machine, self.number).cloned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing happens where it has ended.
        self.stage.with(|world, now| world.abort_upgrade(now, &self.machine, self.number));
        self.stage.refresh(&self.machine);
    }
}
