//! Pings: a few to see that containers reach each other, and one that goes on while things break.

use std::time::Duration;

use super::host::Host;
use crate::failure::{Failure, OrFail, Outcome};

impl Host {
    /// Pings from inside a container, as a person would, and wants every answer.
    ///
    /// # Errors
    /// Where an answer is missing.
    pub(crate) fn container_pings(&self, container: &str, address: &str) -> Outcome {
        let said = self.show(&format!("docker exec {container} ping -c 3 -W 2 {address}"))?;
        if said.contains(" 0% packet loss") {
            return Ok(());
        }
        Err(Failure::new(format!("pings from {container} on {} to {address} were lost", self.name()))
            .showing(said))
    }

    /// Pings from the host itself, as a person would, and wants every answer.
    ///
    /// # Errors
    /// Where an answer is missing.
    pub(crate) fn pings(&self, address: &str) -> Outcome {
        let said = self.show(&format!("ping -c 3 -i 0.2 -W 2 {address}"))?;
        if said.contains(" 0% packet loss") {
            return Ok(());
        }
        Err(Failure::new(format!("pings from {} to {address} were lost", self.name())).showing(said))
    }

    /// Pings once from the host itself without telling, and says whether the answer came.
    pub(crate) fn reaches(&self, address: &str) -> Outcome<bool> {
        Ok(self.attempt(&format!("ping -c 1 -W 1 {address}"))?.code == 0)
    }

    /// Pings from inside a container without telling, and says whether any answer came.
    pub(crate) fn container_reaches(&self, container: &str, address: &str) -> Outcome<bool> {
        Ok(self.attempt(&format!("docker exec {container} ping -c 1 -W 2 {address}"))?.code == 0)
    }
}

/// A ping that goes on until it is asked for its losses.
pub(crate) struct Pinging {
    host: Host,
    program: String,
}

/// What became of a ping that went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Packets sent.
    pub(crate) sent: u32,
    /// Packets answered.
    pub(crate) received: u32,
}

impl Pinging {
    /// Starts pinging an address five times a second from inside a container's network namespace.
    ///
    /// The program is the host's and not the container's, so that Docker's restart does not touch it; the packets take
    /// the container's way.
    ///
    /// # Errors
    /// Where the container does not run.
    pub(crate) fn start(host: &Host, container: &str, address: &str) -> Outcome<Self> {
        let process = host.run(&format!("docker inspect --format '{{{{.State.Pid}}}}' {container}"))?;
        let program = format!("ping-{container}-{}", address.replace(':', "_"));
        host.start(&program, &format!("nsenter -t {} -n ping -O -i 0.2 -W 2 {address}", process.trim()))?;
        Ok(Self { host: host.clone(), program })
    }

    /// Starts pinging an address five times a second from the host itself.
    ///
    /// # Errors
    /// Where the same ping runs already.
    pub(crate) fn from_host(host: &Host, address: &str) -> Outcome<Self> {
        let program = format!("ping-host-{}", address.replace(':', "_"));
        host.start(&program, &format!("ping -O -i 0.2 -W 2 {address}"))?;
        Ok(Self { host: host.clone(), program })
    }

    /// Stops pinging and counts.
    ///
    /// # Errors
    /// Where ping told no counts.
    pub(crate) fn stop(self) -> Outcome<Answers> {
        self.host.signal(&self.program, "INT")?;
        self.host.ended(&self.program, Duration::from_secs(10))?;
        let log = self.host.log(&self.program);
        count(&log).ok_or_else(|| Failure::new("ping told no counts").showing(log))
    }

    /// Stops pinging and wants every packet answered.
    ///
    /// # Errors
    /// Shows ping's own lines where one was lost.
    pub(crate) fn lost_nothing(self) -> Outcome<Answers> {
        let (host, program) = (self.host.clone(), self.program.clone());
        let answers = self.stop()?;
        // The last packet may still be on its way when ping is interrupted.
        let last_on_its_way =
            answers.received + 1 == answers.sent && !host.log(&program).contains("no answer yet");
        if answers.sent > 5 && (answers.received == answers.sent || last_on_its_way) {
            return Ok(answers);
        }
        Err(Failure::new(format!(
            "{} of {} pings were answered ({program} on {})",
            answers.received,
            answers.sent,
            host.name()
        ))
        .showing(host.log(&program)))
    }
}

/// Reads `12 packets transmitted, 12 received`.
fn count(log: &str) -> Option<Answers> {
    let line = log.lines().rev().find(|line| line.contains("packets transmitted"))?;
    let mut numbers =
        line.split(',').map(|part| part.split_whitespace().next().unwrap_or_default().parse::<u32>());
    let (sent, received) = (numbers.next()?, numbers.next()?);
    Some(Answers { sent: sent.or_fail("").ok()?, received: received.or_fail("").ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_the_last_summary() {
        let log = "64 bytes from 10.1.51.7: icmp_seq=1 ttl=64\n\n12 packets transmitted, 11 received, 8.3% packet loss, time 2201ms\n";
        assert_eq!(count(log), Some(Answers { sent: 12, received: 11 }));
        assert_eq!(count("ping: unknown host"), None);
    }
}
