//! Compares how a guest does with how it did before its upgrade: what is worse, and what is merely worth a look.
//!
//! Worse is what did well before and does not now: a unit that failed since, a check that passed and fails. What failed
//! before already is no difference. Ports only get a remark: who listens where changes with a new version of a service, and
//! whoever depends on a port has a check for it.

use std::collections::BTreeSet;

use crate::inventory::health::{Health, Listener};

/// What a measurement differs in from the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Comparison {
    /// What is worse, each with its reason: any of it makes the upgrade a failed one.
    pub worse: Vec<String>,
    /// What is worth a look and no failure.
    pub remarks: Vec<String>,
}

/// How many ports of a kind are named: beyond that nobody reads them one by one.
const MOST_PORTS: usize = 20;

/// Compares two measurements of the same guest.
pub fn compare(before: &Health, now: &Health) -> Comparison {
    let mut found = Comparison::default();
    units(before.failed_units.as_ref(), now.failed_units.as_ref(), &mut found);
    checks(before, now, &mut found);
    ports(before.listening.as_ref(), now.listening.as_ref(), &mut found.remarks);
    found
}

fn units(before: Option<&BTreeSet<String>>, now: Option<&BTreeSet<String>>, found: &mut Comparison) {
    match (before, now) {
        (Some(before), Some(now)) => {
            found.worse.extend(now.difference(before).map(|unit| format!("{unit} failed, and had not before")));
            found.remarks.extend(now.intersection(before).map(|unit| format!("{unit} had failed before already")));
        }
        (Some(_), None) => found.remarks.push("which services failed can't be told any more".to_owned()),
        (None, _) => found
            .remarks
            .push("which services failed before can't be told: neither systemd nor OpenRC answered".to_owned()),
    }
}

fn checks(before: &Health, now: &Health, found: &mut Comparison) {
    for check in &now.checks {
        let Some(why) = &check.failed else { continue };
        match before.checks.iter().find(|earlier| earlier.name == check.name) {
            Some(earlier) if earlier.failed.is_none() => {
                found.worse.push(format!("the check `{}` fails, and passed before: {why}", check.name));
            }
            Some(_) => found.remarks.push(format!("the check `{}` failed before already: {why}", check.name)),
            None => found.remarks.push(format!("the check `{}` fails, and was not made before: {why}", check.name)),
        }
    }
}

fn ports(before: Option<&BTreeSet<Listener>>, now: Option<&BTreeSet<Listener>>, remarks: &mut Vec<String>) {
    let (Some(before), Some(now)) = (before, now) else {
        remarks.push("who listens on which port can't be compared: it could not be read".to_owned());
        return;
    };
    let mut tell = |what: &str, ports: Vec<String>| {
        if ports.is_empty() {
            return;
        }
        let named = ports.iter().take(MOST_PORTS).map(String::as_str).collect::<Vec<_>>().join(", ");
        remarks.push(match ports.len().saturating_sub(MOST_PORTS) {
            0 => format!("{what}: {named}"),
            more => format!("{what}: {named} and {more} more"),
        });
    };
    tell("no longer listening", before.difference(now).map(ToString::to_string).collect());
    tell("newly listening", now.difference(before).map(ToString::to_string).collect());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::health::{CheckResult, Protocol};

    fn health(failed: &[&str], ports: &[u16], checks: &[(&str, Option<&str>)]) -> Health {
        let listener = |port: &u16| Listener { protocol: Protocol::Tcp, address: [0, 0, 0, 0].into(), port: *port };
        let result = |(name, failed): &(&str, Option<&str>)| CheckResult {
            name: (*name).to_owned(),
            failed: failed.map(str::to_owned),
        };
        Health {
            failed_units: Some(failed.iter().map(|unit| (*unit).to_owned()).collect()),
            listening: Some(ports.iter().map(listener).collect()),
            checks: checks.iter().map(result).collect(),
        }
    }

    #[test]
    fn only_what_did_well_before_is_worse_now() {
        type Case = (&'static str, Health, Health, &'static [&'static str], &'static [&'static str]);
        let cases: &[Case] = &[
            ("nothing", health(&[], &[22], &[("a", None)]), health(&[], &[22], &[("a", None)]), &[], &[]),
            (
                "a unit failed since",
                health(&[], &[], &[]),
                health(&["nginx.service"], &[], &[]),
                &["nginx.service failed, and had not before"],
                &[],
            ),
            (
                "a unit had failed",
                health(&["old.service"], &[], &[]),
                health(&["old.service"], &[], &[]),
                &[],
                &["old.service had failed before already"],
            ),
            ("a unit was mended", health(&["old.service"], &[], &[]), health(&[], &[], &[]), &[], &[]),
            (
                "a check fails since",
                health(&[], &[], &[("web", None)]),
                health(&[], &[], &[("web", Some("answers 500"))]),
                &["the check `web` fails, and passed before: answers 500"],
                &[],
            ),
            (
                "a check had failed",
                health(&[], &[], &[("web", Some("answers 503"))]),
                health(&[], &[], &[("web", Some("answers 500"))]),
                &[],
                &["the check `web` failed before already: answers 500"],
            ),
            (
                "a check passes since",
                health(&[], &[], &[("web", Some("answers 503"))]),
                health(&[], &[], &[("web", None)]),
                &[],
                &[],
            ),
            (
                "ports come and go",
                health(&[], &[22, 80], &[]),
                health(&[], &[22, 443], &[]),
                &[],
                &["no longer listening: tcp 0.0.0.0:80", "newly listening: tcp 0.0.0.0:443"],
            ),
        ];
        for (name, before, now, worse, remarks) in cases {
            let found = compare(before, now);
            assert_eq!((&found.worse[..], &found.remarks[..]), (&strings(worse)[..], &strings(remarks)[..]), "{name}");
        }
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_can_not_be_told_is_said_and_is_no_failure() {
        let unknown = Health::default();
        let known = health(&["x.service"], &[80], &[]);
        for (before, now) in [(&unknown, &known), (&known, &unknown), (&unknown, &unknown)] {
            let found = compare(before, now);
            assert_eq!(found.worse, [] as [&str; 0]);
            assert_eq!(found.remarks.len(), 2, "{found:?}");
        }
    }

    #[test]
    fn a_crowd_of_ports_is_counted() {
        let many: Vec<u16> = (1000..1050).collect();
        let found = compare(&health(&[], &many, &[]), &health(&[], &[], &[]));
        assert_eq!(found.remarks.len(), 1);
        assert!(found.remarks[0].ends_with("and 30 more"), "{found:?}");
    }
}
