//! Live tests: this machine runs a program that knows what it does, the recorder records it, and the
//! capture must hold exactly that. Where recording is not possible they pass and print why they were
//! skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command_line;
mod compat;
mod critical_path;
mod demo;
mod descriptors;
mod extras;
mod flight;
mod go_tls;
mod io_uring;
mod killed;
mod limits;
mod lives;
mod locks;
mod neighbours;
mod overhead;
mod parts;
mod payloads;
mod plaintext;
mod polls;
mod readers;
mod security;
mod stacks;
mod support;
mod switches;
mod syscalls;
mod targets;
mod tcp;
mod times;
mod tls;
mod waits;
