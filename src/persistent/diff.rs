//! What differs between two maps, without a look at what they share.

use std::{cmp::Ordering, sync::Arc};

use super::{
    Map,
    iter::{Cursor, Front},
};

/// One key that differs between two maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a, V> {
    /// Only the later map has it.
    Added(&'a V),
    /// Both have it: the values before and after.
    Changed(&'a V, &'a V),
    /// Only the earlier map has it.
    Removed(&'a V),
}

impl<'a, V> Change<'a, V> {
    /// Returns the value in the later map, where it has one.
    pub fn after(self) -> Option<&'a V> {
        match self {
            Self::Added(after) | Self::Changed(_, after) => Some(after),
            Self::Removed(_) => None,
        }
    }
}

/// The differences of two maps, sorted by key.
#[derive(Debug)]
pub struct Diff<'a, K, V> {
    earlier: Cursor<'a, K, V>,
    later: Cursor<'a, K, V>,
}

impl<'a, K, V> Diff<'a, K, V> {
    pub(super) fn new(earlier: &'a Map<K, V>, later: &'a Map<K, V>) -> Self {
        Self { earlier: Cursor::new(earlier), later: Cursor::new(later) }
    }
}

impl<'a, K: Ord, V: PartialEq> Iterator for Diff<'a, K, V> {
    type Item = (&'a K, Change<'a, V>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match (self.earlier.front(), self.later.front()) {
                (None, None) => return None,
                (Some(Front::Node(old)), None) => self.earlier.descend(old),
                (Some(Front::Entry(key, old)), None) => {
                    self.earlier.skip();
                    return Some((key, Change::Removed(old)));
                }
                (None, Some(Front::Node(new))) => self.later.descend(new),
                (None, Some(Front::Entry(key, new))) => {
                    self.later.skip();
                    return Some((key, Change::Added(new)));
                }
                (Some(Front::Node(old)), Some(Front::Node(new))) if Arc::ptr_eq(old, new) => {
                    self.earlier.skip();
                    self.later.skip();
                }
                (Some(old), Some(new)) => {
                    if let Some(found) = self.step(old, new) {
                        return Some(found);
                    }
                }
            }
        }
    }
}

impl<'a, K: Ord, V: PartialEq> Diff<'a, K, V> {
    /// Goes one step on where neither map is at its end. Whose front comes first by key is gone into first: only so do
    /// nodes that the two share come to stand side by side again after a difference.
    fn step(&mut self, old: Front<'a, K, V>, new: Front<'a, K, V>) -> Option<(&'a K, Change<'a, V>)> {
        let order = old.least().cmp(&new.least());
        match (old, new, order) {
            (Front::Node(old), Front::Node(new), Ordering::Equal) => {
                let (below_old, below_new) = (self.earlier.height(), self.later.height());
                if below_old >= below_new {
                    self.earlier.descend(old);
                }
                if below_new >= below_old {
                    self.later.descend(new);
                }
                None
            }
            (Front::Entry(key, old), Front::Entry(_, new), Ordering::Equal) => {
                self.earlier.skip();
                self.later.skip();
                (old != new).then_some((key, Change::Changed(old, new)))
            }
            (Front::Node(old), _, Ordering::Less | Ordering::Equal) => {
                self.earlier.descend(old);
                None
            }
            (_, Front::Node(new), Ordering::Greater | Ordering::Equal) => {
                self.later.descend(new);
                None
            }
            (Front::Entry(key, old), _, Ordering::Less) => {
                self.earlier.skip();
                Some((key, Change::Removed(old)))
            }
            (_, Front::Entry(key, new), Ordering::Greater) => {
                self.later.skip();
                Some((key, Change::Added(new)))
            }
        }
    }
}
