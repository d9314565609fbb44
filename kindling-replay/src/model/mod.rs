//! State over time, built from the capture's rows: what analyses look at.

pub mod by_id;
pub mod catalog;
pub mod clock;
pub mod connection;
pub mod descriptors;
pub mod doing;
pub mod ended;
mod facts;
pub mod file;
pub mod first;
pub mod fold;
pub mod futex;
pub mod histogram;
pub mod host;
pub mod lanes;
pub mod lock_wait;
pub mod log_time;
pub mod loss;
pub mod occupancy;
pub mod polls;
pub mod ready;
pub mod recent;
pub mod select;
pub mod sends;
pub mod slice;
pub mod stack;
pub mod stream;
pub mod thread;
pub mod timeline;
pub mod wait_reason;

use crate::context::Context;

/// Who and what the capture names, and its call stacks, read side by side.
pub fn load(context: &Context) -> (catalog::Catalog, stack::Stacks) {
    let catalog = || catalog::Catalog::load(context);
    context.pool.join(catalog, || stack::Stacks::load(context))
}
