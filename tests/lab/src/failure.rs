//! Why something did not work, in a sentence, with what a person needs to see beside it.

use std::fmt;

/// What every step of the lab gives back.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Says what went wrong in one sentence, and carries the output that shows it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    sentence: String,
    shown: Vec<String>,
}

impl Failure {
    /// Makes a failure of one sentence.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), shown: Vec::new() }
    }

    /// Adds text to show under the sentence, such as a command's output.
    #[must_use]
    pub(crate) fn showing(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.trim().is_empty() {
            self.shown.push(text);
        }
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sentence)?;
        for text in &self.shown {
            for line in text.trim_end().lines() {
                write!(f, "\n  | {line}")?;
            }
        }
        Ok(())
    }
}

/// Turns any error into a [`Failure`] that says what was being done.
pub(crate) trait OrFail<T> {
    /// Puts `doing` before the error's own words.
    fn or_fail(self, doing: impl fmt::Display) -> Outcome<T>;
}

impl<T, E: fmt::Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, doing: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(format!("{doing}: {error}")))
    }
}
