//! Records of the kernel side, sorted into the columns of a batch.

mod calls;
mod stacks;

use kindling_format::{
    header::Moment,
    schema::{Direction, File, Payload, Switch, Syscall, Tls, Wakeup},
};

use crate::{
    batch::Batch,
    cli::Redact,
    config::RecordConfig,
    events,
    files::Files,
    io_uring,
    lives::{Cgroup, Lives, SpaceEvent},
    mappings,
    raw::{Kind, Record, get, kind, layout, syscall_number},
    redact::{HeaderMask, PathMask},
    stack_ids::StackIds,
    tcp,
    trigger::{Fired, Known, Watch},
    watches,
};

const PREEMPTED: u8 = 1;
const WAKEUP_IRQ: u8 = 1;
const WAKEUP_NEW: u8 = 2;
const OUT: u8 = 1;
const TLS: u8 = 2;
const TLS_WHOLE: u8 = 4;
const NO_SYSCALL: u16 = 0xffff;
/// `KD_TASK_EXIT`
const TASK_EXIT: u8 = 5;

/// Sorts records into the columns of the current batch.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    pub(crate) batch: Box<Batch>,
    pub(crate) lives: Lives,
    files: Files,
    /// What hides HTTP headers and paths, if they are to be hidden.
    headers: Option<HeaderMask>,
    paths: Option<PathMask>,
    /// What the flight recorder looks for, if it looks for anything.
    pub(crate) watch: Option<Watch>,
    /// Processes that turned up since somebody looked, with their mappings.
    pub(crate) newcomers: Vec<SpaceEvent>,
    /// Cgroups that were made since somebody looked, while containers are looked for.
    pub(crate) new_cgroups: Vec<Cgroup>,
    /// Calls that threads were in when a dump looked, and are in still.
    open_calls: Vec<Syscall>,
    stacks: StackIds,
    sample_period_ns: i64,
    /// Records taken from the rings so far.
    pub(crate) records: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Records that were too short or of no known kind: a fault of ours, never dropped in silence.
    pub(crate) malformed: u64,
}

impl Drain {
    pub(crate) fn new(config: &RecordConfig) -> Self {
        let hz = i64::from(config.sample_hz);
        let paths = config.hides(Redact::Paths).then(PathMask::default);
        Self {
            sample_period_ns: 1_000_000_000i64.checked_div(hz).unwrap_or(0),
            files: Files::new(paths.clone()),
            lives: Lives::new(config.hides(Redact::Args)),
            headers: config.hides(Redact::Headers).then(HeaderMask::default),
            paths,
            watch: watch(config),
            ..Self::default()
        }
    }

    /// Adds what is known of all that is alive and open once more, for a file or a slice that begins.
    pub(crate) fn repeat(&mut self, start: Moment) {
        let batch = &mut self.batch;
        batch.clock(start);
        self.lives.repeat(&mut batch.processes, &mut batch.threads);
        self.files.repeat(&mut batch.files);
        let epolls = self.files.epolls();
        let watched = epolls.flat_map(|(pid, fd)| watches::of_epoll(pid, fd, start.monotonic_ns));
        watched.for_each(|row| batch.watches.push(row));
    }

    /// The calls that a dump's look has found: of it alone, as they will be told when they return.
    pub(crate) fn take_open_calls(&mut self) -> Batch {
        let mut open = Batch::default();
        let calls = std::mem::take(&mut self.open_calls);
        calls.into_iter().for_each(|row| open.syscalls.push(row));
        open
    }

    /// Forgets stacks that a recording without end would collect for ever, when a file or a slice begins.
    pub(crate) fn forget_stacks(&mut self) {
        self.batch.code.forgotten = self.stacks.next_slice();
    }

    /// Forgets files that it would collect for ever.
    pub(crate) fn forget_files(&mut self) {
        self.files.forget(&self.lives);
    }

    /// Looks for what triggers wait for; what was found since the last time, if there are triggers:
    /// the first, and how many there were more.
    pub(crate) fn take_fired(&mut self, now_ns: i64) -> Option<(Option<Fired>, u64)> {
        let watch = self.watch.as_mut()?;
        let (files, lives) = (&self.files, &self.lives);
        watch.scan(now_ns, &State { files, lives });
        Some(watch.take_fired())
    }

    /// Takes in one record from a ring.
    #[inline]
    pub(crate) fn record(&mut self, bytes: &[u8]) {
        self.records += 1;
        self.bytes += bytes.len() as u64;
        self.batch.record_bytes += bytes.len() as u64;
        let done = match kind(bytes) {
            Some(Kind::Syscall) => self.syscall(bytes),
            Some(Kind::Switch) => self.switch(bytes),
            Some(Kind::Wakeup) => self.wakeup(bytes),
            Some(Kind::Sample) => self.sample(bytes),
            Some(Kind::Stack) => self.stack(bytes),
            Some(Kind::Task) => self.task(bytes),
            Some(Kind::File) => self.file(bytes),
            Some(Kind::Arg) => self.argument(bytes),
            Some(Kind::Payload) => self.payload(bytes),
            Some(Kind::Tcp) => self.tcp(bytes),
            Some(Kind::IoUring) => self.io_uring(bytes),
            Some(Kind::Cgroup) => self.cgroup(bytes),
            Some(Kind::Migration) => self.migration(bytes),
            Some(Kind::Block) => self.block(bytes),
            Some(Kind::Fault) => self.fault(bytes),
            None => None,
        };
        if done.is_none() {
            self.malformed += 1;
        }
    }

    fn switch(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_switch>::split(bytes)?;
        let syscall: u16 = get!(record, kd_switch, prev_syscall);
        let stack = self.stacks.id(get!(record, kd_switch, stack));
        self.batch.switches.push(Switch {
            ts: get!(record, kd_switch, head.ts) as i64,
            cpu: get!(record, kd_switch, head.cpu),
            prev_tid: get!(record, kd_switch, head.tid),
            prev_state: get!(record, kd_switch, prev_state),
            preempted: get!(record, kd_switch, head.flags) & PREEMPTED != 0,
            prev_priority: Some(get!(record, kd_switch, prev_priority)),
            prev_syscall: (syscall != NO_SYSCALL).then(|| syscall_number(syscall)),
            next_tid: get!(record, kd_switch, next_tid),
            stack,
        });
        Some(())
    }

    fn wakeup(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_wakeup>::split(bytes)?;
        let flags: u8 = get!(record, kd_wakeup, head.flags);
        self.batch.wakeups.push(Wakeup {
            ts: get!(record, kd_wakeup, head.ts) as i64,
            cpu: get!(record, kd_wakeup, head.cpu),
            waker_tid: get!(record, kd_wakeup, head.tid),
            irq: flags & WAKEUP_IRQ != 0,
            wakee_tid: get!(record, kd_wakeup, wakee_tid),
            target_cpu: get!(record, kd_wakeup, target_cpu),
            new: flags & WAKEUP_NEW != 0,
        });
        Some(())
    }

    fn task(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_task>::split(bytes)?;
        let ts = get!(record, kd_task, head.ts) as i64;
        // While the process still has its name.
        self.watch_exit(&record, ts);
        let space = self
            .lives
            .record(&record, &mut self.batch.processes, &mut self.batch.threads);
        let batch = &mut self.batch;
        self.newcomers.extend(space.clone());
        match space {
            // Read at once: the process may be gone when the segment is encoded.
            Some(SpaceEvent::Found { pid }) => {
                batch.code.mapped.extend(mappings::of_process(pid, ts));
                watches::of_process(pid, ts).for_each(|row| batch.watches.push(row));
            }
            other => batch.code.spaces.extend(other.map(|event| (ts, event))),
        }
        Some(())
    }

    fn watch_exit(&mut self, record: &Record<'_, layout::kd_task>, ts: i64) {
        let (pid, tid) = (get!(record, kd_task, pid), get!(record, kd_task, head.tid));
        let is_end = get!(record, kd_task, head.flags) == TASK_EXIT && pid == tid;
        if let Some(watch) = &mut self.watch
            && is_end
            && get!(record, kd_task, target) != 0
        {
            let (files, lives) = (&self.files, &self.lives);
            let status: i32 = get!(record, kd_task, exit_code);
            watch.exit(pid, ts, status, &State { files, lives });
        }
    }

    fn file(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_file>::split(bytes)?;
        let closed = self.files.record(&record, &mut self.batch.files);
        if let (Some(watch), Some(id)) = (&mut self.watch, closed) {
            watch.close(id);
        }
        Some(())
    }

    fn payload(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_payload>::split(bytes)?;
        let flags: u8 = get!(record, kd_payload, head.flags);
        let direction = match flags & OUT {
            0 => Direction::In,
            _ => Direction::Out,
        };
        let tls = match (flags & TLS, flags & TLS_WHOLE) {
            (0, _) => Tls::No,
            (_, 0) => Tls::Rest,
            _ => Tls::Whole,
        };
        let (file, size) = (
            get!(record, kd_payload, file),
            get!(record, kd_payload, size),
        );
        let len = get!(record, kd_payload, len) as usize;
        let mut data = record.rest.get(..len)?.to_vec();
        if let Some(mask) = &mut self.headers {
            mask.hide(
                (file, direction, tls != Tls::No),
                &mut data,
                size > len as u64,
            );
        }
        let row = Payload {
            ts: get!(record, kd_payload, head.ts) as i64,
            dur: get!(record, kd_payload, dur) as i64,
            pid: get!(record, kd_payload, pid),
            tid: get!(record, kd_payload, head.tid),
            file,
            direction,
            size,
            offset: get!(record, kd_payload, offset),
            data,
            tls,
        };
        if let Some(watch) = &mut self.watch {
            let (files, lives) = (&self.files, &self.lives);
            watch.payload(&row, &State { files, lives });
        }
        self.batch.payloads.push(row);
        Some(())
    }

    fn cgroup(&mut self, bytes: &[u8]) -> Option<()> {
        let cgroup = Cgroup::new(&Record::split(bytes)?);
        match cgroup.is_new {
            true => self.new_cgroups.push(cgroup),
            false => self.lives.cgroup(cgroup),
        }
        Some(())
    }

    fn tcp(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_tcp>::split(bytes)?;
        self.batch.tcp.push(tcp::row(&record));
        Some(())
    }

    fn io_uring(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_uring>::split(bytes)?;
        self.batch.io_uring.push(io_uring::row(&record));
        Some(())
    }

    fn migration(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::split(bytes)?;
        self.batch.migrations.push(events::migration(&record));
        Some(())
    }

    fn block(&mut self, bytes: &[u8]) -> Option<()> {
        self.batch.block.push(events::block(&Record::split(bytes)?));
        Some(())
    }

    fn fault(&mut self, bytes: &[u8]) -> Option<()> {
        self.batch
            .faults
            .push(events::fault(&Record::split(bytes)?));
        Some(())
    }
}

/// What triggers ask for.
struct State<'a> {
    files: &'a Files,
    lives: &'a Lives,
}

impl Known for State<'_> {
    fn file(&self, id: u32) -> Option<&File> {
        self.files.get(id)
    }

    fn name(&self, tid: u32) -> Option<&str> {
        self.lives.name_of(tid)
    }
}

fn watch(config: &RecordConfig) -> Option<Watch> {
    let triggers = &config.flight.as_ref()?.triggers;
    (!triggers.is_empty()).then(|| Watch::new(triggers))
}

fn id(number: u32) -> Option<u32> {
    (number != 0).then_some(number)
}
