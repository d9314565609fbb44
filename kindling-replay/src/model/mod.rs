//! State over time, built from the capture's rows: what analyses look at.

pub mod catalog;
pub mod clock;
pub mod stack;
