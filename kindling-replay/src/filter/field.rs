//! The fields: the one table that checking, help and `docs/FILTERS.md` are made from.

use kindling_format::{
    column::EnumColumn,
    schema::{BlockOperation, Direction, FileKind, Mode, Tls},
};

use crate::model::{ended::Ended, slice::Reason};

/// What sort of event a condition is tested on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// A system call.
    Syscall,
    /// An operation or a result of an io_uring.
    IoUring,
    /// What happened to a TCP socket.
    Tcp,
    /// A context switch.
    Switch,
    /// A wakeup.
    Wakeup,
    /// A stack sample.
    Sample,
    /// Bytes that a syscall moved.
    Payload,
    /// A request to a disk.
    Block,
    /// A page fault.
    Fault,
    /// A move to another CPU.
    Migration,
    /// A fact about a process.
    Process,
    /// A fact about a thread.
    Thread,
    /// A stretch of time in which a thread was blocked.
    Wait,
    /// One end of a request.
    Request,
    /// One end of a connection.
    Connection,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [EventKind; 15] = [
        EventKind::Syscall,
        EventKind::IoUring,
        EventKind::Tcp,
        EventKind::Switch,
        EventKind::Wakeup,
        EventKind::Sample,
        EventKind::Payload,
        EventKind::Block,
        EventKind::Fault,
        EventKind::Migration,
        EventKind::Process,
        EventKind::Thread,
        EventKind::Wait,
        EventKind::Request,
        EventKind::Connection,
    ];

    /// Its word in conditions.
    pub fn word(self) -> &'static str {
        match self {
            EventKind::Syscall => "syscall",
            EventKind::IoUring => "io_uring",
            EventKind::Tcp => "tcp",
            EventKind::Switch => "switch",
            EventKind::Wakeup => "wakeup",
            EventKind::Sample => "sample",
            EventKind::Payload => "payload",
            EventKind::Block => "block",
            EventKind::Fault => "fault",
            EventKind::Migration => "migration",
            EventKind::Process => "process",
            EventKind::Thread => "thread",
            EventKind::Wait => "wait",
            EventKind::Request => "request",
            EventKind::Connection => "connection",
        }
    }
}

/// What values a field has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Type {
    Number,
    Duration,
    Size,
    Moment,
    Errno,
    Bool,
    Text,
    /// One of a fixed set.
    Word(fn() -> Vec<&'static str>),
    /// The name of a system call.
    Syscall,
    Address,
    Bytes,
}

impl Type {
    /// Its name in help and errors.
    pub(super) fn name(self) -> &'static str {
        match self {
            Type::Number => "number",
            Type::Duration => "duration",
            Type::Size => "size",
            Type::Moment => "time",
            Type::Errno => "errno",
            Type::Bool => "yes/no",
            Type::Text => "text",
            Type::Word(_) => "word",
            Type::Syscall => "syscall",
            Type::Address => "address",
            Type::Bytes => "bytes",
        }
    }

    /// Whether `<` and `>` mean something.
    pub(super) fn is_ordered(self) -> bool {
        matches!(
            self,
            Type::Number | Type::Duration | Type::Size | Type::Moment
        )
    }

    /// Whether `contains`, `glob` and `matches` mean something.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Type::Text | Type::Syscall | Type::Bytes)
    }
}

/// A field with all that is known of it.
#[derive(Debug)]
pub struct FieldSpec {
    /// The field.
    pub field: Field,
    /// Its name in conditions.
    pub name: &'static str,
    pub(super) kind: Type,
    /// The kinds of events that can have it.
    pub of: &'static [EventKind],
    /// What it is.
    pub meaning: &'static str,
}

impl FieldSpec {
    /// What its values are: `number`, `duration`, `text`, …
    pub fn type_name(&self) -> &'static str {
        self.kind.name()
    }

    /// The words that it can be; empty if it is not one of a fixed set.
    pub fn words(&self) -> Vec<&'static str> {
        match self.kind {
            Type::Word(words) => words(),
            Type::Bool => vec!["true", "false"],
            _ => Vec::new(),
        }
    }
}

macro_rules! fields {
    ($($name:literal $field:ident: $kind:expr, $of:expr, $meaning:literal;)*) => {
        /// A field of events.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field { $(#[doc = $meaning] $field,)* }

        /// Every field.
        pub const FIELDS: &[FieldSpec] = &[$(FieldSpec {
            field: Field::$field,
            name: $name,
            kind: $kind,
            of: $of,
            meaning: $meaning,
        },)*];
    };
}

const ALL: &[EventKind] = &EventKind::ALL;
const SYSCALL: &[EventKind] = &[EventKind::Syscall];
const RETURNED: &[EventKind] = &[EventKind::Syscall, EventKind::IoUring];
const CALLED: &[EventKind] = &[EventKind::Syscall, EventKind::Wait];
const TIMED: &[EventKind] = &[
    EventKind::Syscall,
    EventKind::Payload,
    EventKind::Block,
    EventKind::Wait,
    EventKind::Request,
];
const PLACED: &[EventKind] = &[
    EventKind::Syscall,
    EventKind::IoUring,
    EventKind::Tcp,
    EventKind::Switch,
    EventKind::Wakeup,
    EventKind::Sample,
    EventKind::Fault,
    EventKind::Migration,
];
const FILED: &[EventKind] = &[
    EventKind::Syscall,
    EventKind::IoUring,
    EventKind::Tcp,
    EventKind::Payload,
    EventKind::Wait,
    EventKind::Request,
    EventKind::Connection,
];
const PAYLOAD: &[EventKind] = &[EventKind::Payload];
const BLOCK: &[EventKind] = &[EventKind::Block];
const FAULT: &[EventKind] = &[EventKind::Fault];
const MIGRATION: &[EventKind] = &[EventKind::Migration];
const SWITCH: &[EventKind] = &[EventKind::Switch];
const WAKEUP: &[EventKind] = &[EventKind::Wakeup];

fn words<T: EnumColumn>() -> Vec<&'static str> {
    T::WORDS.iter().map(|(word, _)| *word).collect()
}

fields! {
    "event.kind" EventKind: Type::Word(|| EventKind::ALL.map(EventKind::word).to_vec()), ALL,
        "what the event is";
    "ts" Ts: Type::Moment, ALL,
        "when it happened, or began: since the start of the capture, or wall time";
    "dur" Dur: Type::Duration, TIMED,
        "how long it took; a call that never returned has none";
    "cpu" Cpu: Type::Number, PLACED,
        "the CPU";
    "thread.tid" Tid: Type::Number, ALL,
        "the thread; of a switch or a wakeup, either of the two";
    "thread.comm" ThreadComm: Type::Text, ALL,
        "its name at that moment";
    "process.pid" Pid: Type::Number, ALL,
        "its process";
    "process.ppid" Ppid: Type::Number, ALL,
        "the parent of the process";
    "process.comm" ProcessComm: Type::Text, ALL,
        "the name of the process, as it was last";
    "process.exe" Exe: Type::Text, ALL,
        "the path of its executable, as it was last";
    "process.args" Args: Type::Text, ALL,
        "its command line, joined with spaces";
    "process.uid" Uid: Type::Number, ALL,
        "its user";
    "process.cgroup" Cgroup: Type::Text, ALL,
        "its cgroup";
    "container.id" Container: Type::Text, ALL,
        "the id of its container";
    "syscall.name" SyscallName: Type::Syscall, CALLED,
        "the system call; of a wait, the one that the thread waited in";
    "syscall.nr" SyscallNr: Type::Number, CALLED,
        "its number, plus 32768 for one of a 32-bit program";
    "syscall.compat" SyscallCompat: Type::Bool, CALLED,
        "whether it was made the way of 32-bit programs";
    "syscall.arg0" Arg0: Type::Number, SYSCALL,
        "its first argument";
    "syscall.arg1" Arg1: Type::Number, SYSCALL,
        "its second argument";
    "syscall.arg2" Arg2: Type::Number, SYSCALL,
        "its third argument";
    "syscall.arg3" Arg3: Type::Number, SYSCALL,
        "its fourth argument";
    "syscall.arg4" Arg4: Type::Number, SYSCALL,
        "its fifth argument";
    "syscall.arg5" Arg5: Type::Number, SYSCALL,
        "its sixth argument";
    "ret" Ret: Type::Number, RETURNED,
        "what it returned, or an io_uring operation gave back; a negative errno if it failed, nothing if it never returned";
    "errno" Errno: Type::Errno, RETURNED,
        "the error, if it failed: EAGAIN or 11";
    "file.path" FilePath: Type::Text, FILED,
        "the path of the file, or the address of a Unix socket";
    "file.kind" FileKind: Type::Word(words::<FileKind>), FILED,
        "what the file is";
    "file.id" FileId: Type::Number, FILED,
        "its id in the capture";
    "file.inode" FileInode: Type::Number, FILED,
        "its inode; both ends of a pipe have the same";
    "net.local.address" LocalAddress: Type::Address, FILED,
        "the socket's own address; 10.0.0.0/8 is a network";
    "net.local.port" LocalPort: Type::Number, FILED,
        "its own port";
    "net.peer.address" PeerAddress: Type::Address, FILED,
        "the address of the other end";
    "net.peer.port" PeerPort: Type::Number, FILED,
        "the port of the other end";
    "net.address" Address: Type::Address, FILED,
        "either of the two addresses";
    "net.port" Port: Type::Number, FILED,
        "either of the two ports";
    "payload.direction" PayloadDirection: Type::Word(words::<Direction>), PAYLOAD,
        "which way the bytes went, seen from the process";
    "payload.size" PayloadSize: Type::Size, PAYLOAD,
        "how many bytes the syscall moved";
    "payload.offset" PayloadOffset: Type::Size, PAYLOAD,
        "how many bytes the file had moved in this direction before";
    "payload.data" PayloadData: Type::Bytes, PAYLOAD,
        "the bytes, as far as they were recorded";
    "payload.tls" PayloadTls: Type::Word(words::<Tls>), PAYLOAD,
        "whether they are plaintext of a TLS session, and of one that was seen from its start";
    "block.disk" BlockDisk: Type::Text, BLOCK,
        "the disk";
    "block.operation" BlockOperation: Type::Word(words::<BlockOperation>), BLOCK,
        "what was asked of it";
    "block.size" BlockSize: Type::Size, BLOCK,
        "how many bytes";
    "block.errno" BlockErrno: Type::Errno, BLOCK,
        "the error, if the request failed: EIO or 5";
    "block.status" BlockStatus: Type::Number, BLOCK,
        "how it ended, as the kernel's blk_status_t: 0 if it was done";
    "fault.address" FaultAddress: Type::Number, FAULT,
        "the address that was used";
    "fault.write" FaultWrite: Type::Bool, FAULT,
        "whether it was to be written";
    "fault.kernel" FaultKernel: Type::Bool, FAULT,
        "whether the kernel used it, on the thread's behalf";
    "migration.from" MigrationFrom: Type::Number, MIGRATION,
        "the CPU that the thread left";
    "migration.to" MigrationTo: Type::Number, MIGRATION,
        "the CPU that it was given";
    "switch.prev" SwitchPrev: Type::Number, SWITCH,
        "the thread that left the CPU; 0 is the idle task";
    "switch.next" SwitchNext: Type::Number, SWITCH,
        "the thread that came";
    "switch.preempted" Preempted: Type::Bool, SWITCH,
        "whether the thread that left could have gone on";
    "wakeup.waker" Waker: Type::Number, WAKEUP,
        "the thread that ran where the wakeup came from";
    "wakeup.wakee" Wakee: Type::Number, WAKEUP,
        "the thread that was woken";
    "wakeup.irq" Irq: Type::Bool, WAKEUP,
        "whether an interrupt did it";
    "sample.mode" SampleMode: Type::Word(words::<Mode>), &[EventKind::Sample],
        "where the sample found the thread";
    "wait.reason" WaitReason: Type::Word(|| Reason::ALL.map(Reason::word).to_vec()),
        &[EventKind::Wait],
        "what the thread waited for";
    "wait.ended" WaitEnded: Type::Word(|| Ended::ALL.map(Ended::word).to_vec()),
        &[EventKind::Wait],
        "how the call ended in which it waited";
    "wait.fd" WaitFd: Type::Number, &[EventKind::Wait],
        "the descriptor that ended it, of several the first, if it was a poll and that is known";
}

impl Field {
    /// All that is known of it.
    pub fn spec(self) -> &'static FieldSpec {
        // FIELDS is declared in the order of the variants.
        &FIELDS[self as usize]
    }

    /// Whether an event of this kind can have it.
    pub fn is_of(self, kind: EventKind) -> bool {
        self.spec().of.contains(&kind)
    }
}

/// The field with this name.
pub(super) fn named(name: &str) -> Option<&'static FieldSpec> {
    FIELDS.iter().find(|spec| spec.name == name)
}

/// The names of `all` that somebody who typed `typed` may have meant, the nearest first.
pub(super) fn near<'a>(typed: &str, all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let last_part = typed.rsplit('.').next().unwrap_or(typed);
    let mut scored: Vec<(usize, &str)> = all.map(|name| (distance(typed, name), name)).collect();
    scored.sort_unstable();
    let nearest = scored.first().map_or(0, |(distance, _)| *distance);
    scored.retain(|(distance, name)| {
        let same_end = last_part.len() > 1 && name.rsplit('.').next() == Some(last_part);
        let is_near = *distance == nearest && nearest <= 1 + name.len().min(typed.len()) / 4;
        is_near || same_end
    });
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// How many characters must be put in, taken out or replaced to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    // What is far longer than any name is near to none.
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cb, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let best = (diagonal + usize::from(ca != *cb))
                .min(left + 1)
                .min(*cell + 1);
            diagonal = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_finds_its_own_spec() {
        for (at, spec) in FIELDS.iter().enumerate() {
            assert_eq!(spec.field as usize, at);
            assert_eq!(spec.field.spec().name, spec.name);
            assert!(!spec.of.is_empty(), "{}", spec.name);
        }
    }

    #[test]
    fn near_names() {
        let near = |typed| near(typed, FIELDS.iter().map(|spec| spec.name));
        assert_eq!(near("syscall.nam")[0], "syscall.name");
        assert_eq!(near("comm"), ["thread.comm", "process.comm"]);
        assert_eq!(near("proc.pid")[0], "process.pid");
        assert!(near("zzzzzzzzzzz").is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
