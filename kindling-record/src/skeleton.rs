//! The generated skeleton of the BPF object: maps, programs and record types.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::panic,
    clippy::expect_used,
    clippy::unwrap_used
)]

include!(concat!(env!("OUT_DIR"), "/kindling.skel.rs"));
