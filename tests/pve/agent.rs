//! The guest agent: what is asked of it, and each way in which it does not answer, with its own words, class and hint.

use proxmaint::adapters::pve::agent::{AgentCommand, AgentEnd};
use proxmaint::adapters::pve::transport::{Answer, Method};
use proxmaint::engine::port::{AgentState, Pve};
use proxmaint::machine::outcome::{Fault, FaultClass};
use serde_json::{Value, json};

use crate::canned::{Canned, Route, any};
use crate::fixtures::{COMMAND, ct, routes, vm};

/// Answers that come from the API as errors.
fn says(method: Method, status: u16, text: &str) -> Route {
    any(method, status, text, json!({"data": null, "message": format!("{text}\n")}))
}

/// The VM's state, as it is looked at where its agent does not answer.
fn state(agent: Value, uptime: u64) -> Route {
    Route {
        method: Method::Get,
        segments: Some(["nodes", "node-a", "qemu", "119", "status", "current"].map(str::to_owned).to_vec()),
        params: Some(Vec::new()),
        reply: Ok(Answer {
            status: 200,
            reason: "OK".to_owned(),
            body: json!({"data": {"status": "running", "agent": agent, "uptime": uptime}}),
        }),
    }
}

async fn exec(routes: Vec<Route>) -> Fault {
    let (client, _) = Canned::client(routes);
    client.agent_exec(&vm(), &COMMAND).await.unwrap_err()
}

fn assert_fault(fault: &Fault, class: FaultClass, what: &str, hint: Option<&str>) {
    assert_eq!(fault.class, class, "{fault:?}");
    assert!(fault.what.starts_with(what), "{fault}");
    match hint {
        Some(hint) => assert!(fault.hint.as_ref().is_some_and(|h| h.contains(hint)), "{fault:?}"),
        None => assert_eq!(fault.hint, None, "{fault}"),
    }
}

#[tokio::test]
async fn a_command_is_given_and_asked_for() {
    let (client, _) = Canned::client(routes("agent_exec"));
    assert_eq!(client.agent_exec(&vm(), &COMMAND).await.unwrap(), 284);
    let (client, _) = Canned::client(routes("agent_exec_status"));
    assert_eq!(client.agent_exec_status(&vm(), 284).await.unwrap(), AgentCommand::Running);
    let end = AgentEnd {
        exit: Some(3),
        signal: None,
        stdout: "grün\n".as_bytes().to_vec(),
        stderr: b"e".to_vec(),
        truncated: true,
    };
    assert_eq!(client.agent_exec_status(&vm(), 285).await.unwrap(), AgentCommand::Ended(end));
    let killed = AgentEnd { exit: None, signal: Some(9), stdout: Vec::new(), stderr: Vec::new(), truncated: false };
    assert_eq!(client.agent_exec_status(&vm(), 286).await.unwrap(), AgentCommand::Ended(killed));
    assert!(matches!(client.agent_exec_status(&vm(), 287).await.unwrap(), AgentCommand::Forgotten(_)));
}

#[tokio::test]
async fn each_way_of_not_answering_has_its_words() {
    use FaultClass::{Ambiguous, Permanent, Transient};
    let post = |text: &str| says(Method::Post, 500, text);
    let fault = exec(vec![post("No QEMU guest agent configured")]).await;
    assert_fault(
        &fault,
        Permanent,
        "the config of VM 119 enables no guest agent",
        Some("qm set 119 --agent enabled=1"),
    );
    let down = || post("QEMU guest agent is not running");
    let fault = exec(vec![down(), state(Value::Null, 5)]).await;
    assert_fault(&fault, Permanent, "the config of VM 119 does not enable", Some("--agent enabled=1"));
    let fault = exec(vec![down(), state(json!(1), 12)]).await;
    assert_fault(
        &fault,
        Transient,
        "the guest agent of VM 119 is not ready yet: the VM was started 12 s",
        Some("120 s"),
    );
    let fault = exec(vec![down(), state(json!("1"), 121)]).await;
    assert_fault(&fault, Transient, "a guest agent is enabled for VM 119, but none", Some("start qemu-guest-agent"));
    // Without the privilege to look at the VM, the refusal stays what it is.
    let fault = exec(vec![down(), says(Method::Get, 403, "Permission check failed (/vms/119, VM.Audit)")]).await;
    assert_fault(&fault, Transient, "a guest agent is enabled for VM 119, but none", Some("start qemu-guest-agent"));
    let fault = exec(vec![post("VM 119 is not running")]).await;
    assert_fault(&fault, Permanent, "VM 119 is not running", None);
    let fault = exec(vec![post("Agent error: Command guest-exec has been disabled: the command is not allowed")]).await;
    assert_fault(
        &fault,
        Permanent,
        "the guest agent of VM 119 answers, but may not run",
        Some("/etc/sysconfig/qemu-ga"),
    );
    let fault =
        exec(vec![post("Agent error: Command guest-exec has been disabled: the agent is in frozen state")]).await;
    assert_fault(&fault, Transient, "the guest agent of VM 119 runs nothing while", Some("fsfreeze-thaw"));
    let fault = exec(vec![post("VM 119 qmp command 'guest-exec' failed - got timeout")]).await;
    assert_fault(&fault, Ambiguous, "the guest agent of VM 119 took the request", None);
    let busy =
        "VM 119 qmp command 'guest-exec' failed - unable to connect to VM 119 qga socket - timeout after 31 retries";
    assert_fault(&exec(vec![post(busy)]).await, Transient, "the guest agent of VM 119 is busy", None);
    let shell = "Agent error: Guest agent command failed, error was 'Failed to execute child process'";
    assert_fault(&exec(vec![post(shell)]).await, Permanent, "the guest agent of VM 119 could not run", Some("/bin/sh"));
    // What is none of these is what the API's errors are everywhere.
    let fault = exec(vec![says(Method::Post, 501, "for data too large")]).await;
    assert_fault(&fault, Permanent, "api call POST", Some("64 KiB"));
    let gone = "Configuration file 'nodes/node-a/qemu-server/119.conf' does not exist";
    assert_fault(&exec(vec![post(gone)]).await, Permanent, "api call POST", Some("not on this node"));
}

#[tokio::test]
async fn a_missing_privilege_is_named_for_both_generations() {
    let fault =
        exec(vec![says(Method::Post, 403, "Permission check failed (/vms/119, VM.GuestAgent.Unrestricted)")]).await;
    assert_fault(&fault, FaultClass::Auth, "api call POST", Some("a role with VM.GuestAgent.Unrestricted on /vms/119"));
    assert!(fault.hint.unwrap().contains("before Proxmox VE 9 VM.Monitor"));
}

#[tokio::test]
async fn a_ping_tells_three_states() {
    let ping = async |routes| Canned::client(routes).0.agent(&vm()).await.unwrap();
    assert_eq!(ping(routes("agent")).await, AgentState::Up);
    let post = |text: &str| says(Method::Post, 500, text);
    assert_eq!(ping(vec![post("No QEMU guest agent configured")]).await, AgentState::NotConfigured);
    let down = || post("QEMU guest agent is not running");
    assert_eq!(ping(vec![down(), state(json!(0), 500)]).await, AgentState::NotConfigured);
    let AgentState::NotRunning(text) = ping(vec![down(), state(json!(1), 3)]).await else { panic!("it is not up") };
    assert!(text.contains("not ready yet: the VM was started 3 s ago"), "{text}");
    let AgentState::NotRunning(text) = ping(vec![down(), state(json!(1), 900)]).await else { panic!("it is not up") };
    assert!(text.contains("none is running in it"), "{text}");
    let AgentState::NotRunning(text) = ping(vec![post("VM 119 is not running")]).await else { panic!("it is off") };
    assert_eq!(text, "VM 119 is not running");
    let (client, canned) = Canned::client(Vec::new());
    assert_eq!(client.agent(&ct()).await.unwrap_err().class, FaultClass::Permanent);
    assert!(canned.calls().is_empty(), "a container has no agent");
    let denied =
        says(Method::Post, 403, "Permission check failed (/vms/119, VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted)");
    assert_eq!(Canned::client(vec![denied]).0.agent(&vm()).await.unwrap_err().class, FaultClass::Auth);
}
