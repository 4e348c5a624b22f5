//! The memory store passes the suite also where one call in ten fails.

ipvland_store::conformance_tests!(ipvland_store::conformance::MemoryFixture::with_faults(7, 0.1));
