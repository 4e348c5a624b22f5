//! What is told while a scenario runs.

use std::sync::Mutex;
use std::time::Instant;

use crate::tell;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// The story: what a person would type, and what comes back.
    Story,
    /// Every command, for a log that is read when something failed.
    Everything,
}

impl Telling {
    /// The word for it on a command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Story => "story",
            Self::Everything => "everything",
        }
    }

    /// Reads [`Telling::name`].
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [Self::Story, Self::Everything].into_iter().find(|telling| telling.name() == word)
    }
}

/// Tells, and remembers at which step the scenario is.
pub(crate) struct Report {
    telling: Telling,
    begun: Instant,
    step: Mutex<String>,
}

impl Report {
    /// Starts a report.
    pub(crate) fn new(telling: Telling) -> Self {
        Self { telling, begun: Instant::now(), step: Mutex::new("making the hosts".to_owned()) }
    }

    /// Begins a step, told in plain words.
    pub(crate) fn step(&self, words: &str) {
        words.clone_into(&mut self.step.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        match self.telling {
            Telling::Story => tell::line(&format!("\n── {words}")),
            Telling::Everything => {
                tell::line(&format!("\n── [{:.1} s] {words}", self.begun.elapsed().as_secs_f32()))
            }
        }
    }

    /// The step that the scenario is at.
    pub(crate) fn current_step(&self) -> String {
        self.step.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Says something in plain words.
    pub(crate) fn say(&self, words: &str) {
        tell::line(&format!("   {words}"));
    }

    /// Shows what a person would type, and what came back.
    pub(crate) fn typed(&self, host: &str, command: &str, output: &str) {
        tell::line(&format!("   {host}# {command}"));
        for line in output.trim_end().lines() {
            tell::line(&format!("   {line}"));
        }
    }

    /// Shows a command that is no part of the story.
    pub(crate) fn aside(&self, host: &str, command: &str, output: &str) {
        if self.telling == Telling::Everything {
            self.typed(host, command, output);
        }
    }
}
