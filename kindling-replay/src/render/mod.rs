//! Reports as text, JSON and pictures. A renderer writes what a report says and computes nothing.

pub mod argument;
pub mod check;
pub mod errno;
pub mod events;
pub mod files;
pub mod flame;
pub mod flow;
pub mod flow_svg;
pub mod info;
pub mod io_uring;
pub mod json;
pub mod logs;
pub mod processes;
pub mod rpc;
pub mod rpc_breakdown;
pub mod story;
pub mod syscalls;
pub mod table;
pub mod tcp;
pub mod threads;
pub mod timeline;
pub mod units;
