//! Waiting: the only place where the engine lets time pass.
//!
//! Proxmox VE pushes nothing, so the end of a task or of a detached job has to be asked for. Polls back off from 200 ms
//! to 5 s: a snapshot of a second is noticed at once, and an upgrade of ten minutes costs about 130 questions. The time
//! is tokio's, so the simulation's virtual clock governs it.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::machine::outcome::{Fault, FaultClass};

/// The first pause between two questions.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between two questions.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a question whose answer failed for a passing reason is asked: with pauses of 1, 2, 4 and 8 s it is given up
/// after 15 s and five times the client's own time-out, long enough for a daemon to be restarted.
const TRIES: u32 = 5;

/// Pauses that grow, up to a deadline.
#[derive(Debug)]
pub struct Backoff {
    pause: Duration,
    deadline: Instant,
}

impl Backoff {
    /// Starts a wait that is given up `limit` from now.
    pub fn within(limit: Duration) -> Self {
        Self { pause: FIRST_PAUSE, deadline: Instant::now() + limit }
    }

    /// Lets one pause pass; returns false once the deadline is over.
    #[must_use = "false means that the wait is over"]
    pub async fn pause(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.deadline {
            return false;
        }
        tokio::time::sleep(self.pause.min(self.deadline - now)).await;
        self.pause = (self.pause * 8 / 5).min(LONGEST_PAUSE);
        true
    }
}

/// Lets a span pass that is given: between two beats, or as long as the operator says.
pub async fn rest(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Asks until the answer is no passing fault, a bounded number of times. Only for what may be repeated: reads, and
/// changes whose `Transient` fault says that nothing was sent.
pub async fn retried<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Fault>
where
    F: Future<Output = Result<T, Fault>>,
{
    let mut pause = Duration::from_secs(1);
    for _ in 1..TRIES {
        match ask().await {
            Err(fault) if fault.class == FaultClass::Transient => {
                tracing::debug!(%fault, "asking again after a passing fault");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            answer => return answer,
        }
    }
    ask().await
}
