//! io_uring events: from submissions and completions to rows of the table.

use kindling_format::schema::{IoUring, IoUringKind};

use crate::raw::{Record, get, layout};

/// `KD_URING_COMPLETE` in `kindling.h`.
const COMPLETE: u8 = 2;
/// `KD_NO_OPCODE` in `kindling.h`.
const NO_OPCODE: u8 = 255;

/// Operations whose first argument is a descriptor, by their number (`enum io_uring_op` in
/// `<linux/io_uring.h>`), as the kernel's own table says (`needs_file`).
const NEED_A_FILE: [u8; 34] = [
    1, 2, 3, 4, 5, 6, 8, 9, 10, 13, 16, 17, 22, 23, 24, 26, 27, 30, 33, 34, 40, 41, 43, 46, 47, 48,
    49, 55, 56, 57, 58, 59, 60, 61,
];

/// A bit for each operation that works on a file.
pub(crate) fn operations_on_files() -> u64 {
    NEED_A_FILE
        .iter()
        .fold(0, |bits, &opcode| bits | 1 << opcode)
}

/// The row of a record.
pub(crate) fn row(record: &Record<'_, layout::kd_uring>) -> IoUring {
    let completes = get!(record, kd_uring, head.flags) == COMPLETE;
    let known = |id: u32| (id != 0).then_some(id);
    let opcode: u8 = get!(record, kd_uring, opcode);
    IoUring {
        ts: get!(record, kd_uring, head.ts) as i64,
        pid: get!(record, kd_uring, pid),
        tid: get!(record, kd_uring, head.tid),
        cpu: get!(record, kd_uring, head.cpu),
        kind: if completes {
            IoUringKind::Complete
        } else {
            IoUringKind::Submit
        },
        ring: known(get!(record, kd_uring, ring)),
        user_data: get!(record, kd_uring, user_data),
        opcode: (opcode != NO_OPCODE).then_some(opcode),
        file: known(get!(record, kd_uring, file)),
        flags: get!(record, kd_uring, io_flags),
        ret: completes.then(|| get!(record, kd_uring, ret)),
    }
}
