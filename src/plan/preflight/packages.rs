//! The node's packages: where they come from, whether they are in order, and what an upgrade would take away.

use super::{Check, Finding, major};
use crate::inventory::{HostFacts, Question, RepositoryFacts};

/// Packages without which a node is no node any more: an upgrade that would remove one is never begun.
const ESSENTIAL: [&str; 4] = ["proxmox-ve", "pve-manager", "proxmox-default-kernel", "pve-kernel"];

/// The release of Debian that each major version of Proxmox VE is made of.
const CODENAMES: [(u32, &str); 2] = [(8, "bookworm"), (9, "trixie")];

/// Compares the suites of Debian's and Proxmox' own repositories with the release that runs. What others publish under which
/// suite is theirs to say, and is not judged.
pub(super) fn suites(facts: &HostFacts) -> Vec<Finding> {
    let remedy = "a half-made major upgrade is finished, or undone, by hand: correct the suites under /etc/apt, as Proxmox describes it";
    let mut findings = Vec::new();
    if let Some(why) = &facts.os.unfit {
        findings.push(Finding::fail(Check::Suites, format!("not to be upgraded: {why}")).remedy(remedy));
    }
    let expected = major(&facts.pve_version).and_then(|major| CODENAMES.iter().find(|(of, _)| *of == major));
    if let (Some((of, expected)), Some(running)) = (expected, &facts.os.codename)
        && running != expected
    {
        let what = format!("Proxmox VE {of} belongs to {expected}, but the node runs {running}");
        findings.push(Finding::fail(Check::Suites, what).remedy(remedy));
    }
    if let Some(why) = &facts.state.repositories_unknown {
        findings.push(Finding::warn(Check::Suites, format!("repositories could not be asked: {why}")));
        return findings;
    }
    let Some(codename) = facts.os.codename.as_deref().or(expected.map(|(_, codename)| *codename)) else {
        findings.push(Finding::warn(Check::Suites, "the release that runs is not known"));
        return findings;
    };
    for repository in facts.state.repositories.iter().filter(|repository| repository.enabled && is_judged(repository)) {
        let other = |suite: &&String| release_of(suite) != codename;
        let others: Vec<&str> = repository.suites.iter().filter(other).map(String::as_str).collect();
        if !others.is_empty() {
            let what = format!(
                "{} names {}, but the node runs {codename} ({})",
                repository.file,
                others.join(", "),
                repository.uris.join(" ")
            );
            findings.push(Finding::fail(Check::Suites, what).remedy(remedy));
        }
    }
    findings.push(Finding::ok(Check::Suites, format!("all are of {codename}")));
    findings
}

/// Tells whether a repository is Debian's or Proxmox' own, by its address; a cache that has theirs in the path counts too.
fn is_judged(repository: &RepositoryFacts) -> bool {
    let by_address = |uri: &String| uri.contains("debian.org") || uri.contains("proxmox.com");
    repository.uris.iter().any(by_address)
}

/// Returns the release that a suite is of: `trixie` of `trixie-security` and `trixie/updates`.
fn release_of(suite: &str) -> &str {
    suite.split(['-', '/']).next().unwrap_or(suite)
}

/// Tells whether an enabled repository is one of those that want a subscription.
fn is_enterprise(repository: &RepositoryFacts) -> bool {
    repository.enabled && repository.uris.iter().any(|uri| uri.contains("enterprise.proxmox.com"))
}

/// Judges whether the repositories answer, as far as it can be told.
pub(super) fn repositories(facts: &HostFacts) -> Vec<Finding> {
    let state = &facts.state;
    let enterprise: Vec<&RepositoryFacts> = state.repositories.iter().filter(|r| is_enterprise(r)).collect();
    let subscribed = state.subscription.as_deref() == Some("active");
    let unauthorised = state.refresh_failed.as_deref().is_some_and(|said| said.contains("401"));
    let mut findings = Vec::new();
    if !enterprise.is_empty() && !subscribed && (state.subscription.is_some() || unauthorised) {
        let status = state.subscription.as_deref().unwrap_or("unknown");
        let answer = match &state.refresh_failed {
            Some(said) if unauthorised => format!("it answered: {said}"),
            _ => "it answers 401 Unauthorized".to_owned(),
        };
        let what =
            format!("the enterprise repository is enabled without an active subscription (status: {status}); {answer}");
        findings.push(Finding::fail(Check::Repositories, what).remedy(without_subscription(facts, &enterprise)));
    } else if let Some(said) = &state.refresh_failed {
        let finding = Finding::fail(Check::Repositories, format!("package lists could not be refreshed: {said}"));
        let hint = state.refresh_hint.as_deref();
        findings.push(finding.remedy(hint.unwrap_or("on the node, apt-get update says more")));
    }
    if let Some(why) = &state.repositories_unknown {
        findings.push(Finding::warn(Check::Repositories, format!("could not be asked: {why}")));
        return findings;
    }
    if let (Some(why), false) = (state.unknown.get(&Question::Subscription), enterprise.is_empty()) {
        let what = format!("the enterprise repository is enabled, and the subscription could not be asked for: {why}");
        findings.push(Finding::warn(Check::Repositories, what));
    }
    let of_proxmox = |r: &&RepositoryFacts| {
        r.enabled
            && r.uris.iter().any(|uri| uri.contains("proxmox.com"))
            && r.components.iter().any(|c| c.starts_with("pve"))
    };
    if !state.repositories.iter().any(|repository| of_proxmox(&repository)) {
        let what = "no repository of Proxmox VE is enabled: nothing of it would be upgraded";
        let remedy = format!("on the node: {}", add(facts, "no-subscription"));
        findings.push(Finding::warn(Check::Repositories, what).remedy(remedy));
    }
    let count = state.repositories.iter().filter(|repository| repository.enabled).count();
    findings.push(Finding::ok(
        Check::Repositories,
        format!("{count} enabled, subscription {}", state.subscription.as_deref().unwrap_or("not known")),
    ));
    findings
}

/// Writes the commands by which a node goes on without a subscription.
fn without_subscription(facts: &HostFacts, enterprise: &[&RepositoryFacts]) -> String {
    let mut lines = vec![
        "enter a subscription key: pvesubscription set KEY".to_owned(),
        "or go on without one, on the node:".to_owned(),
    ];
    let mut files: Vec<&str> = enterprise.iter().map(|repository| repository.file.as_str()).collect();
    files.dedup();
    for file in files {
        let mut of_file = facts.state.repositories.iter().filter(|repository| repository.file == file);
        // apt passes over files of that ending without a word.
        lines.push(match of_file.all(is_enterprise) {
            true => format!("mv {file} {file}.disabled"),
            false => format!("disable the enterprise repository in {file} (others stand there as well)"),
        });
    }
    let ceph = |repository: &&RepositoryFacts| {
        let named = repository.uris.iter().find_map(|uri| uri.trim_end_matches('/').rsplit_once("/ceph-"));
        named.map(|(_, release)| format!("ceph-{release}-no-subscription"))
    };
    let handles: Vec<String> =
        enterprise.iter().map(|r| ceph(r).unwrap_or_else(|| "no-subscription".to_owned())).collect();
    for (at, handle) in handles.iter().enumerate() {
        if !handles[..at].contains(handle) {
            lines.push(add(facts, handle));
        }
    }
    lines.join("\n")
}

/// Writes the command that adds one of Proxmox' standard repositories.
fn add(facts: &HostFacts, handle: &str) -> String {
    format!("pvesh set /nodes/{}/apt/repositories --handle {handle}", facts.node)
}

pub(super) fn dpkg(facts: &HostFacts) -> Vec<Finding> {
    if let Some(why) = facts.state.unknown.get(&Question::Dpkg) {
        return vec![Finding::warn(Check::Dpkg, format!("could not be asked: {why}"))];
    }
    let Some(disorder) = &facts.state.disorder else {
        return vec![Finding::ok(Check::Dpkg, "in order, no lock is held")];
    };
    // What the look says of a lock: `process 4711 holds /var/lib/dpkg/lock-frontend`. It passes, and is waited for.
    if disorder.starts_with("process ") && disorder.contains(" holds ") {
        return vec![Finding::warn(Check::Dpkg, format!("{disorder}: a package manager is at work"))];
    }
    vec![
        Finding::fail(Check::Dpkg, format!("packages are in disorder: {disorder}")).remedy(
            "on the node, look first, then mend:\ndpkg --audit\ndpkg --configure -a\napt-get --fix-broken install",
        ),
    ]
}

/// Finds out what the pending upgrade would take away.
pub(super) fn removals(facts: &HostFacts) -> Vec<Finding> {
    let removed: Vec<&str> =
        facts.os.pending.iter().filter(|change| change.new.is_none()).map(|change| change.name.as_str()).collect();
    let (lost, others): (Vec<&str>, Vec<&str>) =
        removed.into_iter().partition(|name| ESSENTIAL.contains(name) || is_kernel(name, &facts.os.kernel));
    let mut findings = Vec::new();
    if !lost.is_empty() {
        let what = format!(
            "the pending upgrade of the node would remove {}: its repositories don't fit together",
            lost.join(", ")
        );
        let remedy = "correct the repositories (see suites and repositories), then look: apt-get -s dist-upgrade";
        findings.push(Finding::fail(Check::Removals, what).remedy(remedy));
    }
    if !others.is_empty() {
        let what = format!("the pending upgrade of the node would remove {}", others.join(", "));
        findings.push(Finding::warn(Check::Removals, what).remedy("on the node: apt-get -s dist-upgrade"));
    }
    findings.push(Finding::ok(Check::Removals, "a simulated upgrade removes nothing"));
    findings
}

/// Tells whether a package is the running kernel, or keeps its series up to date: of `6.14.8-2-pve` these are
/// `proxmox-kernel-6.14.8-2-pve`, the same with `-signed`, and `proxmox-kernel-6.14`; `pve-kernel-..` in older ones.
fn is_kernel(package: &str, running: &str) -> bool {
    let Some(of) = package.strip_prefix("proxmox-kernel-").or_else(|| package.strip_prefix("pve-kernel-")) else {
        return false;
    };
    let mut numbers = running.split('.');
    let series = numbers.next().zip(numbers.next()).map(|(major, minor)| format!("{major}.{minor}"));
    of.strip_suffix("-signed").unwrap_or(of) == running || series.as_deref() == Some(of)
}

pub(super) fn held(facts: &HostFacts) -> Finding {
    match facts.os.held.as_slice() {
        [] => Finding::ok(Check::Held, "no package is held back"),
        held => Finding::warn(Check::Held, format!("held back, and not upgraded: {}", held.join(", ")))
            .remedy(format!("if that is not meant, on the node: apt-mark unhold {}", held.join(" "))),
    }
}
