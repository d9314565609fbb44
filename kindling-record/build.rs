//! Compiles the BPF object and generates its skeleton.

use std::{env, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bpf = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../bpf");
    let skeleton = PathBuf::from(env::var("OUT_DIR")?).join("kindling.skel.rs");
    println!("cargo:rerun-if-changed={}", bpf.display());
    libbpf_cargo::SkeletonBuilder::new()
        .source(bpf.join("kindling.bpf.c"))
        // v3 has atomic operations that return the old value, since Linux 5.12.
        .clang_args(["-mcpu=v3", "-Wall", "-Werror", "-Wno-unused-function"])
        .build_and_generate(&skeleton)?;
    Ok(())
}
