//! State over time, built from the capture's rows: what analyses look at.

pub mod catalog;
pub mod clock;
pub mod connection;
pub mod file;
pub mod fold;
pub mod histogram;
pub mod host;
pub mod log_time;
pub mod loss;
pub mod select;
pub mod slice;
pub mod stack;
pub mod stream;
pub mod thread;
pub mod timeline;
pub mod wait_reason;
