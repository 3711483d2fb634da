//! The cluster's Ceph: whether there is one, how it is, and its flag `noout`.

use serde_json::Value;

use super::client::{Client, data_of, get, refused, unexpected};
use super::fault;
use super::fields::Fields;
use super::transport::{Answer, ApiCall, Method, Transport};
use crate::ids::Upid;
use crate::inventory::CephFacts;
use crate::machine::outcome::Fault;

pub(super) async fn look<T: Transport>(api: &Client<T>) -> Result<Option<CephFacts>, Fault> {
    let call = get(&["cluster", "ceph", "flags"])?;
    let answer = api.ask(&call).await?;
    if has_no_ceph(&answer) {
        return Ok(None);
    }
    let Value::Array(flags) = data_of(&call, answer)? else {
        return Err(unexpected(&call, "a list of flags", &Value::Null));
    };
    let flag = flags.iter().filter_map(Fields::of).find(|flag| flag.text("name").as_deref() == Some("noout"));
    let noout = flag.and_then(|flag| flag.flag("value"));
    let noout = noout.ok_or_else(|| Fault::permanent(format!("api call {call} does not tell of the flag noout")))?;
    let call = get(&["cluster", "ceph", "status"])?;
    let status = api.data(&call).await?;
    let health = Fields::of(&status).and_then(|status| status.value("health")).and_then(Fields::of);
    let health = health.ok_or_else(|| unexpected(&call, "the health of Ceph", &status))?;
    Ok(Some(CephFacts { noout, troubles: troubles(health) }))
}

/// Tells whether an answer says that there is no Ceph: it is not installed, or was never set up.
fn has_no_ceph(answer: &Answer) -> bool {
    let text = fault::error_text(answer);
    let none = ["not installed", "not initialized", "not fully configured"];
    answer.status == 501 || (answer.status == 500 && none.iter().any(|why| text.contains(why)))
}

/// Lists what is not as it should be. The warning that `noout` is set says nothing of Ceph's health; that other flags are set does.
fn troubles(health: Fields<'_>) -> Vec<String> {
    let status = health.text("status").unwrap_or_default();
    if status == "HEALTH_OK" {
        return Vec::new();
    }
    let checks = health.value("checks").and_then(Fields::of);
    let names: Vec<&str> = checks.map(|checks| checks.names().collect()).unwrap_or_default();
    if names.is_empty() {
        return vec![fault::one_line(&status)];
    }
    let trouble = |name: &&str| {
        let check = checks?.value(name).and_then(Fields::of)?;
        let summary = check.value("summary").and_then(Fields::of);
        let message = summary.and_then(|summary| summary.text("message")).unwrap_or_default();
        let flags = message.strip_suffix(" flag(s) set").unwrap_or_default();
        let only_noout = *name == "OSDMAP_FLAGS" && flags.split(',').all(|flag| flag.trim() == "noout");
        let muted = check.flag("muted").unwrap_or(false);
        (!only_noout && !muted).then(|| fault::one_line(&format!("{name}: {message}")))
    };
    names.iter().filter_map(trouble).collect()
}

pub(super) async fn set_noout<T: Transport>(api: &Client<T>, on: bool) -> Result<Upid, Fault> {
    let call = ApiCall::new(Method::Put, &["cluster", "ceph", "flags"]).map_err(refused)?;
    api.start(&call.with("noout", u8::from(on).to_string())).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(health: &Value) -> Vec<String> {
        troubles(Fields::of(health).expect("an object"))
    }

    #[test]
    fn only_the_warning_of_noout_itself_is_overlooked() {
        assert!(of(&json!({"status": "HEALTH_OK", "checks": {}})).is_empty());
        let flags = |message: &str| json!({"status": "HEALTH_WARN", "checks": {"OSDMAP_FLAGS": {"severity": "HEALTH_WARN", "summary": {"message": message}}}});
        assert!(of(&flags("noout flag(s) set")).is_empty());
        assert_eq!(of(&flags("noout,norebalance flag(s) set")), ["OSDMAP_FLAGS: noout,norebalance flag(s) set"]);
        let down = json!({"status": "HEALTH_WARN", "checks": {
            "OSDMAP_FLAGS": {"summary": {"message": "noout flag(s) set"}},
            "OSD_DOWN": {"summary": {"message": "2 osds down"}},
            "RECENT_CRASH": {"summary": {"message": "1 daemon"}, "muted": true},
        }});
        assert_eq!(of(&down), ["OSD_DOWN: 2 osds down"]);
        assert_eq!(of(&json!({"status": "HEALTH_ERR"})), ["HEALTH_ERR"], "what does not say why is no health either");
    }
}
