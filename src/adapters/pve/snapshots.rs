//! Snapshots of guests.

use serde_json::Value;

use super::client::{Client, entries, guest_call, unexpected};
use super::fields::Fields;
use super::transport::{Method, Transport};
use crate::engine::port::{GuestRef, SnapshotListing};
use crate::ids::{SnapshotName, Upid};
use crate::machine::outcome::Fault;
use crate::time::Timestamp;

pub(super) async fn can_snapshot<T: Transport>(api: &Client<T>, guest: &GuestRef) -> Result<bool, Fault> {
    let call = guest_call(Method::Get, guest, &["feature"])?.with("feature", "snapshot");
    let data = api.data(&call).await?;
    let feature = Fields::of(&data).and_then(|f| f.flag("hasFeature"));
    feature.ok_or_else(|| unexpected(&call, "hasFeature", &data))
}

pub(super) async fn snapshots<T: Transport>(api: &Client<T>, guest: &GuestRef) -> Result<Vec<SnapshotListing>, Fault> {
    let call = guest_call(Method::Get, guest, &["snapshot"])?;
    let list = api.list(&call).await?;
    // It is listed as soon as it is begun. One whose worker died stays so for good, and nothing can be brought back from it.
    let unfinished = |entry: &&Value| Fields::of(entry).is_some_and(|e| e.non_empty("snapstate").is_some());
    let mut snapshots = entries(&call, list.iter().filter(|entry| !unfinished(entry)), |entry| {
        Some(SnapshotListing {
            name: SnapshotName::new(entry.non_empty("name")?),
            taken: entry.seconds("snaptime").map(Timestamp::from_secs),
            // The config file keeps a description as comment lines: a CT's comes back with a line end.
            description: entry.text("description").unwrap_or_default().trim_end().to_owned(),
        })
    });
    snapshots.retain(|snapshot| snapshot.name.as_str() != "current");
    Ok(snapshots)
}

pub(super) async fn create_snapshot<T: Transport>(
    api: &Client<T>,
    guest: &GuestRef,
    name: &SnapshotName,
    description: &str,
) -> Result<Upid, Fault> {
    let call = guest_call(Method::Post, guest, &["snapshot"])?;
    api.start(&call.with("snapname", name.as_str()).with("description", description)).await
}

pub(super) async fn rollback_snapshot<T: Transport>(
    api: &Client<T>,
    guest: &GuestRef,
    name: &SnapshotName,
) -> Result<Upid, Fault> {
    api.start(&guest_call(Method::Post, guest, &["snapshot", name.as_str(), "rollback"])?).await
}

pub(super) async fn delete_snapshot<T: Transport>(
    api: &Client<T>,
    guest: &GuestRef,
    name: &SnapshotName,
) -> Result<Upid, Fault> {
    api.start(&guest_call(Method::Delete, guest, &["snapshot", name.as_str()])?).await
}
