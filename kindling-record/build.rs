//! Compiles the BPF objects and generates their skeletons.

use std::{
    env,
    path::{Path, PathBuf},
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let package = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let bpf = package.join("../bpf");
    println!("cargo:rerun-if-changed={}", bpf.display());
    skeleton(&bpf.join("kindling.bpf.c"), "kindling.skel.rs")?;
    let floor = package.join("examples/floor/floor.bpf.c");
    println!("cargo:rerun-if-changed={}", floor.display());
    skeleton(&floor, "floor.skel.rs")
}

fn skeleton(source: &Path, name: &str) -> Outcome {
    libbpf_cargo::SkeletonBuilder::new()
        .source(source)
        // v3 has atomic operations that return the old value, since Linux 5.12.
        .clang_args(["-mcpu=v3", "-Wall", "-Werror", "-Wno-unused-function"])
        .build_and_generate(PathBuf::from(env::var("OUT_DIR")?).join(name))?;
    Ok(())
}
