//! Finds and kills what commands of the lab left running.
//!
//! Every process that the lab starts carries `LAB_ID` and `LAB_MACHINE` in its environment, and so do its children, whatever
//! session or process group they moved to; `/proc/*/environ` shows them. Environments of other users' processes can't be
//! read and are none of ours.

use std::fs;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// How often the list of processes is gone through again: a process that was just being forked is seen the next time.
const ROUNDS: usize = 50;

/// Kills every process of a lab, or those of one of its machines; returns when none is left.
///
/// # Errors
/// Returns the processes that would not go (stuck in the kernel).
pub fn kill_all(lab: &str, machine: Option<&str>) -> Result<(), Vec<i32>> {
    kill_marked(&marks(lab, machine))
}

/// Kills every process whose environment holds all of these variables (`NAME=value`); returns when none is left.
///
/// # Errors
/// Returns the processes that would not go (stuck in the kernel).
pub fn kill_marked(marks: &[String]) -> Result<(), Vec<i32>> {
    let mut left = Vec::new();
    for round in 0..ROUNDS {
        left = find_marked(marks);
        if left.is_empty() {
            return Ok(());
        }
        for pid in left.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // One that ended since it was listed is what is wanted.
            let _ = kill_process(pid, Signal::KILL);
        }
        if round > 0 {
            // Killed, but not gone yet: their end is up to the kernel, there is nothing to wait on but time.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
    left.retain(|pid| Pid::from_raw(*pid).is_some_and(|pid| test_kill_process(pid).is_ok()));
    if left.is_empty() { Ok(()) } else { Err(left) }
}

/// Lists the processes of a lab, or those of one of its machines; this process itself and zombies are left out.
pub fn find(lab: &str, machine: Option<&str>) -> Vec<i32> {
    find_marked(&marks(lab, machine))
}

fn marks(lab: &str, machine: Option<&str>) -> Vec<String> {
    let machine = machine.map(|machine| format!("LAB_MACHINE={machine}"));
    std::iter::once(format!("LAB_ID={lab}")).chain(machine).collect()
}

fn find_marked(marks: &[String]) -> Vec<i32> {
    let own = std::process::id();
    let Ok(listing) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own && carries(*pid, marks)).map(u32::cast_signed).collect()
}

/// Whether a process' environment holds all the marks. A zombie's is empty.
fn carries(pid: u32, marks: &[String]) -> bool {
    let Ok(environ) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    let has = |mark: &String| environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
    marks.iter().all(has)
}
