//! `proxmaint plan`: shows what a run would do, and saves it to be done exactly so.

mod file;

use super::args::{Places, PlanArgs};
use super::diagnostics::Failure;
use super::exit_code::Exit;
use super::policy::{Selection, rollout_policy, run_policy};
use super::reach::{runtime, ways};
use super::run::preview::{self, Preview};
use super::run::{interrupted_before_anything, known_things, no_such_host, unless_interrupted};
use crate::adapters::clock::SystemClock;
use crate::engine::port::Clock;
use crate::manifest::Manifest;
use crate::observe::log::Redactor;
use crate::plan::RunPolicy;

use file::{NotPlanned, PlanFileError, Target};
pub(super) use file::{SavedHost, SavedPlan};

/// Runs `proxmaint plan`.
///
/// # Errors
/// Whatever keeps it from looking, or from saving what it found. What is wrong on hosts is no error but the exit code
/// returned.
pub fn plan(places: &Places, args: &PlanArgs, redactor: &Redactor) -> Result<Exit, Failure> {
    let manifest = match super::load_manifest(&places.config) {
        Ok(manifest) => manifest,
        Err(exit) => return Ok(exit),
    };
    let selection = Selection { hosts: args.hosts.clone(), max_hosts: None };
    let selected = selection.of(&manifest).map_err(no_such_host)?;
    let target = args.out.as_deref().map(Target::new).transpose().map_err(failure)?;
    let hosts = ways(&manifest, &selected, places, redactor)?;
    let mut policy = args.work.aim().begin(run_policy(selected.iter().copied(), 1));
    let partial = selection.is_partial() || !args.work.guests.is_empty();
    policy.rollout = rollout_policy(&manifest, None, partial);
    let known = known_things(places, &manifest, &policy)?;
    known.hold_back(&mut policy);
    let old = known.old;
    let look = preview::look(hosts, &policy, &old, args.refresh);
    let Some(preview) = runtime()?.block_on(unless_interrupted(look)) else {
        return Ok(interrupted_before_anything());
    };
    let exit = preview.judge_selection(preview.print(args.output, args.verbose, &SystemClock));
    if let (Some(target), Some(path)) = (target, &args.out) {
        target.save(&saved(preview, policy, &manifest), redactor).map_err(failure)?;
        tell!("saved; to do this and nothing else: proxmaint run --plan {}", path.display());
    }
    Ok(exit)
}

fn saved(preview: Preview, policy: RunPolicy, manifest: &Manifest) -> SavedPlan {
    let (mut hosts, mut not_planned) = (Vec::new(), Vec::new());
    for (host, planned) in preview.hosts {
        match planned {
            Ok(planned) => hosts.push(SavedHost { host, plan: planned.plan, facts: planned.facts }),
            Err(fault) => not_planned.push(NotPlanned { host, why: fault.what }),
        }
    }
    SavedPlan {
        made: SystemClock.now(),
        proxmaint: env!("CARGO_PKG_VERSION").to_owned(),
        manifest: manifest.path.to_string_lossy().into_owned(),
        policy,
        hosts,
        not_planned,
    }
}

/// Makes a failure of a plan that can't be saved or read.
pub(super) fn failure(error: PlanFileError) -> Failure {
    let exit = match &error {
        PlanFileError::Unwritable(_) => Exit::Bug,
        PlanFileError::Secret => Exit::Config,
        _ => Exit::Usage,
    };
    let hint = error.hint();
    Failure::new(exit, error).hint(hint)
}
