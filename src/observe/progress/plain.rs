//! Progress as lines with times: for logs of cron and CI jobs, and for terminals that can't move their cursor.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use super::Progress;
use super::narrator::{Line, Narrator, Tone};
use crate::engine::observer::{Observer, Seen};
use crate::engine::port::Clock;
use crate::machine::host::HostState;
use crate::observe::sink::LineSink;
use crate::observe::style::Paint;
use crate::time::Timestamp;

/// Writes a line for each thing that happens.
pub struct Plain {
    narrator: Mutex<Narrator>,
    sink: LineSink,
    paint: Paint,
    clock: Arc<dyn Clock>,
}

impl Plain {
    /// Starts writing to `out`. The clock times what carries no time of its own.
    ///
    /// # Errors
    /// Where the system gives no thread to write from.
    pub fn start(
        out: impl Write + Send + 'static,
        verbose: bool,
        paint: Paint,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let sink = LineSink::start(out, |lost| format!("({lost} lines left out: they were not read fast enough)"))?;
        Ok(Self { narrator: Mutex::new(Narrator::new(verbose)), sink, paint, clock })
    }
}

impl Observer for Plain {
    fn seen(&self, seen: &Seen<'_>) {
        let at = match seen {
            Seen::Host { at, .. } => *at,
            Seen::RunBegan { .. }
            | Seen::Soaking { .. }
            | Seen::CanariesHeld
            | Seen::Halted { .. }
            | Seen::Draining
            | Seen::RunEnded(_) => self.clock.now(),
        };
        // A narrator that panicked once still tells what it can.
        let mut narrator = self.narrator.lock().unwrap_or_else(PoisonError::into_inner);
        for line in narrator.tell(seen) {
            self.sink.line(render(at, &line, self.paint));
        }
    }
}

impl Progress for Plain {
    /// Lines count nothing.
    fn recall(&self, _hosts: &mut dyn Iterator<Item = &HostState>) {}

    fn finish(&self) {
        self.sink.finish();
    }
}

fn render(at: Timestamp, line: &Line, paint: Paint) -> String {
    let host = line.host.as_deref().map_or_else(String::new, |host| format!("{}: ", paint.strong(host)));
    format!("{} {host}{}", paint.faint(&at.to_string()), toned(&line.text, line.tone, paint))
}

/// Paints a line's text by its tone.
pub fn toned(text: &str, tone: Tone, paint: Paint) -> String {
    match tone {
        Tone::Plain => text.to_owned(),
        Tone::Good => paint.good(text),
        Tone::Bad => paint.bad(text),
        Tone::Warn => paint.warn(text),
    }
}
