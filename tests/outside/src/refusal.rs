//! What an error of the server tells callers to do, in a sentence.

use ipvland_store::Error;
use redis::{ErrorKind, RedisError};

use crate::server::Server;

/// The longest part of the server's own words that is shown.
const MAX_WORDS: usize = 200;

/// Turns an error of any command but the login into the contract's.
pub(crate) fn explain(server: &Server, error: &RedisError) -> Error {
    let at = format!("redis at {}", server.address);
    let words = words(error);
    match error.code() {
        Some("NOAUTH") => Error::refused(format!("{at} wants a password: set store.redis.password_file")),
        Some(code) if code == "NOPERM" || words.contains("user executing the script can't") => {
            Error::refused(format!(
                "{at} doesn't let this user do what the store needs; give it the rights in the server's ACL: {words}"
            ))
        }
        Some("WRONGTYPE") => Error::refused(format!(
            "{at} has something else under the store's keys: choose another store.redis.prefix, or remove it"
        )),
        Some("MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN") => Error::refused(format!(
            "{at} is a Redis Cluster, which the store doesn't use: name a single server"
        )),
        Some("OOM") => {
            Error::refused(format!("{at} is out of memory and takes no writes: raise its maxmemory"))
        }
        Some("LOADING") => Error::away(format!("{at} is loading its data; it answers when it's done")),
        Some("READONLY") => Error::away(format!(
            "{at} is a replica: wait for the failover to end, or name the primary in store.redis.address"
        )),
        Some("MISCONF") => Error::away(format!(
            "{at} can't write to its disk and takes no writes: look at its log and its disk"
        )),
        Some("BUSY" | "TRYAGAIN" | "MASTERDOWN" | "NOREPLICAS" | "UNBLOCKED") => {
            Error::away(format!("{at} can't answer at the moment: {words}"))
        }
        Some(_) if words.contains("max number of clients") => {
            Error::away(format!("{at} has no room for another client: raise its maxclients"))
        }
        Some(code) => Error::refused(format!(
            "{at} refuses a command of the store, which needs Redis 7 or newer: {code} {words}"
        )),
        None => match error.kind() {
            ErrorKind::Io if error.is_timeout() => Error::away(format!(
                "{at} has not answered for {} ms: see whether it runs and can be reached",
                server.timeout.as_millis()
            )),
            ErrorKind::Io => Error::away(format!("{at} can't be reached: {words}")),
            _ => Error::away(format!("{at} answers what redis doesn't: see what listens there")),
        },
    }
}

/// Turns an error of the login into the contract's. The server's words are left out: they may repeat the password.
pub(crate) fn explain_login(server: &Server, error: &RedisError) -> Error {
    let refused = |why| Error::refused(format!("redis at {} {why}", server.address));
    match error.code() {
        Some("WRONGPASS") => refused(
            "refuses the password: correct store.redis.username and store.redis.password_file (or password)",
        ),
        Some("ERR")
            if error.detail().is_some_and(|words| words.contains("without any password configured")) =>
        {
            refused(
                "has no password: remove store.redis.password and password_file, or set requirepass there",
            )
        }
        Some("ERR") if !words(error).contains("max number of clients") => {
            refused("takes no login, in words that may repeat the password: see what listens there")
        }
        _ => explain(server, error),
    }
}

/// Returns the server's own words, in one line.
fn words(error: &RedisError) -> String {
    let words = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.to_string(),
    };
    words.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect()
}
