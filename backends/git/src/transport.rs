//! libgit2's way to the server: the exchanges of its smart protocol, carried by [`http`](crate::http) or by [`ssh`](crate::ssh).

use std::{
    io::{self, Cursor, Read, Write},
    sync::Arc,
};

use git2::{
    Error as GitError, ErrorClass, ErrorCode, Remote,
    transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport},
};
use ipvland_store::Error;

use crate::{
    advertisement::Advertisement,
    http::{Body, Client},
    ssh::Ssh,
    talk::Talk,
};

/// The scheme of the URLs that libgit2 is given. It never sees the server's own, so none of its own clients can get it.
pub(crate) const SCHEME: &str = "ipvland";

/// The URL that stands for the server of the call.
pub(crate) const URL: &str = "ipvland://server/";

/// How a store reaches its repository.
#[derive(Debug)]
pub(crate) enum Line {
    /// It's on this host's disk.
    LibGit2,
    Http(Arc<Client>),
    Ssh(Arc<Ssh>),
}

/// Makes the transport of the call that runs on this thread.
pub(crate) fn make(remote: &Remote<'_>) -> Result<Transport, GitError> {
    let Some(talk) = Talk::current() else { return Err(stopped("no call runs")) };
    match &*talk.line {
        Line::LibGit2 => Err(stopped("no transport of ours leads there")),
        Line::Http(client) => {
            let client = Arc::clone(client);
            Transport::smart(remote, true, Smart { talk, client })
        }
        Line::Ssh(ssh) => {
            let ssh = Arc::clone(ssh);
            Transport::smart(remote, false, Command { talk, ssh })
        }
    }
}

/// An error for libgit2 to hand on. What went wrong is in the talk.
fn stopped(why: &str) -> GitError {
    GitError::new(ErrorCode::User, ErrorClass::Callback, why)
}

struct Smart {
    talk: Arc<Talk>,
    client: Arc<Client>,
}

impl SmartSubtransport for Smart {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, GitError> {
        let service = "git-upload-pack";
        let is_list = match action {
            Service::UploadPackLs => true,
            Service::UploadPack => false,
            Service::ReceivePackLs | Service::ReceivePack => {
                return Err(stopped("a push over HTTP is not libgit2's"));
            }
        };
        if is_list {
            return match self.list(service) {
                Ok(list) => Ok(Box::new(List(Cursor::new(list)))),
                Err(why) => {
                    let error = stopped(&crate::errors::clean(&why.to_string()));
                    self.talk.fail(why);
                    Err(error)
                }
            };
        }
        let (talk, client) = (Arc::clone(&self.talk), Arc::clone(&self.client));
        Ok(Box::new(Exchange { talk, client, service, state: State::Asking(Vec::new()) }))
    }

    fn close(&self) -> Result<(), GitError> {
        Ok(())
    }
}

impl Smart {
    fn list(&self, service: &'static str) -> Result<Vec<u8>, Error> {
        let list = self.client.references(&self.talk, service)?;
        if let Some(found) = Advertisement::read(&list) {
            self.talk.note_capabilities(found.capabilities);
        }
        Ok(list)
    }
}

/// Git's own commands on the server, whose one stream carries a whole talk.
struct Command {
    talk: Arc<Talk>,
    ssh: Arc<Ssh>,
}

impl SmartSubtransport for Command {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, GitError> {
        let service = match action {
            Service::UploadPackLs | Service::UploadPack => "git-upload-pack",
            Service::ReceivePackLs | Service::ReceivePack => "git-receive-pack",
        };
        match self.ssh.start(Arc::clone(&self.talk), service) {
            Ok(stream) => Ok(Box::new(stream)),
            Err(why) => {
                let error = stopped(&crate::errors::clean(&why.to_string()));
                self.talk.fail(why);
                Err(error)
            }
        }
    }

    fn close(&self) -> Result<(), GitError> {
        Ok(())
    }
}

/// A list of references, which is there whole.
struct List(Cursor<Vec<u8>>);

impl Read for List {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for List {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A request, which goes out whole when its answer is wanted; and the answer.
struct Exchange {
    talk: Arc<Talk>,
    client: Arc<Client>,
    service: &'static str,
    state: State,
}

enum State {
    Asking(Vec<u8>),
    Answered(Body),
    Failed,
}

impl Exchange {
    fn failed(&mut self, why: Error) -> io::Error {
        self.state = State::Failed;
        self.talk.fail(why);
        io::Error::other("the talk with the server broke off")
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let State::Asking(body) = &mut self.state {
            let body = std::mem::take(body);
            match self.client.call(&self.talk, self.service, body) {
                Ok(body) => self.state = State::Answered(body),
                Err(why) => return Err(self.failed(why)),
            }
        }
        match &mut self.state {
            State::Answered(body) => {
                body.read(&self.client, &self.talk, buffer).map_err(|why| self.failed(why))
            }
            State::Asking(_) | State::Failed => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Asking(body) => {
                body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let State::Answered(body) = std::mem::replace(&mut self.state, State::Failed) {
            body.give_back(&self.client);
        }
    }
}
