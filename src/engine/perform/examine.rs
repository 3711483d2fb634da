//! Examines a host for `doctor`: goes as far as it gets, and says at each stage what it found.

use super::Context;
use super::discover::{Stage, Stopped, by_stages};
use crate::engine::port::Place;
use crate::engine::wait::retried;
use crate::ids::NodeName;
use crate::inventory::HostFacts;
use crate::machine::outcome::{Fault, FaultClass};
use crate::plan::HostPolicy;
use crate::plan::preflight::{Check, Finding, Level, preflight, privileges};

/// What was found out about a host.
#[derive(Debug)]
pub struct Examination {
    /// What the checks found, in their order.
    pub findings: Vec<Finding>,
    /// Checks that could not be made, since what they need was not to be had.
    pub not_checked: Vec<Check>,
    /// The node that answered, where that is known.
    pub node: Option<NodeName>,
    /// The host's facts, where everything needed for them answered.
    pub facts: Option<Box<HostFacts>>,
}

/// Examines a host. The node's package lists, and those of its guests, are refreshed as a run does: what a repository answers is
/// found out only by asking it. Nothing else is changed. `token` is the API token's name, for messages.
pub async fn examine(cx: &Context, policy: &HostPolicy, token: &str) -> Examination {
    let (pve, remote) = (&cx.ports.pve, &cx.ports.remote);
    let (api, node) = tokio::join!(retried(|| pve.version()), retried(|| remote.identity(&Place::Node)));
    let mut findings = vec![of_api(api.as_ref().err(), token)];
    if let Err(fault) = &node {
        findings.push(of_ssh(fault));
    }
    if api.is_err() {
        return stopped_early(findings, None);
    }
    if node.is_err() {
        findings.extend(of_token(cx, policy, token, None).await);
        return stopped_early(findings, None);
    }
    match by_stages(cx, policy, true).await {
        Ok(facts) => {
            let mut judged = preflight(policy, &facts);
            judged.retain(|finding| finding.check != Check::Privileges);
            findings.extend(judged);
            findings.extend(privileges::judge(policy, &facts, Some(token)));
            findings.sort_by_key(|finding| finding.check);
            let node = Some(facts.node.clone());
            Examination { findings, not_checked: Vec::new(), node, facts: Some(Box::new(facts)) }
        }
        Err(Stopped { stage, fault, node }) => {
            let privileges = of_token(cx, policy, token, node.as_ref()).await;
            let explained = fault.class == FaultClass::Auth && privileges.iter().any(|f| f.level == Level::Fail);
            findings.extend(privileges);
            if !explained {
                findings.push(of_stage(stage, &fault));
            }
            stopped_early(findings, node)
        }
    }
}

/// Judges what of the token's privileges can be told before the host was looked at.
async fn of_token(cx: &Context, policy: &HostPolicy, token: &str, node: Option<&NodeName>) -> Vec<Finding> {
    match retried(|| cx.ports.pve.permissions()).await {
        Ok(permissions) => {
            let needs = privileges::basic(node.or(policy.node.as_ref()));
            let found = privileges::unmet(&needs, &permissions, Some(token), |_| false);
            // Of the others nothing is known yet: that these are there is not said to be all.
            found.into_iter().filter(|finding| finding.level == Level::Fail).collect()
        }
        Err(fault) => {
            vec![with_hint(Finding::warn(Check::Privileges, format!("could not be asked: {}", fault.what)), &fault)]
        }
    }
}

fn of_api(fault: Option<&Fault>, token: &str) -> Finding {
    match fault {
        None => Finding::ok(Check::Api, format!("answers, and takes the token {token}")),
        Some(fault) => {
            let check = match fault.class {
                FaultClass::Identity => Check::Tls,
                _ => Check::Api,
            };
            with_hint(Finding::fail(check, &fault.what), fault)
        }
    }
}

fn of_ssh(fault: &Fault) -> Finding {
    let check = match fault.class {
        FaultClass::Identity => Check::HostKey,
        _ => Check::Root,
    };
    with_hint(Finding::fail(check, &fault.what), fault)
}

fn of_stage(stage: Stage, fault: &Fault) -> Finding {
    let check = match (stage, fault.class) {
        (Stage::Ssh, _) => return of_ssh(fault),
        (Stage::Api, FaultClass::Auth) => Check::Privileges,
        (Stage::Api, _) => Check::Api,
        (Stage::Identity, _) => Check::Identity,
        (Stage::Packages, _) => Check::Dpkg,
    };
    with_hint(Finding::fail(check, &fault.what), fault)
}

fn with_hint(finding: Finding, fault: &Fault) -> Finding {
    match &fault.hint {
        Some(hint) => finding.remedy(hint),
        None => finding,
    }
}

/// Ends an examination that could not go on: what was not come to is named.
fn stopped_early(mut findings: Vec<Finding>, node: Option<NodeName>) -> Examination {
    findings.sort_by_key(|finding| finding.check);
    // What answered before something else failed is no check that came out well.
    let failed: Vec<Check> = findings.iter().filter(|f| f.level == Level::Fail).map(|f| f.check).collect();
    findings.retain(|finding| finding.level != Level::Ok || !failed.contains(&finding.check));
    let found: Vec<Check> = findings.iter().map(|finding| finding.check).collect();
    // The manifest, the variables, certificate and host key are looked at by whoever has them; the lease is asked for by runs.
    let elsewhere = [Check::Manifest, Check::Credentials, Check::Tls, Check::HostKey, Check::Lease];
    let open = |check: &Check| !found.contains(check) && !elsewhere.contains(check);
    Examination { findings, not_checked: Check::ALL.into_iter().filter(open).collect(), node, facts: None }
}
