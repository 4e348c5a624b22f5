//! A thousand random interleavings lose nothing in the memory store.

use ipvland_store::conformance::{MemoryFixture, run_seeds};

#[test]
fn a_thousand_seeds_lose_nothing() {
    run_seeds(&MemoryFixture::default(), 0..1_000);
}
