//! The gate that every port call and every write of one incarnation of proxmaint passes: where it is made to crash.
//!
//! A crash point is a place between two things that can't happen at once (a write and its acknowledgement, an act and the
//! record of its outcome). The gate counts them; at the one that the plan names, the incarnation is dead: whatever asks the
//! gate from then on waits for ever, and the harness drops the engine.

use std::fmt;
use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;

/// The kinds of crash points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A batch was decided on, and is not handed over yet.
    BeforeAppend,
    /// A batch was handed over, and is not durable yet.
    Appended,
    /// A batch is durable, and not acknowledged yet.
    Flushed,
    /// A change is about to be asked for; its intent is durable.
    BeforeAct,
    /// A change was asked for and taken up; the answer has not arrived yet.
    AfterAct,
}

/// One incarnation's gate.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    down: Notify,
}

#[derive(Debug)]
struct State {
    passed: u64,
    crash_at: Option<u64>,
    crashed: Option<Crashed>,
}

/// Where an incarnation crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crashed {
    /// The number of the point, from 1.
    pub at: u64,
    /// Its kind.
    pub point: Point,
}

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "point {} ({:?})", self.at, self.point)
    }
}

impl Gate {
    /// Makes a gate that crashes at its n-th point (from 1), or never.
    pub fn new(crash_at: Option<u64>) -> Self {
        Self { state: Mutex::new(State { passed: 0, crash_at, crashed: None }), down: Notify::new() }
    }

    /// Passes a crash point, or stays there for ever.
    pub async fn point(&self, point: Point) {
        self.alive().await;
        let crashes = {
            let mut state = self.state.lock().unwrap();
            state.passed += 1;
            let crashes = state.crash_at == Some(state.passed);
            if crashes {
                state.crashed = Some(Crashed { at: state.passed, point });
            }
            crashes
        };
        if crashes {
            self.down.notify_one();
            pending::<()>().await;
        }
    }

    /// Returns at once while the incarnation lives, and never afterwards.
    pub async fn alive(&self) {
        if self.crashed().is_some() {
            pending::<()>().await;
        }
    }

    /// Lets virtual time pass.
    pub async fn sleep(&self, ms: u64) {
        self.alive().await;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.alive().await;
    }

    /// Waits for the crash.
    pub async fn down(&self) -> Crashed {
        loop {
            self.down.notified().await;
            if let Some(crashed) = self.crashed() {
                return crashed;
            }
        }
    }

    /// Returns how many points were passed.
    pub fn passed(&self) -> u64 {
        self.state.lock().unwrap().passed
    }

    fn crashed(&self) -> Option<Crashed> {
        self.state.lock().unwrap().crashed
    }
}
