//! Who a webhook is from.
//!
//! | server | header | holds |
//! | --- | --- | --- |
//! | Gitea | `X-Gitea-Signature` | HMAC-SHA256 of the body, in hex |
//! | Forgejo | `X-Forgejo-Signature` | the same |
//! | GitHub, and both of them | `X-Hub-Signature-256` | the same after `sha256=` |
//! | GitLab | `X-Gitlab-Token` | the secret itself |

use std::path::Path;

use hyper::HeaderMap;
use ring::hmac;

const SIGNATURES: [&str; 3] = ["x-forgejo-signature", "x-gitea-signature", "x-hub-signature-256"];
const TOKEN: &str = "x-gitlab-token";

/// The longest secret; a file that is larger is something else.
const LARGEST: usize = 4096;

/// What the Git server and this host share.
pub(super) struct Secret {
    key: hmac::Key,
    /// The signature of the secret itself, to compare a token with in constant time, whatever its length.
    token: hmac::Tag,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Secret {
    /// Reads a file whose first line is the secret.
    ///
    /// # Errors
    /// A sentence for a file that can't be read, or has none.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let bytes = std::fs::read(file)
            .map_err(|error| format!("nudge.webhook_secret_file {shown} can't be read: {error}"))?;
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line.len() > LARGEST {
            return Err(format!(
                "nudge.webhook_secret_file {shown} has no secret in its first line: write the one that the Git server signs \
                 its webhooks with"
            ));
        }
        Ok(Self::new(line))
    }

    pub(super) fn new(secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let token = hmac::sign(&key, secret);
        Self { key, token }
    }

    /// Says whether a request is from who knows the secret: it is signed in one way at least, and each way that it is signed
    /// in holds.
    pub(super) fn signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let mut ways = 0;
        for value in SIGNATURES.iter().flat_map(|name| headers.get_all(*name)) {
            let value = value.as_bytes();
            let hex = value.strip_prefix(b"sha256=").unwrap_or(value);
            if from_hex(hex).is_none_or(|tag| hmac::verify(&self.key, body, &tag).is_err()) {
                return false;
            }
            ways += 1;
        }
        for value in headers.get_all(TOKEN) {
            if hmac::verify(&self.key, value.as_bytes(), self.token.as_ref()).is_err() {
                return false;
            }
            ways += 1;
        }
        ways > 0
    }
}

fn from_hex(hex: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 2 * bytes.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
