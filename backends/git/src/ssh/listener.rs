//! Hears what the program and the server say on stderr, lest the program waits until somebody does.

use std::{
    io::{ErrorKind, Read as _},
    process::ChildStderr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// The most that is kept, in bytes.
const MOST_WORDS: usize = 64 << 10;

/// A thread that listens until the last one who may speak has gone, and what it has heard.
///
/// A helper of the program may outlive it, so nobody waits for the thread without end.
pub(super) struct Listener {
    heard: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Listener {
    pub(super) fn start(errors: ChildStderr) -> Self {
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let thread = std::thread::spawn({
            let heard = Arc::clone(&heard);
            move || listen(errors, &heard)
        });
        Self { heard, thread }
    }

    /// Returns what was said, once nobody speaks any more or so much time has passed.
    pub(super) fn said(&self, patience: Duration) -> String {
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        String::from_utf8_lossy(&self.heard.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// Reads to the end, and keeps the first part.
fn listen(mut errors: ChildStderr, heard: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 4096];
    loop {
        match errors.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => {
                let mut kept = heard.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MOST_WORDS.saturating_sub(kept.len());
                kept.extend_from_slice(&chunk[..read.min(room)]);
            }
            Err(why) if why.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Runs a script and listens to it.
    fn hear(script: &str) -> Listener {
        let mut child = Command::new("sh").args(["-c", script]).stderr(Stdio::piped()).spawn().unwrap();
        let listener = Listener::start(child.stderr.take().unwrap());
        child.wait().unwrap();
        listener
    }

    #[test]
    fn all_is_heard_and_the_first_part_is_kept() {
        let hour = Duration::from_secs(3600);
        assert_eq!(hear("echo no >&2").said(hour), "no\n");
        assert_eq!(hear("head -c 1000000 /dev/zero >&2").said(hour).len(), MOST_WORDS);
    }

    #[test]
    fn a_helper_that_outlives_the_program_holds_nobody_up() {
        let listener = hear("sleep 5 > /dev/null & echo no >&2");
        assert_eq!(listener.said(Duration::from_millis(300)), "no\n");
        assert!(!listener.thread.is_finished(), "it was waited for");
    }
}
