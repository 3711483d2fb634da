//! Brings the output of a detached job to where it is kept, piece by piece, while it is watched and at its end.
//!
//! How far it has come is the length of what is kept, so a later session fills in what an earlier one missed, and nothing is
//! there twice. Output is a help to its reader and nothing else: what can't be fetched or kept never changes an outcome.

use crate::engine::port::{JobOutput, Place, Remote};
use crate::engine::wait::retried;
use crate::ids::StepKey;
use crate::machine::outcome::Fault;

/// Most bytes that one question brings ([`Remote::job_output`]).
const PIECE: u64 = 256 * 1024;
/// Most bytes of one job's output that are kept: an upgrade of a whole distribution prints some megabytes; what prints more is
/// stuck in a loop.
const MOST: u64 = 64 * 1024 * 1024;
/// Most questions between two looks at the job's state, which must not wait for a backlog: 1 MiB.
const PIECES_A_LOOK: u64 = 4;
/// Most questions for what is left at the end: as many as [`MOST`] needs, and the one that finds nothing more.
const PIECES_AT_THE_END: u64 = MOST / PIECE + 1;

/// Follows the output of one job.
pub(super) struct Follower<'a> {
    remote: &'a dyn Remote,
    output: &'a dyn JobOutput,
    key: &'a StepKey,
    place: &'a Place,
    /// Set once nothing more can come of it in this session.
    over: bool,
}

/// What came of one piece.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
enum Piece {
    /// There may be more.
    More,
    /// There is no more for now.
    Last,
}

impl<'a> Follower<'a> {
    /// Makes a follower; nothing is asked for yet.
    pub(super) fn new(remote: &'a dyn Remote, output: &'a dyn JobOutput, key: &'a StepKey, place: &'a Place) -> Self {
        Self { remote, output, key, place, over: false }
    }

    /// Takes over what is new of a job that works and has printed `log_bytes`.
    pub(super) async fn catch_up(&mut self, log_bytes: u64) {
        for _ in 0..PIECES_A_LOOK {
            let from = self.output.length(self.key);
            if self.over || from >= log_bytes {
                return;
            }
            let name = self.key.job_name();
            match self.remote.job_output(self.place, &name, from).await {
                Ok(bytes) => match self.take(from, &bytes) {
                    Piece::More => {}
                    Piece::Last => return,
                },
                // It is asked for again with the next look.
                Err(fault) => return tracing::debug!(key = %self.key, %fault, "reading the output of a job"),
            }
        }
    }

    /// Takes over the rest of a job that has ended.
    pub(super) async fn finish(&mut self) {
        for _ in 0..PIECES_AT_THE_END {
            if self.over {
                return;
            }
            let from = self.output.length(self.key);
            let name = self.key.job_name();
            match retried(|| self.remote.job_output(self.place, &name, from)).await {
                Ok(bytes) => match self.take(from, &bytes) {
                    Piece::More => {}
                    Piece::Last => return,
                },
                Err(fault) => return self.missing(&fault),
            }
        }
    }

    fn missing(&self, fault: &Fault) {
        tracing::warn!(key = %self.key, %fault, "the rest of a job's output is missing from its log file");
    }

    /// Takes over a piece that begins at `from`.
    fn take(&mut self, from: u64, bytes: &[u8]) -> Piece {
        if bytes.is_empty() {
            return Piece::Last;
        }
        let room = usize::try_from(MOST.saturating_sub(from)).unwrap_or(usize::MAX);
        if bytes.len() > room {
            self.over = true;
            if from <= MOST {
                // Longer than the most by this line: a later session sees that it was written.
                let note =
                    format!("\n[proxmaint: the output goes on beyond {} MiB; the rest is left out]\n", MOST >> 20);
                self.output.keep(self.key, &[&bytes[..room], note.as_bytes()].concat());
            }
            return Piece::Last;
        }
        self.output.keep(self.key, bytes);
        // Where nothing is kept (the disk is full) the same piece would be asked for for ever.
        if self.output.length(self.key) <= from {
            self.over = true;
            return Piece::Last;
        }
        if (bytes.len() as u64) < PIECE { Piece::Last } else { Piece::More }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::engine::port::{
        GuestCommand, HealthLook, Identity, Interface, Job, JobStart, JobState, LeaseAnswer, LeaseAsk, NoOutput,
        NodeLook, ZfsSince,
    };
    use crate::ids::{HostId, RunId, SnapshotName, Step, Target};
    use crate::inventory::{OsFacts, PackageManager, QuorumFacts};

    /// A job whose log is `log`, and that fails to be read as often as `cuts` says.
    #[derive(Default)]
    struct Machine {
        log: Mutex<Vec<u8>>,
        cuts: Mutex<u32>,
        asked: Mutex<Vec<u64>>,
    }

    impl Machine {
        fn print(&self, bytes: &[u8]) -> u64 {
            let mut log = self.log.lock().unwrap();
            log.extend_from_slice(bytes);
            log.len() as u64
        }

        fn asked(&self) -> Vec<u64> {
            std::mem::take(&mut self.asked.lock().unwrap())
        }
    }

    #[async_trait]
    impl Remote for Machine {
        async fn identity(&self, _: &Place) -> Result<Identity, Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn inspect(&self, _: &Place, _: bool) -> Result<OsFacts, Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn hold_lease(&self, _: &LeaseAsk) -> Result<LeaseAnswer, Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn release_lease(&self, _: &RunId) -> Result<(), Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn start_job(&self, _: &Place, _: &Job) -> Result<JobStart, Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn job(&self, _: &Place, _: &str) -> Result<JobState, Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn job_output(&self, _: &Place, name: &str, from: u64) -> Result<Vec<u8>, Fault> {
            assert_eq!(name, key().job_name());
            self.asked.lock().unwrap().push(from);
            let mut cuts = self.cuts.lock().unwrap();
            if *cuts > 0 {
                *cuts -= 1;
                return Err(Fault::transient("cut"));
            }
            let log = self.log.lock().unwrap();
            let from = usize::try_from(from).unwrap().min(log.len());
            Ok(log[from..].iter().take(PIECE as usize).copied().collect())
        }
        async fn interfaces(&self, _: &Place) -> Result<Vec<Interface>, Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn look_at_node(&self) -> Result<NodeLook, Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn quorum(&self) -> Result<QuorumFacts, Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn zfs_since(&self, _: &[String], _: &SnapshotName) -> Result<ZfsSince, Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn health(&self, _: &Place, _: &[GuestCommand]) -> Result<HealthLook, Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn collect_job(&self, _: &Place, _: &str) -> Result<(), Fault> {
            Err(Fault::permanent("not asked"))
        }
        async fn packages_consistent(&self, _: &Place, _: PackageManager) -> Result<Result<(), String>, Fault> {
            Err(Fault::permanent("not asked"))
        }
    }

    #[derive(Default)]
    struct Kept(Mutex<Vec<u8>>);

    impl JobOutput for Kept {
        fn length(&self, _: &StepKey) -> u64 {
            self.0.lock().unwrap().len() as u64
        }

        fn keep(&self, _: &StepKey, bytes: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(bytes);
        }
    }

    fn key() -> StepKey {
        let run = RunId::new("20261122-222842-abcd");
        StepKey { run, target: Target::Host(HostId::new("edge1")), step: Step::UpgradeHost, round: 1 }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_new_is_taken_over_once() {
        let (machine, kept, key) = (Machine::default(), Kept::default(), key());
        let mut follower = Follower::new(&machine, &kept, &key, &Place::Node);
        let printed = machine.print(b"one\n");
        follower.catch_up(printed).await;
        follower.catch_up(printed).await;
        assert_eq!(machine.asked(), [0], "nothing new, nothing asked");
        let printed = machine.print(b"two\n");
        *machine.cuts.lock().unwrap() = 1;
        follower.catch_up(printed).await;
        assert_eq!(kept.length(&key), 4, "a lost answer is no output");
        follower.catch_up(printed).await;
        machine.print(b"three\n");
        follower.finish().await;
        assert_eq!(*kept.0.lock().unwrap(), b"one\ntwo\nthree\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_session_fills_in_what_was_missed() {
        let (machine, kept, key) = (Machine::default(), Kept::default(), key());
        machine.print(&vec![b'x'; 3 * PIECE as usize + 5]);
        kept.keep(&key, b"xxxxxxx");
        *machine.cuts.lock().unwrap() = 2;
        Follower::new(&machine, &kept, &key, &Place::Node).finish().await;
        assert_eq!(*kept.0.lock().unwrap(), *machine.log.lock().unwrap());
        assert_eq!(
            machine.asked(),
            [7, 7, 7, 7 + PIECE, 7 + 2 * PIECE, 7 + 3 * PIECE][..5],
            "cut twice, then on from where it was"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_backlog_does_not_keep_from_looking_at_the_job() {
        let (machine, kept, key) = (Machine::default(), Kept::default(), key());
        let printed = machine.print(&vec![b'x'; 20 * PIECE as usize]);
        Follower::new(&machine, &kept, &key, &Place::Node).catch_up(printed).await;
        assert_eq!(kept.length(&key), PIECES_A_LOOK * PIECE);
    }

    #[tokio::test(start_paused = true)]
    async fn output_without_end_is_cut_with_a_word() {
        let (machine, kept, key) = (Machine::default(), Kept::default(), key());
        machine.print(&vec![b'x'; MOST as usize + 1]);
        Follower::new(&machine, &kept, &key, &Place::Node).finish().await;
        let length = kept.length(&key);
        assert!(kept.0.lock().unwrap().ends_with(b"the rest is left out]\n"));
        assert!(length > MOST && length < MOST + 200);
        machine.asked();
        let mut again = Follower::new(&machine, &kept, &key, &Place::Node);
        again.catch_up(MOST + 1000).await;
        again.finish().await;
        assert_eq!(kept.length(&key), length, "it is said once");
    }

    #[tokio::test(start_paused = true)]
    async fn output_of_exactly_the_most_is_whole() {
        let (machine, kept, key) = (Machine::default(), Kept::default(), key());
        machine.print(&vec![b'x'; MOST as usize]);
        Follower::new(&machine, &kept, &key, &Place::Node).finish().await;
        assert_eq!(kept.length(&key), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_is_kept_nothing_is_asked_for_ever() {
        let (machine, key) = (Machine::default(), key());
        machine.print(&vec![b'x'; 2 * PIECE as usize]);
        let mut follower = Follower::new(&machine, &NoOutput, &key, &Place::Node);
        follower.catch_up(9).await;
        follower.catch_up(99).await;
        follower.finish().await;
        assert_eq!(machine.asked(), [0]);
    }
}
