//! Prints the inventory for other programs; nothing is saved.

use std::io::{self, Write};

use super::discover::{Found, discover};
use super::export;
use super::hosts;
use super::merge::Header;
use super::script::{exit, no_place};
use super::subject::{Subject, write_down};
use super::tell::Teller;
use super::wish::Wish;
use crate::adapters::clock::SystemClock;
use crate::cli::args::{Export, InventoryArgs, Places};
use crate::cli::diagnostics::Failure;
use crate::cli::draft::Draft;
use crate::cli::exit_code::Exit;
use crate::cli::reach;
use crate::cli::run::{interrupted_before_anything, unless_interrupted, warn};
use crate::engine::port::Clock;
use crate::ids::HostId;
use crate::manifest::{HostEntry, Manifest};
use crate::observe::log::Redactor;

/// Prints what the manifest knows and, unless it is to be left at that, what its hosts say now.
///
/// # Errors
/// A host that the manifest does not have, or a variable that is missing.
pub(super) fn inventory(
    places: &Places,
    args: &InventoryArgs,
    format: Export,
    redactor: &Redactor,
) -> Result<Exit, Failure> {
    let mut draft = match Draft::open(&places.config) {
        Ok(draft) => draft,
        Err(exit) => return Ok(exit),
    };
    let manifest = match hosts::manifest(&draft, &args.hosts, places) {
        Ok(manifest) => manifest,
        Err(exit) => return Ok(exit),
    };
    let entries = hosts::selected(&manifest, &args.hosts)?;
    let names: Vec<HostId> = entries.iter().map(|entry| entry.id.clone()).collect();
    if args.offline {
        print(&manifest, &names, format);
        return Ok(Exit::Clean);
    }
    let Some(found) = ask(&draft, &manifest, &entries, places, redactor)? else {
        return Ok(interrupted_before_anything());
    };
    let subjects = Subject::all(&found.hosts, |_| Wish::default());
    let header = Header { at: SystemClock.now(), public_key: None };
    write_down(&mut draft.document, &found.hosts, &subjects, &header).map_err(|error| no_place(&error))?;
    match hosts::manifest(&draft, &args.hosts, places) {
        Ok(manifest) => print(&manifest, &names, format),
        Err(exit) => return Ok(exit),
    }
    Ok(exit(Exit::Clean, &found))
}

/// Asks the hosts; `None` where the operator does not want to wait.
fn ask(
    draft: &Draft,
    manifest: &Manifest,
    entries: &[&HostEntry],
    places: &Places,
    redactor: &Redactor,
) -> Result<Option<Found>, Failure> {
    let runtime = reach::runtime()?;
    let credentials = reach::credentials(entries, redactor)?;
    warn(manifest, entries);
    let ways = reach::ways_with(entries, &credentials, places);
    let index_of = |id: &HostId| hosts::index_of(&draft.document, id);
    let asking = discover(entries, &ways, &credentials, index_of, &|_| {});
    let found = runtime.block_on(unless_interrupted(asking));
    if let Some(found) = &found {
        Teller::new(redactor).missing(&found.missing);
    }
    Ok(found)
}

fn print(manifest: &Manifest, hosts: &[HostId], format: Export) {
    // Whoever closed the pipe has read enough.
    let _written = io::stdout().lock().write_all(export::text(manifest, hosts, format).as_bytes());
}
