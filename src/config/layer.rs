//! The layers of the config: each says its values and where they were said.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use figment::{
    Metadata, Profile, Provider,
    providers::{Format, Toml},
    value::{Dict, Map, Value},
};
use serde_saphyr::figment::Yaml;

use super::ConfigError;

/// Where the config file is looked for when none is named.
const DEFAULT_FILES: [&str; 3] =
    ["/etc/ipvland/ipvland.toml", "/etc/ipvland/ipvland.yaml", "/etc/ipvland/ipvland.yml"];

/// What every variable of ours starts with.
const PREFIX: &str = "IPVLAND_";

/// Values that were said in one place. figment keeps the place with each value.
#[derive(Clone)]
pub(super) struct Layer {
    /// Where, as `ipvland config` shows it: `default`, `ipvland.toml`, `IPVLAND_STORE__KIND`, `--mode`.
    pub(super) source: String,
    /// The same at the head of a sentence: variables get `environment: ` in front.
    pub(super) origin: String,
    /// The values.
    pub(super) dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.dict.clone())]))
    }
}

impl Layer {
    /// Makes a layer of one value.
    pub(super) fn one(source: &str, key: &str, value: Value) -> Self {
        let dict = nest(&key.split('.').collect::<Vec<_>>(), value);
        Self { source: source.to_owned(), origin: source.to_owned(), dict }
    }
}

fn nest(keys: &[&str], value: Value) -> Dict {
    match keys {
        [] => Dict::new(),
        [last] => Dict::from([((*last).to_owned(), value)]),
        [first, rest @ ..] => Dict::from([((*first).to_owned(), Value::from(nest(rest, value)))]),
    }
}

/// Finds the config file: the named one, or the one under `/etc/ipvland`, if there is any.
///
/// # Errors
/// [`ConfigError::TwoFiles`] where it's not plain which one counts.
pub(super) fn find(named: Option<&Path>) -> Result<Option<PathBuf>, ConfigError> {
    match named {
        Some(path) => Ok(Some(path.to_owned())),
        None => choose(DEFAULT_FILES.iter().map(PathBuf::from)),
    }
}

fn choose(candidates: impl Iterator<Item = PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    let mut present = candidates.filter(|path| path.exists());
    match (present.next(), present.next()) {
        (Some(first), Some(second)) => Err(ConfigError::TwoFiles { first, second }),
        (first, _) => Ok(first),
    }
}

/// Reads a config file, and tells whether others than its owner may read it.
///
/// # Errors
/// A sentence for a file that can't be read, another ending, or a syntax error, without the text of the line.
pub(super) fn read(path: &Path) -> Result<(Layer, bool), ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let yaml = match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => false,
        Some("yaml" | "yml") => true,
        _ => return Err(ConfigError::Ending { path: path.to_owned() }),
    };
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => unreadable("there is no such file".into()),
        _ => unreadable(error.to_string()),
    })?;
    let open = fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let dict = if yaml { parse_yaml(&file, &text) } else { parse_toml(&file, &text) }?;
    Ok((Layer { source: file.clone(), origin: file, dict }, open))
}

fn parse_toml(file: &str, text: &str) -> Result<Dict, ConfigError> {
    <Toml as Format>::from_str(text).map_err(|error: <Toml as Format>::Error| {
        // The error's own text quotes the line, which may hold a password: only the message and the line's number.
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let reason = error.message().lines().collect::<Vec<_>>().join(", ");
        ConfigError::Syntax { file: file.to_owned(), line: before.matches('\n').count() + 1, reason }
    })
}

fn parse_yaml(file: &str, text: &str) -> Result<Dict, ConfigError> {
    // An empty document is a config that says nothing; the parser takes it for a null.
    let value: Option<Dict> = <Yaml as Format>::from_str(text).map_err(|error: serde_saphyr::Error| {
        let line = error.location().map_or(1, |location| location.line() as usize);
        // The parser's words end in the place, which the sentence says already, and may go on to quote a value.
        let words = error.without_snippet().to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        let words = words.strip_prefix("error: ").unwrap_or(words);
        // Words with quotes quote a value; the hint behind a comma is for whoever calls the parser.
        let words = words.split(", set ").next().unwrap_or_default();
        let table = words.contains(['"', '`']) || words == "expected mapping start";
        let reason = if table { "there must be a table here" } else { words };
        ConfigError::Syntax {
            file: file.to_owned(),
            line,
            reason: reason.lines().next().unwrap_or_default().into(),
        }
    })?;
    Ok(value.unwrap_or_default())
}

/// Makes a layer of each variable of ours: `IPVLAND_STORE__GIT__BRANCH` is `store.git.branch`. Values stay text here;
/// the key's form makes a number or a list of them.
pub(super) fn environment(variables: &[(String, String)]) -> Vec<Layer> {
    let mut layers = Vec::new();
    let logging = variables.iter().filter(|(name, _)| name == "RUST_LOG").map(|(name, value)| {
        // What every program of this kind reads; our own variable stands above it.
        (name, "log.level".to_owned(), value)
    });
    let ours = variables.iter().filter_map(|(name, value)| {
        let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase().replace("__", ".");
        Some((name, key, value))
    });
    for (name, key, value) in logging.chain(ours) {
        let layer = Layer::one(name, &key, Value::from(value.as_str()));
        layers.push(Layer { origin: format!("environment: {name}"), ..layer });
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_default_files_are_a_question() {
        let dir = tempfile::tempdir().unwrap();
        let [toml, yaml] = ["ipvland.toml", "ipvland.yaml"].map(|name| dir.path().join(name));
        let both = || [toml.clone(), yaml.clone()].into_iter();
        assert_eq!(choose(both()), Ok(None));
        fs::write(&yaml, "").unwrap();
        assert_eq!(choose(both()), Ok(Some(yaml.clone())));
        fs::write(&toml, "").unwrap();
        let error = choose(both()).unwrap_err().to_string();
        let (toml, yaml) = (toml.display(), yaml.display());
        assert_eq!(error, format!("both {toml} and {yaml} exist: remove one, or name one with --config"));
    }
}
