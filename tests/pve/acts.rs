//! Power, and the deletion of archives: what is asked, never by force, and what a lost answer means.

use std::time::Duration;

use proxmaint::adapters::pve::client::Client;
use proxmaint::adapters::pve::transport::{Method, TransportFault};
use proxmaint::engine::port::Pve;
use proxmaint::machine::outcome::{Fault, FaultClass};
use serde_json::{Value, json};

use crate::canned::{Canned, Route, any};
use crate::fixtures::{ARCHIVE, WAIT, ct, node, routes, upid, vm};

#[tokio::test]
async fn guests_go_up_and_down() {
    let (client, _) = Canned::client(routes("start_guest"));
    assert_eq!(client.start_guest(&ct()).await.unwrap(), upid("vzstart", "120"));
    assert_eq!(client.start_guest(&vm()).await.unwrap(), upid("qmstart", "119"));
    let (client, _) = Canned::client(routes("shutdown_guest"));
    assert_eq!(client.shutdown_guest(&ct(), WAIT).await.unwrap(), upid("vzshutdown", "120"));
    assert_eq!(client.shutdown_guest(&vm(), WAIT).await.unwrap(), upid("qmshutdown", "119"));
    let (client, _) = Canned::client(routes("reboot_guest"));
    assert_eq!(client.reboot_guest(&ct(), WAIT).await.unwrap(), upid("vzreboot", "120"));
    assert_eq!(client.reboot_guest(&vm(), WAIT).await.unwrap(), upid("qmreboot", "119"));
}

#[tokio::test]
async fn all_guests_of_a_node_go_down_in_order() {
    let (client, _) = Canned::client(routes("stop_all"));
    assert_eq!(client.stop_all(&node(), Duration::from_secs(180)).await.unwrap(), upid("stopall", ""));
    // The fixture answers 7200 and nothing longer: that is what the API takes.
    assert_eq!(client.stop_all(&node(), Duration::from_secs(86_400)).await.unwrap(), upid("stopall", ""));
}

#[tokio::test]
async fn a_node_reboots_without_a_task() {
    let (client, canned) = Canned::client(routes("reboot_node"));
    client.reboot_node(&node()).await.unwrap();
    assert_eq!(canned.calls().len(), 1);
    for odd in [json!({}), json!({"data": "UPID:later:1:"}), Value::Null] {
        let (client, _) = Canned::client(vec![any(Method::Post, 200, "OK", odd.clone())]);
        client.reboot_node(&node()).await.unwrap_or_else(|fault| panic!("{odd}: {fault}"));
    }
}

/// Asks for each change once and returns what came of it.
async fn each(client: &Client<std::sync::Arc<Canned>>) -> Vec<(&'static str, Result<(), Fault>)> {
    vec![
        ("start", client.start_guest(&ct()).await.map(drop)),
        ("shutdown", client.shutdown_guest(&vm(), WAIT).await.map(drop)),
        ("reboot", client.reboot_guest(&vm(), WAIT).await.map(drop)),
        ("stopall", client.stop_all(&node(), WAIT).await.map(drop)),
        ("node", client.reboot_node(&node()).await),
        ("delete", client.delete_backup(&node(), ARCHIVE).await.map(drop)),
    ]
}

#[tokio::test]
async fn a_lost_answer_leaves_doubt_about_each_change() {
    let lost = || Err(TransportFault::Lost("cut".to_owned()));
    let route = |method, reply| Route { method, segments: None, params: None, reply };
    let (client, canned) = Canned::client(vec![route(Method::Post, lost()), route(Method::Delete, lost())]);
    for (name, outcome) in each(&client).await {
        assert_eq!(outcome.unwrap_err().class, FaultClass::Ambiguous, "{name}");
    }
    assert_eq!(canned.calls().len(), 6, "each was sent once");
    // What lies between may have lost it as well; so may a node that went down.
    for status in [502, 595] {
        let bad = |method| any(method, status, "x", Value::Null);
        let (client, _) = Canned::client(vec![bad(Method::Post), bad(Method::Delete)]);
        for (name, outcome) in each(&client).await {
            assert_eq!(outcome.unwrap_err().class, FaultClass::Ambiguous, "{name} {status}");
        }
    }
    let never = || Err(TransportFault::NotSent("refused".to_owned()));
    let (client, _) = Canned::client(vec![route(Method::Post, never()), route(Method::Delete, never())]);
    for (name, outcome) in each(&client).await {
        assert_eq!(outcome.unwrap_err().class, FaultClass::Transient, "{name} was never sent");
    }
}

#[tokio::test]
async fn archives_go_with_a_task_or_at_once() {
    let (client, canned) = Canned::client(routes("delete_backup"));
    assert_eq!(client.delete_backup(&node(), ARCHIVE).await.unwrap(), Some(upid("imgdel", "120@nfs")));
    let at_once = "pbs:backup/ct/120/2026-11-22T22:00:00Z";
    assert_eq!(client.delete_backup(&node(), at_once).await.unwrap(), None);
    for nameless in ["vzdump-lxc-120.tar.zst", ":backup/x", "nfs:"] {
        let fault = client.delete_backup(&node(), nameless).await.unwrap_err();
        assert_eq!(fault.class, FaultClass::Permanent, "{fault}");
    }
    assert_eq!(canned.calls().len(), 2, "what names no storage is not sent");
}
