//! Turns panics of sled into errors: it panics on many kinds of damage instead of reporting them.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::error::{JournalError, Result};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic within it becomes [`JournalError::Rot`] and is not printed.
pub(crate) fn caught<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    silence_once();
    let before = QUIET.replace(true);
    // Whatever was left half-done lies within sled, and after an error of this kind nobody touches that database again.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    result.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let said = said.unwrap_or("no message").lines().next().unwrap_or_default();
        Err(JournalError::rot(format!("could not {what}: the store gave up ({said})")))
    })
}

/// Puts a hook before the present one that keeps quiet about what is caught here, and about sled's own threads.
fn silence_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let of_sled = std::thread::current().name().is_some_and(|name| name.starts_with("sled"));
            if !QUIET.get() && !of_sled {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_quotes_it() {
        let result: Result<()> = caught("read it", || panic!("page {}\nis gone", 7));
        let error = result.expect_err("panicked");
        assert!(error.is_unreadable());
        assert_eq!(error.to_string(), "the journal is damaged: could not read it: the store gave up (page 7)");
        assert_eq!(caught("count", || Ok(1)).expect("no panic"), 1);
    }
}
