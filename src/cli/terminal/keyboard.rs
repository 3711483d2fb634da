//! The keyboard while a dialogue has it.
//!
//! The prompts (cliclack) can't tell Esc from Ctrl-C, and take the terminal out of its usual mode only while they wait for a
//! key: what is typed in between is echoed among their lines, and Ctrl-C in between kills the program with the cursor hidden. So
//! the real terminal is kept in raw mode from beginning to end, a thread reads it, and the prompts read from a second terminal,
//! an inner one, which stands in the place of standard input.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::stdio::dup2_stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::feed::Feed;
use super::keys::Cancel;

/// How long the rest of a key may take after its escape: beyond what a slow connection puts between bytes sent at once, below
/// what one notices after pressing Esc.
const ESCAPE_REST: Duration = Duration::from_millis(50);

/// How much is read at a time, in bytes: what Linux keeps of a line.
const CHUNK: usize = 4096;

/// Why nobody is there where the terminal was taken away.
const HUNG_UP: &str = "the terminal hung up";

/// The real terminal, held until this is dropped; then everything is as it was before.
///
/// While it is held, signals that would end the program (SIGHUP, SIGINT, SIGTERM) end the dialogue instead. After it they stay
/// without effect, so a program that drops it has nothing left to do that could take long.
pub(super) struct Keyboard {
    before: Termios,
    shared: Arc<Shared>,
    stop: CancellationToken,
    reader: Option<JoinHandle<()>>,
}

struct Shared {
    real: OwnedFd,
    /// Who reads the real terminal has this, so that nobody waits for what another has read.
    feed: Mutex<Feed<File>>,
    /// Something happened that may end work.
    news: Notify,
}

impl Shared {
    fn feed(&self) -> MutexGuard<'_, Feed<File>> {
        // Nothing in it is left half done by a panic.
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, why: &str) {
        self.feed().leave(why);
        self.news.notify_one();
    }

    fn set_modes(&self, modes: &Termios) -> io::Result<()> {
        Ok(tcsetattr(&self.real, OptionalActions::Now, modes)?)
    }

    /// Takes what was typed by now, a chunk at most.
    ///
    /// # Errors
    /// `WouldBlock` where nothing was; `UnexpectedEof` where the terminal is gone.
    fn take_typed(&self, feed: &mut Feed<File>) -> io::Result<()> {
        // The terminal stays a blocking one, since others share it (a shell among them): what is there is asked for first.
        if poll(&mut [PollFd::new(&self.real, PollFlags::IN)], Some(&Timespec::default()))? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut bytes = [0; CHUNK];
        match rustix::io::read(&self.real, &mut bytes) {
            // The second is how Linux says that a terminal has hung up.
            Ok(0) | Err(Errno::IO) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                feed.typed(&bytes[..length]);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Keyboard {
    /// Takes standard input, which is a terminal.
    ///
    /// # Errors
    /// There is no second terminal to be had, or the modes can't be set.
    pub(super) fn take() -> io::Result<Self> {
        let real = io::stdin().as_fd().try_clone_to_owned()?;
        let before = tcgetattr(&real)?;
        let (prompts, inner) = inner_terminal()?;
        let shared = Arc::new(Shared { real, feed: Mutex::new(Feed::new(prompts)), news: Notify::new() });
        let stop = CancellationToken::new();
        let raw = raw(&before);
        let reader = Reader::new(raw.clone(), Arc::clone(&shared), stop.clone())?;
        let mut this = Self { before, shared, stop, reader: None };
        // From here on dropping it puts everything back.
        this.shared.set_modes(&raw)?;
        dup2_stdin(&inner)?;
        this.reader = Some(std::thread::Builder::new().name("keyboard".to_owned()).spawn(move || reader.run())?);
        Ok(this)
    }

    /// Returns which key ended the question that was just left; `None` where none did.
    pub(super) fn take_cancel(&self) -> Option<Cancel> {
        self.shared.feed().take_cancel()
    }

    /// Types a text for the operator.
    pub(super) fn retype(&self, text: &str) {
        self.shared.feed().retype(text);
    }

    /// Returns why nobody is there any more, where that is so.
    pub(super) fn gone(&self) -> Option<String> {
        self.shared.feed().gone().map(str::to_owned)
    }

    /// From here on, until the result is dropped, Esc and Ctrl-C end work, and other keys are for nobody.
    pub(super) fn watch_work(&self) -> WorkWatch<'_> {
        let mut feed = self.shared.feed();
        // What was typed before is for the next question. A terminal that is gone the reader finds out about.
        let _nothing_left = self.shared.take_typed(&mut feed);
        feed.begin_work();
        WorkWatch(&self.shared)
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(reader) = self.reader.take() {
            // It has nothing to say, and a panic of its own was printed.
            let _ended = reader.join();
        }
        // A terminal that is gone needs nothing put back.
        let _restored = self.shared.set_modes(&self.before);
        let _put_back = dup2_stdin(&self.shared.real);
    }
}

/// Keys while there is work.
pub(super) struct WorkWatch<'a>(&'a Shared);

impl WorkWatch<'_> {
    /// Waits until a key or a signal ends the work.
    pub(super) async fn ended(&self) {
        loop {
            let news = self.0.news.notified();
            if self.is_ended() {
                return;
            }
            news.await;
        }
    }

    fn is_ended(&self) -> bool {
        let feed = self.0.feed();
        feed.work_is_ended() || feed.gone().is_some()
    }
}

impl Drop for WorkWatch<'_> {
    fn drop(&mut self) {
        let mut feed = self.0.feed();
        // All that was typed until now was typed during the work. A terminal that is gone the reader finds out about.
        let _nothing_left = self.0.take_typed(&mut feed);
        feed.end_work();
    }
}

/// Opens a terminal that only this program has: our end, and the one that prompts read from. Its line discipline does nothing.
fn inner_terminal() -> io::Result<(File, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(&name, flags, rustix::fs::Mode::empty())?;
    let mut modes = tcgetattr(&theirs)?;
    modes.make_raw();
    tcsetattr(&theirs, OptionalActions::Now, &modes)?;
    // Who types faster than prompts read must not stop the thread that hears Ctrl-C.
    fcntl_setfl(&ours, fcntl_getfl(&ours)? | OFlags::NONBLOCK)?;
    Ok((File::from(ours), theirs))
}

/// The modes under which each key arrives as it is and at once, with no echo and no signal. Output is as it was.
fn raw(before: &Termios) -> Termios {
    let mut raw = before.clone();
    raw.make_raw();
    raw.output_modes = before.output_modes;
    raw
}

/// Reads the real terminal, in a thread of its own, and hears signals.
struct Reader {
    runtime: tokio::runtime::Runtime,
    /// Tells when there is something to read.
    real: AsyncFd<OwnedFd>,
    raw: Termios,
    signals: [(Signals, &'static str); 3],
    /// Comes when a program that was stopped goes on: the shell has set the terminal's modes meanwhile.
    woken: Signals,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Reader {
    fn new(raw: Termios, shared: Arc<Shared>, stop: CancellationToken) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let real = watched(shared.real.try_clone()?)?;
        let signals = [
            (signal(SignalKind::hangup())?, HUNG_UP),
            (signal(SignalKind::interrupt())?, "ended by SIGINT"),
            (signal(SignalKind::terminate())?, "ended by SIGTERM"),
        ];
        let woken = signal(SignalKind::from_raw(Signal::CONT.as_raw()))?;
        drop(inside);
        Ok(Self { runtime, real, raw, signals, woken, shared, stop })
    }

    fn run(self) {
        let Self { runtime, real, raw, signals: [mut hangup, mut interrupt, mut terminate], mut woken, shared, stop } =
            self;
        runtime.block_on(async {
            loop {
                let unsettled = shared.feed().is_unsettled();
                tokio::select! {
                    () = stop.cancelled() => return,
                    Some(()) = hangup.0.recv() => shared.leave(hangup.1),
                    Some(()) = interrupt.0.recv() => shared.leave(interrupt.1),
                    Some(()) = terminate.0.recv() => shared.leave(terminate.1),
                    Some(()) = woken.recv() => {
                        // Where this fails the terminal is gone, which reading it tells.
                        let _set = shared.set_modes(&raw);
                    }
                    read = read(&real, &shared) => match read {
                        Ok(()) => shared.news.notify_one(),
                        Err(error) => {
                            shared.leave(&why_gone(&error));
                            // It would be ready to be read, with nothing in it, for ever.
                            return stop.cancelled().await;
                        }
                    },
                    () = tokio::time::sleep(ESCAPE_REST), if unsettled => {
                        shared.feed().settle();
                        shared.news.notify_one();
                    }
                }
            }
        });
    }
}

/// Has the runtime watch a descriptor, for as long as the result lives.
#[expect(
    deprecated,
    reason = "unsound for what may change its descriptor, as `OwnedFd` never does; what replaces it is unsafe"
)]
fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(fd)
}

/// Waits until something is typed, and takes it.
async fn read(real: &AsyncFd<OwnedFd>, shared: &Shared) -> io::Result<()> {
    loop {
        let mut ready = real.readable().await?;
        match ready.try_io(|_| shared.take_typed(&mut shared.feed())) {
            Err(_would_block) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(read) => return read,
        }
    }
}

fn why_gone(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => HUNG_UP.to_owned(),
        _ => format!("the terminal can't be read: {error}"),
    }
}
