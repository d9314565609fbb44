//! The fields of `--where` in a capture: what they are of one event, of all events of a thread, and of all
//! rows of a member.

use kindling_format::{
    schema::{
        Block, Fault, File, IoUring, Migration, Payload, Process, Sample, Switch, Syscall, Tcp,
        Wakeup,
    },
    syscalls::COMPAT,
};

use crate::{
    filter::{EventKind, Fact, Facts, Field},
    model::{
        catalog::{Catalog, ThreadLife},
        ended::Ended,
        polls::PollEnd,
        slice::{Slice, State},
    },
    render::errno,
};

/// What is known of an event beside its thread and time.
#[derive(Debug, Clone, Copy)]
pub enum Details<'a> {
    /// A system call.
    Syscall(&'a Syscall),
    /// An operation or a result of an io_uring.
    IoUring(&'a IoUring),
    /// What happened to a TCP socket.
    Tcp(&'a Tcp),
    /// A context switch, for one of its two threads.
    Switch(&'a Switch),
    /// A wakeup, likewise.
    Wakeup(&'a Wakeup),
    /// A stack sample.
    Sample(&'a Sample),
    /// Bytes that were moved.
    Payload(&'a Payload),
    /// A request to a disk.
    Block(&'a Block),
    /// A page fault.
    Fault(&'a Fault),
    /// A move to another CPU.
    Migration(&'a Migration),
    /// A fact about a process.
    Process,
    /// A fact about a thread.
    Thread,
    /// A stretch of time in which the thread was blocked, and how descriptors ended it.
    Wait(&'a Slice, Option<&'a PollEnd>),
    /// One end of a request.
    Request {
        /// Its file.
        file: Option<u32>,
        /// When the request began.
        start: i64,
        /// How long it took.
        dur: Option<i64>,
    },
    /// One end of a connection.
    Connection {
        /// Its file.
        file: u32,
        /// When it first moved bytes in the window.
        start: i64,
    },
}

impl Details<'_> {
    fn kind(&self) -> EventKind {
        match self {
            Details::Syscall(_) => EventKind::Syscall,
            Details::IoUring(_) => EventKind::IoUring,
            Details::Tcp(_) => EventKind::Tcp,
            Details::Switch(_) => EventKind::Switch,
            Details::Wakeup(_) => EventKind::Wakeup,
            Details::Sample(_) => EventKind::Sample,
            Details::Payload(_) => EventKind::Payload,
            Details::Block(_) => EventKind::Block,
            Details::Fault(_) => EventKind::Fault,
            Details::Migration(_) => EventKind::Migration,
            Details::Process => EventKind::Process,
            Details::Thread => EventKind::Thread,
            Details::Wait(..) => EventKind::Wait,
            Details::Request { .. } => EventKind::Request,
            Details::Connection { .. } => EventKind::Connection,
        }
    }

    fn file(&self) -> Option<u32> {
        match self {
            Details::Syscall(row) => row.file,
            Details::IoUring(row) => row.file,
            Details::Tcp(row) => row.file,
            Details::Payload(row) => Some(row.file),
            Details::Wait(slice, _) => slice.wait.file,
            Details::Request { file, .. } => *file,
            Details::Connection { file, .. } => Some(*file),
            _ => None,
        }
    }

    fn dur(&self) -> Option<i64> {
        match self {
            Details::Syscall(row) => row.dur,
            Details::Payload(row) => Some(row.dur),
            Details::Block(row) => Some(row.dur),
            Details::Wait(slice, _) => Some(slice.length_ns()),
            Details::Request { dur, .. } => *dur,
            _ => None,
        }
    }

    /// The moment that its `ts` means, if that is not the one at which its thread is looked up.
    pub(super) fn start(&self) -> Option<i64> {
        match self {
            Details::Request { start, .. } | Details::Connection { start, .. } => Some(*start),
            _ => None,
        }
    }

    fn cpu(&self) -> Option<u16> {
        match self {
            Details::Syscall(row) => Some(row.cpu),
            Details::IoUring(row) => Some(row.cpu),
            Details::Tcp(row) => Some(row.cpu),
            Details::Switch(row) => Some(row.cpu),
            Details::Wakeup(row) => Some(row.cpu),
            Details::Sample(row) => Some(row.cpu),
            Details::Fault(row) => Some(row.cpu),
            Details::Migration(row) => Some(row.cpu),
            _ => None,
        }
    }

    fn ret(&self) -> Option<i64> {
        match self {
            Details::Syscall(row) => row.ret,
            Details::IoUring(row) => row.ret,
            _ => None,
        }
    }

    fn nr(&self) -> Option<u16> {
        match self {
            Details::Syscall(row) => Some(row.nr),
            Details::Wait(slice, _) => slice.wait.syscall,
            _ => None,
        }
    }
}

/// One event.
pub(super) struct EventFacts<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) ts: i64,
    pub(super) offset_ns: i64,
    pub(super) tid: u32,
    pub(super) details: Details<'a>,
}

impl Facts for EventFacts<'_> {
    fn fact(&self, field: Field) -> Fact<'_> {
        let life = || self.catalog.thread_at(self.tid, self.ts);
        match field {
            Field::EventKind => Fact::text(Some(self.details.kind().word())),
            Field::Ts => Fact::number(Some(self.offset_ns)),
            Field::Dur => Fact::number(self.details.dur()),
            Field::Cpu => Fact::number(self.details.cpu()),
            Field::Tid => Fact::number(Some(self.tid)),
            Field::ThreadComm => Fact::text(life().map(|life| life.comm_at(self.ts))),
            Field::Pid => Fact::number(life().map(|life| life.pid)),
            Field::SyscallCompat => Fact::number(self.details.nr().map(|nr| nr & COMPAT != 0)),
            Field::SyscallNr => Fact::number(self.details.nr()),
            Field::SyscallName => match self.details.nr() {
                Some(nr) => Fact::Text(self.catalog.plain_syscall_name(nr).into()),
                None => Fact::Absent,
            },
            field => self.details.fact(field).unwrap_or_else(|| {
                let file = self.details.file();
                let file = file.and_then(|id| self.catalog.files.get(&id));
                file_fact(field, file).unwrap_or_else(|| {
                    let process =
                        life().and_then(|life| self.catalog.process_at(life.pid, self.ts));
                    process_fact(field, process)
                })
            }),
        }
    }
}

impl<'a> Details<'a> {
    /// The fields that belong to one kind of event; `None` for those of files and processes.
    fn fact(&self, field: Field) -> Option<Fact<'a>> {
        let call = match *self {
            Details::Syscall(row) => Some(row),
            _ => None,
        };
        let payload = match *self {
            Details::Payload(row) => Some(row),
            _ => None,
        };
        let switch = match *self {
            Details::Switch(row) => Some(row),
            _ => None,
        };
        let wakeup = match *self {
            Details::Wakeup(row) => Some(row),
            _ => None,
        };
        let block = match *self {
            Details::Block(row) => Some(row),
            _ => None,
        };
        let fault = match *self {
            Details::Fault(row) => Some(row),
            _ => None,
        };
        let migration = match *self {
            Details::Migration(row) => Some(row),
            _ => None,
        };
        let word = |word: Option<String>| word.map_or(Fact::Absent, |word| Fact::Text(word.into()));
        Some(match field {
            Field::Arg0 => Fact::number(call.and_then(|row| row.arg0)),
            Field::Arg1 => Fact::number(call.and_then(|row| row.arg1)),
            Field::Arg2 => Fact::number(call.and_then(|row| row.arg2)),
            Field::Arg3 => Fact::number(call.and_then(|row| row.arg3)),
            Field::Arg4 => Fact::number(call.and_then(|row| row.arg4)),
            Field::Arg5 => Fact::number(call.and_then(|row| row.arg5)),
            Field::Ret => Fact::number(self.ret()),
            Field::Errno => Fact::number(self.ret().and_then(errno::of_return)),
            Field::PayloadDirection => word(payload.map(|row| row.direction.to_string())),
            Field::PayloadSize => Fact::number(payload.map(|row| row.size)),
            Field::PayloadOffset => Fact::number(payload.map(|row| row.offset)),
            Field::PayloadTls => word(payload.map(|row| row.tls.to_string())),
            Field::PayloadData => payload.map_or(Fact::Absent, |row| Fact::Bytes(&row.data)),
            Field::BlockDisk => Fact::text(block.map(|row| row.disk.as_str())),
            Field::BlockOperation => word(block.map(|row| row.operation.to_string())),
            Field::BlockStatus => Fact::number(block.and_then(|row| row.status)),
            Field::BlockErrno => {
                Fact::number(block.and_then(|row| errno::of_block_status(row.status?)))
            }
            Field::BlockSize => Fact::number(block.map(|row| row.size_bytes)),
            Field::FaultAddress => Fact::number(fault.map(|row| row.address)),
            Field::FaultWrite => Fact::number(fault.map(|row| row.write)),
            Field::FaultKernel => Fact::number(fault.map(|row| row.kernel)),
            Field::MigrationFrom => Fact::number(migration.map(|row| row.from_cpu)),
            Field::MigrationTo => Fact::number(migration.map(|row| row.to_cpu)),
            Field::SwitchPrev => Fact::number(switch.map(|row| row.prev_tid)),
            Field::SwitchNext => Fact::number(switch.map(|row| row.next_tid)),
            Field::Preempted => Fact::number(switch.map(|row| row.preempted)),
            Field::Waker => Fact::number(wakeup.map(|row| row.waker_tid)),
            Field::Wakee => Fact::number(wakeup.map(|row| row.wakee_tid)),
            Field::Irq => Fact::number(wakeup.map(|row| row.irq)),
            Field::SampleMode => word(match *self {
                Details::Sample(row) => Some(row.mode.to_string()),
                _ => None,
            }),
            Field::WaitReason => match *self {
                Details::Wait(
                    Slice {
                        state: State::Blocked(reason),
                        ..
                    },
                    _,
                ) => Fact::text(Some(reason.word())),
                _ => Fact::Absent,
            },
            Field::WaitEnded => match *self {
                Details::Wait(slice, _) => Fact::text(slice.wait.ended.map(Ended::word)),
                _ => Fact::Absent,
            },
            Field::WaitFd => match *self {
                Details::Wait(_, end) => Fact::number(end.and_then(|end| end.first.fd)),
                _ => Fact::Absent,
            },
            _ => return None,
        })
    }
}

/// A field of the file that an event worked on; `None` if it is not one.
fn file_fact(field: Field, file: Option<&File>) -> Option<Fact<'_>> {
    let address =
        |of: fn(&File) -> &Option<String>| Fact::text(file.and_then(|file| of(file).as_deref()));
    let port = |of: fn(&File) -> Option<u16>| Fact::number(file.and_then(of));
    Some(match field {
        Field::FilePath => address(|file| &file.path),
        Field::FileKind => match file {
            Some(file) => Fact::Text(file.kind.to_string().into()),
            None => Fact::Absent,
        },
        Field::FileId => Fact::number(file.map(|file| file.id)),
        Field::FileInode => Fact::number(file.and_then(|file| file.inode)),
        Field::LocalAddress => address(|file| &file.local_address),
        Field::LocalPort => port(|file| file.local_port),
        Field::PeerAddress => address(|file| &file.remote_address),
        Field::PeerPort => port(|file| file.remote_port),
        Field::Address => Fact::both(
            address(|file| &file.local_address),
            address(|file| &file.remote_address),
        ),
        Field::Port => Fact::both(port(|file| file.local_port), port(|file| file.remote_port)),
        _ => return None,
    })
}

/// A field of a process; absent if it is none.
fn process_fact(field: Field, process: Option<&Process>) -> Fact<'_> {
    let Some(process) = process else {
        return Fact::Absent;
    };
    match field {
        Field::Ppid => Fact::number(Some(process.ppid)),
        Field::ProcessComm => Fact::text(Some(&process.comm)),
        Field::Exe => Fact::text(process.exe.as_deref()),
        Field::Args if process.argv.is_empty() => Fact::Absent,
        Field::Args => Fact::Text(process.argv.join(" ").into()),
        Field::Uid => Fact::number(process.uid),
        Field::Cgroup => Fact::text(process.cgroup.as_deref()),
        Field::Container => Fact::text(process.container.as_deref()),
        _ => Fact::Absent,
    }
}

/// All events of a thread under one of its names.
pub(super) struct LifeFacts<'a> {
    /// `None` for a thread that the capture does not know.
    pub(super) life: Option<&'a ThreadLife>,
    pub(super) process: Option<&'a Process>,
    pub(super) comm: &'a str,
    pub(super) window: (i64, i64),
}

impl LifeFacts<'_> {
    pub(super) fn stranger() -> Self {
        Self {
            life: None,
            process: None,
            comm: "",
            window: (i64::MIN, i64::MAX),
        }
    }
}

impl Facts for LifeFacts<'_> {
    fn fact(&self, field: Field) -> Fact<'_> {
        let (from, to) = self.window;
        match field {
            Field::Ts => Fact::Between(from.into(), to.into()),
            Field::Tid => Fact::number(self.life.map(|life| life.tid)),
            Field::Pid => Fact::number(self.life.map(|life| life.pid)),
            Field::ThreadComm => Fact::text(Some(self.comm)),
            Field::Ppid
            | Field::ProcessComm
            | Field::Exe
            | Field::Args
            | Field::Uid
            | Field::Cgroup
            | Field::Container => process_fact(field, self.process),
            _ => Fact::Unknown,
        }
    }
}

/// All events of a member, by its row in the index.
pub(super) struct MemberFacts<'a> {
    pub(super) kind: EventKind,
    pub(super) span: Option<(i64, i64)>,
    /// Empty if its rows name no processes.
    pub(super) pids: &'a [u32],
}

impl Facts for MemberFacts<'_> {
    fn fact(&self, field: Field) -> Fact<'_> {
        match field {
            Field::EventKind => Fact::text(Some(self.kind.word())),
            Field::Ts => match self.span {
                Some((first, last)) => Fact::Between(first.into(), last.into()),
                None => Fact::Unknown,
            },
            Field::Pid if !self.pids.is_empty() => Fact::OneOf(self.pids),
            field if field.is_of(self.kind) => Fact::Unknown,
            _ => Fact::Absent,
        }
    }
}
