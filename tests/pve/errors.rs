//! What each kind of error becomes: its class after a read and after a change, its words, its hint.

use proxmaint::adapters::pve::client::Client;
use proxmaint::adapters::pve::transport::{Answer, Method, TransportFault};
use proxmaint::engine::port::{GuestRef, Pve, TaskState};
use proxmaint::ids::{GuestId, GuestKind, NodeName, SnapshotName, Upid};
use proxmaint::machine::outcome::{Fault, FaultClass};
use serde_json::{Value, json};

use crate::canned::{Canned, Route, any};
use crate::fixtures::read;

fn guest() -> GuestRef {
    GuestRef { node: NodeName::new("n"), kind: GuestKind::Vm, id: GuestId(7) }
}

/// Makes a read and a change that both get this reply.
async fn both(reply: Result<Answer, TransportFault>) -> (Fault, Fault) {
    let route = |method| Route { method, segments: None, params: None, reply: reply.clone() };
    let (client, _) = Canned::client(vec![route(Method::Get), route(Method::Post)]);
    let read = client.can_snapshot(&guest()).await.unwrap_err();
    (read, client.create_snapshot(&guest(), &SnapshotName::new("x"), "").await.unwrap_err())
}

#[tokio::test]
async fn an_error_answer_has_its_class_words_and_hint() {
    let cases = read("errors");
    let cases = cases["answers"].as_array().unwrap();
    assert!(cases.len() > 15);
    for case in cases {
        let about = case["about"].as_str().unwrap();
        let answer = Answer {
            status: u16::try_from(case["status"].as_u64().unwrap()).unwrap(),
            reason: case["reason"].as_str().unwrap().to_owned(),
            body: case["body"].clone(),
        };
        let (got_read, got_change) = both(Ok(answer)).await;
        for (fault, class, verb) in
            [(&got_read, "get", "GET /nodes/n/qemu/7"), (&got_change, "change", "POST /nodes/n/qemu/7")]
        {
            let wanted: FaultClass = serde_json::from_value(case[class].clone()).unwrap();
            assert_eq!(fault.class, wanted, "{about} ({class}): {fault}");
            assert!(fault.what.starts_with(&format!("api call {verb}")), "{about}: {fault}");
            assert!(fault.what.contains(case["what"].as_str().unwrap()), "{about}: {fault}");
            assert!(!fault.what.contains(char::is_control), "{about}: {fault:?}");
            match case["hint"].as_str() {
                Some(hint) => assert!(fault.hint.as_ref().unwrap().contains(hint), "{about}: {fault:?}"),
                None => assert_eq!(fault.hint, None, "{about}"),
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_came_leaves_doubt_only_after_a_change() {
    use FaultClass::{Ambiguous, Identity, Permanent, Transient};
    let cases = [
        (TransportFault::NotSent("refused".into()), Transient, Transient),
        (TransportFault::Lost("cut".into()), Transient, Ambiguous),
        (TransportFault::Unusable("too large".into()), Permanent, Ambiguous),
        (TransportFault::Untrusted { what: "bad".into(), fingerprint: Some("AA:BB".into()) }, Identity, Identity),
        (TransportFault::Untrusted { what: "bad".into(), fingerprint: None }, Identity, Identity),
    ];
    for (fault, after_read, after_change) in cases {
        let (read, change) = both(Err(fault.clone())).await;
        assert_eq!((read.class, change.class), (after_read, after_change), "{fault:?}");
        assert!(change.what.ends_with(&fault.to_string()), "{change}");
    }
    let untrusted = TransportFault::Untrusted { what: "bad".into(), fingerprint: Some("AA:BB".into()) };
    let hint = both(Err(untrusted)).await.0.hint.unwrap();
    assert!(hint.contains("api.fingerprint = \"AA:BB\"") && hint.contains("api.ca_file"), "{hint}");
}

#[tokio::test]
async fn a_long_text_of_the_other_side_is_cut() {
    let (fault, _) =
        both(Ok(Answer { status: 500, reason: String::new(), body: json!({"message": "é".repeat(5000)}) })).await;
    assert!(fault.what.ends_with("é...") && fault.what.chars().count() < 1100, "{}", fault.what.len());
}

#[tokio::test]
async fn an_agent_that_is_not_up_has_no_addresses_but_other_errors_count() {
    let ask = async |status: u16, text: &str| {
        let (client, _) = Canned::client(vec![any(Method::Get, status, text, Value::Null)]);
        client.interfaces(&guest()).await
    };
    for text in [
        "QEMU guest agent is not running",
        "No QEMU guest agent configured",
        "VM 7 is not running",
        "VM 7 qga command 'guest-ping' failed - got timeout",
    ] {
        assert_eq!(ask(500, text).await, Ok(Vec::new()), "{text}");
    }
    let class = async |status, text| ask(status, text).await.unwrap_err().class;
    assert_eq!(class(500, "Agent error: The command has been disabled").await, FaultClass::Permanent);
    assert_eq!(
        class(500, "Configuration file 'nodes/n/qemu-server/7.conf' does not exist").await,
        FaultClass::Permanent
    );
    assert_eq!(class(595, "QEMU guest agent is not running").await, FaultClass::Transient);
    assert_eq!(class(403, "Permission check failed (/vms/7, VM.GuestAgent.Audit)").await, FaultClass::Auth);
}

#[tokio::test]
async fn a_container_that_is_off_has_no_interfaces_and_an_older_version_can_not_tell() {
    let ct = GuestRef { kind: GuestKind::Ct, ..guest() };
    let ask = async |status: u16, reason: &str, body: Value| {
        let (client, _) = Canned::client(vec![any(Method::Get, status, reason, body)]);
        client.interfaces(&ct).await
    };
    assert_eq!(ask(200, "OK", json!({"data": null})).await, Ok(Vec::new()));
    assert_eq!(ask(200, "OK", json!({"data": []})).await, Ok(Vec::new()));
    assert_eq!(ask(200, "OK", json!({"data": {}})).await.unwrap_err().class, FaultClass::Permanent);
    let older = ask(501, "Method 'GET /nodes/n/lxc/7/interfaces' not implemented", Value::Null).await.unwrap_err();
    assert_eq!(older.class, FaultClass::Permanent);
    assert!(older.hint.unwrap().contains("does not know the call"));
    assert_eq!(
        ask(403, "Permission check failed (/vms/7, VM.Audit)", Value::Null).await.unwrap_err().class,
        FaultClass::Auth
    );
}

#[tokio::test]
async fn only_an_unknown_task_is_in_doubt_not_every_refusal() {
    let upid = Upid::new("UPID:n:1:2:3:vzdump:7:u@pam:");
    let ask = async |status: u16, body: Value| {
        let (client, _) = Canned::client(vec![any(Method::Get, status, "x", body)]);
        client.task(&upid).await
    };
    let unknown = ask(400, json!({"errors": {"upid": "no such task"}})).await;
    assert_eq!(unknown, Ok(TaskState::Unknown("no such task".to_owned())));
    let refused = ask(400, json!({"errors": {"upid": "unable to parse worker upid"}})).await;
    assert_eq!(refused.unwrap_err().class, FaultClass::Permanent);
    assert_eq!(ask(596, Value::Null).await.unwrap_err().class, FaultClass::Transient);
    for body in [json!({"status": "stopped"}), json!({"status": "vanished"}), json!({})] {
        assert!(matches!(ask(200, json!({"data": body})).await, Ok(TaskState::Unknown(_))), "{body}");
    }
    let (client, canned) = Canned::client(Vec::new());
    assert_eq!(client.task(&Upid::new("nonsense")).await.unwrap_err().class, FaultClass::Permanent);
    assert!(canned.calls().is_empty());
}

#[tokio::test]
async fn a_change_that_answers_with_no_upid_is_in_doubt() {
    for data in [json!(null), json!(""), json!("done"), json!("UPID::1")] {
        let (client, _) = Canned::client(vec![any(Method::Post, 200, "OK", json!({"data": data}))]);
        let fault = client.create_snapshot(&guest(), &SnapshotName::new("x"), "").await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Ambiguous, "{data}");
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_not_sent() {
    let (client, canned): (Client<_>, _) = Canned::client(Vec::new());
    for node in ["", ".", ".."] {
        let fault = client.guests(&NodeName::new(node)).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    }
    let fault = client.delete_snapshot(&guest(), &SnapshotName::new("..")).await.unwrap_err();
    assert_eq!(fault.class, FaultClass::Permanent);
    assert!(canned.calls().is_empty());
}
