//! `proxmaint inventory`: finds the guests of hosts, checks the way into them, and writes `guest_inventory`.

mod check;
mod crowd;
mod dialogue;
mod discover;
mod export;
mod guests;
mod hosts;
mod install;
mod merge;
mod print;
mod script;
mod subject;
mod table;
mod tell;
mod wish;

use super::args::{InventoryArgs, Places};
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::terminal::Terminal;
use crate::observe::log::Redactor;

/// Runs `proxmaint inventory`.
///
/// # Errors
/// There is nobody to ask, a host can't be added, or the manifest can't be read or saved.
pub fn inventory(places: &Places, args: &InventoryArgs, redactor: &Redactor) -> Result<Exit, Failure> {
    if let Some(format) = args.output {
        return print::inventory(places, args, format, redactor);
    }
    if args.yes {
        return script::inventory(places, args, redactor);
    }
    match Terminal::open() {
        Some(terminal) => dialogue::inventory(terminal, places, args, redactor),
        None => Err(Failure::new(Exit::Usage, "this is no terminal: there is nobody to ask which guests to manage")
            .hint("`--yes` asks nothing: `proxmaint inventory --yes --manage running`")
            .hint("`--output json`, `ansible` or `ssh-config` prints what there is, and changes nothing")),
    }
}
