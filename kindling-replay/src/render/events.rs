//! Events as text, in the manner of strace, and as JSON rows.

use std::fmt::Write as _;

use kindling_format::{
    schema::{
        Argument, Block, Direction, Fault, Migration, Payload, Process, Switch, Syscall, Thread,
        Tls, Wakeup,
    },
    syscalls::ArgKind,
};
use serde::Serialize;

use crate::{
    analysis::events::{Event, Row},
    context::Context,
    model::{catalog::Catalog, file},
    render::{argument::argument, errno, io_uring, table::printable, tcp, units},
};

/// Calls whose return value is an address.
const RETURN_ADDRESSES: [&str; 6] = ["mmap", "mmap2", "mremap", "brk", "shmat", "sbrk"];

/// The most bytes of a payload that are shown.
const SHOWN_BYTES: usize = 64;

/// An event in JSON.
#[derive(Debug, Serialize)]
pub struct EventRow {
    /// When, since the start of the capture.
    pub ts_ns: i64,
    /// The table: `syscalls`, `switches`, …
    pub table: &'static str,
    /// The process, if the row names one.
    pub pid: Option<u32>,
    /// The thread.
    pub tid: u32,
    /// Its name then.
    pub comm: String,
    /// Syscalls: the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub syscall: Option<String>,
    /// Syscalls: the arguments in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Syscalls: the return value; `None` if it never returned while recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ret: Option<i64>,
    /// Syscalls: the error's name, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Syscalls: how long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dur_ns: Option<i64>,
    /// Syscalls: the file that it worked on, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The same as in the text form, without time and thread.
    pub text: String,
}

/// Puts events into words.
#[derive(Debug)]
pub struct EventWriter<'a> {
    context: &'a Context,
    catalog: &'a Catalog,
}

impl<'a> EventWriter<'a> {
    /// A writer for events of this capture.
    pub fn new(context: &'a Context, catalog: &'a Catalog) -> Self {
        Self { context, catalog }
    }

    /// The line of an event: time, thread, what happened.
    pub fn line(&self, event: &Event) -> String {
        let who = match event.row {
            Row::Tcp(_) if event.tid == 0 => "?".into(),
            _ => self.thread(event.tid, event.ts),
        };
        let when = units::offset(self.context.offset_ns(event.ts));
        format!("{when} {who:<22} {}", self.text(event))
    }

    /// The JSON row of an event.
    pub fn row(&self, event: &Event) -> EventRow {
        let life = self.catalog.thread_at(event.tid, event.ts);
        let mut row = EventRow {
            ts_ns: self.context.offset_ns(event.ts),
            table: "",
            pid: life.map(|life| life.pid),
            tid: event.tid,
            comm: self.catalog.comm_at(event.tid, event.ts).to_owned(),
            syscall: None,
            args: None,
            ret: None,
            error: None,
            dur_ns: None,
            file: None,
            text: self.text(event),
        };
        row.table = match &event.row {
            Row::Syscall(call, arguments) => {
                row.pid = Some(call.pid);
                row.syscall = Some(self.catalog.syscall_name(call.nr));
                row.args = Some(self.arguments(call, arguments));
                row.ret = call.ret;
                row.error = call.ret.and_then(errno::of_return).map(errno::name);
                row.dur_ns = call.dur;
                row.file = self.file(call.file);
                "syscalls"
            }
            Row::IoUring(io) => {
                row.pid = Some(io.pid);
                row.ret = io.ret;
                row.error = io.ret.and_then(errno::of_return).map(errno::name);
                "io_uring"
            }
            Row::Tcp(_) => "tcp",
            Row::Switch(_) => "switches",
            Row::Wakeup(_) => "wakeups",
            Row::Sample(sample) => {
                row.pid = Some(sample.pid);
                "samples"
            }
            Row::Payload(payload) => {
                row.pid = Some(payload.pid);
                row.dur_ns = Some(payload.dur);
                row.file = self.file(Some(payload.file));
                "payloads"
            }
            Row::Block(request) => {
                row.pid = Some(request.pid);
                row.dur_ns = Some(request.dur);
                row.error = failure(request);
                "block"
            }
            Row::Fault(fault) => {
                row.pid = Some(fault.pid);
                "faults"
            }
            Row::Migration(_) => "migrations",
            Row::Process(process) => {
                row.pid = Some(process.pid);
                "processes"
            }
            Row::Thread(_) => "threads",
        };
        row
    }

    fn thread(&self, tid: u32, ts: i64) -> String {
        match self.catalog.comm_at(tid, ts) {
            "" if tid == 0 => "idle".into(),
            "" => format!("?/{tid}"),
            comm => format!("{}/{tid}", printable(comm)),
        }
    }

    fn text(&self, event: &Event) -> String {
        match &event.row {
            Row::Syscall(call, arguments) => self.syscall(call, arguments),
            Row::IoUring(row) => io_uring::text(row, self.catalog),
            Row::Tcp(row) => tcp::text(row),
            Row::Switch(row) => self.switch(row),
            Row::Wakeup(row) => self.wakeup(row),
            Row::Sample(row) => format!("** sampled on CPU {} in {} mode", row.cpu, row.mode),
            Row::Payload(row) => self.payload(row),
            Row::Block(row) => block(row),
            Row::Fault(row) => fault(row),
            Row::Migration(row) => self.migration(row),
            Row::Process(row) => process(row),
            Row::Thread(row) => thread_row(row),
        }
    }

    fn syscall(&self, call: &Syscall, arguments: &[Argument]) -> String {
        let name = self.catalog.syscall_name(call.nr);
        let plain = self.catalog.plain_syscall_name(call.nr);
        let mut text = format!("{name}({}) = ", self.arguments(call, arguments).join(", "));
        match call.ret {
            None => text.push('?'),
            Some(ret) => match errno::of_return(ret) {
                Some(errno @ 512..=516) => {
                    let _ = write!(text, "? {}", errno::name(errno));
                }
                Some(errno) => {
                    let _ = write!(text, "-1 {}", errno::name(errno));
                }
                None if RETURN_ADDRESSES.contains(&plain.as_str()) => {
                    let _ = write!(text, "{ret:#x}");
                }
                None => {
                    let _ = write!(text, "{ret}");
                }
            },
        }
        if let Some(dur) = call.dur {
            let _ = write!(text, " <{}>", units::seconds(dur));
        }
        text
    }

    fn arguments(&self, call: &Syscall, pointed: &[Argument]) -> Vec<String> {
        let values = [
            call.arg0, call.arg1, call.arg2, call.arg3, call.arg4, call.arg5,
        ];
        let kinds = self
            .catalog
            .syscall(call.nr)
            .map_or(&[][..], |spec| spec.args);
        let kind_at = |at: usize| kinds.get(at).copied().unwrap_or(ArgKind::Address);
        // The file is that of the first descriptor.
        let descriptor =
            |(_, kind): &(usize, &ArgKind)| matches!(kind, ArgKind::Fd | ArgKind::DirFd);
        let fd = kinds.iter().enumerate().find(descriptor).map(|(at, _)| at);
        let file = self.file(call.file);
        let arch = &self.context.capture.header().host.arch;
        let mut words = Vec::new();
        for (at, value) in values.into_iter().enumerate() {
            let Some(value) = value else { break };
            let kind = kind_at(at);
            if kind == ArgKind::Mode && !takes_mode(&values, kinds) {
                break;
            }
            let pointed = pointed
                .iter()
                .find(|argument| usize::from(argument.arg) == at);
            let mut text = argument(kind, value, pointed, arch);
            if let Some(file) = file
                .as_ref()
                .filter(|_| fd == Some(at) && text != "AT_FDCWD")
            {
                text = format!("{text}<{file}>");
            }
            words.push(text);
        }
        words
    }

    fn file(&self, id: Option<u32>) -> Option<String> {
        let file = self.catalog.files.get(&id?)?;
        Some(printable(&file::label(file)))
    }

    fn payload(&self, row: &Payload) -> String {
        let file = self.file(Some(row.file)).unwrap_or_else(|| "?".into());
        let what = match row.tls {
            Tls::No => "",
            _ => " of plaintext",
        };
        let way = match row.direction {
            Direction::In => "from",
            Direction::Out => "to",
        };
        let shown = row.data.get(..SHOWN_BYTES).unwrap_or(&row.data);
        let more = if shown.len() as u64 == row.size {
            ""
        } else {
            "…"
        };
        let text = shown.escape_ascii();
        format!(
            "** {}{what} {way} <{file}>: \"{text}\"{more}",
            units::bytes(row.size)
        )
    }

    fn switch(&self, row: &Switch) -> String {
        let state = match (row.preempted, row.prev_state) {
            _ if row.prev_tid == 0 => "idle",
            (true, _) => "preempted",
            (false, 0) => "runnable",
            (false, bits) if bits & 0x90 != 0 => "dead",
            (false, bits) if bits & 0xc != 0 => "stopped",
            (false, bits) if bits & 2 != 0 => "blocked, uninterruptible",
            _ => "blocked",
        };
        let call = match row.prev_syscall {
            Some(nr) => format!(" in {}", self.catalog.syscall_name(nr)),
            None => String::new(),
        };
        let next = self.thread(row.next_tid, row.ts);
        format!("** leaves CPU {} to {next} ({state}{call})", row.cpu)
    }

    fn wakeup(&self, row: &Wakeup) -> String {
        let wakee = self.thread(row.wakee_tid, row.ts);
        let how = if row.new { "starts" } else { "wakes" };
        let irq = if row.irq { " from an interrupt" } else { "" };
        format!("** {how} {wakee}{irq}")
    }

    fn migration(&self, row: &Migration) -> String {
        let by = match row.by_tid == row.tid {
            true => String::new(),
            false => format!(" by {}", self.thread(row.by_tid, row.ts)),
        };
        format!("** moves from CPU {} to {}{by}", row.from_cpu, row.to_cpu)
    }
}

fn block(row: &Block) -> String {
    let queued = match row.queued_ns {
        Some(ns) => format!(", {} of it queued", units::duration(ns)),
        None => ", never given to the device".into(),
    };
    let failed = failure(row).map_or(String::new(), |error| format!(", failed: {error}"));
    format!(
        "** {} {} of {} at sector {} took {}{queued}{failed}",
        row.operation,
        units::bytes(row.size_bytes.into()),
        printable(&row.disk),
        row.sector,
        units::duration(row.dur),
    )
}

/// Why a request to a disk failed: `EIO`, or the kernel's number where that has no name; `None` if it did
/// not, or if the capture does not say.
fn failure(row: &Block) -> Option<String> {
    let status = row.status.filter(|status| *status != 0)?;
    let error = errno::of_block_status(status).map(errno::name);
    Some(error.unwrap_or_else(|| format!("status {status}")))
}

fn fault(row: &Fault) -> String {
    let what = match (row.execute, row.write) {
        (true, _) => "execute",
        (false, true) => "write",
        (false, false) => "read",
    };
    let why = if row.present {
        "not allowed"
    } else {
        "not there"
    };
    let by = if row.kernel { " by the kernel" } else { "" };
    format!(
        "** page fault: {what} {:#x}, {why}, at {:#x}{by}",
        row.address, row.ip
    )
}

/// Whether a call's mode argument means anything: of the calls that open files, only those that may
/// make one look at it.
fn takes_mode(values: &[Option<u64>; 6], kinds: &[ArgKind]) -> bool {
    const CREAT_OR_TMPFILE: u64 = 0x40 | 0x400000;
    let flags = kinds.iter().position(|kind| *kind == ArgKind::OpenFlags);
    let flags = flags.and_then(|at| values.get(at).copied().flatten());
    flags.is_none_or(|flags| flags & CREAT_OR_TMPFILE != 0)
}

fn process(row: &Process) -> String {
    let command = match row.argv.is_empty() {
        true => row.comm.clone(),
        false => row.argv.join(" "),
    };
    let command = printable(&command);
    match (row.exit_ts, row.exit_status) {
        (Some(_), Some(status)) if status & 0x7f == 0 => {
            format!(
                "** process ends with exit code {}: {command}",
                (status >> 8) & 0xff
            )
        }
        (Some(_), Some(status)) => {
            format!("** process killed by signal {}: {command}", status & 0x7f)
        }
        (Some(_), None) => format!("** process ends: {command}"),
        (None, _) if row.start_ts >= row.ts => format!("** process starts: {command}"),
        (None, _) => format!("** process runs: {command}"),
    }
}

fn thread_row(row: &Thread) -> String {
    match row.exit_ts {
        Some(_) => "** thread ends".into(),
        None if row.start_ts >= row.ts => format!("** thread starts: {}", printable(&row.comm)),
        None => format!("** thread is {}", printable(&row.comm)),
    }
}
