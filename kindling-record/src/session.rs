//! A recording from start to end: wires the stages and decides when to stop.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    mem::MaybeUninit,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use kindling_format::{
    Header,
    header::{Moment, Source},
};
use libbpf_rs::{RingBuffer, RingBufferBuilder};

use crate::{
    account::Account,
    batch::Drain,
    clocks,
    command::{HeldCommand, RunningCommand},
    config::RecordConfig,
    cost,
    cpus::Cpus,
    doctor::to_source,
    encoder::{Encoder, Message},
    flight::{ControlSocket, Flight, FlightConfig, FlightOutcome, Memory, SliceStart},
    header::header,
    limits::Shedder,
    mappings::TargetMappings,
    part_writer::{PartWriter, WriteOptions},
    parts::PartPlan,
    privileges,
    probes::{Attached, Probes, TargetKind},
    sources::{MAPPINGS, Missing, TLS},
    target::{Chosen, Target},
    tls::TlsProbes,
};

/// A round that finds more than this part of a ring full is followed by the next at once.
const BUSY_PART: u64 = 8;
/// How long the rings are left alone after a round that found little, and after one that found
/// nothing.
const QUIET: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_millis(20);
/// Records that are taken from the rings before the clock is looked at.
const ROUND: usize = 16_384;
/// How often the clocks are compared.
const CLOCK_INTERVAL_NS: i64 = 60_000_000_000;
/// A segment is cut when a table has this many rows, or after the flush interval.
const SEGMENT_ROWS: usize = 65_536;

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

/// Records as `config` says until the target ends, the time is over or `signals` say so.
///
/// # Errors
/// If the host does not allow recording, the command cannot be started, or the capture cannot be
/// written.
pub(crate) fn run(config: &RecordConfig, signals: &Signals) -> Result<Outcome> {
    let cpus = Cpus::of_host();
    // The command's process is made first: it is not to inherit the rings.
    let command = config.target.command();
    let held = command.map(HeldCommand::start).transpose();
    let held = held.context("cannot start a process")?;
    let mut objects = [MaybeUninit::uninit(), MaybeUninit::uninit()];
    let (probes, attached) = Probes::attach(&mut objects, config, &cpus)?;
    let (mappings, mapping_source) = open_mappings(&cpus);
    let has_tls = attached
        .iter()
        .any(|(source, outcome)| source.name == TLS && outcome.is_ok());
    let tls = has_tls.then(|| TlsProbes::start(&config.target, &probes));
    let sources = to_sources(attached, mapping_source);
    let start = clocks::now();
    let header = header(config, &cpus, start, sources.clone());
    // Threads inherit the rights of the one that starts them.
    let (way, encoder) = match &config.flight {
        None => open_files(config, header)?,
        Some(flight) => open_memory(config, flight, header, signals)?,
    };
    let drain = Rc::new(RefCell::new(Drain::new(config)));
    let session = Session {
        rings: ring_buffer(&probes, &drain)?,
        ring_bytes: config.ring_bytes(cpus.domains).into(),
        config,
        probes,
        mappings,
        tls,
        encoder,
        way,
        account: Account::new(start.monotonic_ns, &drain),
        drain,
        shedder: Shedder::new(config.limits, start.monotonic_ns, cost::cpu_ns()),
        start,
        last_clock_ns: start.monotonic_ns,
        last_cut_ns: start.monotonic_ns,
    };
    let missing = sources
        .into_iter()
        .filter(|source| !source.available)
        .collect();
    session.record(held, &signals.stop, missing)
}

/// Begins to write, after giving up what only attaching needs; another user writes with its own
/// rights.
fn open_files(config: &RecordConfig, header: Header) -> Result<(Way, Encoder)> {
    let parts = PartPlan::new(config, header);
    let has_command = config.target.command().is_some();
    let first = if config.user.is_some() {
        privileges::reduce(config.user, has_command)?;
        parts.open()?
    } else {
        let first = parts.open()?;
        privileges::reduce(None, has_command)?;
        first
    };
    let options = WriteOptions {
        fsync: config.fsync,
        has_parts: parts.has_parts(),
    };
    let writer = PartWriter::start(first, options)?;
    Ok((
        Way::Files(Box::new(parts)),
        Encoder::start(Box::new(writer)),
    ))
}

/// Begins to keep what is recorded; the socket belongs to whoever started the recorder.
fn open_memory(
    config: &RecordConfig,
    flight: &FlightConfig,
    header: Header,
    signals: &Signals,
) -> Result<(Way, Encoder)> {
    let socket = ControlSocket::open();
    privileges::reduce(config.user, config.target.command().is_some())?;
    if let Err(error) = &socket {
        eprintln!("kindling-record: only SIGUSR1 asks for a dump: {error:#}");
    }
    let (start, signal) = (header.start, Arc::clone(&signals.dump));
    let (flight_of, reports) = Flight::new(config, flight, header, signal, socket.ok())?;
    let memory = Memory::start(flight.window, start, reports);
    let encoder = Encoder::start(Box::new(memory));
    Ok((Way::Flight(Box::new(flight_of)), encoder))
}

fn ring_buffer(probes: &Probes<'_>, drain: &Rc<RefCell<Drain>>) -> Result<RingBuffer<'static>> {
    let mut builder = RingBufferBuilder::new();
    for ring in &probes.rings {
        let drain = Rc::clone(drain);
        let take = move |bytes: &[u8]| {
            drain.borrow_mut().record(bytes);
            0
        };
        builder.add(ring, take).context("cannot read a ring")?;
    }
    builder.build().context("cannot read the rings")
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

    /// Marks the target; from here on its events arrive.
    fn begin(&mut self, held: Option<HeldCommand>) -> Result<Option<RunningCommand>> {
        if let Some(held) = &held {
            self.drain.borrow_mut().lives.held = Some(held.pid());
            self.probes.add_target(held.pid(), TargetKind::Held)?;
        }
        match &self.config.target {
            Target::All => {
                self.probes.find_threads()?;
            }
            Target::Chosen(chosen) => self.begin_chosen(chosen)?,
        }
        let Some(held) = held else { return Ok(None) };
        let command = self.config.target.command().unwrap_or_default();
        let program = command.first().map_or("", String::as_str);
        Ok(Some(
            held.release()
                .with_context(|| format!("cannot run {program}"))?,
        ))
    }

    fn begin_chosen(&mut self, chosen: &Chosen) -> Result<()> {
        for &pid in chosen.pids.iter().chain(&chosen.container_pids) {
            let found = self.probes.add_target(pid, TargetKind::Running)?;
            if found == 0 && !std::path::Path::new(&format!("/proc/{pid}")).exists() {
                anyhow::bail!("process {pid} has ended");
            }
        }
        for container in &chosen.awaited {
            eprintln!(
                "kindling-record: no container {container} runs yet; waiting for it to start"
            );
        }
        if chosen.is_open() {
            // A container that was made while the programs were being attached was not told.
            let cgroups: BTreeSet<u64> = &chosen.cgroup_ids | &chosen.container_cgroups();
            let cgroups: Vec<u64> = cgroups.into_iter().collect();
            let found = self.probes.add_open_targets(&chosen.comms, &cgroups)?;
            if found == 0 && chosen.awaited.is_empty() {
                eprintln!("kindling-record: nothing of that runs yet; waiting for it to start");
            }
        }
        Ok(())
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
        self.account.sample_bpf(now, &mut self.probes);
        if self.shedder.is_due(now) {
            self.shed(now);
        }
        if self.account.is_due(now) {
            self.read_meter(now);
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
        if is_due || self.drain.borrow().batch.longest() >= SEGMENT_ROWS {
            self.last_cut_ns = now;
            return Ok(self.cut());
        }
        Ok(true)
    }

    fn is_file_or_slice_due(&self, now_ns: i64) -> bool {
        match &self.way {
            Way::Files(parts) => parts.is_due(now_ns, self.encoder.written_bytes()),
            Way::Flight(flight) => flight.is_slice_due(now_ns, self.encoder.slice_bytes()),
        }
    }

    /// Ends the current file, or slice, and begins the next, which repeats all that is known: it is
    /// complete by itself. `false` if nothing can be written any more.
    fn go_on(&mut self) -> Result<bool> {
        // What has ended until now belongs to the file, or slice, that ends.
        self.drain_rings();
        // The look comes first, so that it tells the state at the start: what it sends is drained later.
        self.probes.look_again()?;
        let now = clocks::now();
        self.read_meter(now.monotonic_ns);
        let mut drain = self.drain.borrow_mut();
        drain.batch.clock(now);
        drain.forget();
        drop(drain);
        if !self.cut() {
            return Ok(false);
        }
        match &mut self.way {
            Way::Files(parts) => {
                let summary = self.account.summary(now, "rotated", None);
                let next = parts.next(now, self.encoder.written_bytes())?;
                self.account.next_part();
                self.drain.borrow_mut().repeat(now);
                Ok(self.encoder.tell(Message::Next(Box::new((summary, next)))))
            }
            Way::Flight(flight) => {
                let needed_ns = flight.begin_slice(now.monotonic_ns);
                let mut drain = self.drain.borrow_mut();
                drain.repeat(now);
                let state = std::mem::take(&mut drain.batch);
                drop(drain);
                let slice = SliceStart {
                    needed_ns,
                    start: now,
                    state,
                };
                Ok(self.encoder.tell(Message::Slice(Box::new(slice))))
            }
        }
    }

    /// Writes a dump, if a trigger or somebody wants one; `false` if nothing can be written any more.
    fn dump_what_is_due(&mut self, now_ns: i64) -> Result<bool> {
        let Way::Flight(flight) = &mut self.way else {
            return Ok(true);
        };
        flight.take_reports();
        let mut drain = self.drain.borrow_mut();
        if let Some((fired, more)) = drain.take_fired(now_ns) {
            flight.fired(fired, more);
        }
        if let Some(watch) = &mut drain.watch {
            watch.mute(flight.is_limited(now_ns));
        }
        drop(drain);
        if !flight.is_due(now_ns, false) {
            return Ok(true);
        }
        // As at a slice's start: threads that do not move tell what they are in.
        self.probes.look_at_calls()?;
        let end = clocks::now();
        self.drain_rings();
        self.last_cut_ns = end.monotonic_ns;
        self.cut_for_dump(end, None)
    }

    /// Takes everything that waits in the rings now.
    fn drain_rings(&mut self) {
        let most = self.drain.borrow().bytes + self.ring_bytes * self.probes.rings.len() as u64;
        while self.rings.consume_raw_n(ROUND) > 0
            && self.cut_if_full()
            && self.drain.borrow().bytes < most
        {}
    }

    /// Ends the batch, and has what is in memory written.
    fn cut_for_dump(&mut self, end: Moment, exit_status: Option<i32>) -> Result<bool> {
        self.read_meter(end.monotonic_ns);
        self.drain.borrow_mut().batch.clock(end);
        let Way::Flight(flight) = &mut self.way else {
            return Ok(true);
        };
        let open = self.drain.borrow_mut().take_open_calls();
        let order = flight.order(end, exit_status, open);
        let is_open = self.cut();
        Ok(match order {
            Some(order) => is_open && self.encoder.tell(Message::Dump(Box::new(order))),
            None => is_open,
        })
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

    /// Hands the batch to the encoder.
    fn cut(&mut self) -> bool {
        self.take_mappings();
        let mut drain = self.drain.borrow_mut();
        if drain.batch.is_empty() {
            return true;
        }
        drain.batch.cut_at = Some(clocks::now());
        let batch = std::mem::take(&mut drain.batch);
        drop(drain);
        self.encoder.send(batch)
    }

    fn take_mappings(&mut self) {
        let mut drain = self.drain.borrow_mut();
        let (mapped, lost) = self.mappings.take(&drain.lives.targets);
        drain.batch.code.mapped.extend(mapped);
        drop(drain);
        let now = clocks::monotonic_ns();
        self.account
            .lose(None, MAPPINGS, "perf ring full", lost, now);
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

    /// Hands over the last events; a flight recorder writes what triggers and others still wait for.
    fn write_end(&mut self, end: Moment, exit_status: Option<i32>) -> Result<()> {
        let now_ns = clocks::monotonic_ns();
        if let Way::Flight(flight) = &mut self.way {
            if let Some((fired, more)) = self.drain.borrow_mut().take_fired(now_ns) {
                flight.fired(fired, more);
            }
            while let Way::Flight(flight) = &mut self.way
                && flight.is_due(now_ns, true)
            {
                self.cut_for_dump(end, exit_status)?;
            }
            return Ok(());
        }
        self.read_meter(now_ns);
        self.drain.borrow_mut().batch.clock(end);
        self.cut();
        Ok(())
    }

    fn cut_if_full(&mut self) -> bool {
        let is_full = self.drain.borrow().batch.longest() >= SEGMENT_ROWS;
        !is_full || self.cut()
    }
}

fn open_mappings(cpus: &Cpus) -> (TargetMappings, Source) {
    let (mappings, outcome) = TargetMappings::open(&cpus.online);
    let outcome = outcome.map_err(|error| {
        Missing::explain(&format!("perf_event_open: {error}"), error.raw_os_error())
    });
    (
        mappings,
        to_source(MAPPINGS, "which code runs where, for symbols", outcome),
    )
}

fn to_sources(attached: Attached, mappings: Source) -> Vec<Source> {
    let programs = attached
        .into_iter()
        .map(|(source, outcome)| to_source(source.name, source.gives, outcome));
    programs.chain([mappings]).collect()
}
