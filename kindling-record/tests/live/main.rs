//! Live tests: this machine runs a program that knows what it does, the recorder records it, and the
//! capture must hold exactly that. Where recording is not possible they pass and print why they were
//! skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod command_line;
mod demo;
mod killed;
mod lives;
mod locks;
mod readers;
mod samples;
mod support;
mod switches;
mod syscalls;
mod waits;
