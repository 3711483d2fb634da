//! proxmaint: keeps fleets of Proxmox VE hosts patched, resumably.
//!
//! # One way for the data
//!
//! ```text
//! manifest ──policy──┐                     ┌────────── outcome ──────────┐
//!                    v                     v                             │
//! facts ─────────> plan ──> event ──> machine ──> event + intents ──> journal ──durable──> act
//!                                  (pure table)     (one batch)          │
//!                                                                        └──> observers
//! ```
//!
//! [`manifest`] says which hosts there are. [`plan`] turns what is wanted and what was seen ([`inventory`]) into what is to
//! be done, with no choices left. [`machine`] takes one event at a time and says what follows. [`engine`] writes the event
//! and the intents of what follows into the [`journal`], waits until they are durable, and only then acts, through the
//! [`adapters`]. What comes of it is the next event. [`observe`] is told of each event once it is durable. [`cli`] puts it
//! all together. [`ids`] and [`time`] are the words that all of them share.
//!
//! # Invariants
//!
//! - **Intent first.** Nothing is acted on before the intent to do it is durable ([`engine::driver`]).
//! - **Once a key.** An unsafe change is made at most once for an [`ids::StepKey`]. The key is derived, never drawn, and the
//!   world carries it: as a snapshot's name, an archive's note, a job's directory.
//! - **Look before again.** An intent without an outcome is in doubt. It is probed; only a probe that found nothing, or the
//!   operator, opens a new round. What a probe can't settle is held.
//! - **Protected or untouched.** [`machine::guest::GuestPhase::Upgrading`] can't be built without a protection.
//! - **The right machine.** Before a change the target is proven to be the planned one ([`engine::perform`]).
//! - **One node of a cluster.** Its nodes take turns; one that failed or is held keeps the turn ([`machine::fleet`]).
//! - **One process.** One process at a time has the journal, and while a run is worked on only its driver appends.
//! - **Replay acts on nothing.** [`journal::replay`] folds records into a state and drops the effects.
//! - **The plan is frozen.** Policy and plans are in the journal; only how a host is reached is read anew.
//! - **Rot is loud.** What was acknowledged is there as it was written, or opening the journal is an error.
//! - **Pure core.** [`plan`] and [`machine`] know no clock, file, socket or randomness.
//! - **Watching changes nothing.** An observer can't fail, stop or slow the engine.
//! - **Everything is bounded.** Every loop, queue, wait and answer has a limit that is written beside it.
//! - **Secrets stay out** of journal, log, errors, argument lists and standard output.
//!
//! # In doubt
//!
//! ```text
//!             act ── outcome known ─────────────────────────> goes on, or failed
//!              │
//!              └── unknown, or the process died ──> probe ──> ended: goes on, or failed
//!                                                     ├─────> at work: attach, wait
//!                                                     ├─────> not done: the next round
//!                                                     └─────> unclear: held
//! ```
//!
//! Who may import whom, the order of writes, the table of probes and the reasons are in `ARCHITECTURE.md`; a test holds its
//! table of imports against the code.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "unit tests run programs and read the clock"))]

pub mod adapters;
pub mod choices;
pub mod cli;
pub mod engine;
pub mod ids;
pub mod inventory;
pub mod journal;
pub mod machine;
pub mod manifest;
pub mod observe;
pub mod plan;
pub mod time;
