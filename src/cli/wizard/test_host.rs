//! "Test this host now": makes the host known, then examines it as `proxmaint doctor` does, with the settings as they are edited.

use std::io;

use super::{Desk, saving};
use crate::cli::acquaint::acquaint;
use crate::cli::doctor::{examine_entry, view};
use crate::cli::draft::env;
use crate::cli::terminal::{Answered, Remark};
use crate::manifest::edit::{Document, EditError, Scope, Spot, Value};
use crate::manifest::{HostEntry, HostKeyPolicy, ManifestError};
use crate::observe::style::Paint;
use crate::plan::Level;

/// Tests a host as it stands in the draft, saved or not. What the operator takes over of it is learnt, or set in the draft.
///
/// # Errors
/// Esc, or the dialogue was left for good.
pub(super) fn test(desk: &mut Desk<'_>, host: usize) -> Answered<()> {
    let mut entry = match entry(desk, host) {
        Ok(Some(entry)) => entry,
        Ok(None) => return Ok(()),
        Err(error) => {
            desk.terminal.remark(Remark::Warn, "it can't be tested before this is mended")?;
            return saving::show_problems(desk, "What is wrong with it", error.problems());
        }
    };
    let state_dir = desk.places.state_dir();
    let known = acquaint(&desk.terminal, &desk.runtime, &entry, &state_dir)?;
    if let Some(fingerprint) = &known.fingerprint {
        if !desk.edit(|document| set_fingerprint(document, host, fingerprint))? {
            return Ok(());
        }
        desk.terminal.remark(Remark::Good, "api.fingerprint is set; it is saved with the manifest")?;
        if let Ok(Some(edited)) = self::entry(desk, host) {
            entry = edited;
        }
    }
    if !known.host_key {
        learn_nothing(&mut entry);
    }
    let known_hosts = state_dir.join("known_hosts");
    let what = format!("examining {}", entry.id);
    let report = desk.terminal.work(&desk.runtime, &what, examine_entry(&entry, &known_hosts, desk.redactor))?;
    let text = view::host_text(&report, Paint::for_stream(&io::stderr()));
    desk.terminal.note("What the test found", desk.redactor.redact(text.trim_end()).as_ref())?;
    let remark = match report.level() {
        Level::Ok => Remark::Good,
        Level::Warn => Remark::Warn,
        Level::Fail => Remark::Bad,
    };
    desk.terminal.remark(remark, &report.sentence())
}

/// Returns a host as the draft describes it; where something is wrong with others, it is taken by itself. `None` where there
/// is no such host.
fn entry(desk: &Desk<'_>, host: usize) -> Result<Option<HostEntry>, ManifestError> {
    let error = match desk.draft.manifest() {
        Ok(manifest) => return Ok(manifest.hosts.into_iter().nth(host)),
        Err(error) => error,
    };
    let alone = alone(&desk.draft.document, host).ok();
    let alone = alone.and_then(|document| document.manifest(desk.draft.path(), &env).ok());
    match alone.and_then(|manifest| manifest.hosts.into_iter().next()) {
        Some(entry) => Ok(Some(entry)),
        None => Err(error),
    }
}

/// Returns the draft without the other hosts.
fn alone(document: &Document, host: usize) -> Result<Document, EditError> {
    let mut alone = document.clone();
    // From the last to the first: the others keep their numbers.
    for other in (0..document.hosts().len()).rev().filter(|other| *other != host) {
        alone.remove_item(Spot::Host(other))?;
    }
    Ok(alone)
}

fn set_fingerprint(document: &mut Document, host: usize, fingerprint: &str) -> Result<(), EditError> {
    const KEY: &str = "api.fingerprint";
    let setting = Scope::Host.setting(KEY).map_err(|_unknown| EditError::NotSettable(KEY))?;
    document.set(Spot::Host(host), &setting, &Value::text(fingerprint))
}

/// Has every machine refused whose key is not known, so that the test learns nothing behind the operator's back.
fn learn_nothing(entry: &mut HostEntry) {
    entry.ssh.parsed.host_keys = Some(HostKeyPolicy::Strict);
    entry.guest_ssh.parsed.host_keys = Some(HostKeyPolicy::Strict);
}
