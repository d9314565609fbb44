//! A recording from start to end: wires the stages and decides when to stop.

mod cuts;
mod start;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use kindling_format::header::{Moment, Source};
use libbpf_rs::RingBuffer;

use crate::{
    account::Account,
    batch::ROUND,
    clocks,
    command::{HeldCommand, RunningCommand},
    config::RecordConfig,
    cost,
    drain::Drain,
    encoder::Encoder,
    flight::{Flight, FlightOutcome},
    limits::Shedder,
    mappings::TargetMappings,
    parts::PartPlan,
    probes::Probes,
    scheduling::{self, Class},
    tls::TlsProbes,
};

pub(crate) use start::run;

/// A round that finds more than this part of a ring full is followed by the next at once.
const BUSY_PART: u64 = 8;
/// How long the rings are left alone after a round that found little, and after one that found
/// nothing.
const QUIET: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_millis(20);
/// How long finished syscalls may wait for others of their thread.
const OUTBOX_INTERVAL_NS: i64 = 20_000_000;
/// How often connections are asked for what they measure; less often if there are so many of them that this
/// would take more than a hundredth of a CPU.
const SOCKETS_INTERVAL_NS: i64 = 100_000_000;
const SOCKETS_PART: i64 = 100;
/// How often the clocks are compared.
const CLOCK_INTERVAL_NS: i64 = 60_000_000_000;

/// What a recording came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) duration_ns: i64,
    pub(crate) records: u64,
    pub(crate) lost: BTreeMap<String, u64>,
    pub(crate) size_bytes: u64,
    /// How many files there are.
    pub(crate) parts: u32,
    /// What a flight recorder wrote.
    pub(crate) flight: Option<FlightOutcome>,
    /// If the disk was full: up to when events are in the capture, since the start.
    pub(crate) full_ns: Option<i64>,
    pub(crate) missing: Vec<Source>,
}

/// What signals ask for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// The recording is to end.
    pub(crate) stop: Arc<AtomicBool>,
    /// A flight recorder is to write.
    pub(crate) dump: Arc<AtomicBool>,
}

/// Where events go.
enum Way {
    /// To files, at once.
    Files(Box<PartPlan>),
    /// To memory, and to files when something happens.
    Flight(Box<Flight>),
}

struct Session<'a, 'obj> {
    config: &'a RecordConfig,
    rings: RingBuffer<'static>,
    ring_bytes: u64,
    probes: Probes<'obj>,
    mappings: TargetMappings,
    tls: Option<TlsProbes>,
    encoder: Encoder,
    way: Way,
    drain: Rc<RefCell<Drain>>,
    account: Account,
    shedder: Shedder,
    start: Moment,
    last_clock_ns: i64,
    last_cut_ns: i64,
    last_outbox_ns: i64,
    next_sockets_ns: i64,
}

impl Session<'_, '_> {
    fn record(
        mut self,
        held: Option<HeldCommand>,
        stop: &AtomicBool,
        missing: Vec<Source>,
    ) -> Result<Outcome> {
        self.drain.borrow_mut().batch.clock(self.start);
        self.probes.set_start(self.start.monotonic_ns);
        let mut command = match self.begin(held) {
            Ok(command) => command,
            Err(error) => {
                // Nothing was recorded: no file is to say otherwise.
                if let Way::Files(parts) = &self.way {
                    parts.discard();
                }
                return Err(error);
            }
        };
        // The command is a process of its own by now.
        scheduling::set(scheduling::own_tid(), Class::Batch);
        let reason = loop {
            let busy = self.round();
            self.probes.find_joined()?;
            self.look_for_containers()?;
            self.look_for_tls();
            if !self.keep_up()? {
                break match self.encoder.is_full() {
                    true => "disk full",
                    false => "the capture could not be written",
                };
            }
            if let Some(reason) = self.reason_to_stop(command.as_mut(), stop)? {
                break reason;
            }
            if let Some(rest) = busy {
                std::thread::sleep(rest);
            }
        };
        let outcome = self.end(command.as_ref(), reason, missing);
        if let Some(command) = &mut command {
            command.terminate().context("cannot end the command")?;
        }
        outcome
    }

    /// Takes what waits in the rings, within limits; says how long to rest before the next round.
    fn round(&mut self) -> Option<Duration> {
        let before = self.drain.borrow().bytes;
        let taken = self.rings.consume_raw_n(ROUND);
        let bytes = self.drain.borrow().bytes - before;
        self.account.saw_ring(bytes);
        match taken {
            ..=0 => Some(IDLE),
            _ if taken as usize >= ROUND || bytes > self.ring_bytes / BUSY_PART => None,
            _ => Some(QUIET),
        }
    }

    /// Does what is due by the clock; `false` if the capture cannot be written any more.
    fn keep_up(&mut self) -> Result<bool> {
        let now = clocks::monotonic_ns();
        if now >= self.next_sockets_ns {
            self.probes.look_at_sockets();
            let took_ns = clocks::monotonic_ns() - now;
            self.next_sockets_ns = now + SOCKETS_INTERVAL_NS.max(took_ns * SOCKETS_PART);
        }
        if now - self.last_outbox_ns >= OUTBOX_INTERVAL_NS {
            self.probes.empty_old_outboxes();
            self.last_outbox_ns = now;
        }
        self.encoder.look(now);
        self.account.sample_bpf(now, &mut self.probes);
        if self.shedder.is_due(now) {
            self.shed(now);
        }
        if self.account.is_due(now) {
            self.read_meter(now);
            self.drain.borrow_mut().forget_files();
        }
        if now - self.last_clock_ns >= CLOCK_INTERVAL_NS {
            self.drain.borrow_mut().batch.clock(clocks::now());
            self.last_clock_ns = now;
        }
        match self.is_file_or_slice_due(now) {
            true => {
                self.last_cut_ns = now;
                return self.go_on();
            }
            false if !self.dump_what_is_due(now)? => return Ok(false),
            false => {}
        }
        let is_due = now - self.last_cut_ns >= self.config.flush.as_nanos() as i64;
        if is_due {
            // What has finished by now is not to wait for another interval.
            self.drain_rings();
        }
        if is_due || self.drain.borrow().batch.is_full() {
            self.last_cut_ns = now;
            return Ok(self.cut());
        }
        Ok(true)
    }

    /// Leaves out more, or less again. Losses are told until this moment, so that their causes are
    /// kept apart.
    fn shed(&mut self, now_ns: i64) {
        let records = self.drain.borrow().records;
        let cause = self.shedder.cause();
        if let Some(level) = self.shedder.look(now_ns, cost::cpu_ns(), records) {
            self.probes.shed(level);
            if !cause.is_empty() {
                self.read_meter(now_ns);
            }
        }
    }

    fn reason_to_stop(
        &self,
        command: Option<&mut RunningCommand>,
        stop: &AtomicBool,
    ) -> Result<Option<&'static str>> {
        if stop.load(Ordering::Relaxed) {
            return Ok(Some("interrupted"));
        }
        if let Some(command) = command
            && command.has_ended().context("cannot wait for the command")?
        {
            return Ok(Some("command ended"));
        }
        let elapsed = clocks::monotonic_ns() - self.start.monotonic_ns;
        if self
            .config
            .duration
            .is_some_and(|duration| elapsed >= duration.as_nanos() as i64)
        {
            return Ok(Some("duration"));
        }
        let max_size = self.config.limits.max_size;
        if max_size.is_some_and(|most| self.kept_bytes() >= most) {
            return Ok(Some("max-size"));
        }
        let is_closed = self
            .config
            .target
            .chosen()
            .is_some_and(|chosen| chosen.command.is_empty() && !chosen.is_open());
        let ended = is_closed && !self.drain.borrow().lives.any_target_alive();
        Ok((ended && self.drain.borrow().records > 0).then_some("target ended"))
    }

    /// Bytes of the files that are there because of this recording.
    fn kept_bytes(&self) -> u64 {
        match &self.way {
            Way::Files(_) => self.encoder.written_bytes(),
            Way::Flight(flight) => flight.kept_bytes(),
        }
    }

    /// Takes in containers of the target whose cgroups have just been made.
    fn look_for_containers(&mut self) -> Result<()> {
        let made = std::mem::take(&mut self.drain.borrow_mut().new_cgroups);
        let Some(chosen) = self.config.target.chosen() else {
            return Ok(());
        };
        for cgroup in made {
            if !chosen.is_container(&cgroup.path) {
                continue;
            }
            if let Err(error) = self.probes.add_cgroup(cgroup.id) {
                eprintln!("kindling-record: {}: {error:#}", cgroup.path);
                let now = clocks::monotonic_ns();
                self.account
                    .lose(None, "processes", "too many cgroups", 1, now);
            }
            self.probes.find_threads()?;
        }
        Ok(())
    }

    /// Probes the TLS libraries that processes of the target have mapped.
    fn look_for_tls(&mut self) {
        let mut drain = self.drain.borrow_mut();
        let newcomers = std::mem::take(&mut drain.newcomers);
        if let Some(tls) = &mut self.tls {
            let mapped = self.mappings.look();
            tls.look(&self.probes, &newcomers, mapped, &drain.lives.targets);
        }
    }

    fn read_meter(&mut self, now_ns: i64) {
        let cause = self.shedder.cause();
        let written = self.encoder.written_bytes();
        self.account.read(now_ns, &mut self.probes, cause, written);
    }

    fn end(
        mut self,
        command: Option<&RunningCommand>,
        reason: &'static str,
        missing: Vec<Source>,
    ) -> Result<Outcome> {
        self.probes.stop();
        let end = clocks::now();
        self.account
            .end_bpf_sample(end.monotonic_ns, &mut self.probes);
        self.tls = None;
        self.probes.end()?;
        while self.rings.consume_raw_n(ROUND) > 0 && self.cut_if_full() {}
        let exit_status = command.and_then(RunningCommand::wait_status);
        self.write_end(end, exit_status)?;
        let records = self.drain.borrow().records;
        let summary = self.account.summary(end, reason, exit_status);
        let written = self.encoder.finish(summary)?;
        let (parts, flight) = match self.way {
            Way::Files(parts) => (parts.count(), None),
            Way::Flight(flight) => (0, Some(flight.end())),
        };
        Ok(Outcome {
            duration_ns: end.monotonic_ns - self.start.monotonic_ns,
            records,
            lost: self.account.all_lost(),
            size_bytes: written.size_bytes,
            parts,
            flight,
            full_ns: written
                .full_at
                .map(|moment| moment.monotonic_ns - self.start.monotonic_ns),
            missing,
        })
    }
}
