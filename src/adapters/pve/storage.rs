//! Storages, archives, and the backups that make them.

use serde_json::Value;

use super::client::{Client, entries, get, refused, unexpected};
use super::fields::Fields;
use super::transport::{ApiCall, Method, Transport};
use crate::engine::port::{BackupListing, BackupSpec, GuestRef};
use crate::ids::{NodeName, Upid};
use crate::inventory::{PoolFacts, StorageFacts};
use crate::machine::outcome::Fault;
use crate::time::Timestamp;

pub(super) async fn backup_storages<T: Transport>(
    api: &Client<T>,
    node: &NodeName,
) -> Result<Vec<StorageFacts>, Fault> {
    let call = get(&["nodes", node.as_str(), "storage"])?.with("content", "backup").with("enabled", "1");
    let list = api.list(&call).await?;
    let active: Vec<&Value> =
        list.iter().filter(|v| Fields::of(v).is_some_and(|f| f.flag("active").unwrap_or(false))).collect();
    let mut storages = entries(&call, active, |entry| {
        let available = entry.number("avail").unwrap_or(0);
        Some(StorageFacts { name: entry.non_empty("storage")?, available })
    });
    storages.sort_by(|a, b| b.available.cmp(&a.available).then_with(|| a.name.cmp(&b.name)));
    Ok(storages)
}

pub(super) async fn pools<T: Transport>(api: &Client<T>, node: &NodeName) -> Result<Vec<PoolFacts>, Fault> {
    let call = get(&["nodes", node.as_str(), "storage"])?.with("enabled", "1");
    let list = api.list(&call).await?;
    let active: Vec<&Value> =
        list.iter().filter(|v| Fields::of(v).is_some_and(|f| f.flag("active").unwrap_or(false))).collect();
    Ok(entries(&call, active, |entry| {
        // One that does not tell its size can't be judged.
        let (available, total) = (entry.number("avail")?, entry.number("total")?);
        Some(PoolFacts { name: entry.non_empty("storage")?, available, total })
    }))
}

pub(super) async fn backups<T: Transport>(
    api: &Client<T>,
    guest: &GuestRef,
    storage: &str,
) -> Result<Vec<BackupListing>, Fault> {
    let call = get(&["nodes", guest.node.as_str(), "storage", storage, "content"])?
        .with("content", "backup")
        .with("vmid", guest.id.to_string());
    let list = api.list(&call).await?;
    // Another guest's archive must never pass for this one's protection, so the filter is not left to the server alone.
    let own: Vec<&Value> = list
        .iter()
        .filter(|v| Fields::of(v).and_then(|f| f.number("vmid")).is_none_or(|id| id == u64::from(guest.id.0)))
        .collect();
    Ok(entries(&call, own, |entry| {
        Some(BackupListing {
            volid: entry.non_empty("volid")?,
            notes: entry.text("notes").unwrap_or_default(),
            made: entry.seconds("ctime").map(Timestamp::from_secs),
        })
    }))
}

pub(super) async fn start_backup<T: Transport>(
    api: &Client<T>,
    guest: &GuestRef,
    spec: &BackupSpec,
) -> Result<Upid, Fault> {
    let call = ApiCall::new(Method::Post, &["nodes", guest.node.as_str(), "vzdump"]).map_err(refused)?;
    let call = call
        .with("vmid", guest.id.to_string())
        .with("storage", &spec.storage)
        .with("mode", spec.mode.as_str())
        .with("compress", spec.compress.api_name())
        // Its default deletes older backups by the storage's retention: those are the operator's.
        .with("remove", "0")
        .with("notes-template", notes_template(&spec.note)?)
        .with("lockwait", spec.lock_wait.as_secs().div_ceil(60).to_string());
    api.start(&call).await
}

/// Writes a note as a `notes-template`: newline and backslash are escaped (`\n`, `\\`).
///
/// `{{name}}` is a variable, and nothing escapes it: vzdump unescapes before it substitutes, and fails on a name that it does
/// not know. A note that holds one is refused, since by a changed note its archive would not be found again.
fn notes_template(note: &str) -> Result<String, Fault> {
    let variable = note.match_indices("{{").any(|(at, _)| {
        let rest = note[at..].trim_start_matches('{');
        rest.find("}}").is_some_and(|end| end > 0 && !rest[..end].contains(char::is_whitespace))
    });
    if variable {
        return Err(Fault::permanent(format!(
            "writing the backup note {note:?}: Proxmox VE would replace what stands in {{{{..}}}}"
        )));
    }
    Ok(note.replace('\\', "\\\\").replace('\n', "\\n"))
}

pub(super) async fn delete_backup<T: Transport>(
    api: &Client<T>,
    node: &NodeName,
    volid: &str,
) -> Result<Option<Upid>, Fault> {
    let Some((storage, _)) = volid.split_once(':').filter(|(storage, name)| !storage.is_empty() && !name.is_empty())
    else {
        return Err(Fault::permanent(format!("deleting the archive {volid:?}: it names no storage")));
    };
    let segments = ["nodes", node.as_str(), "storage", storage, "content", volid];
    let call = ApiCall::new(Method::Delete, &segments).map_err(refused)?;
    match api.data(&call).await? {
        // Some storages delete at once; where a delay is asked for, so does every one that is quick enough.
        Value::Null => Ok(None),
        Value::String(upid) if Upid::new(upid.as_str()).node().is_some() => Ok(Some(Upid::new(upid))),
        other => Err(unexpected(&call, "a UPID or nothing", &other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::outcome::FaultClass;

    #[test]
    fn a_note_survives_as_a_template() {
        assert_eq!(
            notes_template("proxmaint 20261122-222842-abcd/h/101/backup/r1").unwrap(),
            "proxmaint 20261122-222842-abcd/h/101/backup/r1"
        );
        assert_eq!(notes_template("a\\b\nc").unwrap(), "a\\\\b\\nc");
        assert_eq!(notes_template("{{ }} {{}} {a}").unwrap(), "{{ }} {{}} {a}");
        for note in ["{{vmid}}", "x {{foo}} y", "{{{node}}}"] {
            assert_eq!(notes_template(note).unwrap_err().class, FaultClass::Permanent, "{note}");
        }
    }
}
