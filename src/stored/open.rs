//! Opens the store of a config beside the daemon, and reads it as a whole.

use std::{
    fmt,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipvland_store::{
    EndpointStore, Nudge, OpenContext, Registry, Snapshot, StoreExt as _, Writer, transact::Retry,
};

use super::Trouble;
use crate::{config::Config, durable, host};

/// How long a store is asked again while it is away; each write has as long.
pub(super) const PATIENCE: Retry = Retry {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(5),
    deadline: Some(Duration::from_secs(60)),
};

/// The store of a config.
pub(crate) struct Opened {
    pub(super) store: Arc<dyn EndpointStore>,
    /// Its kind.
    pub(super) kind: String,
    /// Where it is, secrets hidden, if its config says so.
    pub(super) location: Option<String>,
    /// Which store it is.
    pub(super) place: String,
    /// Who writes to it.
    pub(super) writer: String,
    /// Where what outlives the command is kept.
    pub(super) state_dir: PathBuf,
    /// What the operator ought to hear about it.
    pub(crate) warning: Option<String>,
    _scratch: Option<Scratch>,
}

impl fmt::Display for Opened {
    /// Names the store: `git (http://user:***@git.example/net/overlay.git)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{} ({location})", self.kind),
            None => f.write_str(&self.kind),
        }
    }
}

/// Opens the store of a config. The store itself isn't asked yet.
///
/// The store gets the directory that the daemon's has, since some keep their records in it. A user who may not use that
/// works from a temporary one, which costs time and nothing else.
///
/// # Errors
/// The store's own sentence, and one for a store in a state directory that can't be used.
pub(crate) async fn open(config: &Config, registry: &Registry) -> Result<Opened, Trouble> {
    let kind = config.store.kind.clone();
    let location = config.store.location(registry);
    let kept = config.daemon.state_dir.join(&kind);
    let (state_dir, scratch, warning) = match usable(&config.daemon.state_dir, &kept) {
        Ok(()) => (kept, None, None),
        Err(why) if location.is_none() => {
            return Err(Trouble::Failed(format!("the store {kind} has its records on this host, and {why}")));
        }
        Err(why) => {
            let scratch = Scratch::make().map_err(Trouble::Failed)?;
            let warning = format!("{why}; working from a temporary directory");
            (scratch.0.join(&kind), Some(scratch), Some(warning))
        }
    };
    let name = config.host.name.clone().unwrap_or_else(host::host_name);
    let address = config.host.address.map_or_else(|| name.clone(), |address| address.to_string());
    let writer = Writer { name: name.clone(), address };
    let context = OpenContext { state_dir, writer, nudge: Nudge::new() };
    let store = registry.open(&kind, config.store.table.clone(), context).await?;
    Ok(Opened {
        store,
        location,
        place: place(config, registry),
        writer: name,
        state_dir: config.daemon.state_dir.clone(),
        warning,
        kind,
        _scratch: scratch,
    })
}

/// Checks that two configs name two stores.
///
/// # Errors
/// A sentence, as the same store on both sides is a slip.
pub(crate) fn check_two(from: &Config, to: &Config, registry: &Registry) -> Result<(), Trouble> {
    if place(from, registry) != place(to, registry) {
        return Ok(());
    }
    let at = from.store.location(registry).map(|location| format!(" at {location}")).unwrap_or_default();
    Err(Trouble::Usage(format!("--from and --to name the same store, {}{at}: name two", from.store.kind)))
}

/// Returns which store a config names. One whose config doesn't say where it is, is in the state directory.
fn place(config: &Config, registry: &Registry) -> String {
    let place = config.store.place(registry);
    match config.store.location(registry) {
        Some(_) => place,
        None => format!("{place} in {}", config.daemon.state_dir.display()),
    }
}

/// Says why the state directory can't be used by this user; makes what is missing of it.
pub(super) fn usable(state_dir: &Path, kept: &Path) -> Result<(), String> {
    let us = rustix::process::geteuid().as_raw();
    for dir in [state_dir, kept] {
        let shown = dir.display();
        durable::create_dir(dir).map_err(|error| {
            format!("the state directory {shown} can't be used ({error}): run this as root")
        })?;
        let owner = std::fs::metadata(dir).map(|metadata| metadata.uid());
        if !matches!(owner, Ok(owner) if owner == us) {
            return Err(format!(
                "the state directory {shown} belongs to another user: run this as that user"
            ));
        }
    }
    Ok(())
}

/// A directory that goes with the command.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Self, String> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("ipvland-{}", uuid::Uuid::new_v4()));
        // Not recursive: it must not be there yet, for another user could have made it.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| format!("cannot make {}: {error}; name another with TMPDIR", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left of it does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Opened {
    /// Makes one of a store that is open already.
    #[cfg(test)]
    pub(super) fn of(store: Arc<dyn EndpointStore>, kind: &str, state_dir: &Path) -> Self {
        Self {
            store,
            kind: kind.to_owned(),
            location: Some(format!("/{kind}")),
            place: kind.to_owned(),
            writer: "web-1".to_owned(),
            state_dir: state_dir.to_owned(),
            warning: None,
            _scratch: None,
        }
    }

    /// Reads the whole store; asks again for a minute while it is away.
    ///
    /// # Errors
    /// The store's sentence.
    pub(crate) async fn read(&self) -> Result<Snapshot, Trouble> {
        let mut read = None;
        let keep = |snapshot: &Snapshot| {
            read = Some(snapshot.clone());
            Ok(None)
        };
        self.store
            .transact(PATIENCE, keep)
            .await
            .map_err(|error| Trouble::Failed(format!("cannot read the store {self}: {error}")))?;
        read.ok_or_else(|| Trouble::Failed(format!("the store {self} showed nothing")))
    }
}
