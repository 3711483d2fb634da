//! What concerns one node: services, repositories, subscription, and its power.

use std::time::Duration;

use super::client::{Client, entries, get, refused, seconds, unexpected};
use super::fault;
use super::fields::{Fields, scalar_text};
use super::transport::{ApiCall, Method, Transport};
use crate::engine::port::ServiceListing;
use crate::ids::{NodeName, Upid};
use crate::inventory::RepositoryFacts;
use crate::machine::outcome::Fault;

/// The longest time that `stopall` takes for each guest.
const LONGEST_STOP: Duration = Duration::from_secs(7200);

pub(super) async fn services<T: Transport>(api: &Client<T>, node: &NodeName) -> Result<Vec<ServiceListing>, Fault> {
    let call = get(&["nodes", node.as_str(), "services"])?;
    let list = api.list(&call).await?;
    let mut services = entries(&call, &list, |entry| {
        let active = entry.text("active-state").map(|state| state == "active");
        Some(ServiceListing {
            name: entry.non_empty("name").or_else(|| entry.non_empty("service"))?,
            // `state` is systemd's sub-state: a one-shot service that is up says `exited` there.
            running: active.unwrap_or_else(|| entry.text("state").as_deref() == Some("running")),
            enabled: entry.text("unit-state").is_some_and(|state| state.starts_with("enabled")),
        })
    });
    services.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(services)
}

pub(super) async fn repositories<T: Transport>(
    api: &Client<T>,
    node: &NodeName,
) -> Result<Vec<RepositoryFacts>, Fault> {
    let call = get(&["nodes", node.as_str(), "apt", "repositories"])?;
    let data = api.data(&call).await?;
    let answer = Fields::of(&data).ok_or_else(|| unexpected(&call, "repositories", &data))?;
    // A file that can't be read may name any repository, so what is known of the others says little.
    if let Some(broken) = answer.list("errors").iter().find_map(Fields::of) {
        let told = |name: &str| fault::one_line(&broken.text(name).unwrap_or_else(|| "(not told)".to_owned()));
        return Err(Fault::permanent(format!("api call {call} says of {}: {}", told("path"), told("error")))
            .hint("put the file right; `apt-get update` on the node shows what is wrong with it"));
    }
    let mut found = Vec::new();
    for file in answer.list("files").iter().filter_map(Fields::of) {
        let path = file.text("path").unwrap_or_default();
        found.extend(entries(&call, file.list("repositories"), |entry| {
            Some(RepositoryFacts {
                file: path.clone(),
                uris: texts(entry, "URIs"),
                suites: texts(entry, "Suites"),
                components: texts(entry, "Components"),
                // One that does not say so is taken for enabled, as apt does.
                enabled: entry.flag("Enabled").unwrap_or(true),
            })
        }));
    }
    Ok(found)
}

pub(super) async fn subscription<T: Transport>(api: &Client<T>, node: &NodeName) -> Result<String, Fault> {
    let call = get(&["nodes", node.as_str(), "subscription"])?;
    let data = api.data(&call).await?;
    let status = Fields::of(&data).and_then(|f| f.non_empty("status")).map(|s| s.to_ascii_lowercase());
    status.ok_or_else(|| unexpected(&call, "a subscription's status", &data))
}

pub(super) async fn stop_all<T: Transport>(api: &Client<T>, node: &NodeName, timeout: Duration) -> Result<Upid, Fault> {
    let call = ApiCall::new(Method::Post, &["nodes", node.as_str(), "stopall"]).map_err(refused)?;
    // Its default powers off hard what has not gone down in time.
    api.start(&call.with("force-stop", "0").with("timeout", seconds(timeout.min(LONGEST_STOP)))).await
}

pub(super) async fn reboot_node<T: Transport>(api: &Client<T>, node: &NodeName) -> Result<(), Fault> {
    let call = ApiCall::new(Method::Post, &["nodes", node.as_str(), "status"]).map_err(refused)?;
    // The answer is `null`: whatever else a success carries, the node goes down.
    api.data(&call.with("command", "reboot")).await.map(drop)
}

/// Returns a list of texts; what is no scalar is left out.
fn texts(entry: Fields<'_>, name: &str) -> Vec<String> {
    entry.list(name).iter().filter_map(scalar_text).filter(|text| !text.is_empty()).collect()
}
