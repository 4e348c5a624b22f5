//! Connections to the server: time-outs, the login, and whether the server is fit to keep records.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use ipvland_store::{Error, Result};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, aio::MultiplexedConnection, cmd,
};

use crate::{Settings, refusal};

/// A server, and how to log in to it.
pub(crate) struct Server {
    client: Client,
    /// Where it listens, as the operator wrote it.
    pub(crate) address: String,
    username: Option<String>,
    password: Password,
    database: i64,
    /// How long it may be silent.
    pub(crate) timeout: Duration,
}

enum Password {
    None,
    Given(String),
    File(PathBuf),
}

impl Server {
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let (timeout, host_and_port) = (settings.timeout()?, settings.host_and_port()?);
        let address = settings.address;
        // The login is ours: the library's own would hide why the server says no. So nothing is sent before it.
        let silent = RedisConnectionInfo::default().set_skip_set_lib_name();
        let client = host_and_port
            .into_connection_info()
            .and_then(|info| Client::open(info.set_redis_settings(silent)))
            .map_err(|_| Error::refused("store.redis.address is not one that redis can listen at"))?;
        let password = match (settings.password, settings.password_file) {
            (Some(_), Some(_)) => {
                return Err(Error::refused(
                    "store.redis has both password and password_file: remove one of them",
                ));
            }
            (Some(password), None) => Password::Given(password),
            (None, Some(file)) => Password::File(file),
            (None, None) => Password::None,
        };
        let database = settings.database.unwrap_or(0);
        Ok(Self { client, address, username: settings.username, password, database, timeout })
    }

    /// Connects, logs in, and looks whether the server is fit to keep records.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection> {
        let left = |since: Instant| self.timeout.saturating_sub(since.elapsed());
        let begun = Instant::now();
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let opening = self.client.get_multiplexed_async_connection_with_config(&config);
        let opened = tokio::time::timeout(self.timeout, opening).await;
        let mut connection =
            opened.unwrap_or_else(|_| Err(timed_out())).map_err(|error| refusal::explain(self, &error))?;
        if let Some(login) = self.login().await? {
            let answer: Result<(), _> = ask(&mut connection, &login, left(begun)).await;
            answer.map_err(|error| refusal::explain_login(self, &error))?;
        }
        if self.database != 0 {
            let mut select = cmd("SELECT");
            let answer: Result<(), _> = ask(&mut connection, select.arg(self.database), left(begun)).await;
            answer.map_err(|error| refusal::explain(self, &error))?;
        }
        let memory = ask(&mut connection, cmd("INFO").arg("memory"), left(begun)).await;
        let memory: String = memory.map_err(|error| refusal::explain(self, &error))?;
        match evicts(&memory) {
            None => Ok(connection),
            Some(policy) => Err(Error::refused(format!(
                "redis at {} may drop records to make room (maxmemory-policy {policy}): set maxmemory-policy noeviction \
                 there, or use a server that is no cache",
                self.address
            ))),
        }
    }

    async fn login(&self) -> Result<Option<Cmd>> {
        let password = match &self.password {
            Password::None => return Ok(None),
            Password::Given(password) => password.clone(),
            Password::File(file) => {
                let text = tokio::fs::read_to_string(file).await.map_err(|error| {
                    Error::refused(format!(
                        "store.redis.password_file {} can't be read: {error}",
                        file.display()
                    ))
                })?;
                text.lines().next().unwrap_or_default().to_owned()
            }
        };
        let mut login = cmd("AUTH");
        if let Some(username) = &self.username {
            login.arg(username);
        }
        login.arg(password);
        Ok(Some(login))
    }
}

/// Sends a command and reads its answer, within a time. A connection whose command timed out is to be dropped.
pub(crate) async fn ask<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    within: Duration,
) -> Result<T, RedisError> {
    tokio::time::timeout(within, command.query_async(connection)).await.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> RedisError {
    io::Error::from(io::ErrorKind::TimedOut).into()
}

/// Returns the policy by which a server drops keys without a time to live to make room, if it does.
fn evicts(memory: &str) -> Option<&str> {
    let value =
        |name: &str| memory.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    value("maxmemory_policy")
        .filter(|policy| policy.starts_with("allkeys-") && value("maxmemory") != Some("0"))
}

/// Tells whether an error says that the connection ended, or was never there.
pub(crate) fn is_cut(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Io && !error.is_timeout()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_may_drop_records_is_known() {
        for (memory, policy) in [
            ("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n", None),
            ("maxmemory:1048576\r\nmaxmemory_policy:allkeys-lru\r\n", Some("allkeys-lru")),
            ("maxmemory:1048576\r\nmaxmemory_policy:volatile-lru\r\n", None),
            ("maxmemory:1048576\r\nmaxmemory_policy:noeviction\r\n", None),
            ("", None),
        ] {
            assert_eq!(evicts(memory), policy, "{memory}");
        }
    }
}
