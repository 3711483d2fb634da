//! A queue of lines with a thread that writes them, so that a slow or broken reader never slows or stops a run.
//!
//! The queue is bounded. When a reader stalls for so long that it is full, lines are dropped and counted, and the count is
//! told as soon as there is room again. When the reader is gone (a broken pipe), the rest goes nowhere.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// How many lines may wait: at 300 bytes a line 5 MB, and some minutes of a busy fleet.
const QUEUE: usize = 16_384;

/// Writes lines in a thread of its own.
#[derive(Debug)]
pub struct LineSink {
    sender: Mutex<Option<SyncSender<String>>>,
    dropped: AtomicU64,
    lost: fn(u64) -> String,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LineSink {
    /// Starts a sink. `lost` words the line that tells how many lines had to be dropped.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(out: impl Write + Send + 'static, lost: fn(u64) -> String) -> std::io::Result<Self> {
        Self::with_queue(out, lost, QUEUE)
    }

    fn with_queue(out: impl Write + Send + 'static, lost: fn(u64) -> String, queue: usize) -> std::io::Result<Self> {
        let (sender, lines) = sync_channel(queue);
        let thread = std::thread::Builder::new().name("lines".to_owned()).spawn(move || write_all(out, &lines))?;
        Ok(Self {
            sender: Mutex::new(Some(sender)),
            dropped: AtomicU64::new(0),
            lost,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues one line, without its line break. Never waits for the reader.
    pub fn line(&self, line: String) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = sender.as_ref() else { return };
        let dropped = self.dropped.swap(0, Ordering::AcqRel);
        if dropped > 0 && sender.try_send((self.lost)(dropped)).is_err() {
            self.dropped.fetch_add(dropped, Ordering::AcqRel);
        }
        if let Err(TrySendError::Full(_)) = sender.try_send(line) {
            self.dropped.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Writes what waits and ends the thread. What is queued afterwards goes nowhere.
    pub fn finish(&self) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take();
        let dropped = self.dropped.swap(0, Ordering::AcqRel);
        if let Some(sender) = sender.filter(|_| dropped > 0) {
            // The run is over: here waiting for the reader costs nothing. A reader that is gone can't be told.
            let _gone = sender.send((self.lost)(dropped));
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the output panicked");
        }
    }
}

impl Drop for LineSink {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Writes lines until the sender is gone; after a failed write it only drains, so that the queue never fills.
fn write_all(mut out: impl Write, lines: &Receiver<String>) {
    let mut broken = false;
    while let Ok(line) = lines.recv() {
        if broken {
            continue;
        }
        let mut text = line;
        text.push('\n');
        for more in lines.try_iter().take(256) {
            text.push_str(&more);
            text.push('\n');
        }
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            tracing::warn!(%error, "the reader of the output is gone; the run goes on without it");
            broken = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Broken(Sender<()>);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0.send(()).unwrap();
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Lets nothing through until its gate is dropped.
    struct Gated(Receiver<()>, Shared);

    impl Write for Gated {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            let _closed = self.0.recv();
            self.1.write(buf)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_before_the_end() {
        let out = Shared::default();
        let sink = LineSink::start(out.clone(), |n| n.to_string()).unwrap();
        for n in 0..1000 {
            sink.line(n.to_string());
        }
        sink.finish();
        let expected: String = (0..1000).map(|n| format!("{n}\n")).collect();
        assert_eq!(String::from_utf8(out.0.lock().unwrap().clone()).unwrap(), expected);
    }

    #[test]
    fn a_broken_pipe_is_written_to_once() {
        let (tried, tries) = channel();
        let sink = LineSink::start(Broken(tried), |n| n.to_string()).unwrap();
        sink.line("a".to_owned());
        tries.recv().unwrap();
        for _ in 0..QUEUE * 2 {
            sink.line("b".to_owned());
        }
        sink.finish();
        assert_eq!(tries.try_iter().count(), 0);
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_is_told_how_many() {
        let (gate, closed) = channel();
        let out = Shared::default();
        let sink = LineSink::with_queue(Gated(closed, out.clone()), |n| format!("lost {n}"), 4).unwrap();
        for n in 0..100 {
            sink.line(n.to_string());
        }
        drop(gate);
        sink.finish();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let lost: usize =
            text.lines().filter_map(|l| l.strip_prefix("lost ")).map(|n| n.parse::<usize>().unwrap()).sum();
        assert_eq!(lost + text.lines().filter(|l| !l.starts_with("lost")).count(), 100, "{text}");
        assert!(lost > 0);
    }
}
