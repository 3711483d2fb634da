//! HA maintenance mode of a node: asked for on the command line, since the API has no call for it.

use super::answer::Answer;
use super::exec::At;
use super::quote::quote;
use super::text::fragment;
use crate::engine::port::Place;
use crate::ids::NodeName;
use crate::machine::outcome::Fault;

const PRELUDE: &str = include_str!("sh/prelude.sh");
const MAINTENANCE: &str = include_str!("sh/maintenance.sh");

/// Makes the script.
pub(super) fn script(node: &NodeName, on: bool) -> String {
    let want = if on { "enable" } else { "disable" };
    Answer::envelope(&[PRELUDE, &format!("want={want} node={}", quote(node.as_str())), MAINTENANCE])
}

/// Reads the answer of [`script`].
pub(super) fn read(doing: &str, answer: &Answer) -> Result<(), Fault> {
    match answer.value("maintenance") {
        Some("asked") => Ok(()),
        _ => {
            let why = fragment(&answer.lines("why").iter().map(String::as_str).collect::<Vec<_>>());
            Err(Fault::permanent(format!("{doing} on {}: {why}", At(&Place::Node)))
                .hint("on the node: ha-manager status; maintenance mode needs pve-ha-manager 3.6 or newer"))
        }
    }
}
