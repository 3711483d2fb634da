//! Tables for people, as wide as the terminal that they go to.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use comfy_table::{ContentArrangement, Table, presets};

use super::style::Paint;

/// A table's width where the terminal's is not known.
const WIDTH: u16 = 110;
/// A table is never made narrower: words would be torn apart letter by letter.
const MIN_WIDTH: u16 = 40;

/// Returns the width of the terminal that a stream goes to; `None` where it is none.
pub fn width_of(stream: &(impl IsTerminal + AsFd)) -> Option<u16> {
    stream.is_terminal().then(|| rustix::termios::tcgetwinsize(stream).ok().map(|size| size.ws_col)).flatten()
}

/// Begins a table. `width` is the terminal's, where there is one.
pub fn table(width: Option<u16>, paint: Paint) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width.unwrap_or(WIDTH).max(MIN_WIDTH));
    if paint.is_coloured() {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}
