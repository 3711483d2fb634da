//! Shows what `doctor` found.
//!
//! `--output json` prints one object:
//!
//! | field | means |
//! |---|---|
//! | `v` | the version of this shape: 1; fields may be added to it |
//! | `findings[]` | of the manifest: `check`, `level` (`ok`, `warn`, `fail`), `what`, and `remedy` where there is one (lines, some of them commands) |
//! | `hosts[]` | each host, in the manifest's order |
//! | `hosts[].host`, `.node` | the entry, and the node that answered; `null` where none did |
//! | `hosts[].level` | the worst of its findings |
//! | `hosts[].findings[]` | as above |
//! | `hosts[].not_checked[]` | checks that could not be made, since something they need failed |
//! | `hosts[].fingerprint` | SHA-256 of the certificate that the API shows, for `api.fingerprint` |
//! | `hosts[].token` | the token's name |
//! | `hosts[].token_setup[]` | commands that make a token with the least privileges for what the manifest asks for |
//! | `ok`, `warn`, `fail` | how many findings of each level there are |

use std::fmt::Write as _;

use serde::Serialize;

use crate::ids::{HostId, NodeName};
use crate::observe::sanitize::{clean, clean_json};
use crate::observe::style::Paint;
use crate::observe::words::{count, list, some};
use crate::plan::{Check, Finding, Level};

/// The version of the JSON's shape.
const VERSION: u32 = 1;

/// Everything that was found.
pub(super) struct Report {
    /// Of the manifest.
    pub(super) findings: Vec<Finding>,
    /// Of each host.
    pub(super) hosts: Vec<HostReport>,
}

/// What was found of a host.
#[derive(Serialize)]
pub(in crate::cli) struct HostReport {
    pub(super) host: HostId,
    pub(super) node: Option<NodeName>,
    pub(super) findings: Vec<Finding>,
    pub(super) not_checked: Vec<Check>,
    pub(super) fingerprint: Option<String>,
    pub(super) token: Option<String>,
    pub(super) token_setup: Vec<String>,
}

impl HostReport {
    /// Returns the worst level of its findings.
    pub(in crate::cli) fn level(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    /// Sums it up: `edge1: 1 fail, 12 ok`.
    pub(in crate::cli) fn sentence(&self) -> String {
        let count = |level| self.findings.iter().filter(|finding| finding.level == level).count();
        format!("{}: {}", self.host, levels(count))
    }

    /// Whether how a token is made is of use here: there is none, it is refused, or it lacks something.
    fn wants_token(&self) -> bool {
        let about = [Check::Credentials, Check::Privileges];
        self.findings.iter().any(|f| f.level == Level::Fail && about.contains(&f.check)) || self.is_refused()
    }

    fn is_refused(&self) -> bool {
        self.findings.iter().any(|f| f.level == Level::Fail && f.check == Check::Api && f.what.contains("401"))
    }
}

impl Report {
    /// Counts the findings of a level.
    pub(super) fn count(&self, level: Level) -> usize {
        let all = self.findings.iter().chain(self.hosts.iter().flat_map(|host| &host.findings));
        all.filter(|finding| finding.level == level).count()
    }

    fn sentence(&self) -> String {
        format!("{}: {}", count(self.hosts.len(), "host"), levels(|level| self.count(level)))
    }
}

/// Writes how many findings of each level there are, the worst first.
fn levels(count: impl Fn(Level) -> usize) -> String {
    list([some(count(Level::Fail), "fail"), some(count(Level::Warn), "warn"), some(count(Level::Ok), "ok")])
}

/// Writes it for people: a line a check, what to do about it below.
pub(super) fn text(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    findings(&mut out, &report.findings, paint);
    for host in &report.hosts {
        line(&mut out, 0, "");
        out.push_str(&host_text(host, paint));
    }
    line(&mut out, 0, "");
    line(&mut out, 0, &report.sentence());
    out
}

/// Writes what was found of one host for people.
pub(in crate::cli) fn host_text(host: &HostReport, paint: Paint) -> String {
    let mut out = String::new();
    let name = paint.strong(&clean(host.host.as_str()));
    let node = host.node.as_ref().filter(|node| node.as_str() != host.host.as_str());
    let node = node.map_or_else(String::new, |node| format!(" (node {})", clean(node.as_str())));
    line(&mut out, 0, &format!("{name}{node}"));
    findings(&mut out, &host.findings, paint);
    if !host.not_checked.is_empty() {
        let checks = list(host.not_checked.iter().map(ToString::to_string));
        line(&mut out, 2, &paint.faint(&format!("not checked, for want of what failed: {checks}")));
    }
    if host.wants_token() {
        line(&mut out, 2, "a token with the least privileges for what the manifest asks for, as root on a node:");
        host.token_setup.iter().for_each(|command| line(&mut out, 6, &clean(command)));
    }
    out
}

fn findings(out: &mut String, findings: &[Finding], paint: Paint) {
    for finding in findings {
        // The colour's own characters take no room.
        let level = match finding.level {
            Level::Ok => paint.good("ok  "),
            Level::Warn => paint.warn("warn"),
            Level::Fail => paint.bad("fail"),
        };
        line(out, 2, &format!("{level}  {:<12}  {}", finding.check, clean(&finding.what)));
        for remedy in finding.remedy.iter().flat_map(|remedy| remedy.lines()) {
            line(out, 8, &clean(remedy));
        }
    }
}

fn line(out: &mut String, indent: usize, text: &str) {
    // Writing to a String can't fail.
    let _ok = match text {
        "" => writeln!(out),
        text => writeln!(out, "{:indent$}{text}", ""),
    };
}

#[derive(Serialize)]
struct ReportLine<'a> {
    v: u32,
    findings: &'a [Finding],
    hosts: Vec<HostLine<'a>>,
    ok: usize,
    warn: usize,
    fail: usize,
}

#[derive(Serialize)]
struct HostLine<'a> {
    level: Level,
    #[serde(flatten)]
    report: &'a HostReport,
}

/// Writes it for programs.
pub(super) fn json(report: &Report) -> String {
    let line = ReportLine {
        v: VERSION,
        findings: &report.findings,
        hosts: report.hosts.iter().map(|report| HostLine { level: report.level(), report }).collect(),
        ok: report.count(Level::Ok),
        warn: report.count(Level::Warn),
        fail: report.count(Level::Fail),
    };
    match serde_json::to_string(&line) {
        Ok(text) => clean_json(text) + "\n",
        // Plain data without odd map keys always serialises.
        Err(error) => serde_json::json!({"v": VERSION, "error": error.to_string()}).to_string(),
    }
}
