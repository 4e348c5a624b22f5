//! What the file holds: a first line, and then parts, each of which is applied as a whole or not at all.
//!
//! The first part is the snapshot; each other one is what changed at one moment. A part is a row of entries: a line that
//! tells how many bytes there are, the bytes, and a line feed. Its last line carries the checksum (CRC-32) of all that
//! comes before it in the part. So records stand in the file as they lie in the store, and any reader sees where a crash
//! cut the file off.
//!
//! ```text
//! ipvland snapshot 2
//! store 3
//! git
//! put 10.1.1.48.json 312
//! {"version": 1, …
//! revision 40
//! 9177a2444c66300035c41fc15318c49ab29e5570
//! end 8a2b91c0
//! remove 10.1.1.51.json 0
//!
//! revision 40
//! …
//! end 01f2ab77
//! ```

mod reader;
mod writer;

pub(super) use reader::{is_it, read};
pub(super) use writer::{write_changes, write_whole};

const FIRST_LINE: &str = "ipvland snapshot 2\n";
