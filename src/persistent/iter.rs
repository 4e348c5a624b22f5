//! Walks through a map, entry by entry or skipping whole parts.

use std::{slice, sync::Arc};

use super::{Map, node::Node};

/// The entries of a map, sorted by key.
#[derive(Debug, Clone)]
pub struct Iter<'a, K, V> {
    cursor: Cursor<'a, K, V>,
    left: usize,
}

impl<'a, K, V> Iter<'a, K, V> {
    pub(super) fn new(map: &'a Map<K, V>) -> Self {
        Self { cursor: Cursor::new(map), left: map.len }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.cursor.front()? {
                Front::Node(node) => self.cursor.descend(node),
                Front::Entry(key, value) => {
                    self.cursor.skip();
                    self.left -= 1;
                    return Some((key, value));
                }
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}

/// What comes next: an entry, or a part of the map that need not be looked into.
#[derive(Debug)]
pub(super) enum Front<'a, K, V> {
    Node(&'a Arc<Node<K, V>>),
    Entry(&'a K, &'a V),
}

impl<'a, K, V> Front<'a, K, V> {
    /// Returns the least key.
    pub(super) fn least(&self) -> Option<&'a K> {
        match self {
            Self::Node(node) => node.least(),
            Self::Entry(key, _) => Some(key),
        }
    }
}

/// What is left of the entries or children of one node.
#[derive(Debug)]
enum Rest<'a, K, V> {
    Entries(slice::Iter<'a, (K, V)>),
    Children(slice::Iter<'a, (K, Arc<Node<K, V>>)>),
}

impl<K, V> Clone for Rest<'_, K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Entries(entries) => Self::Entries(entries.clone()),
            Self::Children(children) => Self::Children(children.clone()),
        }
    }
}

/// A place in a map.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a, K, V> {
    /// The root, as long as it is whole.
    root: Option<&'a Arc<Node<K, V>>>,
    path: Vec<Rest<'a, K, V>>,
    /// The levels below the root.
    height: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    pub(super) fn new(map: &'a Map<K, V>) -> Self {
        let root = map.root.as_ref();
        Self { root, path: Vec::new(), height: root.map_or(0, |root| root.height()) }
    }

    /// Returns what comes next.
    pub(super) fn front(&mut self) -> Option<Front<'a, K, V>> {
        if let Some(root) = self.root {
            return Some(Front::Node(root));
        }
        loop {
            let front = match self.path.last()? {
                Rest::Entries(entries) => {
                    entries.as_slice().first().map(|(key, value)| Front::Entry(key, value))
                }
                Rest::Children(children) => children.as_slice().first().map(|(_, child)| Front::Node(child)),
            };
            if front.is_some() {
                return front;
            }
            self.path.pop();
        }
    }

    /// Returns how many levels are below the front, where that is a node.
    pub(super) fn height(&self) -> usize {
        self.height.saturating_sub(self.path.len())
    }

    /// Goes past the front.
    pub(super) fn skip(&mut self) {
        if self.root.take().is_some() {
            return;
        }
        match self.path.last_mut() {
            Some(Rest::Entries(entries)) => _ = entries.next(),
            Some(Rest::Children(children)) => _ = children.next(),
            None => {}
        }
    }

    /// Goes into the node that is the front.
    pub(super) fn descend(&mut self, node: &'a Arc<Node<K, V>>) {
        self.skip();
        self.path.push(match &**node {
            Node::Leaf(entries) => Rest::Entries(entries.iter()),
            Node::Inner(children) => Rest::Children(children.iter()),
        });
    }
}
