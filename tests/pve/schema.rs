//! Each request that the client makes, held against the official schema of the API.

use std::collections::BTreeSet;

use proxmaint::adapters::pve::transport::ApiCall;
use serde_json::Value;

use crate::fixtures::every_call;
use crate::shared::beside;

/// One endpoint of the schema.
struct Endpoint {
    method: String,
    path: Vec<String>,
    parameters: Value,
}

impl Endpoint {
    /// Returns the path's placeholders with their values where the call goes to this endpoint.
    fn placeholders(&self, call: &ApiCall) -> Option<Vec<(String, String)>> {
        let segments = call.segments();
        if self.method != call.method.name() || self.path.len() != segments.len() {
            return None;
        }
        let mut found = Vec::new();
        for (template, segment) in self.path.iter().zip(segments) {
            match template.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
                Some(name) => found.push((name.to_owned(), segment)),
                None if *template == segment => {}
                None => return None,
            }
        }
        Some(found)
    }
}

fn endpoints(text: &str) -> Vec<Endpoint> {
    let all: Vec<Value> = serde_json::from_str(text).unwrap();
    let read = |one: &Value| Endpoint {
        method: one["method"].as_str().unwrap().to_owned(),
        path: one["path"].as_str().unwrap().trim_start_matches('/').split('/').map(str::to_owned).collect(),
        parameters: one["parameters"]["properties"].clone(),
    };
    all.iter().map(read).collect()
}

/// Whether the schema says that a parameter must be there.
fn required(property: &Value) -> bool {
    property["optional"].as_u64() != Some(1)
}

/// Says what is wrong with a value by its property's schema.
fn wrong_value(property: &Value, value: &str) -> Option<String> {
    if let Some(allowed) = property["enum"].as_array()
        && !allowed.iter().any(|a| a.as_str() == Some(value))
    {
        return Some(format!("{value:?} is none of {allowed:?}"));
    }
    let bound = |name: &str| property[name].as_i64().or_else(|| property[name].as_str().and_then(|s| s.parse().ok()));
    match property["type"].as_str() {
        Some("integer") => match value.parse::<i64>() {
            Ok(n) if bound("minimum").is_some_and(|min| n < min) => Some(format!("{n} is too small")),
            Ok(n) if bound("maximum").is_some_and(|max| n > max) => Some(format!("{n} is too large")),
            Ok(_) => None,
            Err(_) => Some(format!("{value:?} is no integer")),
        },
        Some("boolean") if !matches!(value, "0" | "1") => Some(format!("{value:?} is no boolean")),
        _ if bound("maxLength").is_some_and(|max| i64::try_from(value.len()).unwrap() > max) => {
            Some(format!("{value:?} is too long"))
        }
        _ => None,
    }
}

/// Says what the schema has against a call.
fn objections(endpoints: &[Endpoint], call: &ApiCall) -> Vec<String> {
    let mut matching: Vec<_> = endpoints.iter().filter_map(|e| e.placeholders(call).map(|p| (e, p))).collect();
    // A literal segment goes before a placeholder.
    matching.sort_by_key(|(_, placeholders)| placeholders.len());
    let Some((endpoint, placeholders)) = matching.into_iter().next() else {
        return vec!["there is no such endpoint".to_owned()];
    };
    let given: Vec<(String, String)> = placeholders.into_iter().chain(call.params.clone()).collect();
    let mut found = Vec::new();
    for (name, value) in &given {
        match endpoint.parameters.get(name) {
            None => found.push(format!("unknown parameter {name}")),
            Some(property) => found.extend(wrong_value(property, value).map(|why| format!("{name}: {why}"))),
        }
    }
    let names: BTreeSet<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
    for name in &names {
        let times = given.iter().filter(|(given, _)| given == name).count();
        if times > 1 && endpoint.parameters[*name]["type"] != "array" {
            found.push(format!("parameter {name} is given {times} times and is no list"));
        }
    }
    for (name, property) in endpoint.parameters.as_object().into_iter().flatten() {
        if required(property) && !names.contains(name.as_str()) {
            found.push(format!("missing parameter {name}"));
        }
    }
    found
}

#[tokio::test]
async fn every_request_is_one_that_the_schema_knows() {
    let Some(file) = beside("apidoc.json", "every_request_is_one_that_the_schema_knows") else { return };
    let endpoints = endpoints(&std::fs::read_to_string(file).unwrap());
    let calls = every_call().await;
    assert!(calls.len() >= 45, "only {} calls were made", calls.len());
    for call in &calls {
        assert_eq!(objections(&endpoints, call), Vec::<String>::new(), "{call} with {:?}", call.params);
    }
}

#[tokio::test]
async fn the_check_itself_notices_what_is_wrong() {
    let endpoints = endpoints(
        r#"[{"method": "POST", "path": "/nodes/{node}/lxc/{vmid}/snapshot", "parameters": {"properties": {
            "node": {"type": "string"}, "vmid": {"type": "integer", "minimum": 100},
            "snapname": {"type": "string", "maxLength": 40}, "force": {"type": "boolean", "optional": 1},
            "mode": {"type": "string", "enum": ["a"], "optional": 1}, "words": {"type": "array", "optional": 1}}}}]"#,
    );
    let call = |id: &str| {
        use proxmaint::adapters::pve::transport::Method;
        ApiCall::new(Method::Post, &["nodes", "n", "lxc", id, "snapshot"]).unwrap()
    };
    assert_eq!(objections(&endpoints, &call("100").with("snapname", "x")), Vec::<String>::new());
    let list = call("100").with("snapname", "x").with("words", "a").with("words", "b");
    assert_eq!(objections(&endpoints, &list), Vec::<String>::new(), "a list is a name that is repeated");
    let twice = call("100").with("snapname", "x").with("snapname", "y");
    assert_eq!(objections(&endpoints, &twice), ["parameter snapname is given 2 times and is no list"]);
    let bad = call("99").with("force", "yes").with("mode", "b").with("other", "");
    let found = objections(&endpoints, &bad).join("\n");
    for part in
        ["vmid: 99 is too small", "force: \"yes\"", "mode: \"b\"", "parameter other", "missing parameter snapname"]
    {
        assert!(found.contains(part), "{part} in {found}");
    }
    let elsewhere = ApiCall::new(proxmaint::adapters::pve::transport::Method::Get, &["nodes"]).unwrap();
    assert_eq!(objections(&endpoints, &elsewhere), ["there is no such endpoint"]);
}
