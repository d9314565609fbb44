//! The flight recorder: the last part of a recording stays in memory and is written when something
//! happens, or when somebody asks.
//!
//! A recording is cut into slices, an eighth of the window each. A slice begins with all that is
//! known, as a rotated file does, so [`memory`] forgets whole slices and what is left is complete by
//! itself. [`plan`] decides when a slice begins and when what is there becomes a file, [`dump`] writes
//! it, and [`control`] is how another process asks for it.

pub(crate) mod control;
mod dump;
mod memory;
mod plan;

pub(crate) use control::ControlSocket;
pub(crate) use dump::DumpOrder;
pub(crate) use memory::{Memory, SliceStart};
pub(crate) use plan::{Flight, FlightConfig, FlightOutcome, Window};
