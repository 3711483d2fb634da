//! Looks at hosts without changing anything, not even package lists, and shows what would be done.

use std::io::{self, Write};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::aim::Selected;
use crate::adapters::clock::SystemClock;
use crate::choices::Selector;
use crate::cli::args::Output;
use crate::cli::diagnostics::Failure;
use crate::cli::exit_code::Exit;
use crate::engine::limits::Limits;
use crate::engine::perform::{Context, discover};
use crate::engine::port::{Clock, Hosts};
use crate::ids::HostId;
use crate::inventory::HostFacts;
use crate::machine::fleet::Fleet;
use crate::machine::outcome::Fault;
use crate::observe::plan_view::{self, Looked, PlanTotals};
use crate::observe::style::Paint;
use crate::plan::{HostPlan, HostPolicy, OldThings, RolloutPolicy, RunPolicy, plan_host, prunable, prunable_backups};

/// How many hosts are looked at together: nothing is changed, so turns don't matter; what does is the load on this machine.
const LOOKERS: usize = 16;

/// What is to be done on a host, and the facts that this rests on.
pub(in crate::cli) struct Planned {
    pub(in crate::cli) plan: HostPlan,
    pub(in crate::cli) facts: HostFacts,
}

/// What would be done on each host, in the manifest's order, or why that can't be told.
pub(in crate::cli) struct Preview {
    pub(in crate::cli) hosts: Vec<(HostId, Result<Planned, Fault>)>,
    /// Which guests it is about (`--guest`).
    only: Vec<Selector>,
    /// Who goes first.
    rollout: RolloutPolicy,
}

/// Looks at all hosts of a policy; with `refresh` package lists are refreshed first.
pub(in crate::cli) async fn look(hosts: Arc<dyn Hosts>, policy: &RunPolicy, old: &OldThings, refresh: bool) -> Preview {
    let looked: Vec<Result<HostFacts, Fault>> =
        stream::iter(&policy.hosts).map(|policy| look_at(&*hosts, policy, refresh)).buffered(LOOKERS).collect().await;
    let mut fleet = Fleet::default();
    let plan = |(policy, facts): (&HostPolicy, Result<HostFacts, Fault>)| {
        let plan = facts.map(|facts| {
            let same_node = fleet.claim(&facts.ca, &facts.node, &policy.host);
            let prune = prunable(policy, &facts, old.snapshots(&policy.host, &facts.ca));
            let prune_backups = prunable_backups(policy, &facts, old.backups(&policy.host, &facts.ca));
            let plan = HostPlan { prune, prune_backups, ..plan_host(policy, &facts, same_node.as_ref()) };
            Planned { plan, facts }
        });
        (policy.host.clone(), plan)
    };
    Preview::of(policy.hosts.iter().zip(looked).map(plan).collect(), policy)
}

async fn look_at(hosts: &dyn Hosts, policy: &HostPolicy, refresh: bool) -> Result<HostFacts, Fault> {
    let ports = hosts.ports(&policy.host)?;
    let cx = Context::looking(ports, Arc::new(SystemClock), Limits::default(), policy, crate::cli::own_boot());
    discover(&cx, policy, refresh).await
}

impl Preview {
    /// Makes the preview of a policy from what was found.
    pub(in crate::cli) fn of(hosts: Vec<(HostId, Result<Planned, Fault>)>, policy: &RunPolicy) -> Self {
        let only = policy.hosts.first().map_or_else(Vec::new, |first| first.only.clone());
        Self { hosts, only, rollout: policy.rollout.clone() }
    }

    fn looked(&self) -> impl Iterator<Item = Looked<'_>> {
        self.hosts.iter().map(|(host, planned)| (host, planned.as_ref().map(|planned| &planned.plan)))
    }

    /// Prints the preview as the result of a dry run, and returns how that ends.
    pub(in crate::cli) fn print(&self, output: Output, verbose: bool, clock: &dyn Clock) -> Exit {
        match output {
            Output::Human => {
                let paint = Paint::for_stream(&io::stdout());
                write_out(&plan_view::text(self.looked(), clock.now(), verbose, paint));
                write_out(&plan_view::order_text(&self.rollout, self.looked()));
            }
            Output::Json => {
                let mut text = String::new();
                for looked in self.looked() {
                    text.push_str(&plan_view::json_line(looked, clock.now()));
                    text.push('\n');
                }
                if let Some(line) = plan_view::order_json(&self.rollout, self.looked()) {
                    text.push_str(&line);
                    text.push('\n');
                }
                text.push_str(&plan_view::json_end(&PlanTotals::of(self.looked())));
                text.push('\n');
                write_out(&text);
            }
        }
        self.exit()
    }

    /// Says what is odd about the selection, where nothing but this preview was asked for, and returns how it ends then.
    pub(in crate::cli) fn judge_selection(&self, otherwise: Exit) -> Exit {
        let selected = self.selected();
        if let Some(warning) = selected.warning(&self.unseen()) {
            tell!("warning: {warning}");
        }
        selected.exit(otherwise)
    }

    /// Tells whether a guest is among those that the command line names.
    pub(super) fn selects_any(&self) -> bool {
        !matches!(self.selected(), Selected::Nothing(_))
    }

    fn selected(&self) -> Selected {
        Selected::by_plans(&self.only, self.looked().filter_map(|(_, plan)| plan.ok()))
    }

    fn unseen(&self) -> Vec<&HostId> {
        self.hosts.iter().filter(|(_, plan)| plan.is_err()).map(|(host, _)| host).collect()
    }

    /// Ends a run before it begins that would do nothing, since no guest is selected.
    pub(super) fn refuse_nothing(&self) -> Result<(), Failure> {
        let (selected, unseen) = (self.selected(), self.unseen());
        match (&selected, selected.warning(&unseen)) {
            (Selected::Nothing(_), Some(why)) if unseen.is_empty() => Err(nothing_selected(why)),
            (_, Some(warning)) => {
                tell!("warning: {warning}");
                Ok(())
            }
            (_, None) => Ok(()),
        }
    }

    /// Prints the plan before the operator is asked about it.
    pub(super) fn print_plan(&self, verbose: bool, clock: &dyn Clock) {
        let paint = Paint::for_stream(&io::stderr());
        // A closed stderr is found out when the question is asked.
        let plan = plan_view::text(self.looked(), clock.now(), verbose, paint);
        let order = plan_view::order_text(&self.rollout, self.looked());
        let _written = write!(io::stderr().lock(), "{plan}{order}");
    }

    /// A host that can't be looked at, may not be touched, or has a guest that is blocked, is what a run would end with 3 for.
    fn exit(&self) -> Exit {
        let blocked = |plan: &HostPlan| {
            plan.refusal.is_some()
                || plan.guests.iter().any(|guest| matches!(guest.decision, crate::plan::Decision::Block(_)))
        };
        let bad = self.looked().any(|(_, plan)| plan.map_or(true, blocked));
        if bad { Exit::Failed } else { Exit::Clean }
    }
}

/// Makes the failure of a command whose selectors no guest matches.
pub(super) fn nothing_selected(why: String) -> Failure {
    Failure::new(Exit::Usage, why).hint("`proxmaint run --dry-run` lists the guests with their names and numbers")
}

fn write_out(text: &str) {
    // Whoever closed the pipe has read enough.
    let _written = io::stdout().lock().write_all(text.as_bytes());
}
