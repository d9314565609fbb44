//! Reports as text, JSON and pictures. A renderer writes what a report says and computes nothing.

pub mod argument;
pub mod check;
pub mod cpus;
pub mod critical_path;
pub mod critical_path_svg;
pub mod errno;
pub mod events;
pub mod flame;
pub mod flow;
pub mod flow_svg;
pub mod info;
pub mod json;
pub mod lock_svg;
pub mod locks;
pub mod neighbours;
pub mod rpc;
pub mod rpc_breakdown;
pub mod syscalls;
pub mod table;
pub mod threads;
pub mod timeline;
pub mod units;
