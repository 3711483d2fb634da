//! What concerns a whole cluster: version, members, where its guests are, and what the token may do.

use std::collections::{BTreeMap, BTreeSet};

use super::client::{Client, entries, get, guest_id, unexpected};
use super::fields::Fields;
use super::transport::Transport;
use crate::engine::port::{
    ClusterNode, ClusterStatus, GuestStock, NodeStock, ReplicationListing, Resource, Stock, StorageStock,
};
use crate::ids::{GuestId, GuestKind, NodeName};
use crate::machine::outcome::Fault;

pub(super) async fn version<T: Transport>(api: &Client<T>) -> Result<String, Fault> {
    let call = get(&["version"])?;
    let data = api.data(&call).await?;
    let version = Fields::of(&data).and_then(|f| f.non_empty("version").or_else(|| f.non_empty("release")));
    version.ok_or_else(|| unexpected(&call, "a version", &data))
}

pub(super) async fn cluster_status<T: Transport>(api: &Client<T>) -> Result<ClusterStatus, Fault> {
    let call = get(&["cluster", "status"])?;
    let list = api.list(&call).await?;
    let of_type = |wanted: &str| -> Vec<Fields<'_>> {
        list.iter().filter_map(Fields::of).filter(|f| f.text("type").as_deref() == Some(wanted)).collect()
    };
    let nodes = of_type("node").into_iter().filter_map(|entry| {
        Some(ClusterNode {
            name: NodeName::new(entry.non_empty("name")?),
            local: entry.flag("local").unwrap_or(false),
            online: entry.flag("online").unwrap_or(false),
        })
    });
    let cluster = of_type("cluster").into_iter().next();
    Ok(ClusterStatus {
        name: cluster.and_then(|c| c.non_empty("name")),
        // A node that stands alone decides alone; a cluster that does not say so has no quorum.
        quorate: cluster.is_none_or(|c| c.flag("quorate").unwrap_or(false)),
        nodes: nodes.collect(),
    })
}

pub(super) async fn ca_fingerprint<T: Transport>(api: &Client<T>, node: &NodeName) -> Result<String, Fault> {
    let call = get(&["nodes", node.as_str(), "certificates", "info"])?;
    let list = api.list(&call).await?;
    let mut certificates = list.iter().filter_map(Fields::of);
    let root = certificates.find(|c| c.text("filename").as_deref() == Some("pve-root-ca.pem"));
    let fingerprint = root.and_then(|c| c.non_empty("fingerprint")).map(|f| f.to_ascii_uppercase());
    fingerprint.ok_or_else(|| Fault::permanent(format!("api call {call} lists no fingerprint of pve-root-ca.pem")))
}

pub(super) async fn locate<T: Transport>(api: &Client<T>, guest: GuestId) -> Result<Option<NodeName>, Fault> {
    let call = get(&["cluster", "resources"])?.with("type", "vm");
    let list = api.list(&call).await?;
    let mut guests = list.iter().filter_map(Fields::of);
    let found = guests.find(|entry| guest_id(*entry) == Some(guest));
    Ok(found.and_then(|entry| entry.non_empty("node")).map(NodeName::new))
}

pub(super) async fn resources<T: Transport>(api: &Client<T>) -> Result<Vec<Resource>, Fault> {
    let call = get(&["cluster", "resources"])?.with("type", "vm");
    let list = api.list(&call).await?;
    // `vm` is both kinds of guest today; another kind that a later release adds is none that is worked on here.
    let guests = list.iter().filter(|entry| Fields::of(entry).is_some_and(|entry| kind(entry).is_some()));
    let mut guests = entries(&call, guests, |entry| {
        Some(Resource {
            id: guest_id(entry)?,
            kind: kind(entry)?,
            node: NodeName::new(entry.non_empty("node")?),
            tags: tags(&entry.text("tags").unwrap_or_default()),
            pool: entry.non_empty("pool"),
            ha: entry.non_empty("hastate").is_some(),
        })
    });
    guests.sort_by_key(|guest| guest.id);
    Ok(guests)
}

pub(super) async fn ha_resources<T: Transport>(api: &Client<T>) -> Result<Vec<String>, Fault> {
    let call = get(&["cluster", "ha", "resources"])?;
    let list = api.list(&call).await?;
    // What is asked is whether HA manages anything: an entry that can't be read counts as well.
    let name = |entry| Fields::of(entry).and_then(|entry| entry.non_empty("sid")).unwrap_or_else(|| "?".to_owned());
    let mut names: Vec<String> = list.iter().map(name).collect();
    names.sort();
    Ok(names)
}

pub(super) async fn stock<T: Transport>(api: &Client<T>) -> Result<Stock, Fault> {
    let call = get(&["cluster", "resources"])?;
    let list = api.list(&call).await?;
    let of_type = |wanted: &'static str| {
        list.iter().filter(move |v| Fields::of(v).is_some_and(|f| f.text("type").as_deref() == Some(wanted)))
    };
    let mut nodes = entries(&call, of_type("node"), |entry| {
        Some(NodeStock {
            name: NodeName::new(entry.non_empty("node")?),
            online: entry.text("status").as_deref() == Some("online"),
            // One that is offline tells neither.
            memory: entry.number("maxmem").unwrap_or(0),
            used: entry.number("mem").unwrap_or(0),
        })
    });
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let storages = entries(&call, of_type("storage"), |entry| {
        Some(StorageStock {
            node: NodeName::new(entry.non_empty("node")?),
            name: entry.non_empty("storage")?,
            kind: entry.text("plugintype").unwrap_or_default(),
            shared: entry.flag("shared").unwrap_or(false),
            active: entry.text("status").as_deref() == Some("available"),
        })
    });
    let of_guests = list.iter().filter(|entry| Fields::of(entry).is_some_and(|entry| kind(entry).is_some()));
    let mut guests = entries(&call, of_guests, |entry| {
        Some(GuestStock {
            id: guest_id(entry)?,
            node: NodeName::new(entry.non_empty("node")?),
            running: entry.text("status").as_deref() == Some("running"),
            memory: entry.number("maxmem").unwrap_or(0),
        })
    });
    guests.sort_by_key(|guest| guest.id);
    Ok(Stock { nodes, storages, guests })
}

pub(super) async fn in_maintenance<T: Transport>(api: &Client<T>) -> Result<BTreeSet<NodeName>, Fault> {
    let call = get(&["cluster", "ha", "status", "current"])?;
    let list = api.list(&call).await?;
    let managers = list.iter().filter_map(Fields::of).filter(|entry| entry.text("type").as_deref() == Some("lrm"));
    // The mode stands in the words alone: `pve1 (maintenance mode, Mon Nov 23 10:00:00 2026)`.
    let resting = managers.filter(|entry| entry.text("status").is_some_and(|status| status.contains("maintenance")));
    Ok(resting.filter_map(|entry| entry.non_empty("node")).map(NodeName::new).collect())
}

pub(super) async fn shutdown_policy<T: Transport>(api: &Client<T>) -> Result<String, Fault> {
    let call = get(&["cluster", "options"])?;
    let data = api.data(&call).await?;
    let options = Fields::of(&data).ok_or_else(|| unexpected(&call, "options", &data))?;
    // A property string, or the object that it is read as.
    let in_text = options
        .text("ha")
        .and_then(|ha| ha.split(',').find_map(|part| part.trim().strip_prefix("shutdown_policy=").map(str::to_owned)));
    let in_object = options.value("ha").and_then(Fields::of).and_then(|ha| ha.non_empty("shutdown_policy"));
    Ok(in_text.or(in_object).unwrap_or_else(|| "conditional".to_owned()))
}

pub(super) async fn replication<T: Transport>(api: &Client<T>) -> Result<Vec<ReplicationListing>, Fault> {
    let call = get(&["cluster", "replication"])?;
    let list = api.list(&call).await?;
    let mut jobs = entries(&call, &list, |entry| {
        let id = entry.non_empty("id")?;
        // Its name begins with the guest's number, should that not be told.
        let named = || id.split_once('-').and_then(|(guest, _)| guest.parse().ok());
        let guest = entry.number("guest").and_then(|id| u32::try_from(id).ok()).or_else(named).map(GuestId)?;
        Some(ReplicationListing { id, guest })
    });
    jobs.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(jobs)
}

pub(super) async fn permissions<T: Transport>(
    api: &Client<T>,
) -> Result<BTreeMap<String, BTreeMap<String, bool>>, Fault> {
    let call = get(&["access", "permissions"])?;
    let data = api.data(&call).await?;
    let paths = Fields::of(&data).ok_or_else(|| unexpected(&call, "privileges by path", &data))?;
    let mut all = BTreeMap::new();
    for path in paths.names() {
        let Some(given) = paths.value(path).and_then(Fields::of) else { continue };
        // That a privilege is named says that it is had; the value, that it holds below as well. One that can't be read
        // claims the less.
        let held = given.names().map(|name| (name.to_owned(), given.flag(name).unwrap_or(false)));
        all.insert(path.to_owned(), held.collect());
    }
    Ok(all)
}

/// Reads the kind of a guest out of an entry of `cluster/resources`.
fn kind(entry: Fields<'_>) -> Option<GuestKind> {
    match entry.text("type")?.as_str() {
        "lxc" => Some(GuestKind::Ct),
        "qemu" => Some(GuestKind::Vm),
        _ => None,
    }
}

/// Splits a list of tags: `;` as the API writes it, with the other separators that a config may have.
fn tags(text: &str) -> Vec<String> {
    text.split([';', ',', ' ']).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}
