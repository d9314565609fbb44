//! How a recording begins: programs attached, rights given up, the target marked.

use std::{cell::RefCell, collections::BTreeSet, mem::MaybeUninit, rc::Rc, sync::Arc};

use anyhow::{Context, Result};
use kindling_format::{Header, header::Source};
use libbpf_rs::{RingBuffer, RingBufferBuilder};

use super::{Outcome, Session, Signals, Way};
use crate::{
    account::Account,
    clocks,
    command::{HeldCommand, RunningCommand},
    config::RecordConfig,
    cost,
    cpus::Cpus,
    doctor::to_source,
    drain::Drain,
    encoder::Encoder,
    flight::{ControlSocket, Flight, FlightConfig, Memory},
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
    unwind_rules::UnwindRules,
};

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
    let rules = probes.unwind_rules();
    let (way, encoder) = match &config.flight {
        None => open_files(config, header, rules)?,
        Some(flight) => open_memory(config, flight, header, signals, rules)?,
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
        last_outbox_ns: start.monotonic_ns,
        next_sockets_ns: start.monotonic_ns,
    };
    let missing = sources
        .into_iter()
        .filter(|source| !source.available)
        .collect();
    session.record(held, &signals.stop, missing)
}

/// Begins to write, after giving up what only attaching needs; another user writes with its own
/// rights.
fn open_files(
    config: &RecordConfig,
    header: Header,
    rules: Option<UnwindRules>,
) -> Result<(Way, Encoder)> {
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
    let writer = PartWriter::start(first, options, rules)?;
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
    rules: Option<UnwindRules>,
) -> Result<(Way, Encoder)> {
    let socket = ControlSocket::open();
    privileges::reduce(config.user, config.target.command().is_some())?;
    if let Err(error) = &socket {
        eprintln!("kindling-record: only SIGUSR1 asks for a dump: {error:#}");
    }
    let (start, signal) = (header.start, Arc::clone(&signals.dump));
    let (flight_of, reports) = Flight::new(config, flight, header, signal, socket.ok())?;
    let memory = Memory::start(flight.window, start, reports, rules);
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

impl Session<'_, '_> {
    /// Marks the target; from here on its events arrive.
    pub(super) fn begin(&mut self, held: Option<HeldCommand>) -> Result<Option<RunningCommand>> {
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

    pub(super) fn begin_chosen(&mut self, chosen: &Chosen) -> Result<()> {
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
