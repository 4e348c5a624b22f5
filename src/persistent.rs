//! A sorted map whose clones share what they have in common.
//!
//! It is a B-tree of counted nodes. A clone copies one pointer; a change copies only the nodes on the way to its entry,
//! and those only while a clone holds them too; and two maps of one origin are compared in the time of what differs,
//! however large they are ([`Map::diff`]). So a view of the whole fleet can be handed out at every change.

mod diff;
mod iter;
mod node;
#[cfg(test)]
mod tests;

use std::{borrow::Borrow, collections::BTreeMap, fmt, ops::Index, sync::Arc};

pub use diff::{Change, Diff};
pub use iter::Iter;
use node::Node;

/// A sorted map that is cheap to clone and to compare with its clones. Its methods are those of [`BTreeMap`].
#[derive(Clone)]
pub struct Map<K, V> {
    /// Never empty: a map without entries has no node.
    root: Option<Arc<Node<K, V>>>,
    len: usize,
}

impl<K, V> Map<K, V> {
    /// Makes an empty map.
    pub const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the entries, sorted by key.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(self)
    }

    /// Returns the keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// Returns the values, sorted by key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> Map<K, V> {
    /// Returns the value of a key.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.root.as_deref()?.get(key)
    }

    /// Says whether a key has a value.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.get(key).is_some()
    }
}

impl<K: Ord + Clone, V: Clone> Map<K, V> {
    /// Gives a key a value, and returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(root) = &mut self.root else {
            self.root = Some(Arc::new(Node::Leaf(vec![(key, value)])));
            self.len = 1;
            return None;
        };
        let (before, right) = Arc::make_mut(root).insert(key, value);
        if let Some(right) = right {
            let left = Arc::clone(root);
            *root = Arc::new(Node::over(left, right));
        }
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes a key out, and returns its value.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        // Looked for first, so that nothing is copied where there is nothing to take out.
        if !self.contains_key(key) {
            return None;
        }
        let root = self.root.as_mut()?;
        let before = Arc::make_mut(root).remove(key);
        self.len -= usize::from(before.is_some());
        if self.len == 0 {
            self.root = None;
        } else {
            while let Some(only) = root.only_child() {
                *root = only;
            }
        }
        before
    }

    /// Takes out what doesn't pass a test.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let gone: Vec<K> =
            self.iter().filter(|(key, value)| !keep(key, value)).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove(&key);
        }
    }
}

impl<K: Ord, V: PartialEq> Map<K, V> {
    /// Returns what is to be done to `earlier` to get this map, sorted by key. What the two share is not looked at.
    pub fn diff<'a>(&'a self, earlier: &'a Self) -> Diff<'a, K, V> {
        Diff::new(earlier, self)
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Map<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.diff(other).next().is_none()
    }
}

impl<K: Ord, V: Eq> Eq for Map<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K, V, Q> Index<&Q> for Map<K, V>
where
    K: Ord + Borrow<Q>,
    Q: Ord + ?Sized,
{
    type Output = V;

    #[allow(
        clippy::expect_used,
        reason = "what indexes MUST be there, as in every map of the standard library"
    )]
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("a key of the map")
    }
}

impl<K: Ord + Clone, V> From<BTreeMap<K, V>> for Map<K, V> {
    fn from(entries: BTreeMap<K, V>) -> Self {
        Self { len: entries.len(), root: Node::build(entries) }
    }
}

impl<K: Ord + Clone, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        entries.into_iter().collect::<BTreeMap<K, V>>().into()
    }
}

impl<K: Ord + Clone, V, const N: usize> From<[(K, V); N]> for Map<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for Map<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        if self.is_empty() {
            // Built at once, its nodes are full.
            *self = entries.into_iter().collect();
            return;
        }
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Clone, V: Clone> IntoIterator for Map<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        // Cloned, as other maps may hold the nodes too.
        self.iter().map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>().into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}
