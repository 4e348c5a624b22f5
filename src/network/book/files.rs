//! The files of the book. All of it blocks.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use super::{BookError, Endpoint, Network};
use crate::durable;

/// The largest file that is read. Earlier versions kept the endpoints in it: 10,000 take about 2 MB.
const LARGEST: u64 = 16 << 20;

/// Reads all networks with their endpoints; the directory is made where it is missing.
///
/// A damaged network is reported and set aside as `.damaged`. A damaged endpoint is dropped: only a power cut damages one,
/// and its container is gone then.
pub(super) fn read_all(dir: &Path) -> Result<BTreeMap<String, Network>, BookError> {
    durable::create_dir(dir).map_err(|source| disk("make the directory", dir, source))?;
    let mut networks = BTreeMap::new();
    // What a crash left unfinished, and what was set aside before, ends otherwise.
    for path in json_files(dir)? {
        match read_network(&path) {
            Ok(network) => drop(networks.insert(network.id.clone(), network)),
            Err(reason) => set_aside(&path, &reason),
        }
    }
    for network in networks.values_mut() {
        // An earlier version kept the endpoints in the network's file. Until that is written anew, it has them all.
        let earlier = !network.endpoints.is_empty();
        read_endpoints(&dir.join(&network.id), network)?;
        if earlier {
            write_network(dir, network)?;
        }
    }
    Ok(networks)
}

fn read_network(path: &Path) -> Result<Network, String> {
    let network: Network = read(path)?;
    if path.file_stem().is_none_or(|stem| stem != network.id.as_str()) {
        return Err(format!("it is about network {}", network.id));
    }
    Ok(network)
}

fn read_endpoints(dir: &Path, network: &mut Network) -> Result<(), BookError> {
    if !dir.exists() {
        return Ok(());
    }
    for path in json_files(dir)? {
        let Some(id) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        match read::<Endpoint>(&path) {
            Ok(endpoint) => drop(network.endpoints.insert(id.to_owned(), endpoint)),
            Err(reason) => {
                debug!(file = %path.display(), "an endpoint that a power cut damaged is dropped: {reason}");
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(())
}

/// Writes a network so that it survives a power cut, and all its endpoints.
pub(super) fn write_network(dir: &Path, network: &Network) -> Result<(), BookError> {
    let endpoints = dir.join(&network.id);
    durable::create_dir(&endpoints).map_err(|source| disk("make the directory", &endpoints, source))?;
    for (id, endpoint) in &network.endpoints {
        write_endpoint(dir, &network.id, id, endpoint)?;
    }
    let path = dir.join(format!("{}.json", network.id));
    let alone = Network { endpoints: BTreeMap::new(), ..network.clone() };
    let text = serde_json::to_vec_pretty(&alone).map_err(io::Error::from);
    let written = text.and_then(|mut text| {
        text.push(b'\n');
        durable::write(&path, &text)
    });
    written.map_err(|source| disk("write", &path, source))
}

/// Removes a network with its endpoints; one that is gone is no error.
pub(super) fn remove_network(dir: &Path, id: &str) -> Result<(), BookError> {
    let path = dir.join(format!("{id}.json"));
    durable::remove(&path).map_err(|source| disk("remove", &path, source))?;
    // What stays of it belongs to no network, and nothing reads it.
    let _ = fs::remove_dir_all(dir.join(id));
    Ok(())
}

/// Writes an endpoint so that it survives the death of the daemon.
pub(super) fn write_endpoint(
    dir: &Path,
    network: &str,
    id: &str,
    endpoint: &Endpoint,
) -> Result<(), BookError> {
    let dir = dir.join(network);
    let path = dir.join(format!("{id}.json"));
    let text = serde_json::to_vec(endpoint).map_err(io::Error::from);
    let written = text.and_then(|text| durable::swap(&path, &text));
    written
        .or_else(|error| match error.kind() {
            // A network that an earlier version wrote has no directory yet.
            io::ErrorKind::NotFound => {
                durable::create_dir(&dir).and_then(|()| durable::swap(&path, &serde_json::to_vec(endpoint)?))
            }
            _ => Err(error),
        })
        .map_err(|source| disk("write", &path, source))
}

/// Removes an endpoint; one that is gone is no error.
pub(super) fn remove_endpoint(dir: &Path, network: &str, id: &str) -> Result<(), BookError> {
    let path = dir.join(network).join(format!("{id}.json"));
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk("remove", &path, error)),
        _ => Ok(()),
    }
}

fn json_files(dir: &Path) -> Result<Vec<PathBuf>, BookError> {
    let wrong = |source| disk("read", dir, source);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            files.push(path);
        }
    }
    Ok(files)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a plain file".to_owned());
    }
    if metadata.len() > LARGEST {
        return Err(format!("it is larger than {LARGEST} bytes"));
    }
    let text = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

fn disk(action: &'static str, path: &Path, source: io::Error) -> BookError {
    BookError::Disk { action, path: path.display().to_string(), source }
}

fn set_aside(path: &Path, reason: &str) {
    let file = path.display();
    match durable::set_aside(path, ".damaged") {
        Ok(aside) => warn!(
            file = %aside.display(),
            "cannot read the network file {file}: {reason}: it is set aside; mend it, take `.damaged` off its name and \
             restart ipvland, or remove the network with `docker network rm` and make it again",
        ),
        Err(error) => warn!(
            %file,
            "cannot read the network file {file}: {reason}; and it can't be set aside: {error}: its network does not \
             work until the file is mended and ipvland restarted",
        ),
    }
}
