//! What concerns one node: state, services, certificates, its packages, all of its guests at once.

use serde_json::{Value, json};

use super::call::{Call, Failure};
use super::cluster::uptime;
use crate::world::{CertData, Node, Repository};

/// Returns what `version` says of a node.
pub(crate) fn version_of(node: &Node) -> Value {
    let v = &node.version;
    json!({ "version": v.version, "release": v.release, "repoid": v.repoid })
}

/// `GET /nodes/{node}/version`
pub(crate) fn version(call: &mut Call<'_>) -> Result<Value, Failure> {
    Ok(version_of(call.node()?))
}

/// `GET /nodes/{node}/status`
pub(crate) fn status(call: &mut Call<'_>) -> Result<Value, Failure> {
    let node = call.node()?;
    let kernel = &node.machine.kernel_running;
    let (total, used) = (node.memory_bytes, call.world.memory_used(&node.name));
    let build = format!("#1 SMP PREEMPT_DYNAMIC PMX {}", kernel.trim_end_matches("-pve"));
    Ok(json!({
        "boot-info": { "mode": "legacy-bios" },
        "cpu": 0.02, "idle": 0, "wait": 0, "ksm": { "shared": 0 }, "loadavg": ["0.07", "0.34", "0.12"],
        "cpuinfo": {
            "model": "AMD EPYC 3251 8-Core Processor", "vendor": "AuthenticAMD", "family": "23", "flags": "fpu vme de",
            "cores": 4, "cpus": 4, "sockets": 1, "hvm": "1", "mhz": "2500.000", "user_hz": 100,
        },
        "current-kernel": { "sysname": "Linux", "machine": "x86_64", "release": kernel, "version": build },
        "kversion": format!("Linux {kernel} {build}"),
        "memory": { "total": total, "used": used, "free": total - used, "available": total - used },
        "swap": { "total": 0, "used": 0, "free": 0 },
        "rootfs": { "total": 96_u64 << 30, "used": 8_u64 << 30, "free": 88_u64 << 30, "avail": 84_u64 << 30 },
        "pveversion": format!("pve-manager/{}/{}", node.version.version, node.version.repoid),
        "uptime": uptime(call.world, node),
    }))
}

/// `POST /nodes/{node}/status`: no task and no UPID.
pub(crate) fn command(call: &mut Call<'_>) -> Result<Value, Failure> {
    let (node, comes_back) = (call.text("node").to_owned(), call.text("command") == "reboot");
    let (now, by) = (call.now(), call.asker());
    call.world.power_node(now, &node, comes_back, &by);
    Ok(Value::Null)
}

/// `GET /nodes/{node}/services`
pub(crate) fn services(call: &mut Call<'_>) -> Result<Value, Failure> {
    let list = call.node()?.services.iter().map(|s| {
        json!({
            "service": s.name, "name": s.name, "desc": s.desc, "state": s.state, "active-state": s.active,
            "unit-state": s.unit,
        })
    });
    Ok(call.shuffled(list.collect()))
}

/// `GET /nodes/{node}/certificates/info`
pub(crate) fn certificates(call: &mut Call<'_>) -> Result<Value, Failure> {
    let info = |file: &str, c: &CertData| {
        json!({
            "filename": file, "fingerprint": c.fingerprint, "subject": c.subject, "issuer": c.issuer, "san": c.san,
            "pem": c.pem, "notbefore": c.not_before, "notafter": c.not_after, "public-key-type": c.key_type,
            "public-key-bits": c.key_bits,
        })
    };
    Ok(json!([info("pve-root-ca.pem", &call.realm()?.ca), info("pve-ssl.pem", &call.node()?.cert)]))
}

/// `GET /nodes/{node}/apt/update`: what the lists as they are say is pending.
pub(crate) fn updates(call: &mut Call<'_>) -> Result<Value, Failure> {
    let list = call.node()?.machine.packages.pending().into_iter().map(|change| {
        let mut entry = described(&change.name);
        entry["OldVersion"] = change.old.into();
        entry["Version"] = change.new.into();
        entry
    });
    Ok(call.shuffled(list.collect()))
}

/// `POST /nodes/{node}/apt/update`
pub(crate) fn refresh(call: &mut Call<'_>) -> Result<Value, Failure> {
    let (node, now, by) = (call.text("node").to_owned(), call.now(), call.asker());
    Ok(call.world.refresh_task(now, &node, &by).into())
}

/// `GET /nodes/{node}/apt/versions`
pub(crate) fn versions(call: &mut Call<'_>) -> Result<Value, Failure> {
    let node = call.node()?;
    let packages = &node.machine.packages;
    let list = packages.installed.iter().map(|(name, version)| {
        let mut entry = described(name);
        let broken = packages.half_configured.contains(name);
        entry["CurrentState"] = if broken { "HalfConfigured" } else { "Installed" }.into();
        entry["OldVersion"] = version.clone().into();
        entry["Version"] = packages.lists.get(name).unwrap_or(version).clone().into();
        match name.as_str() {
            "proxmox-ve" => entry["RunningKernel"] = node.machine.kernel_running.clone().into(),
            "pve-manager" => {
                entry["ManagerVersion"] = format!("{}/{}", node.version.version, node.version.repoid).into();
            }
            _ => {}
        }
        entry
    });
    Ok(call.shuffled(list.collect()))
}

fn described(package: &str) -> Value {
    json!({
        "Package": package, "Title": format!("{package} of the lab"), "Description": format!("{package} of the lab"),
        "Arch": "amd64", "Origin": "Proxmox", "Priority": "optional", "Section": "admin",
    })
}

/// `GET /nodes/{node}/apt/repositories`
pub(crate) fn repositories(call: &mut Call<'_>) -> Result<Value, Failure> {
    let node = call.node()?;
    let mut files: Vec<&str> = Vec::new();
    for repository in &node.repositories {
        if !files.contains(&repository.file.as_str()) {
            files.push(&repository.file);
        }
    }
    let form = |file: &str| if file.ends_with(".sources") { "sources" } else { "list" };
    let entry = |r: &Repository| {
        json!({
            "Types": r.types, "URIs": r.uris, "Suites": r.suites, "Components": r.components,
            "FileType": form(&r.file), "Enabled": u8::from(r.enabled),
        })
    };
    let file = |file: &&str| {
        let entries = node.repositories.iter().filter(|r| r.file == **file).map(entry);
        let digest: Vec<u8> = (0..32).map(|i| u8::try_from(file.len() % 200).unwrap_or_default() + i).collect();
        json!({
            "path": file, "file-type": form(file), "digest": digest, "repositories": entries.collect::<Vec<_>>(),
        })
    };
    // A status is there for what is configured at all.
    let standard = [
        ("enterprise", "Enterprise", "pve-enterprise"),
        ("no-subscription", "No-Subscription", "pve-no-subscription"),
        ("test", "Test", "pve-test"),
    ];
    let standard = standard.map(|(handle, name, component)| {
        let mut entry = json!({ "handle": handle, "name": name });
        let known = node.repositories.iter().filter(|r| r.components.iter().any(|c| c == component));
        if let Some(enabled) = known.map(|r| r.enabled).reduce(|a, b| a || b) {
            entry["status"] = u8::from(enabled).into();
        }
        entry
    });
    Ok(json!({
        "files": files.iter().map(file).collect::<Vec<_>>(), "errors": [], "infos": [], "standard-repos": standard,
        "digest": "0f".repeat(32),
    }))
}

/// `GET /nodes/{node}/subscription`
pub(crate) fn subscription(call: &mut Call<'_>) -> Result<Value, Failure> {
    let status = call.node()?.subscription.clone();
    let message = match status.as_str() {
        "notfound" => "There is no subscription key".to_owned(),
        other => format!("the subscription is {other}"),
    };
    Ok(
        json!({ "status": status, "message": message, "url": "https://www.proxmox.com/en/proxmox-virtual-environment/pricing" }),
    )
}

/// `POST /nodes/{node}/startall`
pub(crate) fn start_all(call: &mut Call<'_>) -> Result<Value, Failure> {
    let only = listed(call)?;
    let (node, now, by) = (call.text("node").to_owned(), call.now(), call.asker());
    let force = call.flag("force").unwrap_or(false);
    Ok(call.world.start_all(now, &node, force, only.as_deref(), &by).into())
}

/// `POST /nodes/{node}/stopall`
pub(crate) fn stop_all(call: &mut Call<'_>) -> Result<Value, Failure> {
    let only = listed(call)?;
    let (node, now, by) = (call.text("node").to_owned(), call.now(), call.asker());
    let (force, timeout) = (call.flag("force-stop").unwrap_or(true), call.count("timeout").unwrap_or(180));
    Ok(call.world.stop_all(now, &node, force, timeout, only.as_deref(), &by).into())
}

/// Returns the guests that were listed, where they were, and asks for what they need: power over each of them, or over all.
fn listed(call: &Call<'_>) -> Result<Option<Vec<u32>>, Failure> {
    const POWER: &[&str] = &["VM.PowerMgmt"];
    let only: Option<Vec<u32>> = call.opt("vms").map(vmids).transpose()?;
    match &only {
        Some(listed) if !call.may("/", POWER) => {
            listed.iter().try_for_each(|vmid| call.need(&format!("/vms/{vmid}"), POWER))?;
        }
        Some(_) => {}
        None => call.need("/", POWER)?,
    }
    Ok(only)
}

/// Reads a list of vmids.
pub(crate) fn vmids(text: &str) -> Result<Vec<u32>, Failure> {
    let parts = text.split([',', ';', ' ']).filter(|part| !part.is_empty());
    let one = |part: &str| {
        part.parse()
            .ok()
            .filter(|vmid| (100..=999_999_999).contains(vmid))
            .ok_or_else(|| Failure::parameter("vmid", "invalid format - value does not look like a valid VM ID\n"))
    };
    parts.map(one).collect()
}
