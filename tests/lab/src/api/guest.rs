//! Guests, looked at: lists, configs, states, snapshots, addresses.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::call::{Call, Failure};
use super::cluster::since;
use crate::world::{Guest, Kind, World};

/// Returns a digest of a config, as long as the real one (SHA-1 in hexadecimal).
pub(crate) fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(20).map(|b| format!("{b:02x}")).collect()
}

fn digest_of(guest: &Guest) -> String {
    digest(&format!(
        "{:?} {:?} {:?}",
        guest.config,
        guest.lock,
        guest.snapshots.iter().map(|s| &s.name).collect::<Vec<_>>()
    ))
}

/// `GET /nodes/{node}/lxc`, `GET /nodes/{node}/qemu`
pub(crate) fn list(call: &mut Call<'_>) -> Result<Value, Failure> {
    let (node, kind) = (call.text("node"), call.kind());
    let full = call.flag("full").unwrap_or(false);
    let seen = |g: &&Guest| g.node == node && g.kind == kind && call.may(&format!("/vms/{}", g.vmid), &["VM.Audit"]);
    let list = call.realm()?.guests.values().filter(seen).map(|g| summary(call.world, g, full).into());
    Ok(call.shuffled(list.collect()))
}

/// Returns what lists and states have in common.
fn summary(world: &World, guest: &Guest, full: bool) -> Map<String, Value> {
    let running = guest.running();
    let mem = if running { guest.memory_bytes / 3 } else { 0 };
    let mut entry = Map::new();
    let mut put = |key: &str, value: Value| drop(entry.insert(key.to_owned(), value));
    put("vmid", guest.vmid.into());
    put("name", guest.name.clone().into());
    put("status", if running { "running" } else { "stopped" }.into());
    put("uptime", if running { since(world, guest.started) } else { 0 }.into());
    put("cpus", 2.into());
    put("cpu", if running { json!(0.01) } else { json!(0) });
    put("mem", mem.into());
    put("maxmem", guest.memory_bytes.into());
    put("maxdisk", guest.disk_bytes.into());
    put("netin", 0.into());
    put("netout", 0.into());
    let lock = guest.lock.as_ref().map(|lock| ("lock", Value::from(lock.as_str())));
    let template = guest.template.then_some(("template", 1.into()));
    let pid = running.then_some(("pid", guest.pid.into()));
    for (key, value) in lock.into_iter().chain(template).chain(pid) {
        put(key, value);
    }
    let pressures = ["cpufull", "cpusome", "iofull", "iosome", "memoryfull", "memorysome"];
    match guest.kind {
        Kind::Ct => {
            put("type", "lxc".into());
            put("disk", if running { guest.disk_bytes / 3 } else { 0 }.into());
            put("diskread", 0.into());
            put("diskwrite", 0.into());
            put("swap", 0.into());
            put("maxswap", (512_u64 << 20).into());
            if running {
                pressures.iter().for_each(|p| put(&format!("pressure{p}"), Value::Null));
            }
        }
        Kind::Vm => {
            put("disk", 0.into());
            if guest.config.contains_key("serial0") {
                put("serial", 1.into());
            }
            if running {
                put("memhost", mem.into());
                pressures.iter().for_each(|p| put(&format!("pressure{p}"), 0.into()));
            }
            if full {
                put("qmpstatus", if running { "running" } else { "stopped" }.into());
            }
            if full && running && guest.config.contains_key("net0") {
                put("nics", json!({ format!("tap{}i0", guest.vmid): { "netin": 0, "netout": 0 } }));
            }
        }
    }
    entry
}

/// `GET .../status/current`
pub(crate) fn status(call: &mut Call<'_>) -> Result<Value, Failure> {
    let guest = call.guest()?;
    let mut entry = summary(call.world, guest, true);
    let ha = match call.realm()?.ha.get(&crate::world::sid(guest)) {
        Some(service) => json!({ "managed": 1, "state": service.requested }),
        None => json!({ "managed": 0 }),
    };
    entry.insert("ha".to_owned(), ha);
    if guest.kind == Kind::Vm {
        entry.insert("clipboard".to_owned(), Value::Null);
        if super::agent::configured(guest) {
            entry.insert("agent".to_owned(), 1.into());
        }
    }
    Ok(entry.into())
}

fn config_of(guest: &Guest) -> Map<String, Value> {
    let mut config: Map<String, Value> = guest.config.clone().into_iter().collect();
    config.insert("digest".to_owned(), digest_of(guest).into());
    if let Some(lock) = &guest.lock {
        config.insert("lock".to_owned(), lock.clone().into());
    }
    if guest.template {
        config.insert("template".to_owned(), 1.into());
    }
    if let Some(parent) = &guest.parent {
        config.insert("parent".to_owned(), parent.clone().into());
    }
    config
}

/// `GET .../config`
pub(crate) fn config(call: &mut Call<'_>) -> Result<Value, Failure> {
    let guest = call.guest()?;
    let Some(name) = call.opt("snapshot") else { return Ok(config_of(guest).into()) };
    let snapshot = guest.snapshots.iter().find(|s| s.name == name);
    let snapshot = snapshot.ok_or_else(|| Failure::text(format!("snapshot '{name}' does not exist")))?;
    let config: BTreeMap<_, _> = snapshot.config().clone();
    Ok(config.into_iter().chain([("snaptime".to_owned(), snapshot.snaptime.into())]).collect())
}

/// `GET .../pending`
pub(crate) fn pending(call: &mut Call<'_>) -> Result<Value, Failure> {
    let config = config_of(call.guest()?);
    let list = config.into_iter().map(|(key, value)| json!({ "key": key, "value": value }));
    Ok(call.shuffled(list.collect()))
}

/// `GET .../feature`
pub(crate) fn feature(call: &mut Call<'_>) -> Result<Value, Failure> {
    let id = call.guest_id()?;
    let has = call.text("feature") != "snapshot" || call.world.can_snapshot(&id);
    let mut answer = json!({ "hasFeature": u8::from(has) });
    if call.kind() == Kind::Vm {
        answer["nodes"] = json!([call.text("node")]);
    }
    Ok(answer)
}

/// `GET .../snapshot`: the snapshots and `current`.
pub(crate) fn snapshots(call: &mut Call<'_>) -> Result<Value, Failure> {
    let guest = call.guest()?;
    let mut list: Vec<Value> = Vec::new();
    for snapshot in &guest.snapshots {
        // A container's description comes back with a newline at its end.
        let newline = if guest.kind == Kind::Ct && !snapshot.description.is_empty() { "\n" } else { "" };
        let mut entry = json!({
            "name": snapshot.name, "snaptime": snapshot.snaptime,
            "description": format!("{}{newline}", snapshot.description),
        });
        if guest.kind == Kind::Vm {
            entry["vmstate"] = 0.into();
        }
        if let Some(parent) = &snapshot.parent {
            entry["parent"] = parent.clone().into();
        }
        if let Some(state) = &snapshot.state {
            entry["snapstate"] = state.clone().into();
        }
        list.push(entry);
    }
    let mut current = json!({
        "name": "current", "description": "You are here!", "running": u8::from(guest.running()),
        "digest": digest_of(guest),
    });
    if let Some(parent) = &guest.parent {
        current["parent"] = parent.clone().into();
    }
    list.push(current);
    Ok(call.shuffled(list))
}

/// `GET .../interfaces` of a container: the loopback first, prefixes as text.
pub(crate) fn interfaces(call: &mut Call<'_>) -> Result<Value, Failure> {
    let guest = call.guest()?;
    if !guest.running() {
        return Ok(json!([]));
    }
    let interface = |link: Link| {
        let family = |ip: &str| if ip.contains(':') { "inet6" } else { "inet" };
        let mut entry = json!({ "name": link.name, "hwaddr": link.mac, "hardware-address": link.mac });
        // Beside the list there is one address of each family, as in versions without the list.
        for (ip, prefix) in link.addresses.iter().rev() {
            entry[family(ip)] = format!("{ip}/{prefix}").into();
        }
        let listed = link.addresses.iter().map(
            |(ip, prefix)| json!({ "ip-address": ip, "ip-address-type": family(ip), "prefix": prefix.to_string() }),
        );
        entry["ip-addresses"] = listed.collect();
        entry
    };
    Ok(links(guest).into_iter().map(interface).collect())
}

/// A network interface of a guest.
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) mac: String,
    /// Its addresses with the lengths of their prefixes.
    pub(crate) addresses: Vec<(String, u8)>,
}

/// Returns the network interfaces of a guest: the loopback, its own, and those that docker makes where it has docker.
pub(crate) fn links(guest: &Guest) -> Vec<Link> {
    let link = |name: &str, mac: &str, addresses: &[(&str, u8)]| Link {
        name: name.to_owned(),
        mac: mac.to_owned(),
        addresses: addresses.iter().map(|(ip, prefix)| ((*ip).to_owned(), *prefix)).collect(),
    };
    let mac = mac(guest);
    let local = link_local(&mac);
    let mut own: Vec<(&str, u8)> = guest.addresses.iter().map(|ip| (ip.as_str(), 24)).collect();
    own.push((&local, 64));
    let name = if guest.kind == Kind::Ct { "eth0" } else { "ens18" };
    let mut links = vec![link("lo", "00:00:00:00:00:00", &[("127.0.0.1", 8), ("::1", 128)])];
    if guest.docker {
        // After a restart of the network they come before the guest's own.
        links.push(link("docker0", "02:42:ac:11:00:01", &[("172.17.0.1", 16), ("fe80::42:acff:fe11:1", 64)]));
        links.push(link("br-5f0a1b2c3d4e", "02:42:ac:12:00:01", &[("172.18.0.1", 16)]));
    }
    links.push(link(name, &mac, &own));
    if guest.docker {
        links.push(link("veth0a1b2c3", "fe:00:00:00:00:01", &[("fe80::fc00:ff:fe00:1", 64)]));
    }
    links
}

/// Returns the hardware address of a guest's first interface, in lower case.
pub(crate) fn mac(guest: &Guest) -> String {
    let net0 = guest.config.get("net0").and_then(Value::as_str).unwrap_or_default();
    let looks_like_mac = |word: &str| word.len() == 17 && word.split(':').count() == 6;
    let found = net0.split([',', '=']).find(|word| looks_like_mac(word));
    found.unwrap_or("bc:24:11:00:00:00").to_lowercase()
}

/// Returns the link-local address that a hardware address makes.
pub(crate) fn link_local(mac: &str) -> String {
    let b: Vec<u8> = mac.split(':').filter_map(|b| u8::from_str_radix(b, 16).ok()).collect();
    match b.as_slice() {
        [a, b, c, d, e, f] => format!("fe80::{:x}{b:02x}:{c:x}ff:fe{d:02x}:{e:x}{f:02x}", a ^ 2),
        _ => "fe80::1".to_owned(),
    }
}
