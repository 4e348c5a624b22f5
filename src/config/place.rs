//! Which store a config names, for telling one from another.

use ipvland_store::{Registry, Sensitivity};

use super::StoreConfig;

impl StoreConfig {
    /// Returns which store this is, by its kind and by all that may be shown of its table: `git {"repo":"…"}`.
    ///
    /// Another text may be the same store (another interval, another way to the same server); the same text is the same
    /// store. Passwords and tokens are left out.
    pub fn place(&self, registry: &Registry) -> String {
        let mut shown = serde_json::Map::new();
        for setting in registry.settings(&self.kind).unwrap_or_default() {
            let value = self.table.get(setting.name).filter(|_| setting.sensitivity != Sensitivity::Secret);
            let value = value.map(|value| match value.as_str() {
                Some(text) => setting.redact(text).into(),
                None if setting.sensitivity == Sensitivity::Plain => value.clone(),
                None => setting.redact(&value.to_string()).into(),
            });
            shown.extend(value.map(|value| (setting.name.to_owned(), value)));
        }
        format!("{} {}", self.kind, serde_json::Value::Object(shown))
    }

    /// Says where the store is, for people, with what may be shown of its settings.
    pub fn location(&self, registry: &Registry) -> Option<String> {
        registry.settings(&self.kind).unwrap_or_default().iter().find_map(|setting| {
            let value = self.table.get(setting.name)?;
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            Some(setting.redact(&text))
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
        const SETTINGS: &[Setting] =
            &[Setting::url("urls", ""), Setting::plain("ports", ""), Setting::secret("token", "")];
        let mut registry = Registry::new();
        registry.register("far", SETTINGS, |_: serde_json::Value, _| async {
            Ok(Arc::new(MemoryStore::new()) as Arc<dyn EndpointStore>)
        });
        let store = |table| StoreConfig { kind: "far".to_owned(), table };
        let place = |table| store(table).place(&registry);
        let a = place(json!({ "urls": "http://u:geheim@a/", "ports": [1, 2], "token": "geheim" }));
        assert_eq!(a, r#"far {"ports":[1,2],"urls":"http://u:***@a/"}"#);
        assert_eq!(a, place(json!({ "urls": "http://u:new@a/", "ports": [1, 2] })));
        assert_ne!(a, place(json!({ "urls": "http://u:geheim@b/", "ports": [1, 2] })));
        assert!(!place(json!({ "urls": ["http://u:geheim@a/"] })).contains("geheim"));
        assert_eq!(store(json!({ "ports": 1 })).location(&registry).as_deref(), Some("1"));
        assert_eq!(store(json!({})).location(&registry), None);
    }
}
