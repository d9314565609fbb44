//! Runs a command while programs that do the least possible look at its syscalls: what a recorder's
//! kernel side is to be measured against. `scripts/bench_record.py` uses it.
//!
//! ```text
//! floor COMMAND [ARGUMENT]…
//! ```

use std::{
    mem::MaybeUninit,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result};
use libbpf_rs::{
    RingBufferBuilder,
    skel::{OpenSkel as _, Skel as _, SkelBuilder as _},
};

mod skeleton {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_imports,
        clippy::all,
        clippy::undocumented_unsafe_blocks,
        clippy::panic,
        clippy::expect_used,
        clippy::unwrap_used
    )]

    include!(concat!(env!("OUT_DIR"), "/floor.skel.rs"));
}

/// How often the ring is emptied, as the recorder does.
const INTERVAL: Duration = Duration::from_millis(5);

fn main() -> Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let program = words.next().context("usage: floor COMMAND [ARGUMENT]…")?;
    let mut object = MaybeUninit::uninit();
    let mut skel = skeleton::FloorSkelBuilder::default()
        .open(&mut object)?
        .load()?;
    skel.attach().context("cannot attach")?;
    let mut rings = RingBufferBuilder::new();
    rings.add(&skel.maps.ring, |_| 0)?;
    let rings = rings.build()?;

    let mut child = Command::new(&program)
        .args(words)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let counts = skel.maps.bss_data.as_deref_mut();
    let counts = counts.context("the object has no variables")?;
    counts.target = child.id();
    let status = loop {
        let _ = rings.consume();
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(INTERVAL);
    };
    eprintln!("floor: {} recorded, {} lost", counts.recorded, counts.lost);
    Ok(ExitCode::from(status.code().unwrap_or(1) as u8))
}
