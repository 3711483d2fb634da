//! What the command line says of a run's work (`--guest`, `--guests-only`, `--hosts-only`, `--reboot`), how that comes into
//! the policy, and what comes of selectors that no guest matches.

use crate::choices::{HostReboot, Scope, Selector, Traits, selects};
use crate::cli::exit_code::Exit;
use crate::ids::HostId;
use crate::machine::host::HostState;
use crate::plan::{HostPlan, HostPolicy, RunPolicy};

/// What the command line says; `None` for what it leaves to the manifest, or to the run that goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aim {
    /// Which part of the work the run is about, and which guests: these belong together, so that `--guests-only` on a run
    /// that was about one guest is about all of them.
    pub work: Option<(Scope, Vec<Selector>)>,
    /// Whether nodes are rebooted.
    pub reboot: Option<HostReboot>,
}

impl Aim {
    /// Makes the policy of a new run.
    pub fn begin(&self, mut present: RunPolicy) -> RunPolicy {
        present.hosts.iter_mut().for_each(|policy| self.put_over(policy));
        present
    }

    /// Makes the policy that a run would have that goes on: what the command line does not say is as the run was begun, for
    /// hosts that join it as well. `begun` are the policies of the run's hosts.
    pub fn go_on(&self, mut present: RunPolicy, begun: &[HostPolicy]) -> RunPolicy {
        for policy in &mut present.hosts {
            // All hosts of a run were begun alike, unless some were planned anew by themselves.
            if let Some(old) = begun.iter().find(|old| old.host == policy.host).or_else(|| begun.first()) {
                Self::of(old).put_over(policy);
            }
            self.put_over(policy);
        }
        present
    }

    /// Returns what the command line said when a run was begun.
    fn of(policy: &HostPolicy) -> Self {
        Self { work: Some((policy.scope, policy.only.clone())), reboot: policy.reboot_asked.then_some(policy.reboot) }
    }

    fn put_over(&self, policy: &mut HostPolicy) {
        if let Some((scope, only)) = &self.work {
            policy.scope = *scope;
            policy.only.clone_from(only);
        }
        if let Some(reboot) = self.reboot {
            (policy.reboot, policy.reboot_asked) = (reboot, true);
        }
    }

    /// Says what a run that goes on is about, where it is not all and this command line did not say so again.
    pub fn inherited(&self, begun: &[HostPolicy]) -> Option<String> {
        let first = begun.first()?;
        let mut words = Vec::new();
        if self.work.is_none() {
            match (first.scope, first.only.as_slice()) {
                (Scope::All, []) => {}
                (scope, []) => words.push(format!("--{scope}")),
                (_, only) => words.extend(only.iter().map(|selector| format!("--guest {selector}"))),
            }
        }
        if self.reboot.is_none() && first.reboot_asked {
            words.push(format!("--reboot {}", first.reboot));
        }
        (!words.is_empty()).then(|| words.join(" "))
    }
}

/// What `--guest` came to over all hosts of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Selected {
    /// Every selector matches a guest, or none was given.
    All,
    /// These match none.
    Some(Vec<Selector>),
    /// No guest of any host is selected.
    Nothing(Vec<Selector>),
}

impl Selected {
    /// Looks at what was planned, host by host.
    pub fn by_plans<'a>(only: &[Selector], plans: impl IntoIterator<Item = &'a HostPlan>) -> Self {
        Self::of(only, plans.into_iter().flat_map(|plan| &plan.guests).map(crate::plan::GuestPlan::traits))
    }

    /// Looks at the hosts of a run that is over.
    pub fn by_states<'a>(states: impl IntoIterator<Item = &'a HostState>) -> Self {
        let states: Vec<&HostState> = states.into_iter().collect();
        let only = states.first().map_or(&[][..], |state| state.policy.only.as_slice());
        Self::of(only, states.iter().flat_map(|state| state.guests.values()).map(|guest| guest.plan.traits()))
    }

    fn of<'a>(only: &[Selector], guests: impl Iterator<Item = Traits<'a>>) -> Self {
        let (mut idle, mut hit): (Vec<&Selector>, bool) = (only.iter().collect(), only.is_empty());
        for guest in guests {
            idle.retain(|selector| matches!(selector, Selector::Not(_)) || !selector.matches(&guest));
            hit = hit || selects(only, &guest);
        }
        idle.retain(|selector| !matches!(selector, Selector::Not(_)));
        match (hit, idle.is_empty()) {
            (false, _) => Self::Nothing(only.to_vec()),
            (true, false) => Self::Some(idle.into_iter().cloned().collect()),
            (true, true) => Self::All,
        }
    }

    /// Returns how a command ends that would have ended like this: where no guest is selected, nothing was done, and that
    /// was hardly meant.
    pub fn exit(&self, otherwise: Exit) -> Exit {
        match (self, otherwise) {
            (Self::Nothing(_), Exit::Clean) => Exit::Usage,
            (_, otherwise) => otherwise,
        }
    }

    /// Says what is odd about it. `unseen` are hosts that were not looked at: a guest may be there.
    pub fn warning(&self, unseen: &[&HostId]) -> Option<String> {
        let (what, selectors) = match self {
            Self::All => return None,
            Self::Some(idle) => ("matches no guest of any host", idle),
            Self::Nothing(only) => ("selects no guest of any host", only),
        };
        let named: Vec<String> = selectors.iter().map(|selector| format!("--guest {selector}")).collect();
        let unseen = match unseen {
            [] => String::new(),
            [one] => format!(" ({one} was not looked at)"),
            [one, others @ ..] => format!(" ({one} and {} more hosts were not looked at)", others.len()),
        };
        Some(format!("{} {what}{unseen}", named.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GuestId, GuestKind};

    fn policy(host: &str) -> HostPolicy {
        HostPolicy::new(HostId::new(host))
    }

    fn run(hosts: &[&str]) -> RunPolicy {
        RunPolicy {
            parallel_hosts: 1,
            rollout: Default::default(),
            hosts: hosts.iter().map(|host| policy(host)).collect(),
        }
    }

    fn guests(selectors: &[&str]) -> Aim {
        let only = selectors.iter().map(|text| text.parse().unwrap()).collect();
        Aim { work: Some((Scope::GuestsOnly, only)), reboot: None }
    }

    #[test]
    fn what_is_not_said_is_as_the_run_was_begun() {
        let begun = guests(&["101"]).begin(run(&["a", "b"])).hosts;
        // Of a host that joins the run too.
        let on = Aim::default().go_on(run(&["b", "c"]), &begun);
        assert!(on.hosts.iter().all(|policy| policy.only == begun[0].only && policy.scope == Scope::GuestsOnly));
        assert_eq!(Aim::default().inherited(&begun).as_deref(), Some("--guest 101"));
        assert_eq!(guests(&["101"]).inherited(&begun), None);
        assert_eq!(on.hosts[0], begun[1], "nothing differs");
    }

    #[test]
    fn what_is_said_goes_before_what_the_run_was_begun_with() {
        let begun = guests(&["101"]).begin(run(&["a"])).hosts;
        let on = guests(&[]).go_on(run(&["a"]), &begun);
        assert_eq!(on.hosts[0].only, []);
        assert!(!begun[0].differences(&on.hosts[0]).is_empty());
    }

    #[test]
    fn a_reboot_that_was_asked_for_holds_for_the_run_and_one_of_the_manifest_is_looked_up_anew() {
        let asked = Aim { work: None, reboot: Some(HostReboot::Always) };
        let begun = asked.begin(run(&["a"])).hosts;
        assert_eq!(Aim::default().go_on(run(&["a"]), &begun).hosts, begun);
        assert_eq!(Aim::default().inherited(&begun).as_deref(), Some("--reboot always"));
        let by_manifest = vec![HostPolicy { reboot: HostReboot::IfNeeded, ..policy("a") }];
        let on = Aim::default().go_on(run(&["a"]), &by_manifest);
        assert_eq!(on.hosts[0].reboot, HostReboot::Never, "the manifest's present word");
        assert_eq!(Aim::default().inherited(&by_manifest), None);
    }

    #[test]
    fn selectors_that_match_nothing_are_named() {
        let found = |only: &[&str]| {
            let only: Vec<Selector> = only.iter().map(|text| text.parse().unwrap()).collect();
            let guest = |id| Traits { id: GuestId(id), kind: GuestKind::Ct, name: "web", tags: &[], pool: None };
            Selected::of(&only, [guest(101), guest(102)].into_iter())
        };
        assert_eq!(found(&[]), Selected::All);
        assert_eq!(found(&["101"]), Selected::All);
        assert_eq!(found(&["!101"]), Selected::All);
        assert_eq!(found(&["web", "!102"]), Selected::All);
        let some = found(&["101", "999"]);
        assert_eq!(some.warning(&[]).as_deref(), Some("--guest 999 matches no guest of any host"));
        let nothing = found(&["101", "!101"]);
        assert_eq!(nothing.warning(&[]).as_deref(), Some("--guest 101 --guest !101 selects no guest of any host"));
        let unseen = HostId::new("pve2");
        assert!(found(&["999"]).warning(&[&unseen]).is_some_and(|text| text.ends_with("(pve2 was not looked at)")));
    }
}
