//! The deterministic simulation: the real engine, machine, journal logic and API client on the lab's world, in virtual time.
//!
//! | file | job |
//! |---|---|
//! | `scenario/` | the named worlds, one file a topic |
//! | `stage` | what outlives a crash: world, detached jobs, disk, judge |
//! | `gate` | crash points |
//! | `disk`, `journal` | the journal in memory, with a durable and a volatile part |
//! | `transport`, `remote` | the engine's ports on the world |
//! | `judge` | the invariants |
//! | `debts` | what is owed in the world, against what the run says is owed |
//! | `harness` | plays a scenario: crash, replay, resume, to the end |
//! | `picture` | what is left, to be compared |
//! | `crash_matrix/` | the tests of the named worlds, crashed at every point: one file a topic, as of the worlds |
//! | `seeds`, `planted`, `large` | the other tests |

mod crash_matrix;
mod debts;
mod disk;
mod gate;
mod harness;
mod journal;
mod judge;
mod large;
mod picture;
mod planted;
mod remote;
mod scenario;
mod seeds;
mod stage;
mod transport;
