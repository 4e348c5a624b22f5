//! Why the kernel gave no good answer.

use std::{io, time::Duration};

use super::KernelError;

/// How long the kernel may take to answer one call, or one batch of route changes.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Why there is no good answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The kernel refused, with an error number.
    Errno(i32),
    /// The kernel refused, with an error number and words of its own (`NLMSGERR_ATTR_MSG`).
    Told(i32, String),
    /// The socket, or the task that serves it, ended before the answer came.
    Closed,
    /// The answer did not come in time.
    Late,
    /// The answer was lost, and the table shows that what was asked for is not so.
    Lost,
    /// No socket could be opened, or nothing sent.
    Open(io::Error),
}

impl Failure {
    pub(super) fn explain(self, action: String) -> KernelError {
        let (errno, meaning) = match self {
            Self::Errno(number) | Self::Told(number, _) => return KernelError::from_errno(action, number),
            Self::Open(error) => match error.raw_os_error() {
                Some(number) => return KernelError::from_errno(action, number),
                None => (None, error.to_string()),
            },
            Self::Closed => {
                (None, "the netlink socket failed before the kernel's answer came; it is opened anew".into())
            }
            Self::Late => {
                (None, format!("the kernel did not answer within {} s; try again", DEADLINE.as_secs()))
            }
            Self::Lost => (
                None,
                "the kernel's answer was lost, and its table shows that it was not done; try again".into(),
            ),
        };
        KernelError { action, errno, meaning }
    }

    /// Returns the same failure once more, for others that met it.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Errno(number) => Self::Errno(*number),
            Self::Told(number, words) => Self::Told(*number, words.clone()),
            Self::Closed => Self::Closed,
            Self::Late => Self::Late,
            Self::Lost => Self::Lost,
            Self::Open(error) => match error.raw_os_error() {
                Some(number) => Self::Open(io::Error::from_raw_os_error(number)),
                None => Self::Open(io::Error::new(error.kind(), error.to_string())),
            },
        }
    }
}
