//! The store passes the suite that every store passes: in a directory, over HTTP with a password, from near and
//! from far, and over ssh.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "these are tests")]

mod stage;

mod path {
    ipvland_store::conformance_tests!(crate::stage::Over::Path.fixture());
}

mod http {
    ipvland_store::conformance_tests!(crate::stage::Over::Http.fixture());
}

mod far_http {
    ipvland_store::conformance_tests!(crate::stage::Over::FarHttp.fixture());
}

mod ssh {
    ipvland_store::conformance_tests!(crate::stage::Over::Ssh.fixture());
}
