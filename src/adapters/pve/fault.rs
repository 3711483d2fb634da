//! What an error of the API means for the one who has to decide: which class of [`Fault`], in which words, with which hint.

use serde_json::Value;

use super::fields::scalar_text;
use super::transport::{Answer, ApiCall, TransportFault};
use crate::machine::outcome::{Fault, FaultClass};

/// The longest text of the other side that is taken into a fault, in characters: it goes into a journal and a table.
const TEXT_LIMIT: usize = 1000;

/// Says what a missing answer means.
pub(super) fn of_transport(call: &ApiCall, fault: TransportFault) -> Fault {
    let what = format!("api call {call} failed: {fault}");
    match fault {
        TransportFault::NotSent(_) => Fault::transient(what),
        TransportFault::Untrusted { fingerprint: Some(shown), .. } => Fault::identity(what).hint(format!(
            "if the certificate is the node's own (compare with `pvenode cert info` there), set `api.fingerprint = \"{shown}\"`, \
             or `api.ca_file` to the cluster's CA certificate (/etc/pve/pve-root-ca.pem)"
        )),
        TransportFault::Untrusted { fingerprint: None, .. } => {
            Fault::identity(what).hint("set `api.fingerprint` or `api.ca_file` for this host")
        }
        TransportFault::Lost(_) => Fault::new(lost_class(call), what),
        TransportFault::Unusable(_) => malformed(call, what),
    }
}

/// Says what an answer with an error's status means.
pub(super) fn of_answer(call: &ApiCall, answer: &Answer) -> Fault {
    let status = answer.status;
    let text = error_text(answer);
    let what = format!("api call {call} answered {status}: {text}");
    match status {
        400 => Fault::permanent(what),
        401 => Fault::auth(what).hint(
            "check token and secret in the variables that `api.token_env` and `api.secret_env` name; \
             the token may be mistyped, expired or removed (`pveum user token list USER@REALM`)",
        ),
        403 => Fault::auth(what).hint(privilege_hint(&text)),
        // Refused for being one too many: it was not acted upon, whatever the method.
        429 => Fault::transient(what),
        502..=504 | 595..=599 => Fault::new(lost_class(call), what),
        // So the API's web server refuses a request that is longer than it takes in, before it looks at it.
        501 if text.contains("data too large") => Fault::permanent(what).hint(
            "this version of Proxmox VE takes requests of 64 KiB at most: update the node's libpve-http-server-perl",
        ),
        501 => {
            Fault::permanent(what).hint("this version of Proxmox VE does not know the call (`pveversion` on the node)")
        }
        300..=399 => Fault::permanent(what).hint("no Proxmox VE API answers there: check `host` and `api.port`"),
        500 if is_missing_guest(&text) => {
            Fault::permanent(what).hint("the guest is not on this node: it was destroyed, or moved to another node")
        }
        _ => Fault::permanent(what),
    }
}

/// Says what an answer means that reports success but cannot be read.
///
/// A change that was confirmed in words that are not understood may well have been made.
pub(super) fn malformed(call: &ApiCall, what: String) -> Fault {
    let class = if call.method.changes() { FaultClass::Ambiguous } else { FaultClass::Permanent };
    Fault::new(class, what)
}

/// Whether an error's text says that the node has no such guest (`Configuration file 'nodes/pve1/lxc/999.conf' does not exist`).
pub fn is_missing_guest(text: &str) -> bool {
    text.contains("Configuration file '") && text.contains(".conf' does not exist")
}

/// Returns what an error answer says: each parameter's reason, else `message`, else the reason phrase.
pub(super) fn error_text(answer: &Answer) -> String {
    let field = |name: &str| answer.body.get(name).filter(|v| !v.is_null());
    let message = field("message").and_then(scalar_text).map(|m| one_line(&m)).filter(|m| !m.is_empty());
    let message = message.or_else(|| Some(one_line(&answer.reason)).filter(|r| !r.is_empty()));
    let message = message.unwrap_or_else(|| "no reason given".to_owned());
    let reasons: Vec<String> = parameter_errors(answer).map(|(name, why)| format!("{name}: {why}")).collect();
    if reasons.is_empty() {
        message
    } else {
        one_line(&format!("{} ({})", message.trim_end_matches('.'), reasons.join("; ")))
    }
}

/// Returns the refused parameters and why each was refused (`errors` of a 400).
pub(super) fn parameter_errors(answer: &Answer) -> impl Iterator<Item = (&str, String)> {
    let errors = answer.body.get("errors").and_then(Value::as_object);
    errors.into_iter().flatten().map(|(name, why)| {
        let why = scalar_text(why).unwrap_or_else(|| why.to_string());
        (name.as_str(), one_line(&why))
    })
}

/// Makes text of the other side fit for a message: one line, no control characters, bounded.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match line.char_indices().nth(TEXT_LIMIT) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// The class of a call whose answer never came: doubt, where it may have changed something.
fn lost_class(call: &ApiCall) -> FaultClass {
    if call.method.changes() { FaultClass::Ambiguous } else { FaultClass::Transient }
}

/// Names the privilege and the path of `Permission check failed (/vms/103, VM.Snapshot|VM.Snapshot.Rollback)`.
fn privilege_hint(text: &str) -> String {
    const SEPARATED: &str = "a token with privilege separation needs ACL entries of its own, beside its user's";
    let inside = text.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map(|(inside, _)| inside);
    match inside.and_then(|i| i.rsplit_once(',')) {
        Some((path, privileges)) if path.trim_start().starts_with('/') => format!(
            "grant the token a role with {} on {} (`pveum acl modify {} --tokens 'USER@REALM!ID' --roles ROLE`); {SEPARATED}",
            privileges.trim().replace('|', " or "),
            path.trim(),
            path.trim(),
        ),
        _ => format!("the token lacks a privilege; {SEPARATED}"),
    }
}
