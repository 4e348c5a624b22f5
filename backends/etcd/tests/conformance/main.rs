//! The store passes the suite that every store passes: at one member, and at three with TLS and a password.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "these are tests")]

mod stage;

mod one {
    ipvland_store::conformance_tests!(crate::stage::Over::One);
}

mod three {
    ipvland_store::conformance_tests!(crate::stage::Over::Three);
}
