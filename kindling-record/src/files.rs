//! Open files: from what the kernel side says of a `struct file` to rows of the table.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use kindling_format::schema::{File, FileColumns, FileKind};

use crate::{
    kernel_path::{absolute_path, components},
    lives::Lives,
    raw::{Record, get, layout},
    redact::PathMask,
};

/// `KD_FILE_OPENED`, `KD_FILE_CLOSED` in `kindling.h`.
const OPENED: u8 = 1;
const CLOSED: u8 = 2;
/// `KD_FILE_TLS`, `KD_FILE_WRITABLE` there.
const TLS: u8 = 4;
const WRITABLE: u8 = 8;

/// `<linux/magic.h>`
const ANON_INODE_FS_MAGIC: u64 = 0x0904_1934;
const PIPEFS_MAGIC: u64 = 0x5049_5045;
/// `<linux/stat.h>`
const S_IFMT: u32 = 0o170_000;
/// `<linux/socket.h>`, `<linux/net.h>`, `<linux/in.h>`, `<net/tcp_states.h>`
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const TCP_LISTEN: u8 = 10;

/// With more than this, what may be mapped by a process that has ended is forgotten.
const MANY: usize = 4096;
/// With more than this, all of processes that have ended, and the oldest that may be mapped: as many
/// as `files` in `maps.bpf.h` has.
const MOST: usize = 65_536;

/// A file that is open.
#[derive(Debug)]
struct Known {
    /// Its last row.
    row: File,
    writable: bool,
}

impl Known {
    /// Whether it may be mapped, as libraries are, and its descriptors closed.
    fn may_be_mapped(&self) -> bool {
        self.row.kind == FileKind::Regular && !self.writable
    }
}

/// The files that are open.
#[derive(Debug, Default)]
pub(crate) struct Files {
    open: HashMap<u32, Known>,
    /// What hides paths, if they are to be hidden.
    mask: Option<PathMask>,
}

impl Files {
    pub(crate) fn new(mask: Option<PathMask>) -> Self {
        Self {
            mask,
            ..Self::default()
        }
    }

    /// What is known of an open file.
    pub(crate) fn get(&self, id: u32) -> Option<&File> {
        self.open.get(&id).map(|known| &known.row)
    }

    /// Takes in one record and adds the row that it changes; the file's id, if it was closed.
    pub(crate) fn record(
        &mut self,
        record: &Record<'_, layout::kd_file>,
        rows: &mut FileColumns,
    ) -> Option<u32> {
        let flags: u8 = get!(record, kd_file, head.flags);
        let ts = get!(record, kd_file, head.ts) as i64;
        let mut file = describe(record);
        if let (Some(mask), Some(path)) = (&self.mask, &mut file.path)
            && has_path(file.kind)
        {
            *path = mask.hide(path.as_bytes());
        }
        file.open_ts = (flags & OPENED != 0).then_some(ts);
        file.close_ts = (flags & CLOSED != 0).then_some(ts);
        if let Some(before) = self.open.remove(&file.id) {
            keep_known(&mut file, before.row);
        }
        if flags & CLOSED == 0 {
            let known = Known {
                row: file.clone(),
                writable: flags & WRITABLE != 0,
            };
            self.open.insert(file.id, known);
        }
        let closed = file.close_ts.map(|_| file.id);
        rows.push(file);
        closed
    }

    /// Forgets what may be open no more, if it is much. A file that is mapped is not closed with its
    /// descriptor but at the end of its processes, and nothing tells which they are.
    ///
    /// Where one is forgotten and yet used by another process than the one that opened it, its name is
    /// missing in captures that begin later.
    pub(crate) fn forget(&mut self, lives: &Lives) {
        if self.open.len() > MANY {
            let stays = |known: &Known| !known.may_be_mapped() || lives.is_alive(known.row.pid);
            self.open.retain(|_, known| stays(known));
        }
        if self.open.len() > MOST {
            self.open.retain(|_, known| lives.is_alive(known.row.pid));
            let mapped = self.open.iter().filter(|(_, known)| known.may_be_mapped());
            let mut mapped: Vec<u32> = mapped.map(|(&id, _)| id).collect();
            // The oldest first.
            mapped.sort_unstable();
            mapped.truncate(self.open.len().saturating_sub(MOST / 2));
            mapped.iter().for_each(|id| drop(self.open.remove(id)));
        }
    }

    /// The epolls among them, by the descriptors by which they were first used.
    pub(crate) fn epolls(&self) -> impl Iterator<Item = (u32, i32)> {
        let rows = self.open.values().map(|known| &known.row);
        let epolls = rows.filter(|file| file.kind == FileKind::Epoll);
        epolls.map(|file| (file.pid, file.fd))
    }

    /// Adds the last row of every open file once more, for a capture that begins.
    pub(crate) fn repeat(&self, rows: &mut FileColumns) {
        let open = self.open.values().map(|known| known.row.clone());
        open.for_each(|file| rows.push(file));
    }
}

/// Whether its path is more than the kernel's name for it.
fn has_path(kind: FileKind) -> bool {
    matches!(
        kind,
        FileKind::Regular | FileKind::Directory | FileKind::Pipe | FileKind::Unix | FileKind::Other
    )
}

/// A socket that is closing has lost its addresses; what was known of a file stays known.
fn keep_known(file: &mut File, before: File) {
    file.pid = before.pid;
    file.fd = before.fd;
    file.open_ts = before.open_ts;
    file.path = file.path.take().or(before.path);
    file.local_address = file.local_address.take().or(before.local_address);
    file.local_port = file.local_port.or(before.local_port);
    file.remote_address = file.remote_address.take().or(before.remote_address);
    file.remote_port = file.remote_port.or(before.remote_port);
    file.cookie = file.cookie.or(before.cookie);
    file.peer_inode = file.peer_inode.or(before.peer_inode);
    file.listening |= before.listening;
}

fn describe(record: &Record<'_, layout::kd_file>) -> File {
    let flags: u8 = get!(record, kd_file, head.flags);
    let mode: u32 = get!(record, kd_file, mode);
    let magic: u64 = get!(record, kd_file, magic);
    let text = record
        .rest
        .get(..usize::from(get!(record, kd_file, path_len)))
        .unwrap_or_default();
    let mut file = File {
        ts: get!(record, kd_file, head.ts) as i64,
        id: get!(record, kd_file, id),
        pid: get!(record, kd_file, pid),
        fd: get!(record, kd_file, fd),
        inode: Some(get!(record, kd_file, inode)),
        ..File::default()
    };
    if flags & TLS != 0 {
        file.kind = FileKind::Tls;
        file.inode = None;
        return file;
    }
    if magic == ANON_INODE_FS_MAGIC {
        let name = components(text).next().unwrap_or_default();
        file.kind = anonymous_kind(&name);
        file.path = Some(name).filter(|name| !name.is_empty());
        file.inode = None;
        return file;
    }
    match mode & S_IFMT {
        0o140_000 => describe_socket(record, text, &mut file),
        0o010_000 => {
            file.kind = FileKind::Pipe;
            file.path = if magic == PIPEFS_MAGIC {
                None
            } else {
                absolute_path(text)
            };
        }
        kind => {
            file.kind = match kind {
                0o100_000 => FileKind::Regular,
                0o040_000 => FileKind::Directory,
                0o060_000 => FileKind::Block,
                0o020_000 if is_tty(get!(record, kd_file, rdev)) => FileKind::Tty,
                0o020_000 => FileKind::Char,
                _ => FileKind::Other,
            };
            file.path = absolute_path(text);
        }
    }
    file
}

fn describe_socket(record: &Record<'_, layout::kd_file>, text: &[u8], file: &mut File) {
    let family: u16 = get!(record, kd_file, family);
    file.kind = match (family, get!(record, kd_file, protocol)) {
        (AF_INET | AF_INET6, IPPROTO_TCP) => FileKind::Tcp,
        (AF_INET | AF_INET6, IPPROTO_UDP) => FileKind::Udp,
        (AF_UNIX, _) => FileKind::Unix,
        (AF_NETLINK, _) => FileKind::Netlink,
        _ => FileKind::Socket,
    };
    let number = |number: u64| (number != 0).then_some(number);
    file.cookie = number(get!(record, kd_file, cookie));
    file.peer_inode = number(get!(record, kd_file, peer_inode));
    file.netns = Some(get!(record, kd_file, netns)).filter(|&netns| netns != 0);
    file.path = unix_path(text);
    if family == AF_INET || family == AF_INET6 {
        let port = |port: u16| (port != 0).then_some(port);
        file.local_port = port(get!(record, kd_file, local_port));
        file.remote_port = port(get!(record, kd_file, remote_port));
        let local = record.bytes(std::mem::offset_of!(layout::kd_file, local_addr), 16);
        let remote = record.bytes(std::mem::offset_of!(layout::kd_file, remote_addr), 16);
        // A socket without port is not bound, and its address says nothing yet.
        file.local_address = file.local_port.and_then(|_| address(family, local));
        file.remote_address = file.remote_port.and_then(|_| address(family, remote));
        let state: u8 = get!(record, kd_file, tcp_state);
        file.listening = file.kind == FileKind::Tcp && state == TCP_LISTEN;
    }
}

pub(crate) fn address(family: u16, bytes: &[u8]) -> Option<String> {
    if family == AF_INET {
        return bytes
            .first_chunk::<4>()
            .map(|bytes| Ipv4Addr::from(*bytes).to_string());
    }
    let address = Ipv6Addr::from(*bytes.first_chunk::<16>()?);
    // Both ends of a connection are to have the same address, whatever the socket's family.
    Some(match address.to_ipv4_mapped() {
        Some(mapped) => mapped.to_string(),
        None => address.to_string(),
    })
}

/// A path, or an abstract name, which begins with a zero and is written with `@`.
fn unix_path(text: &[u8]) -> Option<String> {
    match text {
        [] => None,
        [0, name @ ..] => {
            let name = String::from_utf8_lossy(name).replace('\0', "@");
            (!name.is_empty()).then(|| format!("@{name}"))
        }
        path => {
            let end = path
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(path.len());
            Some(String::from_utf8_lossy(path.get(..end)?).into_owned())
        }
    }
}

/// The kernel's names for files without an inode of their own.
fn anonymous_kind(name: &str) -> FileKind {
    match name.trim_matches(['[', ']']) {
        "eventpoll" => FileKind::Epoll,
        "eventfd" => FileKind::Eventfd,
        "timerfd" => FileKind::Timerfd,
        "signalfd" => FileKind::Signalfd,
        "pidfd" => FileKind::Pidfd,
        "inotify" => FileKind::Inotify,
        "io_uring" => FileKind::IoUring,
        _ => FileKind::Anon,
    }
}

/// Major numbers of terminals (`Documentation/admin-guide/devices.txt`).
fn is_tty(rdev: u32) -> bool {
    matches!(rdev >> 20, 4 | 5 | 136..=143)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_addresses_are_paths_or_abstract_names() {
        assert_eq!(unix_path(b"/run/x.sock\0").as_deref(), Some("/run/x.sock"));
        assert_eq!(unix_path(b"\0bus\0").as_deref(), Some("@bus@"));
        assert_eq!(unix_path(b""), None);
    }

    #[test]
    fn mapped_addresses_are_written_as_ipv4() {
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
        assert_eq!(address(AF_INET6, &mapped).as_deref(), Some("127.0.0.1"));
        assert_eq!(
            address(AF_INET6, &Ipv6Addr::LOCALHOST.octets()).as_deref(),
            Some("::1")
        );
    }

    #[test]
    fn a_closing_socket_keeps_its_addresses() {
        let before = File {
            local_port: Some(80),
            open_ts: Some(5),
            pid: 7,
            ..File::default()
        };
        let mut closing = File {
            close_ts: Some(9),
            pid: 8,
            ..File::default()
        };
        keep_known(&mut closing, before);
        assert_eq!(
            (closing.local_port, closing.open_ts, closing.pid),
            (Some(80), Some(5), 7)
        );
    }

    #[test]
    fn libraries_of_ended_processes_do_not_pile_up() {
        let mut files = Files::default();
        let known = |id, kind, writable| {
            let row = File {
                id,
                kind,
                pid: 7,
                ..File::default()
            };
            (id, Known { row, writable })
        };
        files.open.insert(0, known(0, FileKind::Regular, true).1);
        files.open.insert(1, known(1, FileKind::Tcp, true).1);
        let libraries =
            |range: std::ops::Range<u32>| range.map(move |id| known(id, FileKind::Regular, false));
        files.open.extend(libraries(2..1000));
        let nobody = Lives::default();
        files.forget(&nobody);
        assert_eq!(files.open.len(), 1000, "few are kept");
        files.open.extend(libraries(1000..5000));
        files.forget(&nobody);
        let mut left: Vec<u32> = files.open.keys().copied().collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1]);
    }
}
