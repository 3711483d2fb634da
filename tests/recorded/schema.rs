//! Holds the lab against the official schema: what its endpoints take and ask for, and what they answer.

use std::collections::{BTreeMap, BTreeSet};

use proxmaint_lab::api::{Access, ApiRequest, Endpoint, Kind, endpoint_of, endpoints};
use proxmaint_lab::world::{Asker, ExecResult, Repository, Storage, World};
use serde_json::Value;

use crate::{lab, recordings};

#[test]
fn every_endpoint_takes_what_the_schema_says() {
    let Some(schema) = recordings::schema() else {
        return recordings::schema_not_run(&format!("{} endpoints", endpoints().len()));
    };
    let mut wrong = Vec::new();
    for endpoint in endpoints() {
        let name = format!("{} {}", endpoint.method, endpoint.path);
        match schema.get(&name) {
            None => wrong.push(format!("{name}: the schema does not have it")),
            Some(entry) => {
                wrong.extend(parameters(endpoint, entry).into_iter().map(|w| format!("{name}: {w}")));
                wrong.extend(privileges(endpoint, entry).into_iter().map(|w| format!("{name}: {w}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

fn parameters(endpoint: &Endpoint, entry: &Value) -> Vec<String> {
    let in_path: BTreeSet<&str> =
        endpoint.path.split('/').filter_map(|part| part.strip_prefix('{').and_then(|p| p.strip_suffix('}'))).collect();
    let none = serde_json::Map::new();
    let all = entry["parameters"]["properties"].as_object().unwrap_or(&none);
    // `node` is taken from the path alone, even where the schema repeats it.
    let theirs: BTreeMap<&String, &Value> = all.iter().filter(|(name, _)| !in_path.contains(name.as_str())).collect();
    let mut wrong = Vec::new();
    for (name, property) in &theirs {
        let Some(own) = endpoint.params.iter().find(|p| p.name == name.as_str()) else {
            wrong.push(format!("does not take '{name}'"));
            continue;
        };
        if own.optional != flag(&property["optional"]) {
            wrong.push(format!("'{name}': optional is {}, the schema says {}", own.optional, property["optional"]));
        }
        if own.requires != property["requires"].as_str() {
            wrong.push(format!("'{name}': requires {:?}, the schema says {}", own.requires, property["requires"]));
        }
        if let Some(why) = kind_differs(own.kind, property) {
            wrong.push(format!("'{name}': {:?}, the schema says {why}", own.kind));
        }
    }
    for own in endpoint.params.iter().filter(|p| !all.contains_key(p.name)) {
        wrong.push(format!("takes '{}', which the schema does not have", own.name));
    }
    wrong
}

fn kind_differs(kind: Kind, property: &Value) -> Option<String> {
    let says = property["type"].as_str().unwrap_or("string");
    let number = |key: &str| property[key].as_i64().or_else(|| property[key].as_str().and_then(|t| t.parse().ok()));
    let fits = match kind {
        Kind::Bool => says == "boolean",
        Kind::Number => says == "number",
        Kind::List => says == "array",
        Kind::Int(min, max) => {
            let free = min == i64::MIN || (min == 0 && number("minimum").is_none() && says == "integer");
            says == "integer"
                && (free || number("minimum") == Some(min))
                && (max == i64::MAX || number("maximum") == Some(max))
        }
        Kind::Enum(values) => {
            let theirs = property["enum"].as_array().cloned().unwrap_or_default();
            theirs.iter().filter_map(Value::as_str).eq(values.iter().copied())
        }
        Kind::Str(max) => {
            says == "string"
                && property["enum"].is_null()
                && property["maxLength"].as_u64().is_none_or(|theirs| usize::try_from(theirs) == Ok(max))
        }
        Kind::ConfigId => property["format"] == "pve-configid",
        Kind::Node => property["format"] == "pve-node",
        Kind::Storage => property["format"] == "pve-storage-id",
    };
    (!fits).then(|| property.to_string().chars().take(200).collect())
}

fn privileges(endpoint: &Endpoint, entry: &Value) -> Option<String> {
    let check = &entry["permissions"]["check"];
    let theirs = match check[0].as_str() {
        Some("perm") => {
            let privs: Vec<&str> = check[2].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let any = check[3] == "any" && privs.len() > 1;
            (check[1].as_str().unwrap_or_default(), privs, any)
        }
        _ => ("", Vec::new(), false),
    };
    let ours = match endpoint.access {
        Access::Anyone => ("", Vec::new(), false),
        Access::All(path, privs) => (path, privs.to_vec(), false),
        Access::Any(path, privs) => (path, privs.to_vec(), privs.len() > 1),
    };
    (ours != theirs).then(|| format!("asks for {ours:?}, the schema says {theirs:?}"))
}

#[test]
fn every_answer_is_what_the_schema_says() {
    let (Some(schema), Some(answers)) = (recordings::schema(), lab::answers()) else {
        return recordings::schema_not_run("the lab's answers");
    };
    let mut wrong = Vec::new();
    for answer in &answers {
        let returns = &schema[&answer.endpoint]["returns"];
        let mut ours = BTreeSet::new();
        violations("", returns, &answer.lab, &mut ours);
        // The real one strays from its own schema in places; the lab may stray where it did.
        let mut theirs = BTreeSet::new();
        violations("", returns, &answer.recorded, &mut theirs);
        wrong.extend(ours.difference(&theirs).map(|w| format!("{} ({}): {w}", answer.name, answer.endpoint)));
    }
    assert!(answers.len() > 150, "the answers of the replay were looked at");
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
}

/// Answers of the lab that nobody recorded: each by its endpoint, path and what it shows.
fn unrecorded() -> Vec<(&'static str, Value)> {
    let archive = "/etc/apt/sources.list";
    let mirror = Repository::new(archive, "http://mirror.example.org/debian", &["trixie"], &["main"]).disabled();
    let mut world = World::builder()
        .cluster("lab", ["a1", "a2", "a3"])
        .node("a1", |node| node.enterprise())
        .node("a2", |node| node.subscription("active").repositories([mirror]))
        .node("a3", |node| node.subscription("expired"))
        .ct("a1", 101, |ct| ct.tags(&["prod", "db"]).pool("north"))
        .vm("a1", 201, |vm| vm.agent_keeps(2))
        .vm("a1", 202, |vm| vm.on("ceph").pci_device().config("ide2", "local:iso/debian.iso,media=cdrom"))
        .storage("lab", Storage::of_disks("thin", "lvmthin", ["a1", "a2"]))
        .ct("a1", 102, |ct| ct.on("thin"))
        .vm("a1", 203, |vm| vm.on("thin"))
        .ceph("lab", 1)
        .ceph_warning("lab", "POOL_NEARFULL", "1 pool(s) nearfull")
        .replicated("lab", 201, "a2")
        .build();
    world.ha_set(0, "lab", "ct:101", "started", &Asker::root());
    world.settle();
    let mut answers = Vec::new();
    let mut ask = |world: &mut World, endpoint: &'static str, path: &str, fields: &[(&str, Value)]| {
        let token = world.realms["lab"].tokens[0].clone();
        let (method, _) = endpoint.split_once(' ').expect("a method and a path");
        let request = ApiRequest::new("a1", method, path).token(&token);
        let request = fields.iter().fold(request, |request, (name, value)| request.field(name, value.clone()));
        assert_eq!(endpoint_of(&request).map(|e| format!("{} {}", e.method, e.path)).as_deref(), Some(endpoint));
        let answer = world.api(world.now(), &request);
        assert_eq!(answer.status, 200, "{path}: {}", answer.reason);
        answers.push((endpoint, answer.data().clone()));
    };
    for node in ["a1", "a2", "a3"] {
        ask(&mut world, "GET /nodes/{node}/apt/repositories", &format!("/nodes/{node}/apt/repositories"), &[]);
        ask(&mut world, "GET /nodes/{node}/subscription", &format!("/nodes/{node}/subscription"), &[]);
    }
    ask(&mut world, "GET /cluster/resources", "/cluster/resources?type=vm", &[]);
    clusters(&mut world, &mut ask);
    for signal in [None, Some(9)] {
        let command: Value = vec!["/bin/true"].into();
        let exec = "POST /nodes/{node}/qemu/{vmid}/agent/exec";
        ask(&mut world, exec, "/nodes/a1/qemu/201/agent/exec", &[("command", command)]);
        let (id, exec) = world.take_agent_exec().expect("a command was given");
        let result = ExecResult { exit: 0, out: "long".into(), err: String::new(), signal };
        world.finish_agent_exec(&id, exec.pid, result);
        let path = format!("/nodes/a1/qemu/201/agent/exec-status?pid={}", exec.pid);
        ask(&mut world, "GET /nodes/{node}/qemu/{vmid}/agent/exec-status", &path, &[]);
    }
    answers
}

/// What is asked of a cluster whose node is to be emptied.
fn clusters(world: &mut World, ask: &mut impl FnMut(&mut World, &'static str, &str, &[(&str, Value)])) {
    for kind in ["GET /nodes/{node}/lxc/{vmid}/migrate", "GET /nodes/{node}/qemu/{vmid}/migrate"] {
        for vmid in if kind.contains("lxc") { [101, 102] } else { [202, 203] } {
            let path = kind.replace("GET ", "").replace("{node}", "a1").replace("{vmid}", &vmid.to_string());
            ask(world, kind, &path, &[]);
        }
    }
    ask(world, "GET /storage", "/storage", &[]);
    ask(world, "GET /cluster/replication", "/cluster/replication", &[]);
    ask(world, "PUT /cluster/ceph/flags/{flag}", "/cluster/ceph/flags/noout", &[("value", 1.into())]);
    ask(world, "GET /cluster/ceph/flags/{flag}", "/cluster/ceph/flags/noout", &[]);
    ask(world, "GET /cluster/ceph/flags", "/cluster/ceph/flags", &[]);
    ask(world, "PUT /cluster/ceph/flags", "/cluster/ceph/flags", &[("noout", 0.into())]);
    for on in [true, false] {
        world.ha_maintenance(world.now(), "lab", "a1", on, &Asker::root()).expect("the node is there");
        world.advance(world.now() + world.durations.ha);
        ask(world, "GET /cluster/ha/status/current", "/cluster/ha/status/current", &[]);
        ask(world, "GET /cluster/ha/status/manager_status", "/cluster/ha/status/manager_status", &[]);
        world.settle();
    }
    world.power_node(world.now(), "a3", true, &Asker::root());
    ask(world, "GET /cluster/ceph/status", "/cluster/ceph/status", &[]);
    ask(world, "GET /nodes/{node}/ceph/status", "/nodes/a2/ceph/status", &[]);
    world.settle();
}

#[test]
fn what_was_not_recorded_is_what_the_schema_says() {
    let answers = unrecorded();
    let shown = format!("{:?}", answers);
    for part in [
        "pve-enterprise",
        "prod;db",
        "hastate",
        "expired",
        "signal",
        "\"out-truncated\": Number(1)",
        "hostpci0",
        "unavailable_storages",
        "OSD_HOST_DOWN",
        "maintenance mode",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    let Some(schema) = recordings::schema() else {
        return recordings::schema_not_run(&format!("{} answers", answers.len()));
    };
    for (endpoint, answer) in answers {
        let mut wrong = BTreeSet::new();
        violations("", &schema[endpoint]["returns"], &answer, &mut wrong);
        assert!(wrong.is_empty(), "{endpoint}: {wrong:?} in {answer}");
    }
}

/// Adds what in a value is not as its schema says; entries of a list are not told apart.
fn violations(at: &str, schema: &Value, value: &Value, found: &mut BTreeSet<String>) {
    let says = schema["type"].as_str().unwrap_or("any");
    let fits = match says {
        "null" => value.is_null(),
        "boolean" => value.is_boolean() || value == 0 || value == 1,
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    if !fits {
        found.insert(format!("{at}: {says} by the schema, not {}", kind(value)));
        return;
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        found.insert(format!("{at}: {value} is none of {}", schema["enum"]));
    }
    for (bound, beyond) in [("minimum", -1_i64), ("maximum", 1)] {
        if let (Some(bound), Some(n)) = (schema[bound].as_i64(), value.as_i64())
            && (n - bound).signum() == beyond
        {
            found.insert(format!("{at}: {n} is beyond {bound}"));
        }
    }
    for entry in value.as_array().into_iter().flatten() {
        violations(&format!("{at}[]"), &schema["items"], entry, found);
    }
    let (Some(object), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else { return };
    for (key, property) in properties.iter().filter(|(key, _)| !key.contains('[')) {
        match object.get(key) {
            Some(own) => violations(&format!("{at}/{key}"), property, own, found),
            None if flag(&property["optional"]) => {}
            None => drop(found.insert(format!("{at}/{key}: must be there by the schema"))),
        }
    }
    if schema["additionalProperties"] == 0 {
        for key in object.keys().filter(|key| !properties.contains_key(*key)) {
            found.insert(format!("{at}/{key}: not in the schema"));
        }
    }
}

fn flag(value: &Value) -> bool {
    value == 1 || value == "1" || value == true
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
