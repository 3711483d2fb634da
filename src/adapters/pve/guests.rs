//! Guests: which there are, how they are, and their power.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, entries, get, guest_call, guest_id, seconds, unexpected};
use super::fields::{Fields, scalar_text};
use super::transport::{ApiCall, Method, Transport};
use crate::engine::port::{GuestConfig, GuestListing, GuestRef, Interface};
use crate::ids::{GuestKind, NodeName, Upid};
use crate::inventory::Power;
use crate::machine::outcome::Fault;

pub(super) async fn guests<T: Transport>(api: &Client<T>, node: &NodeName) -> Result<Vec<GuestListing>, Fault> {
    let mut guests = of_kind(api, node, GuestKind::Ct).await?;
    guests.extend(of_kind(api, node, GuestKind::Vm).await?);
    guests.sort_by_key(|guest| guest.id);
    Ok(guests)
}

pub(super) async fn guest_config<T: Transport>(api: &Client<T>, guest: &GuestRef) -> Result<GuestConfig, Fault> {
    let call = guest_call(Method::Get, guest, &["config"])?;
    match api.data(&call).await? {
        Value::Object(config) => {
            let texts = config.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| {
                let text = scalar_text(&value).unwrap_or_else(|| value.to_string());
                (key, text)
            });
            Ok(GuestConfig(texts.collect::<BTreeMap<_, _>>()))
        }
        other => Err(unexpected(&call, "a config", &other)),
    }
}

pub(super) async fn guest_status<T: Transport>(
    api: &Client<T>,
    guest: &GuestRef,
) -> Result<(Power, Option<String>), Fault> {
    let call = guest_call(Method::Get, guest, &["status", "current"])?;
    let data = api.data(&call).await?;
    let status = Fields::of(&data).ok_or_else(|| unexpected(&call, "a guest's status", &data))?;
    Ok((power(status), status.non_empty("lock")))
}

/// Reads the power state. A VM whose process runs while its machine does not (`qmpstatus` paused, prelaunch, ..) is neither on nor off.
fn power(entry: Fields<'_>) -> Power {
    let machine = entry.non_empty("qmpstatus");
    match entry.text("status").as_deref() {
        Some("running") if machine.is_none_or(|state| state == "running") => Power::Running,
        Some("stopped") => Power::Stopped,
        _ => Power::Other,
    }
}

/// Lists the guests of one kind on a node.
async fn of_kind<T: Transport>(api: &Client<T>, node: &NodeName, kind: GuestKind) -> Result<Vec<GuestListing>, Fault> {
    let call = get(&["nodes", node.as_str(), kind.api_name()])?;
    let list = api.list(&call).await?;
    Ok(entries(&call, &list, |entry| {
        Some(GuestListing {
            id: guest_id(entry)?,
            kind,
            name: entry.text("name").unwrap_or_default(),
            power: power(entry),
            template: entry.flag("template").unwrap_or(false),
            lock: entry.non_empty("lock"),
            disk_bytes: entry.number("maxdisk").unwrap_or(0),
        })
    }))
}

/// Asks for the interfaces of a container. One that is off has none.
pub(super) async fn ct_interfaces<T: Transport>(api: &Client<T>, guest: &GuestRef) -> Result<Vec<Interface>, Fault> {
    let call = guest_call(Method::Get, guest, &["interfaces"])?;
    match api.data(&call).await? {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => Ok(read_interfaces(&call, &list)),
        other => Err(unexpected(&call, "a list", &other)),
    }
}

/// Reads interfaces as the guest agent and the node tell them. A node of an older version gives one address of each family (`inet`,
/// `inet6`, with its prefix length) and no list.
pub(super) fn read_interfaces(call: &ApiCall, list: &[Value]) -> Vec<Interface> {
    entries(call, list, |interface| {
        let listed = interface.list("ip-addresses").iter().filter_map(Fields::of);
        let mut told: Vec<String> = listed.filter_map(|address| address.non_empty("ip-address")).collect();
        if told.is_empty() {
            told.extend(["inet", "inet6"].into_iter().filter_map(|family| interface.non_empty(family)));
        }
        let mac = interface.non_empty("hardware-address").or_else(|| interface.non_empty("hwaddr"));
        let name = interface.text("name").unwrap_or_default();
        Some(Interface::new(&name, mac.as_deref(), told.iter().map(String::as_str)))
    })
}

pub(super) async fn start_guest<T: Transport>(api: &Client<T>, guest: &GuestRef) -> Result<Upid, Fault> {
    api.start(&guest_call(Method::Post, guest, &["status", "start"])?).await
}

pub(super) async fn shutdown_guest<T: Transport>(
    api: &Client<T>,
    guest: &GuestRef,
    timeout: Duration,
) -> Result<Upid, Fault> {
    let call = guest_call(Method::Post, guest, &["status", "shutdown"])?;
    // Said although it is the default: a guest that does not obey must be found running, not pulled the plug of.
    api.start(&call.with("forceStop", "0").with("timeout", seconds(timeout))).await
}

pub(super) async fn reboot_guest<T: Transport>(
    api: &Client<T>,
    guest: &GuestRef,
    timeout: Duration,
) -> Result<Upid, Fault> {
    let call = guest_call(Method::Post, guest, &["status", "reboot"])?;
    api.start(&call.with("timeout", seconds(timeout))).await
}
