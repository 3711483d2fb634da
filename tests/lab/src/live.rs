//! The world in real time, shared by the transports.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::world::{Time, World};

/// A world whose time passes with the clock's. Cheap to clone; all clones are the same world.
#[derive(Debug, Clone)]
pub struct Live {
    world: Arc<Mutex<World>>,
    began: Instant,
}

impl Live {
    /// Lets the time of a world pass from now on; its wall clock is the real one.
    pub fn new(mut world: World) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let reached = i64::try_from(world.now()).unwrap_or(i64::MAX);
        world.set_epoch(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX).saturating_sub(reached));
        Self { world: Arc::new(Mutex::new(world)), began: Instant::now() }
    }

    /// Returns the present time of the world.
    pub fn now(&self) -> Time {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Looks at the world, or changes it, at the present time: what was due has happened. Don't wait for anything in `f`.
    pub fn with<T>(&self, f: impl FnOnce(&mut World, Time) -> T) -> T {
        // A test that failed while it held the world leaves it whole: every operation of it is done under this one lock.
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        world.advance(now);
        f(&mut world, now)
    }
}
