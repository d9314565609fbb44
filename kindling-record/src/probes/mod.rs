//! The BPF side: load and attach, source by source. Owns the skeleton.

mod functions;
mod load;
mod outbox;
mod skipped;
mod targets;

use std::{mem::MaybeUninit, os::fd::AsRawFd};

use anyhow::{Result, anyhow};
use libbpf_rs::{Link, MapHandle, OpenObject, ProgramInput, ProgramMut, skel::Skel};
use perf_event::{Builder, Counter, events::Software};

use crate::{
    config::RecordConfig,
    cpus::Cpus,
    raw::Kind,
    skeleton::KindlingSkel,
    sources::{self, Missing, PROGRAMS, RUN_BY_HAND, SAMPLES, SourceSpec, TLS},
    unwind_rules::UnwindRules,
};
use load::{Host, explain, load, unloadable, without};
use skipped::Skipped;
pub(crate) use targets::TargetKind;

/// The loaded programs with their rings. Dropping it detaches them all.
pub(crate) struct Probes<'obj> {
    skeleton: KindlingSkel<'obj>,
    /// The rings, one per cache domain.
    pub(crate) rings: Vec<MapHandle>,
    links: Vec<Link>,
    iterator: Option<Link>,
    samplers: Vec<Counter>,
    last_lost: Vec<[u64; 16]>,
    last_shed: Vec<[u64; 16]>,
    skipped: Skipped,
    outboxes: outbox::Seen,
    has_multi_uprobes: bool,
    /// How many processes had joined the target when it was last looked at.
    joined: u64,
}

/// Runs of BPF programs, and the time that they took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BpfRuns {
    pub(crate) runs: u64,
    pub(crate) ns: u64,
}

/// What loading gave: the probes, and for each source whether it is there.
pub(crate) type Attached = Vec<(SourceSpec, Result<(), Missing>)>;

impl<'obj> Probes<'obj> {
    /// Loads and attaches what this host allows of `wanted`.
    ///
    /// # Errors
    /// If a source is missing without which nothing can be recorded.
    pub(crate) fn attach(
        objects: &'obj mut [MaybeUninit<OpenObject>; 2],
        config: &RecordConfig,
        cpus: &Cpus,
    ) -> Result<(Self, Attached)> {
        let wanted: Vec<SourceSpec> = PROGRAMS
            .into_iter()
            .filter(|source| source.is_chosen(&config.events))
            .filter(|source| config.sample_hz > 0 || source.name != SAMPLES)
            .filter(|source| config.takes_plaintext() || source.name != TLS)
            .collect();
        let [first, second] = objects;
        let kernel = sources::kernel_btf();
        let host = (&kernel, cpus);
        let (loaded, missing) = match load(first, &wanted, config, host) {
            Ok(loaded) => (loaded, Vec::new()),
            Err(_) => {
                let missing = unloadable(&wanted, config, host);
                if let Some((source, missing)) = missing.iter().find(|(source, _)| source.required)
                {
                    return Err(anyhow!("cannot record {}: {missing}", source.name));
                }
                let loadable = without(&wanted, &missing);
                let loaded = load(second, &loadable, config, host)
                    .map_err(|missing| anyhow!("cannot load the BPF programs: {missing}"))?;
                (loaded, missing)
            }
        };
        let loadable = without(&wanted, &missing);
        let (skeleton, rings) = loaded;
        let mut probes = Self {
            skipped: Skipped::of(skeleton.object()),
            skeleton,
            rings,
            links: Vec::new(),
            iterator: None,
            samplers: Vec::new(),
            last_lost: vec![[0; 16]; cpus.highest + 1],
            last_shed: vec![[0; 16]; cpus.highest + 1],
            outboxes: vec![0; cpus.highest + 1],
            has_multi_uprobes: kernel.has_multi_uprobes,
            joined: 0,
        };
        let mut attached: Attached = missing
            .into_iter()
            .map(|(source, missing)| (source, Err(missing)))
            .collect();
        for source in loadable {
            let outcome = probes.attach_source(&source, config, host);
            if let (Err(missing), true) = (&outcome, source.required) {
                return Err(anyhow!("cannot record {}: {missing}", source.name));
            }
            attached.push((source, outcome));
        }
        Ok((probes, attached))
    }

    fn attach_source(
        &mut self,
        source: &SourceSpec,
        config: &RecordConfig,
        (kernel, cpus): Host<'_>,
    ) -> Result<(), Missing> {
        if source.name == SAMPLES {
            return self.attach_samples(config.sample_hz, cpus);
        }
        if source.name == TLS {
            return self.try_tls();
        }
        let mut links = Vec::new();
        let programs = source.programs(kernel).iter();
        for name in programs.filter(|name| !RUN_BY_HAND.contains(name)) {
            let link = attach_program(&self.skeleton, name)?;
            if *name == "iter_tasks" {
                self.iterator = Some(link);
            } else {
                links.push(link);
            }
        }
        self.links.append(&mut links);
        Ok(())
    }

    fn attach_samples(&mut self, sample_hz: u32, cpus: &Cpus) -> Result<(), Missing> {
        for &cpu in &cpus.online {
            let counter = sampler(cpu, sample_hz).map_err(|error| {
                Missing::explain(
                    &format!("perf_event_open on CPU {cpu}: {error}"),
                    error.raw_os_error(),
                )
            })?;
            let program = &self.skeleton.progs.sample;
            let link = program
                .attach_perf_event(counter.as_raw_fd())
                .map_err(explain)?;
            self.links.push(link);
            self.samplers.push(counter);
        }
        Ok(())
    }

    /// The rules by which stacks of user space are walked; `None` if they cannot be reached.
    pub(crate) fn unwind_rules(&self) -> Option<UnwindRules> {
        let map = MapHandle::try_from(&self.skeleton.maps.unwind_rules);
        map.ok().map(UnwindRules::new)
    }

    /// Says when recording begins: the time of syscalls that are found in flight.
    pub(crate) fn set_start(&mut self, monotonic_ns: i64) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.started_ts = monotonic_ns as u64;
        }
    }

    /// Has the measurements of connections sent that have changed.
    pub(crate) fn look_at_sockets(&mut self) {
        let program = &self.skeleton.progs.look_at_sockets;
        // Where the source is left out the program was not loaded, and the kernel says so.
        let _ = program.test_run(ProgramInput::default());
    }

    /// Begins or ends a sample of what the programs cost.
    pub(crate) fn measure(&mut self, is_on: bool) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.measuring = is_on.into();
        }
    }

    /// What all samples found until now, on all CPUs.
    pub(crate) fn measured(&self) -> BpfRuns {
        let bss = self.skeleton.maps.bss_data.as_deref();
        let cpus = bss.iter().flat_map(|bss| &bss.measured);
        cpus.fold(BpfRuns::default(), |sum, cpu| BpfRuns {
            runs: sum.runs + cpu.runs,
            ns: sum.ns + cpu.ns,
        })
    }

    /// Ends the stream of events, of all sources at once.
    pub(crate) fn stop(&mut self) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.stopped = 1;
        }
    }

    /// Detaches everything, then has the open syscalls and the threads' accounts sent.
    ///
    /// # Errors
    /// If the iterator fails.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.links.clear();
        self.samplers.clear();
        self.empty_outboxes();
        self.tell_end()
    }

    /// Leaves out everything up to this class of records; 0 leaves out nothing.
    pub(crate) fn shed(&mut self, level: u32) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.shed_level = level;
        }
    }

    /// Records that found no room since the last call, per CPU and kind.
    pub(crate) fn new_losses(&mut self) -> Vec<(u16, Kind, u64)> {
        match self.skeleton.maps.bss_data.as_deref() {
            Some(bss) => increases(&mut self.last_lost, &bss.lost),
            None => Vec::new(),
        }
    }

    /// Records that were left out since the last call, likewise.
    pub(crate) fn newly_shed(&mut self) -> Vec<(u16, Kind, u64)> {
        match self.skeleton.maps.bss_data.as_deref() {
            Some(bss) => increases(&mut self.last_shed, &bss.shed),
            None => Vec::new(),
        }
    }

    /// Runs of programs that the kernel skipped since the last call, by table: at most so many of its rows
    /// are missing.
    pub(crate) fn newly_skipped(&mut self) -> Vec<(&'static str, u64)> {
        self.skipped.newly()
    }
}

/// What counters per CPU and kind have grown by.
fn increases(last: &mut [[u64; 16]], now: &[[u64; 16]]) -> Vec<(u16, Kind, u64)> {
    let mut increases = Vec::new();
    for (cpu, (last, now)) in last.iter_mut().zip(now).enumerate() {
        for kind in Kind::ALL {
            let (before, after) = (&mut last[kind as usize], now[kind as usize]);
            if after > *before {
                increases.push((cpu as u16, kind, after - *before));
                *before = after;
            }
        }
    }
    increases
}

/// Tells for each source whether this host can record it, by trying.
pub(crate) fn diagnose(config: &RecordConfig, cpus: &Cpus) -> Attached {
    let kernel = sources::kernel_btf();
    PROGRAMS
        .into_iter()
        .map(|source| (source, try_source(&source, config, (&kernel, cpus))))
        .collect()
}

fn try_source(source: &SourceSpec, config: &RecordConfig, host: Host<'_>) -> Result<(), Missing> {
    let mut object = MaybeUninit::uninit();
    let (skeleton, rings) = load(&mut object, &[*source], config, host)?;
    let mut probes = Probes {
        skeleton,
        rings,
        links: Vec::new(),
        iterator: None,
        samplers: Vec::new(),
        last_lost: Vec::new(),
        last_shed: Vec::new(),
        skipped: Skipped::default(),
        outboxes: outbox::Seen::new(),
        has_multi_uprobes: host.0.has_multi_uprobes,
        joined: 0,
    };
    probes.attach_source(source, config, host)
}

fn attach_program(skeleton: &KindlingSkel<'_>, name: &str) -> Result<Link, Missing> {
    find_program(skeleton, name)?.attach().map_err(explain)
}

fn find_program<'obj>(
    skeleton: &'obj KindlingSkel<'_>,
    name: &str,
) -> Result<ProgramMut<'obj>, Missing> {
    let mut programs = skeleton.object().progs_mut();
    let program = programs.find(|program| program.name() == name);
    program.ok_or_else(|| Missing::explain(&format!("the BPF object has no program {name}"), None))
}

/// A clock that runs while a CPU is busy, in user space and in the kernel: the library leaves out the
/// latter unless it is told.
fn sampler(cpu: usize, hz: u32) -> std::io::Result<Counter> {
    let mut builder = Builder::new(Software::CPU_CLOCK);
    builder
        .any_pid()
        .one_cpu(cpu)
        .sample_frequency(hz.into())
        .exclude_kernel(false)
        .exclude_hv(false)
        .exclude_idle(true);
    let mut counter = builder.build()?;
    counter.enable()?;
    Ok(counter)
}
