//! Which proxy leads to a server.

use std::{env, fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ipvland_store::{Error, Result};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::address::Address;

/// A proxy, and what it's told to let us through.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Without user and password.
    pub(crate) url: Url,
    /// The value of `Proxy-Authorization`.
    pub(crate) login: Option<String>,
}

impl Proxy {
    fn parse(key: &str, text: &str) -> Result<Self> {
        // As curl does, where somebody leaves the scheme out.
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut url = Url::parse(&whole).map_err(|why| {
            Error::refused(format!("{key} is no valid URL ({why}): write http://HOST:PORT"))
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::refused(format!(
                "{key} names a proxy with the scheme {:?} (known: http, https)",
                url.scheme()
            )));
        }
        let decoded = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        let login = (!url.username().is_empty()).then(|| {
            let pair = format!("{}:{}", decoded(url.username()), decoded(url.password().unwrap_or_default()));
            format!("Basic {}", STANDARD.encode(pair))
        });
        // These fail for URLs without a host only.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self { url, login })
    }

    /// Says that the proxy wants to know who asks.
    pub(super) fn wants_login(&self, address: &Address) -> Error {
        Error::refused(format!(
            "the proxy {} wants another user and password before it leads to {}: write them into store.git.proxy as \
             http://USER:PASSWORD@HOST:PORT",
            self.url, address.shown
        ))
    }

    /// Says that the proxy doesn't lead there.
    pub(super) fn refusal(&self, address: &Address, said: &str) -> Error {
        Error::refused(format!(
            "the proxy {} does not lead to {} ({said}): allow it there, or set store.git.proxy to another one or to \
             \"direct\"",
            self.url, address.shown
        ))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url)
    }
}

/// The proxies that there are, as curl and Git read them from the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    for_http: Option<Proxy>,
    for_https: Option<Proxy>,
    except: Vec<Exception>,
}

/// Hosts that are reached without a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    All,
    /// A name and what is below it, in lower case; perhaps one port alone.
    Name(String, Option<u16>),
    Network(IpAddr, u8),
}

impl Proxies {
    /// Takes the proxy from the settings (`direct` is none), else from the environment.
    ///
    /// # Errors
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when it is no URL of a proxy, with a sentence that shows no password.
    pub(crate) fn new(set: Option<&str>) -> Result<Self> {
        Self::read(set, |name| env::var(name).ok())
    }

    fn read(set: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        match set {
            Some("direct") => return Ok(Self::default()),
            Some(text) => {
                let proxy = Proxy::parse("store.git.proxy", text)?;
                return Ok(Self {
                    for_http: Some(proxy.clone()),
                    for_https: Some(proxy),
                    except: Vec::new(),
                });
            }
            None => {}
        }
        let first = |names: &[&str]| -> Result<Option<Proxy>> {
            for name in names {
                if let Some(text) = variable(name).filter(|text| !text.is_empty()) {
                    return Proxy::parse(&format!("the environment variable {name}"), &text).map(Some);
                }
            }
            Ok(None)
        };
        let list = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        Ok(Self {
            for_http: first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])?,
            for_https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])?,
            except: list.split([',', ' ']).filter_map(Exception::parse).collect(),
        })
    }

    /// Returns the proxy for a server.
    pub(super) fn to(&self, url: &Url) -> Option<&Proxy> {
        let proxy = if url.scheme() == "https" { &self.for_https } else { &self.for_http };
        proxy.as_ref().filter(|_| !self.except.iter().any(|exception| exception.is_about(url)))
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "*" {
            return Some(Self::All);
        }
        if text.is_empty() {
            return None;
        }
        let address = |text: &str| text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        if let Some((network, length)) = text.split_once('/') {
            return Some(Self::Network(address(network)?, length.parse().ok()?));
        }
        if let Some(address) = address(text) {
            return Some(Self::Network(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let name = name.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
        Some(Self::Name(name, port))
    }

    fn is_about(&self, url: &Url) -> bool {
        match self {
            Self::All => true,
            Self::Name(name, port) => {
                let host = url.host_str().unwrap_or_default().trim_end_matches('.');
                let below = host.strip_suffix(name.as_str());
                below.is_some_and(|before| before.is_empty() || before.ends_with('.'))
                    && port.is_none_or(|port| url.port_or_known_default() == Some(port))
            }
            Self::Network(network, length) => match url.host() {
                Some(Host::Ipv4(address)) => is_in(address.into(), *network, *length),
                Some(Host::Ipv6(address)) => is_in(address.into(), *network, *length),
                _ => false,
            },
        }
    }
}

fn is_in(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let (bits, network, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (address.to_bits().into(), network.to_bits().into(), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let difference: u128 = bits ^ network;
    length >= width && difference == 0
        || length < width && difference.checked_shr(u32::from(width - length)) == Some(0)
        || length == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(set: Option<&str>, environment: &[(&str, &str)], url: &str) -> Option<String> {
        let variable = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let proxies = Proxies::read(set, variable).unwrap();
        proxies.to(&Url::parse(url).unwrap()).map(|proxy| proxy.url.to_string())
    }

    #[test]
    fn the_environment_is_read_as_curl_reads_it() {
        let both = [("http_proxy", "one:3128"), ("HTTPS_PROXY", "http://two:3128")];
        assert_eq!(proxy(None, &both, "http://git.example/x").unwrap(), "http://one:3128/");
        assert_eq!(proxy(None, &both, "https://git.example/x").unwrap(), "http://two:3128/");
        assert_eq!(
            proxy(None, &[("ALL_PROXY", "https://all")], "http://git.example/x").unwrap(),
            "https://all/"
        );
        assert_eq!(proxy(None, &[("HTTPS_PROXY", "")], "https://git.example/x"), None);
        assert_eq!(proxy(Some("direct"), &both, "https://git.example/x"), None);
        assert_eq!(
            proxy(Some("http://mine:8080"), &both, "https://git.example/x").unwrap(),
            "http://mine:8080/"
        );
    }

    #[test]
    fn some_hosts_need_none() {
        for (list, url, is_direct) in [
            ("git.example", "https://git.example/x", true),
            ("example", "https://git.EXAMPLE/x", true),
            (".example", "https://git.example/x", true),
            ("it.example", "https://git.example/x", false),
            ("a.example,git.example:8443", "https://git.example/x", false),
            ("a.example, git.example:8443", "https://git.example:8443/x", true),
            ("10.1.0.0/16", "https://10.1.2.3/x", true),
            ("10.1.0.0/16", "https://10.2.2.3/x", false),
            ("10.1.2.3", "https://10.1.2.3/x", true),
            ("2001:db8::/32", "https://[2001:db8::1]/x", true),
            ("2001:db8::/32", "https://[2001:db9::1]/x", false),
            ("*", "https://git.example/x", true),
            ("", "https://git.example/x", false),
        ] {
            let environment = [("https_proxy", "http://one"), ("no_proxy", list)];
            assert_eq!(proxy(None, &environment, url).is_none(), is_direct, "{list} {url}");
        }
    }

    #[test]
    fn no_sentence_shows_the_password() {
        for text in ["socks5://me:hunter2@one:1080", "http://me:hunter2@:3128", "http://me:hunter2@one:port"]
        {
            let why = Proxies::read(Some(text), |_| None).unwrap_err();
            assert!(!format!("{why} {why:?}").contains("hunter2"), "{why}");
        }
        let good = Proxies::read(Some("http://me:hunter2@one:3128"), |_| None).unwrap();
        assert!(!format!("{good:?}").contains("hunter2"));
        assert_eq!(good.for_http.unwrap().login.as_deref(), Some("Basic bWU6aHVudGVyMg=="));
    }
}
