//! What lies beside the project, where it does: recorded answers of a real Proxmox VE and its API schema.

use std::io::Write;
use std::path::PathBuf;

/// Returns a path below `../shared/pve`, or says that a test is not run for want of it.
pub fn beside(path: &str, test: &str) -> Option<PathBuf> {
    let full = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/pve").join(path);
    if full.exists() {
        return Some(full);
    }
    say_not_run(test, path);
    None
}

#[expect(
    clippy::explicit_write,
    reason = "the test harness would keep what a passing test prints with eprintln! to itself"
)]
fn say_not_run(test: &str, path: &str) {
    writeln!(std::io::stderr(), "not run: {test} (../shared/pve/{path} is not there)").unwrap();
}
