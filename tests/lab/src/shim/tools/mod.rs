//! The tools: what each does with the world, in the words of the real ones.
//!
//! What a real tool can do and the lab's can't is refused with exit status 70 and `is not simulated`, so that no test takes
//! a made-up answer for a real one.

mod apk;
mod apt;
mod cluster;
mod dpkg;
mod guests;
mod ha;
mod node;
mod storage;
mod systemd;
mod upgrade;
mod user;

use std::sync::Arc;

use super::call::{Answer, Call, Streams};
use super::stage::Stage;

/// Exit status of what the lab does not simulate.
const NOT_SIMULATED: i32 = 70;

/// Answers a call.
pub(super) async fn run(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    match call.tool.as_str() {
        "apt" | "apt-get" => apt::apt_get(stage, call, streams).await,
        "apt-cache" => apt::apt_cache(stage, call, streams).await,
        "apt-mark" => apt::apt_mark(stage, call, streams).await,
        "dpkg" => dpkg::dpkg(stage, call, streams).await,
        "dpkg-query" => dpkg::query(stage, call, streams).await,
        "apk" => apk::apk(stage, call, streams).await,
        "pct" => guests::pct(stage, call, streams).await,
        "qm" => guests::qm(stage, call, streams).await,
        "rc-status" => systemd::rc_status(stage, call, streams).await,
        "systemctl" => systemd::systemctl(stage, call, streams).await,
        "systemd-run" => systemd::systemd_run(stage, call, streams).await,
        "reboot" => systemd::reboot(stage, call, streams).await,
        "sudo" => user::sudo(stage, call, streams).await,
        "id" => user::id(call, streams).await,
        "whoami" => streams.done(&format!("{}\n", call.user())).await,
        "uname" => node::uname(stage, call, streams).await,
        "ip" => node::ip(stage, call, streams).await,
        "hostname" => node::hostname(stage, call, streams).await,
        "pveversion" => node::pveversion(stage, call, streams).await,
        "proxmox-boot-tool" => node::boot_tool(stage, call, streams).await,
        "ha-manager" => ha::ha_manager(stage, call, streams).await,
        "corosync-quorumtool" => cluster::quorumtool(stage, call, streams).await,
        "pvesm" => storage::pvesm(stage, call, streams).await,
        "zfs" => storage::zfs(stage, call, streams).await,
        "pvecm" => cluster::pvecm(stage, call, streams).await,
        _ => not_simulated(call, streams).await,
    }
}

/// Refuses what the lab does not simulate.
async fn not_simulated(call: &Call, streams: &mut Streams) -> Answer {
    streams.fail(NOT_SIMULATED, &format!("lab: `{} {}` is not simulated", call.tool, call.args.join(" "))).await
}

/// Refuses because the machine is gone from the world.
async fn no_machine(call: &Call, streams: &mut Streams) -> Answer {
    streams.fail(255, &format!("lab: there is no machine {} any more", call.machine)).await
}
