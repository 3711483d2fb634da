//! `ha-manager`, as far as an updater needs it: only root may call it.

use std::sync::Arc;

use super::node::node;
use super::{no_machine, not_simulated};
use crate::api::ha::{entries, full};
use crate::shim::call::{Answer, Call, Streams};
use crate::shim::stage::Stage;
use crate::world::Asker;

pub(super) async fn ha_manager(stage: &Arc<Stage>, call: &Call, streams: &mut Streams) -> Answer {
    let Some((node, realm)) = node(stage, call) else { return no_machine(call, streams).await };
    if !call.is_root() {
        return streams.fail(255, "please run as root").await;
    }
    match call.words().as_slice() {
        ["status", rest @ ..] if rest.is_empty() || matches!(rest, ["--verbose" | "-verbose"] | ["--verbose", "1"]) => {
            let (lines, all) =
                stage.with(|world, _| (entries(world, &realm, &node.name), full(world, &realm, &node.name)));
            let line = |entry: &serde_json::Value| {
                let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
                format!("{} {}\n", text("type"), text("status"))
            };
            let mut text: String = lines.iter().map(line).collect();
            if !rest.is_empty() {
                text.push_str("full cluster state:\n");
                text.push_str(&serde_json::to_string_pretty(&all).unwrap_or_default());
                text.push('\n');
            }
            streams.done(&text).await
        }
        ["crm-command", "node-maintenance", verb @ ("enable" | "disable"), target] => {
            let by = Asker::ssh(call.login());
            let asked = stage.with(|world, now| world.ha_maintenance(now, &realm.name, target, *verb == "enable", &by));
            match asked {
                Ok(()) => streams.done("").await,
                Err(refusal) => streams.fail(255, &refusal.0).await,
            }
        }
        ["crm-command", "node-maintenance", "enable" | "disable"] => {
            streams.fail(255, "400 not enough arguments").await
        }
        _ => not_simulated(call, streams).await,
    }
}
