//! Packs of a few objects, as they go over the wire (gitformat-pack(5)), and how one tree comes from another.
//!
//! A change of one record makes a new folder of all records: in a large fleet half a megabyte that doesn't compress. As a
//! difference to the folder before it is some dozen bytes. libgit2 packs such a push whole, and keeps what it fetches with
//! a second copy of the old folder.

mod delta;
mod read;
mod splice;
mod write;

pub(crate) use delta::Step;
pub(crate) use read::{Found, objects};
pub(crate) use splice::splice;
pub(crate) use write::Pack;
