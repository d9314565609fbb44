//! io_uring events in words.

use kindling_format::schema::{IoUring, IoUringKind};

use crate::{
    model::{catalog::Catalog, file},
    render::{errno, table::printable},
};

/// The operations by their number (`enum io_uring_op` in `<linux/io_uring.h>`).
const OPERATIONS: [&str; 63] = [
    "nop",
    "readv",
    "writev",
    "fsync",
    "read_fixed",
    "write_fixed",
    "poll_add",
    "poll_remove",
    "sync_file_range",
    "sendmsg",
    "recvmsg",
    "timeout",
    "timeout_remove",
    "accept",
    "async_cancel",
    "link_timeout",
    "connect",
    "fallocate",
    "openat",
    "close",
    "files_update",
    "statx",
    "read",
    "write",
    "fadvise",
    "madvise",
    "send",
    "recv",
    "openat2",
    "epoll_ctl",
    "splice",
    "provide_buffers",
    "remove_buffers",
    "tee",
    "shutdown",
    "renameat",
    "unlinkat",
    "mkdirat",
    "symlinkat",
    "linkat",
    "msg_ring",
    "fsetxattr",
    "setxattr",
    "fgetxattr",
    "getxattr",
    "socket",
    "uring_cmd",
    "send_zc",
    "sendmsg_zc",
    "read_multishot",
    "waitid",
    "futex_wait",
    "futex_wake",
    "futex_waitv",
    "fixed_fd_install",
    "ftruncate",
    "bind",
    "listen",
    "recv_zc",
    "epoll_wait",
    "readv_fixed",
    "writev_fixed",
    "pipe",
];

/// What happened.
pub fn text(row: &IoUring, catalog: &Catalog) -> String {
    let operation = operation(row.opcode);
    let mark = format!("user_data {:#x}", row.user_data);
    match (row.kind, row.ret) {
        (IoUringKind::Complete, Some(ret)) => {
            let result = match errno::of_return(ret) {
                Some(errno) => format!("-1 {}", errno::name(errno)),
                None => ret.to_string(),
            };
            format!("** io_uring gives {operation} = {result}, {mark}")
        }
        (IoUringKind::Complete, None) => format!("** io_uring gives {operation}, {mark}"),
        (IoUringKind::Submit, _) => {
            let file = row.file.and_then(|id| catalog.files.get(&id));
            let file = file.map(|file| format!(" of {}", printable(&file::label(file))));
            let file = file.unwrap_or_default();
            format!("** io_uring takes {operation}{file}, {mark}")
        }
    }
}

fn operation(opcode: Option<u8>) -> String {
    match opcode {
        None => "another result".into(),
        Some(opcode) => match OPERATIONS.get(usize::from(opcode)) {
            Some(name) => (*name).into(),
            None => format!("operation {opcode}"),
        },
    }
}
