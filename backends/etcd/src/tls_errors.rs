//! Sentences for certificates that are refused, on either side.

use crate::errors::{Caller, clean};

/// Returns the sentence where the words of an error's causes are about TLS.
pub(crate) fn sentence(caller: Caller<'_>, words: &str) -> Option<String> {
    let Caller { url, .. } = caller;
    let has = |part: &str| words.contains(part);
    if has("invalid peer certificate") {
        let said = words.split("invalid peer certificate: ").nth(1).map(clean).unwrap_or_default();
        return Some(if has("certificate expired") || has("Expired") {
            format!(
                "the certificate of the etcd member {url} has expired ({said}): renew it there, and check the clocks"
            )
        } else if has("not valid for") {
            format!(
                "the certificate of the etcd member {url} is for another name ({said}): write the name that it is for into \
                 store.etcd.endpoints or store.etcd.server_name"
            )
        } else if has("UnknownIssuer") {
            format!(
                "the certificate of the etcd member {url} was signed by an authority that this host does not trust: set \
                 store.etcd.ca_file to that authority's certificate"
            )
        } else {
            format!(
                "the certificate of the etcd member {url} is not trusted ({said}): check it, the clocks, and \
                 store.etcd.ca_file"
            )
        });
    }
    if has("received fatal alert") {
        let said = words.split("received fatal alert: ").nth(1).map(clean).unwrap_or_default();
        return Some(if !caller.has_identity && (has("CertificateRequired") || has("BadCertificate")) {
            format!(
                "the etcd member {url} wants a client certificate: set store.etcd.cert_file and store.etcd.key_file"
            )
        } else {
            format!(
                "the etcd member {url} refused the TLS connection ({said}): check store.etcd.cert_file, when it expires, and \
                 that its authority is the one that the member trusts"
            )
        });
    }
    None
}
