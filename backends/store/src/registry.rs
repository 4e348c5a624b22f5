//! Stores by the kind that a config file names.

use std::{collections::BTreeMap, future::Future, path::PathBuf, pin::Pin, sync::Arc};

use serde::de::DeserializeOwned;

use crate::{EndpointStore, Error, Nudge, Result, Setting, near::nearest, typed};

/// Who writes to the store, for stores that keep a history with authors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The host's name: `web-1`.
    pub name: String,
    /// The host's address, or its name where it has none yet.
    pub address: String,
}

/// What a store is opened with, besides its settings.
#[derive(Debug, Clone)]
pub struct OpenContext {
    /// A directory of the store's own on local disk, for caches; it may not exist yet. Only its owner may read it.
    pub state_dir: PathBuf,
    /// Who writes.
    pub writer: Writer,
    /// Wakes the store's poller.
    pub nudge: Nudge,
}

/// What opening a store returns.
pub type Opening = Pin<Box<dyn Future<Output = Result<Arc<dyn EndpointStore>>> + Send>>;

type Table = serde_json::Map<String, serde_json::Value>;
type Checker = Box<dyn Fn(Table) -> Result<(), String> + Send + Sync>;
type Opener = Box<dyn Fn(Table, OpenContext) -> Result<Opening, String> + Send + Sync>;

struct Kind {
    settings: &'static [Setting],
    check: Checker,
    open: Opener,
}

/// The stores that a program knows, by kind. A program of your own makes one, registers its store, and runs the daemon
/// with it.
#[derive(Default)]
pub struct Registry {
    kinds: BTreeMap<&'static str, Kind>,
    /// Kinds that exist, and the Cargo feature that each is compiled in with.
    left_out: BTreeMap<&'static str, &'static str>,
}

impl Registry {
    /// Makes a registry that knows no store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a store: its kind, the keys of its table in the config file, and how it is opened.
    ///
    /// `T` is the store's settings, read from the table `store.KIND`. Every key of the table is in `settings`, so that
    /// unknown keys are refused with the known ones listed. A kind that is registered twice is replaced. Opening SHOULD
    /// succeed while the store is away: it's the first call that needs the store.
    pub fn register<T, O, F>(&mut self, kind: &'static str, settings: &'static [Setting], open: O)
    where
        T: DeserializeOwned + Send + 'static,
        O: Fn(T, OpenContext) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Arc<dyn EndpointStore>>> + Send + 'static,
    {
        let check = |table| typed::read::<T>(table, settings).map(drop);
        let open =
            move |table, context| Ok(Box::pin(open(typed::read(table, settings)?, context)) as Opening);
        self.kinds.insert(kind, Kind { settings, check: Box::new(check), open: Box::new(open) });
    }

    /// Names a kind that exists and isn't in this build, and the Cargo feature that compiles it in.
    ///
    /// Whoever asks for it is told how to get it, and not that there is no such store. Its table in a config file is
    /// no error as long as another kind is chosen, since the hosts of a fleet may share one file; but its keys can't be
    /// checked, and its secrets can't be told from other values: without the store nobody knows them. A kind that is
    /// registered counts as registered.
    pub fn leave_out(&mut self, kind: &'static str, feature: &'static str) {
        self.left_out.insert(kind, feature);
    }

    /// Returns the kinds that exist and aren't in this build, sorted.
    pub fn left_out(&self) -> impl Iterator<Item = &'static str> {
        self.left_out.keys().copied().filter(|kind| !self.kinds.contains_key(kind))
    }

    /// Says why a kind can't be opened: the rest of a sentence that begins with the kind. `None` for a known kind.
    pub fn why_not(&self, kind: &str) -> Option<String> {
        if self.kinds.contains_key(kind) {
            return None;
        }
        let here = list(self.kinds());
        if let Some(feature) = self.left_out.get(kind) {
            return Some(format!(
                "is not in this build of ipvland: build it with --features {feature} (in this build: {here})"
            ));
        }
        let meant = match nearest(kind, self.kinds().chain(self.left_out())) {
            Some(near) => format!(", did you mean {near}?"),
            None => String::new(),
        };
        let away = match self.left_out().next() {
            Some(_) => format!("; not in this build: {}", list(self.left_out())),
            None => String::new(),
        };
        Some(format!("is no kind of store{meant} (known: {here}{away})"))
    }

    /// Returns the known kinds, sorted.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.keys().copied()
    }

    /// Returns the keys of a kind's table, or `None` for an unknown kind.
    pub fn settings(&self, kind: &str) -> Option<&'static [Setting]> {
        self.kinds.get(kind).map(|kind| kind.settings)
    }

    /// Checks the table `store.KIND` of the config file as [`Self::open`] does, and opens nothing.
    ///
    /// # Errors
    /// Those of [`Self::open`], without the store's own.
    pub fn check(&self, kind: &str, table: &serde_json::Value) -> Result<()> {
        let (known, table) = self.table(kind, table.clone())?;
        (known.check)(table).map_err(|words| Error::refused(format!("store.{kind}{words}")))
    }

    /// Opens a store from the table `store.KIND` of the config file (an object; empty or null where the file has none).
    ///
    /// # Errors
    /// [`GiveUp`](crate::Remedy::GiveUp) with a sentence for an unknown kind (the known ones listed), a kind that isn't in
    /// this build, an unknown key (the known ones listed), a value of the wrong type (without the value, which may be a
    /// secret); else the store's own.
    pub async fn open(
        &self,
        kind: &str,
        table: serde_json::Value,
        context: OpenContext,
    ) -> Result<Arc<dyn EndpointStore>> {
        let (known, table) = self.table(kind, table)?;
        let opening =
            (known.open)(table, context).map_err(|words| Error::refused(format!("store.{kind}{words}")))?;
        opening.await
    }

    /// Finds a kind, and checks that a table has no other than its keys.
    fn table(&self, kind: &str, table: serde_json::Value) -> Result<(&Kind, Table)> {
        let known = self.kinds.get(kind).ok_or_else(|| {
            Error::refused(format!("store.kind {kind:?} {}", self.why_not(kind).unwrap_or_default()))
        })?;
        let table = match table {
            serde_json::Value::Object(table) => table,
            serde_json::Value::Null => Table::new(),
            _ => return Err(Error::refused(format!("store.{kind} must be a table"))),
        };
        let is_known = |key: &str| known.settings.iter().any(|setting| setting.name == key);
        match table.keys().find(|key| !is_known(key)) {
            None => Ok((known, table)),
            Some(key) => {
                let names = list(known.settings.iter().map(|setting| setting.name));
                Err(Error::refused(format!("unknown key store.{kind}.{key} (known: {names})")))
            }
        }
    }
}

fn list(names: impl Iterator<Item = &'static str>) -> String {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.kinds()).finish()
    }
}
