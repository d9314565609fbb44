//! Samples and stacks.

use kindling_format::schema::{Mode, Sample};

use super::Drain;
use crate::{
    batch::{RawStack, UserStack},
    raw::{Record, get, layout, numbers},
    unwind::StackMemory,
};

const KERNEL_MODE: u8 = 1;
const STACK_MEMORY: u8 = 1;

impl Drain {
    pub(super) fn sample(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_sample>::split(bytes)?;
        let in_kernel = get!(record, kd_sample, head.flags) & KERNEL_MODE != 0;
        self.batch.samples.push(Sample {
            ts: get!(record, kd_sample, head.ts) as i64,
            cpu: get!(record, kd_sample, head.cpu),
            pid: get!(record, kd_sample, pid),
            tid: get!(record, kd_sample, head.tid),
            mode: if in_kernel { Mode::Kernel } else { Mode::User },
            period_ns: self.sample_period_ns,
            stack: self.stacks.id(get!(record, kd_sample, stack)),
        });
        Some(())
    }

    pub(super) fn stack(&mut self, bytes: &[u8]) -> Option<()> {
        let head = Record::<layout::kd_head>::split(bytes)?;
        if get!(head, kd_head, flags) & STACK_MEMORY != 0 {
            return self.stack_in_memory(bytes);
        }
        let record = Record::<layout::kd_stack>::split(bytes)?;
        let hash: u64 = get!(record, kd_stack, hash);
        // The kernel side forgets old stacks and then sends them again. A row of another CPU may have
        // named the stack before it was sent.
        if let Some(id) = self.stacks.sent(hash) {
            let mut addresses = numbers(record.rest);
            let kernel = usize::from(get!(record, kd_stack, kernel));
            self.batch.code.stacks.push(RawStack {
                id,
                is_shared: true,
                ts: get!(record, kd_stack, head.ts) as i64,
                pid: get!(record, kd_stack, pid),
                kernel: addresses.by_ref().take(kernel).collect(),
                user: UserStack::Walked(
                    addresses
                        .take(usize::from(get!(record, kd_stack, user)))
                        .collect(),
                ),
            });
        }
        Some(())
    }

    /// A stack that the kernel side could not walk.
    fn stack_in_memory(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_stack_memory>::split(bytes)?;
        let kernel = record.bytes(
            std::mem::offset_of!(layout::kd_stack_memory, kernel_addr),
            get!(record, kd_stack_memory, kernel) as usize * size_of::<u64>(),
        );
        let memory = get!(record, kd_stack_memory, stack_len) as usize;
        let bytes = record.rest.get(..memory)?.to_vec();
        self.batch.code.stacks.push(RawStack {
            id: self.stacks.sent_once(get!(record, kd_stack_memory, hash)),
            is_shared: false,
            ts: get!(record, kd_stack_memory, head.ts) as i64,
            pid: get!(record, kd_stack_memory, pid),
            kernel: numbers(kernel).collect(),
            user: UserStack::Memory(StackMemory {
                ip: get!(record, kd_stack_memory, ip),
                sp: get!(record, kd_stack_memory, sp),
                bp: get!(record, kd_stack_memory, bp),
                bytes,
                program: get!(record, kd_stack_memory, program),
            }),
        });
        Some(())
    }
}
