//! Questions about the model, each answered by a report: a plain struct that renderers write. An
//! analysis prints nothing.

pub mod check;
pub mod events;
pub mod flame;
pub mod flow;
pub mod flow_tcp;
pub mod info;
pub mod rpc;
pub mod rpc_breakdown;
pub mod rpc_call;
mod rpc_lanes;
pub mod rpc_stage;
pub mod syscalls;
pub mod threads;
pub mod timeline;
