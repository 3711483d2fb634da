//! `run --plan FILE`: whether the plan may be followed here and now, and which hosts it is about.

use std::path::Path;
use std::time::Duration;

use super::preview::{Planned, Preview};
use crate::cli::args::RunArgs;
use crate::cli::diagnostics::Failure;
use crate::cli::exit_code::Exit;
use crate::cli::plan::{SavedPlan, failure};
use crate::ids::HostId;
use crate::journal::replay::RunHistory;
use crate::manifest::{HostEntry, Manifest};
use crate::observe::sanitize::clean;
use crate::plan::RunPolicy;
use crate::time::Timestamp;

/// A plan older than this is remarked upon: it is still followed, since drift is found host by host.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// A saved plan that a run follows.
pub(super) struct ByPlan {
    plan: SavedPlan,
    /// The hosts that are meant, in the plan's order.
    hosts: Vec<HostId>,
}

impl ByPlan {
    /// Reads the plan that the command line names, if it names one, and tells what is odd about it.
    ///
    /// # Errors
    /// A file that is no plan, is damaged or too new; a plan of another manifest, or for hosts that it does not have.
    pub(super) fn of(args: &RunArgs, manifest: &Manifest, now: Timestamp) -> Result<Option<Self>, Failure> {
        let Some(path) = &args.plan else { return Ok(None) };
        let plan = SavedPlan::read(path).map_err(failure)?;
        if Path::new(&plan.manifest) != manifest.path {
            let text = format!(
                "{} is a plan of another manifest: {}, not {}",
                path.display(),
                plan.manifest,
                manifest.path.display()
            );
            return Err(
                Failure::new(Exit::Usage, text).hint("name that one with `--config`, or make a plan of this one")
            );
        }
        let hosts = meant(&plan, &args.hosts)?;
        let age = now.since(plan.made);
        if age > OLD {
            tell!("warning: the plan is {} old", humantime::format_duration(Duration::from_secs(age.as_secs())));
        }
        for left_out in &plan.not_planned {
            if args.hosts.is_empty() || args.hosts.iter().any(|name| name == left_out.host.as_str()) {
                let (host, why) = (clean(left_out.host.as_str()), clean(&left_out.why));
                tell!("{host}: left out, since it could not be planned for: {why}");
            }
        }
        Ok(Some(Self { plan, hosts }))
    }

    /// Returns the manifest's entries of its hosts, without those that may only be planned for.
    ///
    /// # Errors
    /// A host that the manifest does not have any more; a plan of which nothing is left.
    pub(super) fn entries<'a>(&self, manifest: &'a Manifest) -> Result<Vec<&'a HostEntry>, Failure> {
        let mut entries = Vec::new();
        for host in &self.hosts {
            let Some(entry) = manifest.host(host) else {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{host} is planned for, and the manifest has it no more"),
                )
                .hint("`--host` narrows a plan to the hosts that it names"));
            };
            match entry.dry_run {
                true => tell!("{host}: left out, since the manifest says dry_run = true"),
                false => entries.push(entry),
            }
        }
        match entries.is_empty() {
            true => Err(Failure::new(Exit::Usage, "the plan has no host that can be worked on")),
            false => Ok(entries),
        }
    }

    /// Returns the policy of a run that follows it on these hosts.
    pub(super) fn policy(&self, worked: &[&HostEntry], parallel_hosts: u32) -> RunPolicy {
        let hosts: Vec<&HostId> = worked.iter().map(|entry| &entry.id).collect();
        self.plan.policy_of(&hosts, parallel_hosts)
    }

    /// Makes sure that a run that is unfinished, and would go on, follows this very plan.
    ///
    /// # Errors
    /// It is another run.
    pub(super) fn may_go_on(&self, history: &RunHistory) -> Result<(), Failure> {
        let planned = |host: &HostId| self.plan.hosts.iter().find(|saved| saved.host == *host).map(|saved| &saved.plan);
        let same = |(host, saved): (&HostId, Option<&crate::plan::HostPlan>)| saved.is_some() && saved == planned(host);
        if history.hosts.iter().all(|state| same((state.host(), state.policy.saved.as_deref()))) {
            return Ok(());
        }
        Err(Failure::new(Exit::Usage, format!("run {} is unfinished, and does not follow this plan", history.id))
            .hint("`proxmaint run` goes on with it")
            .hint("`--fresh` closes it and begins a run by the plan"))
    }

    /// Returns the plan as it is shown before the operator is asked.
    pub(super) fn preview(&self, worked: &RunPolicy) -> Preview {
        let shown = self.plan.hosts.iter().filter(|saved| worked.hosts.iter().any(|policy| policy.host == saved.host));
        let planned = |saved: &crate::cli::plan::SavedHost| {
            (saved.host.clone(), Ok(Planned { plan: saved.plan.clone(), facts: saved.facts.clone() }))
        };
        Preview::of(shown.map(planned).collect(), worked)
    }
}

/// Returns the hosts of a plan that are meant: all, or those that are named.
fn meant(plan: &SavedPlan, named: &[String]) -> Result<Vec<HostId>, Failure> {
    let known = || plan.hosts.iter().map(|saved| &saved.host).chain(plan.not_planned.iter().map(|left| &left.host));
    if let Some(name) = named.iter().find(|name| !known().any(|host| host.as_str() == name.as_str())) {
        let hint = format!("the plan has: {}", known().map(HostId::as_str).collect::<Vec<_>>().join(", "));
        return Err(Failure::new(Exit::Usage, format!("the plan has no host {name}")).hint(hint));
    }
    let meant = |host: &&HostId| named.is_empty() || named.iter().any(|name| name == host.as_str());
    Ok(plan.hosts.iter().map(|saved| &saved.host).filter(meant).cloned().collect())
}

/// Tells whether a run follows a saved plan.
pub(super) fn follows(history: &RunHistory) -> bool {
    history.hosts.iter().any(|state| state.policy.saved.is_some())
}
