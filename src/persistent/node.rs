//! The nodes of a map, and how they are changed.

use std::{borrow::Borrow, collections::BTreeMap, sync::Arc};

/// The most entries or children of a node: what a change copies is this much for each level.
pub(super) const MOST: usize = 32;

/// A node with fewer is joined with a neighbour, where the two fit into one.
const FEW: usize = MOST / 4;

/// A part of a map. All leaves of a map are equally deep, and no node is empty.
#[derive(Debug, Clone)]
pub(super) enum Node<K, V> {
    /// Entries, sorted by key.
    Leaf(Vec<(K, V)>),
    /// Children in order, each with its least key.
    Inner(Vec<(K, Arc<Node<K, V>>)>),
}

impl<K, V> Node<K, V> {
    /// Returns how many levels there are below.
    pub(super) fn height(&self) -> usize {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner(children) => 1 + children.first().map_or(0, |(_, child)| child.height()),
        }
    }

    /// Returns the least key; every node has one.
    pub(super) fn least(&self) -> Option<&K> {
        match self {
            Self::Leaf(entries) => entries.first().map(|(key, _)| key),
            Self::Inner(children) => children.first().map(|(key, _)| key),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(children) => children.len(),
        }
    }

    /// Returns the child of a node that has no other.
    pub(super) fn only_child(&self) -> Option<Arc<Self>> {
        match self {
            Self::Inner(children) if children.len() == 1 => Some(Arc::clone(&children[0].1)),
            _ => None,
        }
    }
}

impl<K: Ord, V> Node<K, V> {
    pub(super) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        match self {
            Self::Leaf(entries) => {
                let at = entries.binary_search_by(|(at, _)| at.borrow().cmp(key)).ok()?;
                Some(&entries[at].1)
            }
            Self::Inner(children) => children[child_of(children, key)].1.get(key),
        }
    }
}

impl<K: Ord + Clone, V> Node<K, V> {
    /// Makes full nodes of sorted entries; none of none.
    pub(super) fn build(entries: BTreeMap<K, V>) -> Option<Arc<Self>> {
        let mut level: Vec<(K, Arc<Self>)> = in_chunks(entries.into_iter())
            .map(|entries| (entries[0].0.clone(), Arc::new(Self::Leaf(entries))))
            .collect();
        while level.len() > 1 {
            level = in_chunks(level.into_iter())
                .map(|children| (children[0].0.clone(), Arc::new(Self::Inner(children))))
                .collect();
        }
        level.pop().map(|(_, root)| root)
    }

    /// Makes the node above two others.
    pub(super) fn over(left: Arc<Self>, right: (K, Arc<Self>)) -> Self {
        let least = left.least().cloned();
        Self::Inner(least.map(|least| (least, left)).into_iter().chain([right]).collect())
    }
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    /// Gives a key a value. Returns the value before, and what didn't fit any more: a node to the right of this one.
    pub(super) fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<(K, Arc<Self>)>) {
        match self {
            Self::Leaf(entries) => match entries.binary_search_by(|(at, _)| at.cmp(&key)) {
                Ok(at) => (Some(std::mem::replace(&mut entries[at].1, value)), None),
                Err(at) => {
                    // Exactly, as most nodes are never added to again, and there are many.
                    entries.reserve_exact(1);
                    entries.insert(at, (key, value));
                    let right = split(entries).map(|right| (right[0].0.clone(), Arc::new(Self::Leaf(right))));
                    (None, right)
                }
            },
            Self::Inner(children) => {
                let at = child_of(children, &key);
                if key < children[at].0 {
                    children[at].0 = key.clone();
                }
                let (before, right) = Arc::make_mut(&mut children[at].1).insert(key, value);
                if let Some(right) = right {
                    children.reserve_exact(1);
                    children.insert(at + 1, right);
                }
                let right = split(children).map(|right| (right[0].0.clone(), Arc::new(Self::Inner(right))));
                (before, right)
            }
        }
    }

    /// Takes a key out and returns its value. The node may be empty then, which is for the caller to mend.
    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        match self {
            Self::Leaf(entries) => {
                let at = entries.binary_search_by(|(at, _)| at.borrow().cmp(key)).ok()?;
                Some(entries.remove(at).1)
            }
            Self::Inner(children) => {
                let at = child_of(children, key);
                let before = Arc::make_mut(&mut children[at].1).remove(key);
                match children[at].1.least().cloned() {
                    None => drop(children.remove(at)),
                    Some(least) => {
                        children[at].0 = least;
                        join(children, at);
                    }
                }
                before
            }
        }
    }

    /// Takes up the entries or children of the node to the right, which is equally high.
    fn append(&mut self, right: &Self) {
        match (self, right) {
            (Self::Leaf(entries), Self::Leaf(more)) => entries.extend_from_slice(more),
            (Self::Inner(children), Self::Inner(more)) => children.extend_from_slice(more),
            // Not in a tree whose leaves are equally deep.
            _ => {}
        }
    }
}

/// Returns the place of the child that a key belongs to.
fn child_of<K, V, Q>(children: &[(K, Arc<Node<K, V>>)], key: &Q) -> usize
where
    K: Borrow<Q>,
    Q: Ord + ?Sized,
{
    children.partition_point(|(least, _)| least.borrow() <= key).saturating_sub(1)
}

/// Takes the upper half off what is too long.
fn split<T>(items: &mut Vec<T>) -> Option<Vec<T>> {
    (items.len() > MOST).then(|| {
        let right = items.split_off(items.len() / 2);
        items.shrink_to_fit();
        right
    })
}

/// Joins a child that has few entries with one beside it, so that removals leave no long row of small nodes.
fn join<K: Ord + Clone, V: Clone>(children: &mut Vec<(K, Arc<Node<K, V>>)>, at: usize) {
    if children[at].1.size() >= FEW {
        return;
    }
    let fits = |left: usize| {
        let sizes = children.get(left)?.1.size() + children.get(left + 1)?.1.size();
        (sizes <= MOST).then_some(left)
    };
    if let Some(left) = fits(at).or_else(|| fits(at.checked_sub(1)?)) {
        let (_, right) = children.remove(left + 1);
        Arc::make_mut(&mut children[left].1).append(&right);
    }
}

/// Cuts a sequence into vectors of [`MOST`] items.
fn in_chunks<T>(mut items: impl Iterator<Item = T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let chunk: Vec<T> = items.by_ref().take(MOST).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}
