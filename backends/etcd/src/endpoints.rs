//! Where the members of the cluster are.

use ipvland_store::{Error, Result};
use url::Url;

/// The address of one member. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The scheme, the host and the port: `https://10.1.1.2:2379`.
    pub(crate) url: String,
    /// The host alone, an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether it is reached by TLS.
    pub(crate) is_tls: bool,
}

/// The port that etcd serves clients on.
const PORT: u16 = 2379;

const FORM: &str = "write https://HOST:2379 or http://HOST:2379";

/// Parses `store.etcd.endpoints`.
///
/// # Errors
/// [`GiveUp`](ipvland_store::Remedy::GiveUp) with a sentence that shows no part of a text that may hold a password.
pub(crate) fn parse(texts: &[String]) -> Result<Vec<Endpoint>> {
    if texts.is_empty() {
        return Err(Error::refused(format!("store.etcd.endpoints is empty: {FORM}")));
    }
    let endpoints: Vec<_> = texts.iter().map(|text| parse_one(text.trim())).collect::<Result<_>>()?;
    if endpoints.iter().any(|endpoint| endpoint.is_tls != endpoints[0].is_tls) {
        return Err(Error::refused(
            "store.etcd.endpoints mixes http and https: the members of one cluster are reached alike, so write https for \
             all of them",
        ));
    }
    Ok(endpoints)
}

fn parse_one(text: &str) -> Result<Endpoint> {
    if text.contains('@') {
        return Err(Error::refused(
            "store.etcd.endpoints holds a user or a password: move them to store.etcd.username and \
             store.etcd.password_file",
        ));
    }
    let wrong = |why: &str| Error::refused(format!("store.etcd.endpoints has {text:?}, {why}: {FORM}"));
    if !text.contains("://") {
        return Err(wrong("which is no URL"));
    }
    let url = Url::parse(text).map_err(|why| wrong(&format!("which is no valid URL ({why})")))?;
    let is_tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err(wrong("whose scheme is neither http nor https")),
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("which has something after the port"));
    }
    let host = url.host_str().ok_or_else(|| wrong("which names no host"))?;
    // The parser drops the scheme's own port, also where it was written.
    let own = if is_tls { 443 } else { 80 };
    let is_written = text.trim_end_matches('/').ends_with(&format!(":{own}"));
    let port = url.port().unwrap_or(if is_written { own } else { PORT });
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Endpoint { url: format!("{}://{host}:{port}", url.scheme()), host: bare, port, is_tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<String>> {
        let texts: Vec<_> = texts.iter().map(|text| text.to_string()).collect();
        Ok(parse(&texts)?.into_iter().map(|endpoint| endpoint.url).collect())
    }

    #[test]
    fn a_port_that_is_left_out_is_etcds() {
        for (text, url) in [
            ("https://etcd.example", "https://etcd.example:2379"),
            ("https://etcd.example:443/", "https://etcd.example:443"),
            ("http://10.1.1.2:80", "http://10.1.1.2:80"),
            ("http://[2001:db8::1]:2380/", "http://[2001:db8::1]:2380"),
            ("http://[2001:db8::80]", "http://[2001:db8::80]:2379"),
        ] {
            assert_eq!(read(&[text]).unwrap(), [url]);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_its_password() {
        for texts in [
            &[][..],
            &[""],
            &["10.1.1.2:2379"],
            &["localhost:2379"],
            &["ftp://10.1.1.2"],
            &["http://10.1.1.2:2379/v3"],
            &["http://10.1.1.2?x"],
            &["http://10.1.1.2:2379", "https://10.1.1.3:2379"],
            &["http://root:hunter2@10.1.1.2"],
            &["http://root:hun/ter2@10.1.1.2", "x"],
            &["root:hunter2@10.1.1.2:2379"],
        ] {
            let error = read(texts).unwrap_err();
            assert!(error.to_string().contains("store.etcd."), "{error}");
            assert!(!format!("{error} {error:?}").contains("ter2"), "{error}");
        }
    }
}
