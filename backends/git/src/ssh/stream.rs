//! What goes through the program: Git's protocol, with a bound for how long the other side may be silent.

use std::{
    io::{self, Read, Write},
    os::fd::AsFd,
    process::{Child, ChildStdin, ChildStdout, ExitStatus},
    sync::Arc,
    time::{Duration, Instant},
};

use ipvland_store::{Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{answer::Answers, listener::Listener, words::Words};
use crate::talk::Talk;

/// How much a pipe takes at once when it takes anything (`PIPE_BUF` of `linux/limits.h`).
const PIPE_BUF: usize = 4096;

/// How long the program may take to end once it has nothing more to say.
const ENDING: Duration = Duration::from_secs(2);

/// A command that runs on the server.
pub(crate) struct Stream {
    child: Child,
    /// Nothing once all is said.
    input: Option<ChildStdin>,
    output: ChildStdout,
    listener: Listener,
    has_ended: bool,
    talk: Arc<Talk>,
    words: Words,
    /// Whether the command is left to end by itself: a hook may run after the answer.
    is_left: bool,
    _answers: Option<Answers>,
}

impl Stream {
    pub(super) fn new(
        mut child: Child,
        talk: Arc<Talk>,
        words: Words,
        answers: Option<Answers>,
        is_left: bool,
    ) -> Result<Self> {
        let parts = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = parts else {
            return Err(Error::away("the program ssh was started without its pipes"));
        };
        let listener = Listener::start(errors);
        Ok(Self {
            child,
            input: Some(input),
            output,
            listener,
            has_ended: false,
            talk,
            words,
            is_left,
            _answers: answers,
        })
    }

    /// Keeps in the talk why it ended.
    fn failed(&mut self, why: Error) -> io::Error {
        self.talk.fail(why);
        self.is_left = false;
        io::Error::other("the talk with the server broke off")
    }

    /// Waits until the pipe is ready.
    fn ready(&mut self, flags: PollFlags) -> io::Result<()> {
        let patience = self.talk.patience();
        let limit = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
        let fd = match &self.input {
            Some(input) if flags == PollFlags::OUT => input.as_fd(),
            _ => self.output.as_fd(),
        };
        let ready = loop {
            match poll(&mut [PollFd::new(&fd, flags)], Some(&limit)) {
                Err(rustix::io::Errno::INTR) => {}
                ended => break ended?,
            }
        };
        if ready > 0 {
            return Ok(());
        }
        let silent = self.words.silent(patience);
        Err(self.failed(silent))
    }

    /// Says why the program ended, once it has.
    fn ended(&mut self) -> Option<Error> {
        let status = self.wait();
        let _ = self.child.kill();
        self.has_ended = true;
        let said = self.listener.said(ENDING);
        if status.is_some_and(|status| status.success()) {
            return None;
        }
        Some(self.words.explain(status.and_then(|status| status.code()), &said))
    }

    /// Waits for the program's end, for a while.
    fn wait(&mut self) -> Option<ExitStatus> {
        let begun = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(None) if begun.elapsed() < ENDING => std::thread::sleep(Duration::from_millis(5)),
                ended => return ended.ok().flatten(),
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ready(PollFlags::IN)?;
        let read = self.output.read(buffer)?;
        if read == 0
            && !self.has_ended
            && let Some(why) = self.ended()
        {
            return Err(self.failed(why));
        }
        self.talk.meter.received(read as u64);
        Ok(read)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ready(PollFlags::OUT)?;
        let Some(input) = &mut self.input else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match input.write(&bytes[..bytes.len().min(PIPE_BUF)]) {
            Err(why) if why.kind() == io::ErrorKind::BrokenPipe => {
                let why = self.ended().unwrap_or_else(|| self.words.explain(None, ""));
                Err(self.failed(why))
            }
            written => written.inspect(|written| self.talk.meter.sent(*written as u64)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.input = None;
        if self.is_left {
            self.wait();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
