//! Progress on a terminal: a line for each active host and a summary line, redrawn in place.
//!
//! The engine's thread only changes a small model; a thread of its own draws it, at most ten times a second and once a
//! second where nothing happens (the clocks of the lines go on). So a terminal that is stopped stops nothing but itself.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Progress;
use super::narrator::{Line, Narrator, Weight, doing};
use super::plain::toned;
use crate::engine::observer::{Observer, Seen};
use crate::ids::HostId;
use crate::machine::host::{HostPhase, HostResult, HostState};
use crate::observe::log::Redactor;
use crate::observe::sanitize::clean;
use crate::observe::style::Paint;
use crate::observe::words::{count, list, some};
use crate::time::Timestamp;

/// Hosts with a line of their own; the summary counts the others. With the summary it fits a terminal of 24 lines.
const MAX_LINES: usize = 20;
/// Lines that wait to be printed above the bars: they are drawn ten times a second, so this is far more than comes.
const MAX_WAITING: usize = 2_000;
/// The least time between two drawings.
const FRAME: Duration = Duration::from_millis(100);
/// The clocks of the lines show whole seconds.
const TICK: Duration = Duration::from_secs(1);

/// Draws a line for each active host and a summary line.
#[derive(Debug)]
pub struct Bars {
    shared: Arc<Mutex<Model>>,
    wake: Mutex<Option<SyncSender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What is to be drawn.
#[derive(Debug)]
struct Model {
    narrator: Narrator,
    keep: Weight,
    paint: Paint,
    redactor: Redactor,
    total: usize,
    draining: bool,
    /// Until when canaries are left alone.
    soaking: Option<Timestamp>,
    active: BTreeMap<HostId, String>,
    results: BTreeMap<HostId, HostResult>,
    above: VecDeque<String>,
}

impl Bars {
    /// Starts drawing. A verbose one prints every step above the bars, others only what matters when it scrolls away.
    ///
    /// # Errors
    /// Where the system gives no thread to draw from.
    pub fn start(target: ProgressDrawTarget, verbose: bool, paint: Paint, redactor: Redactor) -> io::Result<Self> {
        let model = Model {
            narrator: Narrator::new(verbose),
            keep: if verbose { Weight::Detail } else { Weight::Headline },
            paint,
            redactor,
            total: 0,
            draining: false,
            soaking: None,
            active: BTreeMap::new(),
            results: BTreeMap::new(),
            above: VecDeque::new(),
        };
        let shared = Arc::new(Mutex::new(model));
        let (wake, woken) = sync_channel(1);
        let canvas = Canvas::new(target, paint);
        let model = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("bars".to_owned()).spawn(move || draw(canvas, &model, &woken))?;
        Ok(Self { shared, wake: Mutex::new(Some(wake)), thread: Mutex::new(Some(thread)) })
    }
}

impl Observer for Bars {
    fn seen(&self, seen: &Seen<'_>) {
        lock(&self.shared).take(seen);
        if let Some(wake) = lock(&self.wake).as_ref() {
            // A full channel means that the thread will look anyway.
            let _already = wake.try_send(());
        }
    }
}

impl Progress for Bars {
    fn recall(&self, hosts: &mut dyn Iterator<Item = &HostState>) {
        let mut model = lock(&self.shared);
        for state in hosts.filter(|state| state.is_parked()) {
            model.host(state);
        }
    }

    fn finish(&self) {
        drop(lock(&self.wake).take());
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that draws the progress panicked");
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Locks, whatever happened to others that held it: a half-updated line of progress is no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Model {
    fn take(&mut self, seen: &Seen<'_>) {
        for line in self.narrator.tell(seen) {
            if line.weight >= self.keep {
                self.print(&line);
            }
        }
        match seen {
            Seen::RunBegan { hosts, .. } => self.total = hosts.len(),
            Seen::Host { state, .. } => self.host(state),
            Seen::Soaking { until } => self.soaking = Some(*until),
            Seen::CanariesHeld => self.soaking = None,
            Seen::Halted { .. } | Seen::Draining => self.draining = true,
            Seen::RunEnded(_) => self.active.clear(),
        }
    }

    fn print(&mut self, line: &Line) {
        let host = line.host.as_deref().map_or_else(String::new, |host| format!("{}: ", self.paint.strong(host)));
        if self.above.len() == MAX_WAITING {
            self.above.pop_front();
        }
        let text = self.redactor.redact(&line.text);
        self.above.push_back(format!("{host}{}", toned(&text, line.tone, self.paint)));
    }

    fn host(&mut self, state: &HostState) {
        let host = state.host();
        if state.is_parked() {
            self.active.remove(host);
        } else {
            self.active.insert(host.clone(), doing(state));
        }
        match (&state.phase, state.result()) {
            (HostPhase::Done(_), result) | (_, result @ HostResult::Held) => {
                self.results.insert(host.clone(), result);
            }
            _ => {
                self.results.remove(host);
            }
        }
    }

    fn summary(&self) -> String {
        let of = |wanted: &[HostResult]| self.results.values().filter(|result| wanted.contains(result)).count();
        let hidden = self.active.len().saturating_sub(MAX_LINES);
        let text = list([
            format!("{} of {} done", of(&DONE), count(self.total, "host")),
            some(of(&[HostResult::Failed]), "failed"),
            some(of(&[HostResult::Blocked]), "blocked"),
            some(of(&[HostResult::Held]), "held"),
            format!("{} at work", self.active.len()),
            some(hidden, "of them not shown"),
        ]);
        match (self.draining, self.soaking) {
            (true, _) => format!("{text}; stopping"),
            (false, Some(until)) => format!("{text}; canaries soak until {until}"),
            (false, None) => text,
        }
    }
}

/// Results of hosts that are over.
const DONE: [HostResult; 5] =
    [HostResult::NothingToDo, HostResult::Succeeded, HostResult::Skipped, HostResult::Blocked, HostResult::Failed];

/// Where it is drawn.
struct Canvas {
    bars: MultiProgress,
    summary: ProgressBar,
    lines: BTreeMap<HostId, ProgressBar>,
    style: ProgressStyle,
    paint: Paint,
}

impl Canvas {
    fn new(target: ProgressDrawTarget, paint: Paint) -> Self {
        let bars = MultiProgress::with_draw_target(target);
        let style = |template| {
            // The templates are constants below, and a test draws with both.
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
        };
        let summary = bars.add(ProgressBar::new_spinner().with_style(style(SUMMARY)));
        Self { bars, summary, lines: BTreeMap::new(), style: style(LINE), paint }
    }

    /// Makes the screen show the model.
    fn show(&mut self, active: &BTreeMap<HostId, String>, summary: String, above: Vec<String>) {
        if !above.is_empty() {
            // A terminal that can't be written to shows nothing; the run does not depend on it.
            let _written = self.bars.println(above.join("\n"));
        }
        self.lines.retain(|host, bar| {
            let keep = active.contains_key(host);
            if !keep {
                bar.finish_and_clear();
                self.bars.remove(bar);
            }
            keep
        });
        for (host, text) in active {
            if !self.lines.contains_key(host) {
                if self.lines.len() >= MAX_LINES {
                    continue;
                }
                let bar = self.bars.insert_before(&self.summary, ProgressBar::new_spinner());
                bar.set_style(self.style.clone());
                bar.set_prefix(self.paint.strong(&clean(host.as_str())));
                self.lines.insert(host.clone(), bar);
            }
            if let Some(bar) = self.lines.get(host) {
                bar.set_message(text.clone());
                bar.tick();
            }
        }
        self.summary.set_message(summary);
        self.summary.tick();
    }

    fn clear(&mut self) {
        for bar in self.lines.values() {
            bar.finish_and_clear();
        }
        self.summary.finish_and_clear();
    }
}

const LINE: &str = "  {prefix}  {wide_msg} {elapsed_precise}";
const SUMMARY: &str = "{wide_msg} {elapsed_precise}";

/// Draws until the bars are finished.
fn draw(mut canvas: Canvas, model: &Mutex<Model>, woken: &Receiver<()>) {
    let mut drawn: Option<Instant> = None;
    loop {
        let ended = matches!(woken.recv_timeout(TICK), Err(RecvTimeoutError::Disconnected));
        // Waits out the frame, unless the end comes first.
        if let Some(left) = drawn.and_then(|drawn| FRAME.checked_sub(drawn.elapsed()))
            && !ended
        {
            let _next = woken.recv_timeout(left);
        }
        let (active, summary, above) = {
            let mut model = lock(model);
            (model.active.clone(), model.summary(), model.above.drain(..).collect::<Vec<_>>())
        };
        canvas.show(&active, summary, above);
        drawn = Some(Instant::now());
        if ended {
            return canvas.clear();
        }
    }
}
