//! Tells several observers, and keeps their trouble from the engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::sanitize::clean;
use super::words::Teller;
use crate::engine::observer::{Observer, Seen};

/// Several observers as one. One that panics is told nothing more; the others, and the run, go on.
#[derive(Default)]
pub struct Fan {
    observers: Vec<(Arc<dyn Observer>, AtomicBool)>,
}

impl Fan {
    /// Makes one observer of several.
    pub fn new(observers: impl IntoIterator<Item = Arc<dyn Observer>>) -> Self {
        Self { observers: observers.into_iter().map(|observer| (observer, AtomicBool::new(true))).collect() }
    }
}

impl Observer for Fan {
    fn seen(&self, seen: &Seen<'_>) {
        for (observer, well) in &self.observers {
            // Unwind safety: an observer that panicked is not used again.
            if well.load(Ordering::Relaxed) && catch_unwind(AssertUnwindSafe(|| observer.seen(seen))).is_err() {
                well.store(false, Ordering::Relaxed);
                tracing::error!("an observer panicked; the run goes on without it");
            }
        }
    }
}

/// Writes what is seen to the log, one line an event.
#[derive(Debug, Default)]
pub struct EventLog {
    teller: Mutex<Teller>,
}

impl EventLog {
    /// Makes an observer that writes to the log of this process.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Observer for EventLog {
    fn seen(&self, seen: &Seen<'_>) {
        match seen {
            Seen::RunBegan { run, hosts, resumed, whole } => {
                tracing::info!(%run, hosts = hosts.len(), resumed, whole, "run began");
            }
            Seen::Host { seq, event, state, .. } => {
                let mut teller = self.teller.lock().unwrap_or_else(PoisonError::into_inner);
                teller.learn(state);
                let told = teller.tell(state.host(), event);
                let (host, guest) = (clean(state.host().as_str()), told.guest.unwrap_or_default());
                tracing::info!(seq, %host, guest, event = event.name(), "{}", told.what);
            }
            Seen::Soaking { until } => tracing::info!(%until, "the canaries are done, and left alone"),
            Seen::CanariesHeld => tracing::info!("the canaries are well: the rest begins"),
            Seen::Halted { why, not_begun } => tracing::warn!(not_begun, "halted: {}", clean(why)),
            Seen::Draining => tracing::info!("draining: no new step begins"),
            Seen::RunEnded(end) => {
                tracing::info!(result = ?end.result, interrupted = end.interrupted, halted = end.halted, "run ended")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl Observer for Counts {
        fn seen(&self, _: &Seen<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Panics(Counts);

    impl Observer for Panics {
        fn seen(&self, seen: &Seen<'_>) {
            self.0.seen(seen);
            panic!("an observer's own trouble");
        }
    }

    #[test]
    fn an_observer_that_panics_is_left_out_and_the_others_go_on() {
        let (panics, counts) = (Arc::new(Panics(Counts::default())), Arc::new(Counts::default()));
        let fan = Fan::new([Arc::clone(&panics) as Arc<dyn Observer>, Arc::clone(&counts) as Arc<dyn Observer>]);
        for _ in 0..3 {
            fan.seen(&Seen::Draining);
        }
        assert_eq!(panics.0.0.load(Ordering::Relaxed), 1);
        assert_eq!(counts.0.load(Ordering::Relaxed), 3);
    }
}
