//! Rows of the optional sources: requests to disks, page faults, migrations.

use kindling_format::schema::{Block, BlockOperation, Fault, Migration};

use crate::raw::{Record, get, layout};

/// `KD_FAULT_KERNEL`, … in `kindling.h`.
const KERNEL: u8 = 1;
const WRITE: u8 = 2;
const PRESENT: u8 = 4;
const EXECUTE: u8 = 8;
/// `KD_NEVER_ISSUED` in `kindling.h`.
const NEVER_ISSUED: u64 = u64::MAX;

/// A request to a disk.
pub(crate) fn block(record: &Record<'_, layout::kd_block>) -> Block {
    let queued: u64 = get!(record, kd_block, queued);
    let disk = record.bytes(std::mem::offset_of!(layout::kd_block, disk), 32);
    let disk = disk.split(|&byte| byte == 0).next().unwrap_or_default();
    Block {
        ts: get!(record, kd_block, head.ts) as i64,
        dur: get!(record, kd_block, dur) as i64,
        queued_ns: (queued != NEVER_ISSUED).then_some(queued as i64),
        pid: get!(record, kd_block, pid),
        tid: get!(record, kd_block, head.tid),
        disk: String::from_utf8_lossy(disk).into_owned(),
        operation: operation(get!(record, kd_block, operation)),
        sector: get!(record, kd_block, sector),
        size_bytes: get!(record, kd_block, bytes),
        status: Some(get!(record, kd_block, status)),
    }
}

/// `enum req_op` in `<linux/blk_types.h>`.
fn operation(number: u32) -> BlockOperation {
    match number {
        0 => BlockOperation::Read,
        1 => BlockOperation::Write,
        2 => BlockOperation::Flush,
        3 => BlockOperation::Discard,
        9 => BlockOperation::WriteZeroes,
        _ => BlockOperation::Other,
    }
}

/// A page fault.
pub(crate) fn fault(record: &Record<'_, layout::kd_fault>) -> Fault {
    let flags: u8 = get!(record, kd_fault, head.flags);
    Fault {
        ts: get!(record, kd_fault, head.ts) as i64,
        pid: get!(record, kd_fault, pid),
        tid: get!(record, kd_fault, head.tid),
        cpu: get!(record, kd_fault, head.cpu),
        address: get!(record, kd_fault, address),
        ip: get!(record, kd_fault, ip),
        kernel: flags & KERNEL != 0,
        write: flags & WRITE != 0,
        execute: flags & EXECUTE != 0,
        present: flags & PRESENT != 0,
    }
}

/// A move to another CPU.
pub(crate) fn migration(record: &Record<'_, layout::kd_migration>) -> Migration {
    Migration {
        ts: get!(record, kd_migration, head.ts) as i64,
        cpu: get!(record, kd_migration, head.cpu),
        tid: get!(record, kd_migration, head.tid),
        from_cpu: get!(record, kd_migration, from_cpu),
        to_cpu: get!(record, kd_migration, to_cpu),
        by_tid: get!(record, kd_migration, by_tid),
    }
}
