//! Carries a run out: what earlier runs left to be settled, the work itself, and the report at the end.

use std::io;
use std::path::Path;

use super::aim::Selected;
use super::{Decided, interrupted_before_anything, journal_failure, unless_interrupted};
use crate::adapters::clock::SystemClock;
use crate::cli::args::RunArgs;
use crate::cli::debts::{self, Debts};
use crate::cli::diagnostics::Failure;
use crate::cli::exit_code::Exit;
use crate::cli::session::{Watchers, Workshop};
use crate::cli::state::{self, Adoption};
use crate::engine::driver::Session;
use crate::engine::observer::RunEnd;
use crate::engine::port::Clock;
use crate::ids::{HostId, RunId};
use crate::machine::run::RunState;
use crate::observe::grid;
use crate::observe::log::{Log, Redactor};
use crate::observe::report;
use crate::observe::style::Paint;
use crate::observe::view::{Ask, Detail, RunView, Standing};
use crate::plan::RunPolicy;

/// What a session works with.
pub(super) struct Work<'a> {
    pub(super) run: RunId,
    pub(super) shop: Workshop<'a>,
    pub(super) redactor: &'a Redactor,
    pub(super) args: &'a RunArgs,
    /// Whether `--guest` names a guest of a host that is only planned for.
    pub(super) selected_elsewhere: bool,
    pub(super) manifest: &'a Path,
}

impl Work<'_> {
    /// Does what was decided.
    pub(super) async fn carry_out(self, decided: Decided, present: &RunPolicy) -> Result<Exit, Failure> {
        let watchers = Watchers::start(self.args.output, self.args.verbose, self.redactor)?;
        let _log = Log::open(self.shop.dir.root(), &self.run, self.redactor, watchers.console())
            .map_err(|error| Failure::new(Exit::Config, error))?;
        let mut owed = Vec::new();
        for leftover in decided.first {
            match unless_interrupted(debts::settle(&self.shop, leftover)).await {
                Some(settled) => owed.push(settled?),
                None => return Ok(interrupted_before_anything()),
            }
        }
        let journal = &self.shop.journal;
        let (run, session) = match decided.goes_on {
            Some(mut history) => {
                let adoption = Adoption { present, replan: decided.replan, removed: &decided.removed };
                let now = SystemClock.now();
                state::adopt(journal, &mut history, adoption, now).await.map_err(journal_failure)?;
                history.policy.parallel_hosts = self.args.parallel_hosts;
                history.policy.rollout.partial = present.rollout.partial;
                if present.rollout.max_failures_asked {
                    history.policy.rollout.max_failures = present.rollout.max_failures;
                }
                Debts::of(&history.id, &history.hosts).say("owed from before, and seen to first");
                (history.into_state(), Session::Again)
            }
            None => {
                let now = SystemClock.now();
                state::open_run(journal, &self.run, present, self.manifest, now).await.map_err(journal_failure)?;
                (RunState::open(self.run.clone(), present, now), Session::First)
            }
        };
        let ended = self.shop.work(run, session, &watchers).await?;
        let exit = match ended {
            Some((run, end)) => self.report(&run, end, &watchers),
            None => {
                tell!("stopped at once; the journal is intact. `proxmaint run` goes on from there");
                Exit::Interrupted
            }
        };
        // What earlier runs are still owed is not this run's result, and is not to be forgotten for that.
        owed.iter().for_each(Debts::remind);
        Ok(exit)
    }

    fn report(&self, run: &RunState, end: RunEnd, watchers: &Watchers) -> Exit {
        let selected = match self.selected_elsewhere {
            true => Selected::All,
            false => Selected::by_states(run.hosts()),
        };
        let exit = selected.exit(Exit::of_run(end));
        let standing = if run.is_finished() { Standing::Finished } else { Standing::Interrupted };
        let view = RunView::of_run(run, standing, SystemClock.now(), &Ask { detail: Detail::Full, host: None });
        match &watchers.json {
            Some(json) => json.finish(&view, end, exit.code()),
            None => {
                let paint = Paint::for_stream(&io::stdout());
                let width = grid::width_of(&io::stdout());
                let text = report::text(&view, width, paint);
                // A closed stdout is no reason to lose the exit code.
                let _written = io::Write::write_all(&mut io::stdout().lock(), text.as_bytes());
            }
        }
        let unseen: Vec<&HostId> =
            run.hosts().filter(|state| state.identity.is_none()).map(|state| state.host()).collect();
        if let Some(warning) = selected.warning(&unseen).filter(|_| run.is_finished()) {
            tell!("warning: {warning}");
        }
        if end.interrupted {
            tell!("interrupted; nothing is lost. To go on: proxmaint run");
        }
        exit
    }
}
