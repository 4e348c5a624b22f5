//! The body of an answer, read bit by bit.

use std::time::Instant;

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::{
    Response,
    body::{Body as _, Incoming},
};
use ipvland_store::{Error, Result};

use super::{
    client::{Client, Kept},
    link::Link,
};
use crate::talk::Talk;

/// So much of an answer that nobody wants is read for the sake of its connection, in bytes.
const MOST_REST: u64 = 64 << 10;

/// A body, and the connection that it comes by.
pub(crate) struct Body {
    incoming: Incoming,
    link: Link,
    chunk: Bytes,
    /// How many bytes may still come.
    left: u64,
    is_broken: bool,
}

impl Body {
    /// Takes the body of an answer, of which so many bytes are read at most.
    pub(super) fn new(response: Response<Incoming>, link: Link, most: u64) -> Self {
        Self { incoming: response.into_body(), link, chunk: Bytes::new(), left: most, is_broken: false }
    }

    /// Reads what is there, waiting for at least one byte; 0 is the end.
    ///
    /// # Errors
    /// [`RetryLater`](ipvland_store::Remedy::RetryLater) when the connection breaks or the server is silent,
    /// [`GiveUp`](ipvland_store::Remedy::GiveUp) when it sends more than anybody asked for.
    pub(crate) fn read(&mut self, client: &Client, talk: &Talk, buffer: &mut [u8]) -> Result<usize> {
        while self.chunk.is_empty() {
            match self.next(client, talk) {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => return Ok(0),
                Err(why) => {
                    self.is_broken = true;
                    return Err(why);
                }
            }
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }

    /// Reads all of it and gives the connection back. `None` where it is more than so many bytes: the rest is left then, and
    /// the connection with it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn whole(mut self, client: &Client, talk: &Talk, most: usize) -> Result<Option<Vec<u8>>> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next(client, talk)? {
            all.extend_from_slice(&chunk);
            if all.len() > most {
                return Ok(None);
            }
        }
        self.give_back(client);
        Ok(Some(all))
    }

    fn next(&mut self, client: &Client, talk: &Talk) -> Result<Option<Bytes>> {
        let shown = &talk.address.shown;
        let Some(frame) = client.wait(talk, self.incoming.frame())? else { return Ok(None) };
        let frame = frame.map_err(|why| {
            Error::away(format!("the git repository {shown} can't be reached: the answer broke off ({why})"))
        })?;
        let chunk = frame.into_data().unwrap_or_default();
        let size = chunk.len() as u64;
        talk.meter.received(size);
        self.left = self.left.checked_sub(size).ok_or_else(|| {
            Error::refused(format!(
                "the git server {} sends more for {shown} than a fleet can need: look at what is in the repository",
                talk.address.host()
            ))
        })?;
        Ok(Some(chunk))
    }

    /// Gives the connection back. What of the body is left is read when the connection is used again.
    pub(crate) fn give_back(self, client: &Client) {
        if self.is_broken {
            return;
        }
        let rest = (!self.incoming.is_end_stream()).then(|| Rest(self.incoming));
        client.keep(Kept { link: self.link, rest, since: Instant::now() });
    }
}

/// What of an answer nobody wants: the end of it, most often.
pub(super) struct Rest(Incoming);

impl Rest {
    /// Takes a body that nobody reads.
    pub(super) fn new(response: Response<Incoming>) -> Self {
        Self(response.into_body())
    }

    /// Reads it, and tells whether that was all.
    pub(super) async fn drain(mut self) -> bool {
        let mut left = MOST_REST;
        while let Some(frame) = self.0.frame().await {
            let size = match frame {
                Ok(frame) => frame.data_ref().map_or(0, |data| data.len() as u64),
                Err(_) => return false,
            };
            match left.checked_sub(size) {
                Some(fewer) => left = fewer,
                None => return false,
            }
        }
        true
    }
}
