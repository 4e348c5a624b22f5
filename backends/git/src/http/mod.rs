//! Git's smart HTTP protocol (gitprotocol-http(5)), over one connection that is kept.
//!
//! libgit2 has an HTTP client of its own. It sends a request's head and body apart, so that the body waits for a delayed
//! acknowledgement, makes a new connection for each call, and brings OpenSSL. This one is hyper and rustls.
//!
//! | module | what |
//! | --- | --- |
//! | `client` | requests, answers, and the connection that is kept between them |
//! | `body` | an answer's body, read bit by bit with a bound |
//! | `link` | a new connection: names, addresses, proxies, TLS |
//! | `proxy` | which proxy leads to a server |
//! | `tls` | who is trusted, and which certificate this host shows |
//! | `redirect` | which redirects are followed |
//! | `status` | what a status means for the caller |

mod body;
mod client;
mod link;
mod proxy;
mod redirect;
mod status;
mod tls;

pub(crate) use body::Body;
pub(crate) use client::Client;
pub(crate) use proxy::Proxies;
pub(crate) use tls::Tls;
