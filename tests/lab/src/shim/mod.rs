//! Commands on the machines: the real `/bin/sh` with shims of the tools that act on the simulated world.
//!
//! A command is run as `sh -c` in a session of its own, with a clean environment, as sshd runs it. `PATH` holds the
//! machine's own tools only: links to real basic ones (`cat`, `sed`, `ps`, ...) and one shim under the names of all that the
//! world answers for (`apt-get`, `pct`, `systemctl`, ...). Quoting, redirection, pipes, detaching, `$!` and `/proc/PID` are real.
//!
//! - [`stage`]: the machines' root directories, processes and environment.
//! - [`rewrite`]: how `/etc/os-release` in a command becomes the machine's, without root and without `chroot`.
//! - [`script`]: the shim itself and the directories of tools.
//! - [`call`]: what passes between a shim and the lab.
//! - [`tools`]: what each tool does with the world.
//! - [`units`]: what `systemd-run` started.
//! - [`reap`]: how everything is killed in the end.

pub mod agent;
pub mod call;
pub mod reap;
pub mod rewrite;
mod root;
pub mod script;
pub mod stage;
mod tools;
pub mod units;

use std::io;
use std::sync::Arc;

use tokio::task::AbortHandle;

pub use stage::Stage;

/// A stage that is alive: shims are answered, machines follow the world. Dropping it kills every process of its machines.
pub struct Shims {
    stage: Arc<Stage>,
    tasks: Vec<AbortHandle>,
}

impl Shims {
    /// Begins to answer shims.
    ///
    /// # Errors
    /// Where the FIFO for requests cannot be made.
    pub fn start(stage: Stage) -> io::Result<Self> {
        let stage = Arc::new(stage);
        let requests = call::open_requests(stage.dir())?;
        let answering = tokio::spawn(call::serve(Arc::clone(&stage), requests)).abort_handle();
        let following = tokio::spawn(follow(Arc::clone(&stage))).abort_handle();
        Ok(Self { stage, tasks: vec![answering, following] })
    }

    /// Returns the stage.
    pub fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }
}

impl Drop for Shims {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Err(left) = reap::kill_all(self.stage.id(), None) {
            eprintln!("lab: processes that could not be killed: {left:?}");
        }
    }
}

impl std::fmt::Debug for Shims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shims").field("dir", &self.stage.dir()).finish_non_exhaustive()
    }
}

async fn follow(stage: Arc<Stage>) {
    let mut beat = tokio::time::interval(stage::FOLLOW_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        agent::run_commands(&stage);
        let stage = Arc::clone(&stage);
        if tokio::task::spawn_blocking(move || stage.follow()).await.is_err() {
            return;
        }
    }
}

/// Quotes a text as one word of POSIX shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
