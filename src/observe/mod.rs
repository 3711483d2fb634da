//! Watching and presenting: progress, JSON lines, the log, the projection behind `status`, the closing report, the live socket.
//!
//! Nothing here decides anything, and nothing here can fail, stop or slow the engine: observers take what they are told
//! into a bounded queue, and threads of their own write it. Names and texts that come from outside pass
//! [`sanitize::clean`] before they reach a terminal.

pub mod fan;
pub mod grid;
pub mod json;
pub mod live;
pub mod log;
pub mod order;
pub mod output;
pub mod output_name;
pub mod plan_view;
pub mod progress;
pub mod project;
pub mod report;
pub mod sanitize;
pub mod sink;
pub mod style;
pub mod view;
pub mod watch;
pub mod when;
pub mod words;
