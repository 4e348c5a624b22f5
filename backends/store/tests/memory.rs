//! The memory store passes the suite.

ipvland_store::conformance_tests!(ipvland_store::conformance::MemoryFixture::default());
