//! Questions about the model, each answered by a report: a plain struct that renderers write. An
//! analysis prints nothing.

pub mod check;
pub mod cpus;
pub mod critical_path;
pub mod critical_path_compare;
pub mod critical_path_report;
pub mod events;
pub mod files;
pub mod flame;
pub mod flow;
pub mod flow_tcp;
pub mod info;
pub mod lock_table;
pub mod locks;
pub mod logs;
pub mod neighbours;
pub mod processes;
pub mod ready;
pub mod rpc;
pub mod rpc_breakdown;
pub mod rpc_call;
mod rpc_join;
mod rpc_lanes;
pub mod rpc_place;
pub mod rpc_row;
pub mod rpc_stage;
pub mod serving;
pub mod story;
pub mod syscalls;
pub mod threads;
pub mod timeline;
