//! Git over ssh by the program `ssh` of OpenSSH, as git itself does it.
//!
//! The program brings all that its users rely on: agents, certificates, jump hosts, the files below `/etc/ssh` and
//! `~/.ssh`. We decide what a daemon must not leave to chance: an unknown server is refused, nothing is forwarded, and
//! nobody is asked who isn't there.
//!
//! - `program`: the command line; `stream`: what goes through it; `listener`, `words`: what it says, and sentences for that;
//! - `answer`: passphrases and passwords, which are on no command line.

mod answer;
mod listener;
mod program;
mod stream;
mod words;

pub(crate) use program::Ssh;
