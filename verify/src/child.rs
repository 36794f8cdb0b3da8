//! Child processes: started, asked by lines of JSON, watched, and ended with all that they have started.
//!
//! A child leads a process group of its own, so that Ctrl-C and `timeout` are for its parent alone, and does not outlive the thread that
//! has started it, whatever ends that.

mod last_words;
mod shared;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{self, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::interrupt;
pub use last_words::last_message;
pub use shared::{Record, SharedMemory, anonymous_file, pass};

/// Between two looks at a child that is silent.
const LOOK: Duration = Duration::from_millis(20);

/// How long the last lines of a child that has ended may be on their way, on a busy machine. As a rule they are followed at once by the
/// end of the stream; where processes that the child has started keep that open, this is waited for.
const LAST_LINE: Duration = Duration::from_secs(2);

/// Where standard error of a child goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// To that of this process.
    Shown,
    /// To a file that [`Child::errors`] reads; of a panic, only its message, since a backtrace that runs out of memory never ends (the lock
    /// that std's panic hook holds is also that of its out-of-memory handler).
    Kept,
    /// Nowhere.
    Dropped,
    /// Its lines are those that the child answers by; standard output goes nowhere.
    Lines,
}

/// How long a child may take for a line.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// Time without a line, and without a beat.
    pub limit: Duration,
    /// A number that changes while the child is alive and well; `None` while it has nothing to do, which may take as long as it likes.
    pub heartbeat: &'a dyn Fn() -> Option<u64>,
    /// Whether a request to end ([`interrupt`]) ends the child, too.
    pub is_interruptible: bool,
}

impl Patience<'_> {
    /// As long as it takes.
    pub const ENDLESS: Self = Self::of(Duration::MAX);

    /// Waits for this long, through requests to end.
    pub const fn of(limit: Duration) -> Self {
        Self { limit, heartbeat: &|| Some(0), is_interruptible: false }
    }
}

/// What a child was heard to do. After everything but a line it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has written a line.
    Line(String),
    /// It has ended: by an exit code, or by a signal.
    Ended(ExitStatus),
    /// It was silent for too long, and was killed.
    Silent,
    /// This process is to end, and has killed the child.
    Interrupted,
}

impl Answer {
    /// How the child has ended by itself, if it has.
    pub fn status(&self) -> Option<ExitStatus> {
        match self {
            Self::Ended(status) => Some(*status),
            Self::Line(_) | Self::Silent | Self::Interrupted => None,
        }
    }
}

/// A process. When this is dropped it is killed, with its group.
#[derive(Debug)]
pub struct Child {
    process: process::Child,
    requests: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Option<File>,
}

impl Child {
    /// Starts a process, with its standard streams for this one.
    ///
    /// # Errors
    /// If the system gives no process or no file.
    ///
    /// # Panics
    /// Never: the streams are piped.
    pub fn start(command: &mut Command, errors: Errors) -> io::Result<Self> {
        let kept = (errors == Errors::Kept).then(anonymous_file).transpose()?;
        command.stdin(Stdio::piped());
        command.stdout(if errors == Errors::Lines { Stdio::null() } else { Stdio::piped() });
        command.stderr(match (&kept, errors) {
            (Some(file), _) => Stdio::from(file.try_clone()?),
            (None, Errors::Lines) => Stdio::piped(),
            (None, Errors::Shown) => Stdio::inherit(),
            (None, _) => Stdio::null(),
        });
        if errors == Errors::Kept {
            command.env("RUST_BACKTRACE", "0");
        }
        command.process_group(0);
        let mut process = leash(command).spawn()?;
        let lines = match errors {
            Errors::Lines => lines_of(process.stderr.take().expect("it is piped")),
            _ => lines_of(process.stdout.take().expect("it is piped")),
        };
        Ok(Self { requests: process.stdin.take(), process, lines, errors: kept })
    }

    /// Asks for something. A child that is gone cannot read; why it is gone is what it answers.
    pub fn ask(&mut self, request: &impl Serialize) {
        if let Some(requests) = &mut self.requests {
            let _ = requests.write_all(&line(request));
        }
    }

    /// Waits for the next line.
    pub fn receive(&mut self, patience: &Patience<'_>) -> Answer {
        let (mut beat, mut silent) = ((patience.heartbeat)(), Duration::ZERO);
        let mut looked = Instant::now();
        loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(line) => return Answer::Line(line),
                Err(RecvTimeoutError::Timeout) => {}
                // Its end is near, as a rule.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(1)),
            }
            if let Ok(Some(status)) = self.process.try_wait() {
                return self.lines.recv_timeout(LAST_LINE).map_or(Answer::Ended(status), Answer::Line);
            }
            if patience.is_interruptible && interrupt::is_requested() {
                self.kill();
                return Answer::Interrupted;
            }
            // Where this process itself was stopped, so was the child, as a rule: that is no silence.
            silent += looked.elapsed().min(10 * LOOK);
            looked = Instant::now();
            let now = (patience.heartbeat)();
            if now != beat || now.is_none() {
                (beat, silent) = (now, Duration::ZERO);
            } else if silent > patience.limit {
                self.kill();
                return Answer::Silent;
            }
        }
    }

    /// Waits for the end, without further requests: the last line that is a `T`, and how it ended.
    pub fn finish<T: DeserializeOwned>(&mut self, patience: &Patience<'_>) -> (Option<T>, Answer) {
        self.requests = None;
        let mut last = None;
        loop {
            match self.receive(patience) {
                Answer::Line(line) => last = serde_json::from_str(&line).ok().or(last),
                end => return (last, end),
            }
        }
    }

    /// The lines that are there now; of a child that has ended, all that are left.
    pub fn lines(&mut self) -> Vec<String> {
        let wait = if self.is_running() { Duration::ZERO } else { LAST_LINE };
        std::iter::from_fn(|| self.lines.recv_timeout(wait).ok()).collect()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// What it has written to standard error, if that is [`Errors::Kept`].
    pub fn errors(&self) -> String {
        let Some(file) = &self.errors else { return String::new() };
        let mut bytes = vec![0; file.metadata().map_or(0, |status| status.len()) as usize];
        // What cannot be read is not shown.
        let _ = file.read_exact_at(&mut bytes, 0);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Kills it, and all of its group.
    pub fn kill(&mut self) {
        if self.is_running() {
            // SAFETY: kill has no preconditions; the group is ours, and its leader has not been waited for.
            unsafe { libc::kill(-(self.process.id() as i32), libc::SIGKILL) };
        }
        let _ = self.process.wait();
    }
}

/// Asks a child that has not been waited for to end.
pub(crate) fn terminate(id: u32) {
    // SAFETY: kill has no preconditions; the number is that of a child of ours, which is not given to another before it is waited for.
    unsafe { libc::kill(id as i32, libc::SIGTERM) };
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A message as a line, with its end.
///
/// # Panics
/// If it cannot be written as JSON.
pub fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("a message is JSON");
    line.push(b'\n');
    line
}

/// What `stream` gives, line by line.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream).split(b'\n').map_while(Result::ok);
        lines.try_for_each(|line| sender.send(String::from_utf8_lossy(&line).into_owned()))
    });
    lines
}

/// The process of `command` ends with the thread that starts it.
fn leash(command: &mut Command) -> &mut Command {
    let die_with_the_parent = || {
        #[cfg(target_os = "linux")]
        // SAFETY: prctl with these arguments only says which signal follows the death of the parent.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
        };
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call, and nothing else.
    unsafe { command.pre_exec(die_with_the_parent) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    const SOON: Patience<'_> = Patience::of(Duration::from_secs(30));

    fn shell(script: &str, errors: Errors) -> Child {
        Child::start(Command::new("sh").args(["-c", script]), errors).expect("there is a shell")
    }

    #[test]
    fn a_child_answers_by_lines_and_then_ends() {
        let mut child = shell("read a; echo got $a; echo why >&2; kill -9 $$", Errors::Kept);
        child.ask(&7);
        assert_eq!(child.receive(&SOON), Answer::Line("got 7".to_owned()));
        let Answer::Ended(status) = child.receive(&SOON) else { panic!("it has ended") };
        assert_eq!((status.signal(), child.errors().as_str()), (Some(9), "why\n"));
    }

    #[test]
    fn the_last_line_that_can_be_read_is_what_a_child_comes_to() {
        let mut child = shell("echo 1; echo 2; echo x; exit 3", Errors::Dropped);
        let (last, end) = child.finish::<u8>(&SOON);
        let Answer::Ended(status) = end else { panic!("it has ended") };
        assert_eq!((last, status.code()), (Some(2), Some(3)));
    }

    #[test]
    fn a_line_that_comes_after_the_end_of_the_child_is_not_lost() {
        let mut child = shell("(sleep 0.3; echo 7) & exit 3", Errors::Dropped);
        let (last, end) = child.finish::<u8>(&SOON);
        assert_eq!((last, end.status().and_then(|status| status.code())), (Some(7), Some(3)));
    }

    #[test]
    fn a_child_that_is_silent_is_killed_with_all_that_it_has_started() {
        let mut child = shell("sleep 1000 & echo $!; wait", Errors::Dropped);
        let Answer::Line(number) = child.receive(&SOON) else { panic!("it has written a line") };
        assert_eq!(child.receive(&Patience::of(Duration::from_millis(50))), Answer::Silent);
        let is_gone = || {
            let status = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
            status.is_empty() || status.contains(") Z ")
        };
        assert!(
            (0..500).any(|_| is_gone() || {
                std::thread::sleep(LOOK);
                false
            }),
            "{number} lives"
        );
    }

    #[test]
    fn a_child_whose_errors_are_kept_makes_no_backtraces() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $RUST_BACKTRACE"]).env("RUST_BACKTRACE", "1");
        let mut child = Child::start(&mut command, Errors::Kept).expect("there is a shell");
        assert_eq!(child.receive(&SOON), Answer::Line("0".to_owned()));
    }

    #[test]
    fn a_child_that_has_nothing_to_do_is_not_killed_for_its_silence() {
        let patience = Patience { limit: Duration::ZERO, heartbeat: &|| None, is_interruptible: false };
        let mut child = shell("sleep 0.2; echo done >&2", Errors::Lines);
        assert_eq!(child.receive(&patience), Answer::Line("done".to_owned()));
        while child.is_running() {
            std::thread::sleep(LOOK);
        }
        assert_eq!(child.lines(), Vec::<String>::new());
    }
}
