//! Which store a config names, for telling one from another.

use ipvland_store::{Registry, Sensitivity};
use serde_json::Value;

use super::StoreConfig;

impl StoreConfig {
    /// Returns which store this is, by its kind and by what identifies it in its table: `git {"repo":"…"}`.
    ///
    /// Another text may be the same store (another way to the same server); the same text is the same store. Passwords and
    /// tokens are left out.
    pub fn place(&self, registry: &Registry) -> String {
        let mut shown = serde_json::Map::new();
        let settings = registry.settings(&self.kind).unwrap_or_default();
        for setting in settings.iter().filter(|setting| setting.identifies) {
            let value = self.table.get(setting.name);
            let value = value.map(|value| match value.as_str() {
                Some(text) => setting.redact(text).into(),
                None if setting.sensitivity == Sensitivity::Plain => value.clone(),
                None => setting.redact(&value.to_string()).into(),
            });
            shown.extend(value.map(|value| (setting.name.to_owned(), value)));
        }
        format!("{} {}", self.kind, Value::Object(shown))
    }

    /// Says where the store is, for people, with what may be shown of its settings.
    pub fn location(&self, registry: &Registry) -> Option<String> {
        registry.settings(&self.kind).unwrap_or_default().iter().find_map(|setting| {
            let value = self.table.get(setting.name)?;
            let redact = |value: &Value| match value.as_str() {
                Some(text) => setting.redact(text),
                None => setting.redact(&value.to_string()),
            };
            Some(match value.as_array() {
                Some(several) => several.iter().map(redact).collect::<Vec<_>>().join(", "),
                None => redact(value),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ipvland_store::{EndpointStore, MemoryStore, Setting};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_place_tells_stores_apart_and_shows_no_secret() {
        const SETTINGS: &[Setting] = &[
            Setting::url("urls", ""),
            Setting::plain("ports", ""),
            Setting::plain("interval", "").incidental(),
            Setting::secret("token", ""),
        ];
        let mut registry = Registry::new();
        registry.register("far", SETTINGS, |_: serde_json::Value, _| async {
            Ok(Arc::new(MemoryStore::new()) as Arc<dyn EndpointStore>)
        });
        let store = |table| StoreConfig { kind: "far".to_owned(), table };
        let place = |table| store(table).place(&registry);
        let a = place(json!({ "urls": "http://u:geheim@a/", "ports": [1, 2], "token": "geheim" }));
        assert_eq!(a, r#"far {"ports":[1,2],"urls":"http://u:***@a/"}"#);
        assert_eq!(a, place(json!({ "urls": "http://u:new@a/", "ports": [1, 2], "interval": "1s" })));
        assert_ne!(a, place(json!({ "urls": "http://u:geheim@b/", "ports": [1, 2] })));
        assert!(!place(json!({ "urls": ["http://u:geheim@a/"] })).contains("geheim"));
        let both = store(json!({ "urls": ["http://u:geheim@a/", "http://b/"] })).location(&registry);
        assert_eq!(both.as_deref(), Some("http://u:***@a/, http://b/"));
        assert_eq!(store(json!({ "ports": 1 })).location(&registry).as_deref(), Some("1"));
        assert_eq!(store(json!({})).location(&registry), None);
    }
}
