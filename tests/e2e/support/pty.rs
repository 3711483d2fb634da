//! A program at a pseudo-terminal of its own.
//!
//! Not expectrl's: that one has no size when the program starts, waits by looking again without a pause, and can't hang up
//! without killing the program itself, so that a test could not tell who ended it.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, Termios, Winsize, tcgetattr, tcsetattr,
    tcsetwinsize,
};

use super::{PATIENCE, until};

/// What a terminal tells of the program at it.
pub trait Watch: Send + Sync + 'static {
    /// The program wrote something.
    fn wrote(&self, bytes: &[u8]);
    /// It has ended and all that it wrote was told. `left` is how it left the terminal.
    fn ended(&self, left: Termios);
}

/// A program at a terminal. Dropping it kills the program.
pub struct Pty {
    child: Child,
    /// The terminal's own end: the last of these to be closed hangs up.
    master: Option<Arc<File>>,
    /// How the terminal was before the program had it.
    before: Termios,
    reader: Option<JoinHandle<()>>,
    /// Closed to end the reader.
    stop: Option<PipeWriter>,
}

impl Pty {
    /// Starts the program at a new terminal with so many columns and rows.
    pub fn start(command: &Command, (columns, rows): (u16, u16), watch: Arc<impl Watch>) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it can be opened");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a size");
        let slave = ioctl_tiocgptpeer(&master, flags).expect("the program's end");
        let before = tcgetattr(&slave).expect("its modes");
        let child = leading_a_session(command, &slave).spawn().expect("the program starts");
        let over = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("a handle of the program");
        let master = Arc::new(File::from(master));
        let (stopped, stop) = io::pipe().expect("a pipe");
        let reader = Reader { master: Arc::clone(&master), slave: Some(slave), over, stopped };
        let reader = std::thread::spawn(move || reader.run(&*watch));
        Self { child, master: Some(master), before, reader: Some(reader), stop: Some(stop) }
    }

    /// Types.
    pub fn write(&self, keys: &[u8]) {
        let mut master: &File = self.master.as_ref().expect("nobody hung up");
        master.write_all(keys).expect("the terminal takes keys");
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the program is there");
    }

    /// Stops the program, takes the terminal into its usual modes as a shell does, lets the program go on, and waits until it has
    /// the terminal in its own modes again.
    #[track_caller]
    pub fn suspend(&self) {
        let master = self.master.as_ref().expect("nobody hung up");
        let own = modes(&tcgetattr(master).expect("its modes"));
        assert_ne!(own, modes(&self.before), "the program leaves the terminal as it is");
        self.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        let stopped = || std::fs::read_to_string(&stat).expect("it is there").contains(") T ");
        assert!(until(stopped), "it does not stop");
        tcsetattr(master, OptionalActions::Now, &self.before).expect("modes");
        self.signal(Signal::CONT);
        assert!(
            until(|| modes(&tcgetattr(master).expect("its modes")) == own),
            "it does not mind the terminal's modes"
        );
    }

    /// Takes the terminal away from the program.
    pub fn hang_up(&mut self) {
        self.stop_reading();
        self.master = None;
    }

    /// Waits for the program's end; `None` where that takes too long, its exit code else (-1 where a signal ended it).
    pub fn wait(&mut self) -> Option<i32> {
        let over = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("it was not waited for");
        let patience = Timespec::try_from(PATIENCE).expect("not that long");
        let ended = poll(&mut [PollFd::new(&over, PollFlags::IN)], Some(&patience)).expect("a handle can be polled");
        (ended > 0).then(|| self.child.wait().expect("an end").code().unwrap_or(-1))
    }

    /// Panics where the terminal is not as it was before: lines, echo and signals by keys among others.
    #[track_caller]
    pub fn assert_as_before(&self, left: &Termios) {
        assert!(left.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG), "{left:#?}");
        assert_eq!(modes(left), modes(&self.before), "the terminal is not as it was");
    }

    fn stop_reading(&mut self) {
        self.stop = None;
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no reader panics");
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It is over already where all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stop_reading();
    }
}

fn modes(termios: &Termios) -> (InputModes, OutputModes, ControlModes, LocalModes) {
    (termios.input_modes, termios.output_modes, termios.control_modes, termios.local_modes)
}

/// The same command, which first makes the terminal its own, as a login does. `setsid` becomes the program: one process.
fn leading_a_session(command: &Command, slave: &OwnedFd) -> Command {
    let end = || Stdio::from(slave.try_clone().expect("the program's end"));
    let mut leader = Command::new("setsid");
    leader.arg("--ctty").arg(command.get_program()).args(command.get_args()).env_clear();
    leader.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = command.get_current_dir() {
        leader.current_dir(dir);
    }
    leader.stdin(end()).stdout(end()).stderr(end());
    leader
}

/// Reads what the program writes, in a thread of its own.
struct Reader {
    master: Arc<File>,
    /// Kept until the program is over, so that the terminal's modes can be looked at then.
    slave: Option<OwnedFd>,
    over: OwnedFd,
    stopped: PipeReader,
}

impl Reader {
    fn run(mut self, watch: &impl Watch) {
        let mut left = None;
        let mut chunk = vec![0; 65_536];
        loop {
            let (shown, over, stopped) = self.wait();
            if stopped {
                return;
            }
            if over && let Some(slave) = self.slave.take() {
                left = Some(tcgetattr(&slave).expect("the terminal's modes"));
            }
            if !shown {
                continue;
            }
            // With the last end of the program's side closed and all of it read, Linux says EIO.
            match (&*self.master).read(&mut chunk) {
                Ok(n) => watch.wrote(&chunk[..n]),
                Err(_) => break,
            }
        }
        watch.ended(left.expect("our end was closed after the program's"));
    }

    /// Waits until there is something to read, the program is over (told once), or nobody wants to read any more.
    fn wait(&self) -> (bool, bool, bool) {
        let mut polled = vec![
            PollFd::new(&*self.master, PollFlags::IN),
            PollFd::from_borrowed_fd(self.stopped.as_fd(), PollFlags::empty()),
        ];
        if self.slave.is_some() {
            polled.push(PollFd::new(&self.over, PollFlags::IN));
        }
        poll(&mut polled, None).expect("these can be polled");
        let happened = |at: usize| polled.get(at).is_some_and(|fd| !fd.revents().is_empty());
        (happened(0), happened(2), happened(1))
    }
}
