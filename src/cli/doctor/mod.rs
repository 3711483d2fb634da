//! `proxmaint doctor`: looks at everything that must be right before a guest is touched, and says how to mend what is not.

pub(super) mod view;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::args::{DoctorArgs, Output, Places};
use super::connect::{self, ManifestHosts};
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::policy::{Selection, host_policy};
use crate::adapters::clock::SystemClock;
use crate::adapters::pve::certificate::{CertificateLook, FINGERPRINT_COMMAND, inspect_certificate};
use crate::adapters::ssh::SshTarget;
use crate::adapters::ssh::host_key::{fingerprint_command, known_keys};
use crate::engine::limits::Limits;
use crate::engine::perform::{Context, Examination, examine};
use crate::engine::port::Hosts;
use crate::inventory::HostFacts;
use crate::machine::fleet::Fleet;
use crate::machine::outcome::Fault;
use crate::manifest::{ApiTrust, CredentialErrors, Credentials, HostEntry, Manifest};
use crate::observe::log::Redactor;
use crate::observe::style::Paint;
use crate::plan::preflight::privileges;
use crate::plan::{Check, Finding, HostPolicy, Level};

use view::{HostReport, Report};

/// How many hosts are examined together: each has its lists refreshed, so what bounds it is the mirror and this machine.
const EXAMINERS: usize = 8;

/// Runs `proxmaint doctor`.
///
/// # Errors
/// A host that the manifest does not have. What is wrong with hosts is no error but the exit code returned.
pub fn doctor(places: &Places, args: &DoctorArgs, redactor: &Redactor) -> Result<Exit, Failure> {
    let manifest = match super::load_manifest(&places.config) {
        Ok(manifest) => manifest,
        Err(exit) => return Ok(exit),
    };
    let selection = Selection { hosts: args.hosts.clone(), max_hosts: None };
    let selected = selection.of(&manifest).map_err(|error| {
        let known = format!("the manifest has: {}", error.known.join(", "));
        Failure::new(Exit::Usage, error).hint(known)
    })?;
    let known_hosts = places.state_dir().join("known_hosts");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Bug, error))?;
    let patients: Vec<Patient<'_>> =
        selected.into_iter().map(|entry| Patient::new(entry, &known_hosts, redactor)).collect();
    let visits: Vec<Visit> =
        runtime.block_on(stream::iter(&patients).map(Patient::visit).buffered(EXAMINERS).collect());
    let report = Report { findings: of_manifest(&manifest), hosts: reports(visits) };
    let text = match args.output {
        Output::Human => view::text(&report, Paint::for_stream(&io::stdout())),
        Output::Json => view::json(&report),
    };
    // Whoever closed the pipe has read enough.
    let _written = io::stdout().lock().write_all(redactor.redact(&text).as_bytes());
    Ok(if report.count(Level::Fail) == 0 { Exit::Clean } else { Exit::Failed })
}

/// Examines one host of a manifest, and connects to nothing else. `known_hosts` is the file into which host keys are learnt.
pub(super) async fn examine_entry(entry: &HostEntry, known_hosts: &Path, redactor: &Redactor) -> HostReport {
    Patient::new(entry, known_hosts, redactor).visit().await.report
}

/// Says what is odd about the manifest: one that is wrong is not come to here.
fn of_manifest(manifest: &Manifest) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for warning in &manifest.warnings {
        let finding = Finding::warn(Check::Manifest, format!("{}: {}", warning.location(), warning.message));
        findings.push(match warning.hints.is_empty() {
            true => finding,
            false => finding.remedy(warning.hints.join("\n")),
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok(Check::Manifest, manifest.path.display().to_string()));
    }
    findings
}

/// A host to examine, with what is needed for it.
struct Patient<'a> {
    entry: &'a HostEntry,
    policy: HostPolicy,
    known_hosts: &'a Path,
    /// The ways to it, and the token's name, where the variables hold what they should.
    ways: Result<(ManifestHosts, String), CredentialErrors>,
}

/// What came of examining a host.
struct Visit {
    report: HostReport,
    facts: Option<Box<HostFacts>>,
}

impl<'a> Patient<'a> {
    fn new(entry: &'a HostEntry, known_hosts: &'a Path, redactor: &Redactor) -> Self {
        let credentials = Credentials::resolve([entry], &|name| std::env::var_os(name));
        let ways = credentials.map(|credentials| {
            super::run::register_secrets(redactor, &[entry], &credentials);
            let token = credentials.host(&entry.id).map(|found| found.api.id().to_owned()).unwrap_or_default();
            (ManifestHosts::new([entry], &credentials, known_hosts.to_owned()), token)
        });
        Self { entry, policy: host_policy(entry), known_hosts, ways }
    }

    async fn visit(&self) -> Visit {
        let (certificate, ssh) = tokio::join!(self.certificate(), self.node());
        let mut found = ssh;
        let token = self.ways.as_ref().ok().map(|(_, token)| token.as_str());
        match &certificate {
            Ok(look) => {
                // What the API's client said of it is the same in other words.
                found.findings.retain(|finding| finding.check != Check::Tls);
                found.findings.push(of_certificate(look, &self.entry.api.trust()));
            }
            Err(fault) if !found.findings.iter().any(|f| matches!(f.check, Check::Tls | Check::Api)) => {
                found.findings.push(of_fault(Check::Tls, fault));
            }
            // The API says the same: nobody is there.
            Err(_) => found.not_checked.push(Check::Tls),
        }
        match &self.ways {
            Ok((_, token)) => {
                let what = format!("{token} ({}, {})", self.entry.api.token_env, self.entry.api.secret_env);
                found.findings.push(Finding::ok(Check::Credentials, what));
            }
            Err(errors) => found.findings.extend(errors.0.iter().map(|error| {
                let what = format!("environment variable {} {} ({})", error.variable, error.fault, error.purpose);
                Finding::fail(Check::Credentials, what)
                    .remedy("set it where proxmaint is started; nothing of it is kept")
            })),
        }
        found.findings.sort_by_key(|finding| finding.check);
        found.not_checked.sort();
        Visit {
            report: HostReport {
                host: self.entry.id.clone(),
                node: found.node,
                fingerprint: certificate.ok().map(|look| look.fingerprint),
                token: token.map(str::to_owned),
                token_setup: privileges::set_up(&self.policy, found.facts.as_deref(), token),
                findings: found.findings,
                not_checked: found.not_checked,
            },
            facts: found.facts,
        }
    }

    async fn certificate(&self) -> Result<CertificateLook, Fault> {
        let trust = connect::trust(&self.entry.api.trust());
        inspect_certificate(&self.entry.host, self.entry.api.port, &trust).await
    }

    /// Examines the host by its API and over SSH, where there are credentials for it.
    async fn node(&self) -> Examination {
        let nothing = |findings: Vec<Finding>| {
            let asked = |check: &Check| {
                use Check::{Ceph, Credentials, Evacuation, Lease, Manifest, Tls};
                !matches!(check, Manifest | Credentials | Tls | Lease | Evacuation | Ceph)
            };
            let found: Vec<Check> = findings.iter().map(|finding| finding.check).collect();
            let not_checked = Check::ALL.into_iter().filter(|c| asked(c) && !found.contains(c)).collect();
            Examination { findings, not_checked, node: None, facts: None }
        };
        let Ok((hosts, token)) = &self.ways else { return nothing(Vec::new()) };
        let ports = match hosts.ports(&self.entry.id) {
            Ok(ports) => ports,
            Err(fault) => return nothing(vec![of_fault(Check::Api, &fault)]),
        };
        let (clock, policy) = (Arc::new(SystemClock), &self.policy);
        let context = Context::looking(ports, clock, Limits::default(), policy, super::own_boot());
        let target = connect::node_target(self.entry, None, self.known_hosts);
        let before = known(&target).await;
        let mut found = examine(&context, &self.policy, token).await;
        match of_host_key(&found, before, known(&target).await) {
            HostKey::Said => {}
            HostKey::Found(finding) => found.findings.push(finding),
            HostKey::NotSeen => found.not_checked.push(Check::HostKey),
        }
        found
    }
}

async fn known(target: &SshTarget) -> Result<Vec<String>, Fault> {
    Ok(known_keys(&target.host_keys, &target.host, target.port).await?)
}

/// What there is to say of a host's key.
#[must_use]
enum HostKey {
    /// It was refused, and that is said already.
    Said,
    Found(Finding),
    /// The host was not reached: it showed none.
    NotSeen,
}

/// Says how the host's key is known, by what was known before the host was connected to and what is known after.
fn of_host_key(found: &Examination, before: Result<Vec<String>, Fault>, after: Result<Vec<String>, Fault>) -> HostKey {
    if found.findings.iter().any(|finding| finding.check == Check::HostKey) {
        return HostKey::Said;
    }
    let refused = found.findings.iter().any(|finding| finding.check == Check::Root && finding.level == Level::Fail);
    match (before, after) {
        (Err(fault), _) | (_, Err(fault)) => HostKey::Found(of_fault(Check::HostKey, &fault)),
        (Ok(before), Ok(after)) => match (before.is_empty(), after.is_empty()) {
            (true, true) | (false, _) if refused => HostKey::NotSeen,
            (false, _) => HostKey::Found(Finding::ok(Check::HostKey, format!("known: {}", before.join(", ")))),
            (true, false) => {
                let keys = after.join(", ");
                let command = fingerprint_command(&keys);
                let what = format!("learnt just now: {keys}; compare it: on the node, {command}");
                HostKey::Found(Finding::ok(Check::HostKey, what))
            }
            (true, true) => HostKey::Found(not_remembered()),
        },
    }
}

/// Says that host keys are not looked at.
pub(super) fn not_remembered() -> Finding {
    Finding::warn(Check::HostKey, "any is accepted, and none is remembered (UserKnownHostsFile)")
        .remedy("leave UserKnownHostsFile out of ssh_extra_args")
}

/// Says what a certificate is worth by the trust that it was judged by.
pub(super) fn of_certificate(look: &CertificateLook, trust: &ApiTrust<'_>) -> Finding {
    let shown = &look.fingerprint;
    let pin = format!("compare it on the node: {FINGERPRINT_COMMAND}\nthen pin it: api.fingerprint = \"{shown}\"");
    match (&look.verdict, trust) {
        (Err(why), _) => Finding::fail(Check::Tls, format!("certificate {shown} is not trusted: {why}")).remedy(pin),
        (Ok(()), ApiTrust::Unverified) => {
            Finding::warn(Check::Tls, format!("certificate {shown} is not verified (api.insecure)")).remedy(pin)
        }
        (Ok(()), ApiTrust::Pinned(_)) => Finding::ok(Check::Tls, format!("certificate {shown}, pinned")),
        (Ok(()), ApiTrust::CaFile(file)) => {
            Finding::ok(Check::Tls, format!("certificate {shown}, vouched for by {}", file.display()))
        }
        (Ok(()), ApiTrust::SystemRoots) => {
            Finding::ok(Check::Tls, format!("certificate {shown}, vouched for by the system's authorities"))
        }
    }
}

fn of_fault(check: Check, fault: &Fault) -> Finding {
    let finding = Finding::fail(check, &fault.what);
    match &fault.hint {
        Some(hint) => finding.remedy(hint),
        None => finding,
    }
}

/// Looks for entries that are one node, of which a run takes the first.
fn reports(visits: Vec<Visit>) -> Vec<HostReport> {
    let mut fleet = Fleet::default();
    let report = |Visit { mut report, facts }: Visit| {
        let twin =
            facts.and_then(|facts| fleet.claim(&facts.ca, &facts.node, &report.host).map(|other| (facts, other)));
        if let Some((facts, other)) = twin {
            let what = format!("is the same node ({}) as the entry {other}", facts.node);
            report.findings.retain(|finding| finding.check != Check::Identity);
            let twin = Finding::fail(Check::Identity, what).remedy("remove one of the two entries from the manifest");
            report.findings.push(twin);
            report.findings.sort_by_key(|finding| finding.check);
        }
        report
    };
    visits.into_iter().map(report).collect()
}
