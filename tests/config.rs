//! The config: its layers, where values come from, each error's sentence, and the files under `configs/`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests end a test with them"
)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use ipvland::{
    config::{Config, Loaded, Override, Sources, load},
    kernel::{Flag, Mode},
};
use ipvland_store::{EndpointStore, MemoryStore, Registry, Setting};

const SECRET: &str = "geheim";

/// The built-in stores, and one with a list, a number and a secret.
fn registry() -> Registry {
    #[derive(serde::Deserialize)]
    struct Settings {
        #[serde(rename = "endpoints")]
        _endpoints: Vec<String>,
        #[serde(rename = "port")]
        _port: Option<u16>,
        #[serde(rename = "token")]
        _token: Option<String>,
    }
    const SETTINGS: &[Setting] = &[
        Setting::plain("endpoints", "where it is"),
        Setting::plain("port", "its port"),
        Setting::secret("token", "who we are"),
    ];
    let mut registry = ipvland_backends::registry();
    registry.register("away", SETTINGS, |_: Settings, _| async {
        Ok(Arc::new(MemoryStore::new()) as Arc<dyn EndpointStore>)
    });
    registry
}

struct Case {
    dir: tempfile::TempDir,
    sources: Sources,
}

/// Starts a case from a file of this name and text.
fn file(name: &str, text: &str) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Case { dir, sources: Sources { file: Some(path), ..Sources::default() } }
}

fn toml(text: &str) -> Case {
    file("ipvland.toml", text)
}

impl Case {
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, flag: &'static str, key: &'static str, value: &str) -> Self {
        self.sources.flags.push(Override { flag, key, value: value.into() });
        self
    }

    fn load(&self) -> Loaded {
        load(&self.sources, &registry()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the error's sentence, which never holds the secret.
    fn error(&self) -> String {
        let error = load(&self.sources, &registry()).err().expect("an error");
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
        error.to_string().replace(&format!("{}/", self.dir.path().display()), "")
    }
}

fn source<'a>(loaded: &'a Loaded, key: &str) -> &'a str {
    &loaded.entries.iter().find(|entry| entry.key == key).unwrap_or_else(|| panic!("{key}")).source
}

#[test]
fn nothing_said_means_the_defaults() {
    let config = toml("").load().config;
    assert_eq!(config.host.interface, None);
    assert_eq!((config.network.mode, config.network.flag), (Mode::L2, Flag::Bridge));
    assert_eq!((config.store.kind.as_str(), &config.store.table), ("git", &serde_json::json!({})));
    assert_eq!(config.daemon.state_dir, Path::new("/var/lib/ipvland"));
    assert_eq!(config.daemon.socket, Path::new("/run/docker/plugins/ipvland.sock"));
    assert_eq!((config.log.filter.as_str(), config.log.json), ("info", false));
    assert_eq!(file("ipvland.yaml", "").load().config, config);
    assert_eq!(file("ipvland.yml", "store:\n  git:\n").load().config, config);
}

#[test]
fn each_layer_wins_over_the_one_below_and_is_named() {
    let mut case = toml("[network]\nmode = \"l3\"\nmtu = 1400\n[store.git]\nbranch = \"main\"\n");
    let check = |case: &Case, mode, from: &str| {
        let loaded = case.load();
        assert_eq!(loaded.config.network.mode, mode);
        assert_eq!(source(&loaded, "network.mode"), from);
        // What an upper layer doesn't say stays.
        assert_eq!(loaded.config.network.mtu, Some(1400));
        assert_eq!(source(&loaded, "network.mtu"), "ipvland.toml");
        assert_eq!(source(&loaded, "network.flag"), "default");
        assert_eq!(loaded.config.store.table["branch"], "main");
        assert_eq!(source(&loaded, "store.git.branch"), "ipvland.toml");
    };
    check(&case, Mode::L3, "ipvland.toml");
    case = case.variable("IPVLAND_NETWORK__MODE", "l3s");
    check(&case, Mode::L3s, "IPVLAND_NETWORK__MODE");
    case = case.flag("--mode", "network.mode", "l2");
    check(&case, Mode::L2, "--mode");
}

#[test]
fn variables_are_text_until_a_key_takes_another_form() {
    let loaded = toml("")
        .variable("IPVLAND_HOST__NAME", "123")
        .variable("IPVLAND_NETWORK__MTU", "1500")
        .variable("IPVLAND_NETWORK__SUBNET", "10.1.48.0/24, 2001:db8:48::/64")
        .variable("IPVLAND_STORE__KIND", "away")
        .variable("IPVLAND_STORE__AWAY__ENDPOINTS", "[\"https://10.1.1.2:2379\"]")
        .variable("IPVLAND_STORE__AWAY__PORT", "2379")
        .variable("IPVLAND_STORE__AWAY__TOKEN", "0123")
        .variable("IPVLAND_STORE__GIT__PASSWORD", "123456")
        .variable("HOME", "/root")
        .load();
    assert_eq!(loaded.config.host.name.as_deref(), Some("123"));
    assert_eq!(loaded.config.network.mtu, Some(1500));
    let subnets = ["10.1.48.0/24", "2001:db8:48::/64"].map(|subnet| subnet.parse().unwrap());
    assert_eq!(loaded.config.network.subnet, subnets);
    let table = serde_json::json!({ "endpoints": ["https://10.1.1.2:2379"], "port": 2379, "token": "0123" });
    assert_eq!(loaded.config.store.table, table);
    let git = toml("").variable("IPVLAND_STORE__GIT__PASSWORD", "123456").load();
    assert_eq!(git.config.store.table, serde_json::json!({ "password": "123456" }));
}

#[test]
fn rust_log_stands_between_the_file_and_our_own_variable() {
    let case = toml("[log]\nlevel = \"warn\"\n").variable("RUST_LOG", "debug");
    assert_eq!(source(&case.load(), "log.level"), "RUST_LOG");
    let case = case.variable("IPVLAND_LOG__LEVEL", "info");
    assert_eq!(case.load().config.log.filter, "info");
}

#[test]
fn swapping_the_kind_is_one_line() {
    let tables = "[store.git]\nbranch = \"x\"\n[store.away]\nendpoints = [\"a\"]\n[store.memory]\n";
    for (kind, table) in [("git", r#"{"branch":"x"}"#), ("away", r#"{"endpoints":["a"]}"#), ("memory", "{}")]
    {
        let config = toml(&format!("[store]\nkind = \"{kind}\"\n{tables}")).load().config;
        assert_eq!((config.store.kind.as_str(), config.store.table.to_string().as_str()), (kind, table));
    }
}

#[test]
fn unknown_keys_name_the_place_and_the_known_ones() {
    let git = "repo, branch, interval, timeout, username, password, password_file, ssh_key, \
               ssh_key_passphrase_file, known_hosts, ca_file, client_cert, client_key, proxy";
    let sentence = format!("ipvland.toml: unknown key store.git.brnach (known: {git})");
    assert_eq!(toml("[store.git]\nbrnach = \"x\"\n").error(), sentence);
    let sentence = format!("ipvland.yaml: unknown key store.git.brnach (known: {git})");
    assert_eq!(file("ipvland.yaml", "store: {git: {brnach: x}}").error(), sentence);
    let name = "IPVLAND_STORE__GIT__BRNACH";
    let sentence = format!("environment: {name}: unknown key store.git.brnach (known: {git})");
    assert_eq!(toml("").variable(name, SECRET).error(), sentence);
    // The table of a store that isn't chosen is checked as well.
    let memory = toml("[store]\nkind = \"memory\"\n[store.away]\nx = 1\n").error();
    assert_eq!(memory, "ipvland.toml: unknown key store.away.x (known: endpoints, port, token)");
    for (text, sentence) in [
        ("x = 1", "unknown key x (known: host, network, names, nudge, store, daemon, log)"),
        ("[host]\nx = 1", "unknown key host.x (known: interface, address, name)"),
        (
            "[network]\nx = 1",
            "unknown key network.x (known: mode, flag, subnet, gateway, mtu, host_access, pool, prefix_length, prefix_length6, block_length, block_length6, reserved)",
        ),
        (
            "[store.etcdd]\nx = 1",
            "unknown key store.etcdd (known: kind, away, etcd, filesystem, git, memory)",
        ),
        ("[names]\nx = 1", "unknown key names.x (known: enabled, listen, upstream, docker, interval)"),
        ("[daemon]\nx = 1", "unknown key daemon.x (known: state_dir, socket)"),
        ("[log]\nx = 1", "unknown key log.x (known: level, format)"),
    ] {
        assert_eq!(toml(text).error(), format!("ipvland.toml: {sentence}"));
    }
}

#[test]
fn wrong_values_say_what_to_write() {
    let servers = "an address such as \"10.1.1.1\" or \"127.0.0.5:53\", or a list of them";
    let subnet = "network.subnet must be a subnet such as \"10.1.48.0/24\", or a list of them, not";
    let cut = "which would cut hosts off: name this host's own subnet";
    for (text, sentence) in [
        ("network = 5", "network must be a table".into()),
        ("store.git = 5", "store.git must be a table".into()),
        ("host.name = 123", "host.name must be a name, such as \"web-1\", in quotes, not 123".into()),
        ("host.address = \"x\"", "host.address must be an address, such as \"10.1.1.48\", not \"x\"".into()),
        ("host.interface = \"a/b\"", "host.interface must be the name of an interface such as \"eth2\", a pattern such as \"en*\", or the subnet of its address, not \"a/b\"".into()),
        ("network.mode = \"l4\"", "network.mode must be one of l2, l3, l3s, not \"l4\"".into()),
        ("network.flag = \"\"", "network.flag must be one of bridge, private, vepa, not \"\"".into()),
        ("network.gateway = \"0.0.0.0\"", "network.gateway must be an address, such as \"10.1.1.48\", not \"0.0.0.0\"".into()),
        ("network.mtu = 67", "network.mtu must be a whole number of bytes from 68 to 65535, not 67".into()),
        ("network.mtu = -1", "network.mtu must be a whole number of bytes from 68 to 65535, not -1".into()),
        ("network.mtu = \"1500\"", "network.mtu must be a whole number of bytes from 68 to 65535, not \"1500\"".into()),
        ("network.subnet = \"x\"", format!("{subnet} \"x\"")),
        ("network.subnet = [1]", format!("{subnet} a list")),
        ("network.subnet = \"10.1.48.5/24\"", "network.subnet \"10.1.48.5/24\" has host bits: write \"10.1.48.0/24\"".into()),
        ("network.subnet = \"10.1.48.5\"", "network.subnet \"10.1.48.5\" lacks its length: write \"10.1.48.5/24\", for instance".into()),
        ("network.subnet = \"0.0.0.0/0\"", format!("network.subnet \"0.0.0.0/0\" is a default route, {cut}")),
        ("network.subnet = \"127.1.0.0/16\"", format!("network.subnet \"127.1.0.0/16\" is loopback, {cut}")),
        ("network.subnet = \"fe80::/64\"", format!("network.subnet \"fe80::/64\" is link-local, {cut}")),
        ("network.subnet = \"224.0.0.0/3\"", format!("network.subnet \"224.0.0.0/3\" is multicast, {cut}")),
        ("network.subnet = [\"10.0.0.0/8\", \"10.1.0.0/16\"]", "network.subnet names 10.1.0.0/16, which overlaps 10.0.0.0/8: name each address once".into()),
        ("network.prefix_length = 32", "network.prefix_length must be a whole number of bits from 8 to 31, not 32".into()),
        ("network.block_length6 = \"112\"", "network.block_length6 must be a whole number of bits from 64 to 128, not \"112\"".into()),
        ("network.pool = \"10.1.0.0/25\"", "network.pool holds 10.1.0.0/25, which is smaller than one prefix of length 24: name a larger pool, or raise network.prefix_length".into()),
        ("network.reserved = [\"10.1.1.1/24\"]", "network.reserved \"10.1.1.1/24\" has host bits: write \"10.1.1.0/24\", or the address alone".into()),
        ("names.enabled = \"yes\"", "names.enabled must be true or false, not \"yes\"".into()),
        ("names.listen = \"0.0.0.0\"", format!("names.listen must be {servers}, not \"0.0.0.0\"")),
        ("names.listen = \"10.1.1.1:0\"", format!("names.listen must be {servers}, not \"10.1.1.1:0\"")),
        ("names.upstream = [\"dns.example\"]", format!("names.upstream must be {servers}, not \"dns.example\"")),
        ("names.upstream = [1]", format!("names.upstream must be {servers}, not a list")),
        ("names.interval = \"0s\"", "names.interval must be a duration from 1s to 1h, such as \"10s\", not \"0s\"".into()),
        ("names.interval = 10", "names.interval must be a duration from 1s to 1h, such as \"10s\", in quotes, not 10".into()),
        ("network.reserved = \"x\"", "network.reserved must be an address such as \"10.1.1.1\", a subnet, or a list of them, not \"x\"".into()),
        ("host.interface = \"10.1.1.0/33\"", "host.interface must be the name of an interface such as \"eth2\", a pattern such as \"en*\", or the subnet of its address, not \"10.1.1.0/33\"".into()),
        ("store.kind = \"consul\"", "store.kind \"consul\" is no kind of store (known: away, etcd, filesystem, git, memory)".into()),
        ("daemon.state_dir = \"x\"", "daemon.state_dir must be an absolute path, not \"x\"".into()),
        ("daemon.socket = \"a/b\"", "daemon.socket must be a name under /run/docker/plugins, or an absolute path, not \"a/b\"".into()),
        ("log.level = \"inof\"", "log.level must be a level (error, warn, info, debug, trace) or a filter such as \"info,ipvland=debug\", not \"inof\"".into()),
    ] {
        assert_eq!(toml(text).error(), format!("ipvland.toml: {sentence}"));
    }
    let variable = toml("").variable("IPVLAND_NETWORK__MTU", "big").error();
    let mtu = "network.mtu must be a whole number of bytes from 68 to 65535, not \"big\"";
    assert_eq!(variable, format!("environment: IPVLAND_NETWORK__MTU: {mtu}"));
    assert_eq!(toml("").flag("--mtu", "network.mtu", "big").error(), format!("--mtu: {mtu}"));
}

/// The stores of [`registry`], and one that exists and isn't in the build.
fn registry_without_consul() -> Registry {
    let mut registry = registry();
    registry.leave_out("consul", "consul");
    registry
}

#[test]
fn a_kind_that_is_not_in_this_build_is_told_from_one_that_does_not_exist() {
    let registry = registry_without_consul();
    let error = |text: &str| load(&toml(text).sources, &registry).err().expect("an error").to_string();
    let left_out = error("store.kind = \"consul\"");
    let sentence = "ipvland.toml: store.kind \"consul\" is not in this build of ipvland: build it with --features \
                    consul (in this build: ";
    assert!(left_out.starts_with(sentence), "{left_out}");
    let unknown = error("store.kind = \"consull\"");
    let sentence = "ipvland.toml: store.kind \"consull\" is no kind of store, did you mean consul? (known: ";
    assert!(unknown.starts_with(sentence) && unknown.contains("; not in this build: "), "{unknown}");
    let key = error("[store.consull]\nx = 1");
    assert!(key.contains("unknown key store.consull (known: kind, ") && key.contains("consul"), "{key}");
    assert_eq!(error("store.consul = 5"), "ipvland.toml: store.consul must be a table");
}

#[test]
fn the_table_of_a_store_that_is_not_in_this_build_may_stand_in_a_shared_file() {
    let case = toml("store.kind = \"memory\"\n[store.consul]\nurl = \"http://10.1.1.2:8500\"\n")
        .variable("IPVLAND_STORE__CONSUL__TOKEN", SECRET);
    let loaded = load(&case.sources, &registry_without_consul()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.config.store.kind, "memory");
    assert!(!format!("{:?} {:?}", loaded.config, loaded.entries).contains(SECRET));
}

/// Each built-in kind is known or named as left out, whichever features the build has.
#[test]
fn a_built_in_store_without_its_feature_says_which_feature_it_is() {
    let kinds = [
        ("etcd", cfg!(feature = "etcd")),
        ("filesystem", cfg!(feature = "filesystem")),
        ("git", cfg!(feature = "git")),
    ];
    for (kind, is_in) in kinds {
        let why_not = ipvland_backends::registry().why_not(kind);
        let words =
            format!("is not in this build of ipvland: build it with --features {kind} (in this build: ");
        let left_out = why_not.as_ref().is_some_and(|why_not| why_not.starts_with(&words));
        assert_eq!(left_out, !is_in, "{kind}: {why_not:?}");
    }
}

#[test]
fn a_wrong_value_of_a_store_is_not_shown() {
    let list = toml(&format!("[store.git]\npassword = [\"{SECRET}\"]\n")).error();
    assert!(list.starts_with("ipvland.toml: store.git.password must be a string"), "{list}");
    let variable = toml("store.kind = \"away\"\nstore.away.endpoints = []")
        .variable("IPVLAND_STORE__AWAY__PORT", SECRET)
        .error();
    assert!(
        variable.starts_with("environment: IPVLAND_STORE__AWAY__PORT: store.away.port must be"),
        "{variable}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_sentence() {
    let case = toml("");
    let of = |name: &str| {
        let sources = Sources { file: Some(case.dir.path().join(name)), ..Sources::default() };
        Case { dir: tempfile::tempdir().unwrap(), sources }
            .error()
            .replace(&*case.dir.path().to_string_lossy(), "D")
    };
    assert_eq!(of("no.toml"), "cannot read D/no.toml: there is no such file");
    assert_eq!(of("a.json"), "cannot tell the format of D/a.json: name it .toml, .yaml or .yml");
}

#[test]
fn syntax_errors_name_the_line_and_quote_nothing() {
    let text = format!("[store.git]\n\npassword = \"{SECRET}\n");
    assert_eq!(toml(&text).error(), "ipvland.toml, line 3: invalid basic string");
    for value in
        [SECRET.to_owned(), format!("\"{SECRET}\" x"), format!("'{SECRET}"), format!("\"{SECRET}\\q\"")]
    {
        let error = toml(&format!("[store.git]\npassword = {value}\n")).error();
        assert!(error.starts_with("ipvland.toml, line 2: "), "{error}");
    }
    for text in [
        format!("store:\n  git:\n    password: \"{SECRET}\n"),
        format!("store: {{git: {{password: {SECRET}]\n"),
        format!("store:\n  git:\n  - password: {SECRET}\n   x: 1"),
        SECRET.to_owned(),
        format!("x: *{SECRET}\n"),
        format!("x: !!int {SECRET}\n"),
        format!("password: {SECRET}\npassword: {SECRET}\n"),
    ] {
        let error = load(&file("ipvland.yaml", &text).sources, &registry()).err().unwrap().to_string();
        assert!(error.starts_with("ipvland.yaml, line "), "{error}");
        assert!(!error.contains(SECRET), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn host_access_is_true_or_false() {
    assert!(!toml("").load().config.network.host_access);
    assert!(toml("[network]\nhost_access = true\n").load().config.network.host_access);
    let variable = |word| toml("").variable("IPVLAND_NETWORK__HOST_ACCESS", word);
    assert!(variable("true").load().config.network.host_access);
    assert!(!variable("False").load().config.network.host_access);
    let error = variable("yes").error();
    assert_eq!(
        error,
        "environment: IPVLAND_NETWORK__HOST_ACCESS: network.host_access must be true or false, not \"yes\""
    );
    let error = toml("[network]\nhost_access = \"true\"\n").error();
    assert_eq!(error, "ipvland.toml: network.host_access must be true or false, not \"true\"");
}

#[test]
fn git_multihost_needs_a_repository_from_any_layer() {
    let multihost = |mut case: Case| {
        case.sources.git_multihost = true;
        case
    };
    let sentence =
        "--git-multihost: no repository is named: add --repo=URL, or store.git.repo to the config file";
    assert_eq!(multihost(toml("")).error(), sentence);
    let loaded = multihost(toml("[store]\nkind = \"memory\"\n[store.git]\nrepo = \"/srv/net.git\"\n")).load();
    assert_eq!(loaded.config.store.kind, "git");
    assert_eq!(source(&loaded, "store.kind"), "--git-multihost");
    multihost(toml("").variable("IPVLAND_STORE__GIT__REPO", "/srv/net.git")).load();
    multihost(toml("").flag("--repo", "store.git.repo", "/srv/net.git")).load();
}

#[test]
fn a_secret_that_lies_open_is_told() {
    let url = format!("http://user:{SECRET}@git.example/net.git");
    let case = toml(&format!("[store.git]\nrepo = \"{url}\"\n"));
    assert!(case.load().warnings.is_empty());
    let path = case.sources.file.clone().unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let path = path.display();
    let warning =
        format!("{path} holds a secret in store.git.repo and others may read it: run chmod 0600 {path}");
    assert_eq!(case.load().warnings, [warning]);
    let warnings = toml("").flag("--repo", "store.git.repo", &url).load().warnings;
    assert!(warnings[0].starts_with("the password in --repo is on the command line"), "{warnings:?}");
    assert!(!warnings[0].contains(SECRET) && warnings.len() == 1, "{warnings:?}");
    assert!(toml("").flag("--repo", "store.git.repo", "ssh://git@git.example/x").load().warnings.is_empty());
}

#[test]
fn a_flag_that_the_store_does_not_read_is_told() {
    let warnings = toml("store.kind = \"memory\"").flag("--branch", "store.git.branch", "x").load().warnings;
    assert_eq!(warnings, ["--branch sets store.git.branch, which store.kind = \"memory\" does not read"]);
}

#[test]
fn no_secret_is_shown_by_debug_or_entries() {
    let text =
        format!("[store.git]\nrepo = \"http://user:{SECRET}@git.example/x\"\npassword = \"{SECRET}\"\n");
    let loaded = toml(&text).load();
    let shown = format!("{:?} {:?}", loaded.config, loaded.entries);
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(shown.contains("http://user:***@git.example/x"), "{shown}");
    assert!(loaded.config.store.table.to_string().contains(SECRET));
}

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name)).unwrap()
}

fn load_example(name: &str) -> Config {
    file(name, &example(name)).load().config
}

#[test]
fn the_examples_load_and_the_twins_agree() {
    assert_eq!(load_example("ipvland.toml"), toml("").load().config);
    for store in ["etcd", "git", "memory"] {
        let config = load_example(&format!("{store}.toml"));
        assert_eq!(config.store.kind, store);
        assert_eq!(config, load_example(&format!("{store}.yaml")));
    }
}

#[test]
fn every_key_is_in_the_example_with_its_default() {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.starts_with(' ') => format!("{key}\n"),
        _ => format!("{line}\n"),
    };
    let text: String = example("ipvland.toml").lines().map(uncomment).collect();
    let (example, defaults) = (toml(&text).load(), toml("").load());
    for (entry, default) in example.entries.iter().zip(&defaults.entries) {
        assert_eq!(entry.source, "ipvland.toml", "{}", entry.key);
        assert!(default.value.is_none() || default.value == entry.value, "{}", entry.key);
    }
}

#[test]
fn the_unit_says_what_the_daemon_relies_on() {
    let unit = example("ipvland.service");
    for line in [
        "Type=notify",
        "Before=docker.service",
        "After=network-online.target",
        "Wants=network-online.target",
        "WantedBy=multi-user.target",
        "Restart=always",
        "StateDirectory=ipvland",
        "StateDirectoryMode=0700",
        "RuntimeDirectoryPreserve=yes",
        "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ReadWritePaths=-/proc/sys/net/ipv6/conf",
        "KillSignal=SIGTERM",
    ] {
        assert_eq!(unit.lines().filter(|other| *other == line).count(), 1, "{line}");
    }
    for line in unit.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])) {
        assert!(
            line.split_once('=').is_some_and(|(key, value)| !key.contains(' ') && !value.is_empty()),
            "{line}"
        );
    }
}

#[test]
fn names_are_off_and_their_servers_get_dns_port() {
    let names = toml("").load().config.names;
    assert!(!names.enabled && names.listen.is_empty() && names.upstream.is_empty());
    assert_eq!((names.docker.to_str(), names.interval), (Some("/run/docker.sock"), Duration::from_secs(10)));
    let text =
        "[names]\nenabled = true\nlisten = [\"10.1.1.48\", \"::1\", \"127.0.0.5:5353\"]\ninterval = \"2m\"";
    let names = toml(text).load().config.names;
    let listen: Vec<_> = names.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["10.1.1.48:53", "[::1]:53", "127.0.0.5:5353"]);
    assert!(names.enabled && names.interval == Duration::from_secs(120));
}

#[test]
fn nudges_are_on_and_a_webhook_needs_a_secret() {
    let nudge = toml("").load().config.nudge;
    assert!(nudge.enabled && nudge.listen.is_none() && nudge.webhook.is_none());
    assert_eq!(nudge.port, 4214);
    let text = "[nudge]\nenabled = false\nport = 7\nlisten = \"::\"\nwebhook = \"[2001:db8::1]:4215\"\n\
                webhook_secret_file = \"/x\"\n";
    let nudge = toml(text).load().config.nudge;
    assert!(!nudge.enabled && nudge.webhook_secret_file.is_some());
    assert_eq!((nudge.port, nudge.listen.unwrap().to_string()), (7, "::".into()));
    assert_eq!(nudge.webhook.unwrap().to_string(), "[2001:db8::1]:4215");
    for (line, sentence) in [
        ("port = 0", "nudge.port must be a port, a whole number from 1 to 65535, not 0"),
        (
            "listen = \"eth2\"",
            "nudge.listen must be an address of this host, such as \"10.1.1.48\", or \"0.0.0.0\" for all, not \"eth2\"",
        ),
        (
            "webhook = \"10.1.1.48\"",
            "nudge.webhook must be an address of this host with a port, such as \"10.1.1.48:4215\", not \"10.1.1.48\"",
        ),
        (
            "webhook = \"10.1.1.48:4215\"",
            "nudge.webhook needs nudge.webhook_secret_file: a file whose first line is the secret of the Git server's \
             webhook",
        ),
    ] {
        let error = toml(&format!("[nudge]\n{line}\n")).error();
        assert_eq!(error, format!("ipvland.toml: {sentence}"));
    }
}
