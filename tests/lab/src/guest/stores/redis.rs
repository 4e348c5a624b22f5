//! Redis with a password, for the store that was written outside.

use std::time::Duration;

use super::StoreServer;
use crate::cargo::OUTSIDE;
use crate::failure::Outcome;
use crate::guest::host::Host;
use crate::guest::lab::Lab;
use crate::guest::wait;

const PASSWORD: &str = "pw-Redis7Kq";

/// Redis on the host 10.1.1.1.
pub(crate) struct Redis {
    host: Host,
}

impl Redis {
    /// Makes the host and starts the server.
    ///
    /// # Errors
    /// Where it does not come up.
    pub(crate) fn new(lab: &mut Lab) -> Outcome<Self> {
        let this = Self { host: lab.host("redis", 1)? };
        this.start()?;
        Ok(this)
    }
}

impl StoreServer for Redis {
    fn tables(&self) -> String {
        format!(
            "[store]\nkind = \"redis\"\n\n[store.redis]\naddress = \"{}:6379\"\npassword = \"{PASSWORD}\"\n",
            self.host.address()
        )
    }

    /// The program with this store is a daemon of its own; on these hosts it has the name of ours.
    fn prepare(&self, host: &Host) -> Outcome {
        host.run(&format!("mount --bind /opt/lab/bin/{} /opt/lab/bin/ipvland", OUTSIDE.name))?;
        Ok(())
    }

    fn start(&self) -> Outcome {
        self.host.start(
            "redis",
            &format!(
                "redis-server --bind {} --requirepass {PASSWORD} --dir /srv --appendonly yes --appendfsync always",
                self.host.address()
            ),
        )?;
        let ping = format!("redis-cli -h {} -a {PASSWORD} --no-auth-warning ping", self.host.address());
        wait::holds("Redis answers", Duration::from_secs(20), || {
            Ok(self.host.attempt(&ping)?.stdout.contains("PONG"))
        })?;
        Ok(())
    }

    fn stop(&self) -> Outcome {
        self.host.signal("redis", "KILL")?;
        self.host.ended("redis", Duration::from_secs(10))?;
        Ok(())
    }
}
