//! What concerns one node: state, services, certificates, its packages, all of its guests at once.

use serde_json::{Value, json};

use super::call::{Call, Failure};
use super::cluster::uptime;
use crate::world::{CertData, Node};

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
    let (total, used) = (node.memory_bytes, node.memory_bytes / 4);
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

/// `POST /nodes/{node}/startall`
pub(crate) fn start_all(call: &mut Call<'_>) -> Result<Value, Failure> {
    let only = listed(call)?;
    let (node, now, by) = (call.text("node").to_owned(), call.now(), call.asker());
    let force = call.flag("force").unwrap_or(false);
    Ok(call.world.all_guests(now, &node, true, force, only.as_deref(), &by).into())
}

/// `POST /nodes/{node}/stopall`
pub(crate) fn stop_all(call: &mut Call<'_>) -> Result<Value, Failure> {
    let only = listed(call)?;
    let (node, now, by) = (call.text("node").to_owned(), call.now(), call.asker());
    let (timeout, force) = (call.count("timeout"), call.flag("force-stop").unwrap_or(true));
    Ok(call.world.stop_all(now, &node, timeout, force, only.as_deref(), &by).into())
}

/// Returns the guests that are named, where any are.
fn listed(call: &Call<'_>) -> Result<Option<Vec<u32>>, Failure> {
    call.need("/", &["VM.PowerMgmt"])?;
    call.opt("vms").map(vmids).transpose()
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
