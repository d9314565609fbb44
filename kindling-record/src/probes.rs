//! The BPF side: open, configure, load, attach, source by source. Owns the skeleton.

use std::{
    io::Read,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use kindling_format::syscalls;
use libbpf_rs::{
    ErrorKind, Iter, Link, MapCore, MapFlags, MapHandle, MapType, OpenObject, UprobeMultiOpts,
    skel::{OpenSkel, Skel, SkelBuilder},
};
use perf_event::{Builder, Counter, events::Software};

use crate::{
    bpf_cost::BpfRuns,
    config::RecordConfig,
    cpus::Cpus,
    io_uring,
    raw::{KD_COMPAT, Kind},
    skeleton::{KindlingSkel, KindlingSkelBuilder, OpenKindlingSkel},
    sources::{self, Missing, PROGRAMS, SAMPLES, SourceSpec, TLS},
    spec,
    tls_library::{self, TlsFunction},
    tracepoints::Tracepoints,
};

/// `PHASE_END` in `maps.bpf.h`.
const PHASE_END: u32 = 1;
/// `PHASE_FIND` and `PHASE_LOOK` there.
const PHASE_FIND: u32 = 0;
const PHASE_LOOK: u32 = 2;
/// `PHASE_DUMP` there.
const PHASE_DUMP: u32 = 3;
/// How often the iterator looks for threads that were born while it ran.
const FIND_ROUNDS: usize = 8;

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
    /// How many processes had joined the target when it was last looked at.
    joined: u64,
}

/// How a process of the target is found, as in `maps.bpf.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// It runs: the syscalls that its threads are in belong to it.
    Running = 1,
    /// It is the command, waiting to be executed.
    Held = 2,
}

/// What programs are chosen and set up for.
type Host<'a> = (&'a Tracepoints, &'a Cpus);

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
        let kernel = sources::tracepoints();
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
            skeleton,
            rings,
            links: Vec::new(),
            iterator: None,
            samplers: Vec::new(),
            last_lost: vec![[0; 16]; cpus.highest + 1],
            last_shed: vec![[0; 16]; cpus.highest + 1],
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
        for name in source.programs(kernel) {
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

    /// Whether functions of a program can be probed: those of libraries are, when they are found.
    fn try_tls(&self) -> Result<(), Missing> {
        let myself = Path::new("/proc/self/exe");
        let entry = tls_library::entry_point(myself)
            .map_err(|error| Missing::explain(&error, error.raw_os_error()))?;
        self.attach_tls(myself, Some(std::process::id()), &[entry])
            .map(drop)
    }

    /// Probes functions of a TLS library, in one process or in all that have it mapped now or later,
    /// until the links are dropped.
    ///
    /// # Errors
    /// If the file cannot be probed.
    pub(crate) fn attach_tls(
        &self,
        path: &Path,
        pid: Option<u32>,
        functions: &[TlsFunction],
    ) -> Result<[Link; 2], Missing> {
        let attach = |program: &str, retprobe: bool| {
            let functions = functions
                .iter()
                .filter(|function| !retprobe || function.returns());
            let (offsets, cookies) = functions
                .map(|function| (function.offset, function.does as u64))
                .unzip();
            let options = UprobeMultiOpts {
                offsets,
                cookies,
                retprobe,
                ..Default::default()
            };
            let pid = pid.map_or(-1, |pid| pid as i32);
            let programs = self.skeleton.object().progs_mut();
            let mut programs = programs.filter(|found| found.name() == program);
            let program = programs.next().ok_or_else(|| no_program(program))?;
            program
                .attach_uprobe_multi_with_opts(pid, path, "", options)
                .map_err(|error| match error.kind() {
                    ErrorKind::InvalidInput => Missing {
                        why: error.to_string(),
                        remedy: "this kernel cannot probe several functions at once; Linux 6.6 or newer can"
                            .to_owned(),
                    },
                    _ => explain(error),
                })
        };
        // What returns must have been entered.
        Ok([attach("tls_return", true)?, attach("tls_enter", false)?])
    }

    /// Says when recording begins: the time of syscalls that are found in flight.
    pub(crate) fn set_start(&mut self, monotonic_ns: i64) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.started_ts = monotonic_ns as u64;
        }
    }

    /// Adds a process to the target, with all its threads and its children from now on. Returns how
    /// many threads were found.
    ///
    /// # Errors
    /// If the kernel's list of targets is full or the iterator fails.
    pub(crate) fn add_target(&mut self, pid: u32, kind: TargetKind) -> Result<u64> {
        self.skeleton
            .maps
            .targets
            .update(&pid.to_ne_bytes(), &[kind as u8], MapFlags::ANY)
            .with_context(|| format!("cannot add process {pid} to the target"))?;
        self.find_threads()
    }

    /// Adds every process of these names and cgroups to the target, now and from now on.
    ///
    /// # Errors
    /// If the kernel's lists of targets are full or the iterator fails.
    pub(crate) fn add_open_targets(&mut self, comms: &[String], cgroups: &[u64]) -> Result<u64> {
        let maps = &self.skeleton.maps;
        for comm in comms {
            maps.target_comms
                .update(&comm_key(comm), &[1], MapFlags::ANY)
                .with_context(|| format!("cannot add the name {comm} to the target"))?;
        }
        for &cgroup in cgroups {
            self.add_cgroup(cgroup)?;
        }
        self.find_threads()
    }

    /// Adds every process that comes into a cgroup from now on.
    ///
    /// # Errors
    /// If the kernel's list of cgroups is full.
    pub(crate) fn add_cgroup(&self, id: u64) -> Result<()> {
        let cgroups = &self.skeleton.maps.target_cgroups;
        cgroups
            .update(&id.to_ne_bytes(), &[1], MapFlags::ANY)
            .context("cannot add a cgroup to the target")
    }

    /// Looks for the other threads of processes that joined the target since the last call.
    ///
    /// # Errors
    /// If the iterator fails.
    pub(crate) fn find_joined(&mut self) -> Result<()> {
        let joined = self
            .skeleton
            .maps
            .bss_data
            .as_deref()
            .map_or(0, |bss| bss.joined);
        if joined != self.joined {
            self.joined = joined;
            self.find_threads()?;
        }
        Ok(())
    }

    /// Marks all threads of the target that exist, until no new one turns up.
    ///
    /// # Errors
    /// If the iterator fails.
    pub(crate) fn find_threads(&mut self) -> Result<u64> {
        let mut found = 0;
        for _ in 0..FIND_ROUNDS {
            if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
                bss.iter_marked = 0;
            }
            self.iterate()?;
            let marked = self
                .skeleton
                .maps
                .bss_data
                .as_deref()
                .map_or(0, |bss| bss.iter_marked);
            found += marked;
            if marked == 0 {
                break;
            }
        }
        Ok(found)
    }

    /// Has the state of the target's threads sent once more.
    ///
    /// # Errors
    /// If the iterator fails.
    pub(crate) fn look_again(&mut self) -> Result<()> {
        self.look(PHASE_LOOK)
    }

    /// As [`Probes::look_again`], and the calls that threads are in, which go on.
    ///
    /// # Errors
    /// If the iterator fails.
    pub(crate) fn look_at_calls(&mut self) -> Result<()> {
        self.look(PHASE_DUMP)
    }

    fn look(&mut self, phase: u32) -> Result<()> {
        self.set_phase(phase);
        let looked = self.iterate();
        self.set_phase(PHASE_FIND);
        looked
    }

    fn set_phase(&mut self, phase: u32) {
        if let Some(bss) = self.skeleton.maps.bss_data.as_deref_mut() {
            bss.iter_phase = phase;
        }
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
        self.set_phase(PHASE_END);
        self.iterate()
    }

    fn iterate(&self) -> Result<()> {
        let Some(link) = &self.iterator else {
            return Ok(());
        };
        let mut iterator = Iter::new(link).context("cannot run the task iterator")?;
        let mut output = Vec::new();
        iterator
            .read_to_end(&mut output)
            .context("cannot run the task iterator")?;
        Ok(())
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
    let kernel = sources::tracepoints();
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
        joined: 0,
    };
    probes.attach_source(source, config, host)
}

fn without(wanted: &[SourceSpec], missing: &[(SourceSpec, Missing)]) -> Vec<SourceSpec> {
    let is_there = |source: &&SourceSpec| missing.iter().all(|(other, _)| other != *source);
    wanted.iter().filter(is_there).copied().collect()
}

/// The sources that cannot be loaded, each tried alone.
fn unloadable(
    wanted: &[SourceSpec],
    config: &RecordConfig,
    host: Host<'_>,
) -> Vec<(SourceSpec, Missing)> {
    let tried = wanted.iter().map(|source| {
        let mut object = MaybeUninit::uninit();
        (
            *source,
            load(&mut object, &[*source], config, host).map(drop),
        )
    });
    tried
        .filter_map(|(source, outcome)| Some((source, outcome.err()?)))
        .collect()
}

fn load<'obj>(
    object: &'obj mut MaybeUninit<OpenObject>,
    sources: &[SourceSpec],
    config: &RecordConfig,
    (kernel, cpus): Host<'_>,
) -> Result<(KindlingSkel<'obj>, Vec<MapHandle>), Missing> {
    let mut open = KindlingSkelBuilder::default()
        .open(object)
        .map_err(explain)?;
    for mut program in open.open_object_mut().progs_mut() {
        let name = program.name().to_string_lossy().into_owned();
        let wanted = sources
            .iter()
            .any(|source| source.programs(kernel).contains(&name.as_str()));
        program.set_autoload(wanted);
    }
    configure(&mut open, config, cpus);
    let rings = create_rings(config, cpus).map_err(explain)?;
    if let Some(ring) = rings.first() {
        open.maps
            .rings
            .set_inner_map_fd(ring.as_fd())
            .map_err(explain)?;
    }
    let skeleton = open.load().map_err(explain)?;
    for (index, ring) in rings.iter().enumerate() {
        let key = (index as u32).to_ne_bytes();
        let fd = ring.as_fd().as_raw_fd().to_ne_bytes();
        skeleton
            .maps
            .rings
            .update(&key, &fd, MapFlags::ANY)
            .map_err(explain)?;
    }
    Ok((skeleton, rings))
}

fn configure(open: &mut OpenKindlingSkel<'_>, config: &RecordConfig, cpus: &Cpus) {
    let Some(settings) = open.maps.rodata_data.as_deref_mut() else {
        return;
    };
    settings.cfg_all = config.target.is_all();
    if let Some(chosen) = config.target.chosen() {
        settings.cfg_comms = !chosen.comms.is_empty();
        settings.cfg_cgroups = !chosen.cgroup_ids.is_empty() || chosen.follows_containers;
        settings.cfg_new_cgroups = chosen.follows_containers;
    }
    settings.cfg_payloads = config.payload_bytes > 0;
    settings.cfg_switch_stacks = config.switch_stacks;
    settings.cfg_payload_bytes = config.payload_bytes;
    settings.cfg_stack_bytes = config.stack_bytes;
    settings.cfg_logs = config.logs.len() as u32;
    for (to, log) in settings.cfg_log_patterns.iter_mut().zip(&config.logs) {
        for (to, from) in to.iter_mut().zip(&log.reversed) {
            *to = *from as _;
        }
    }
    settings.cfg_uring_files = io_uring::operations_on_files();
    settings.cfg_self_tgid = std::process::id();
    for (cpu, &domain) in cpus
        .domain_of
        .iter()
        .enumerate()
        .take(settings.cfg_ring_of_cpu.len())
    {
        settings.cfg_ring_of_cpu[cpu] = domain;
    }
    let own = std::env::consts::ARCH;
    let (native, compat) = settings.cfg_syscalls.split_at_mut(KD_COMPAT.into());
    for (arch, specs) in [(Some(own), native), (syscalls::compat_arch(own), compat)] {
        if let Some(table) = arch.and_then(syscalls::table) {
            spec::fill(table, specs);
        }
    }
}

/// A name as the kernel keeps it: at most 15 bytes, and zeros.
fn comm_key(comm: &str) -> [u8; 16] {
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().take(15).zip(comm.bytes()) {
        *to = from;
    }
    key
}

fn create_rings(config: &RecordConfig, cpus: &Cpus) -> libbpf_rs::Result<Vec<MapHandle>> {
    let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
        ..Default::default()
    };
    let bytes = config.ring_bytes(cpus.domains);
    (0..cpus.domains)
        .map(|_| MapHandle::create(MapType::RingBuf, Some("ring"), 0, 0, bytes, &options))
        .collect()
}

fn attach_program(skeleton: &KindlingSkel<'_>, name: &str) -> Result<Link, Missing> {
    let mut programs = skeleton.object().progs_mut();
    let Some(program) = programs.find(|program| program.name() == name) else {
        return Err(no_program(name));
    };
    program.attach().map_err(explain)
}

fn no_program(name: &str) -> Missing {
    Missing::explain(&format!("the BPF object has no program {name}"), None)
}

fn sampler(cpu: usize, hz: u32) -> std::io::Result<Counter> {
    let mut builder = Builder::new(Software::CPU_CLOCK);
    builder.any_pid().one_cpu(cpu).sample_frequency(hz.into());
    let mut counter = builder.build()?;
    counter.enable()?;
    Ok(counter)
}

fn explain(error: libbpf_rs::Error) -> Missing {
    let code = match error.kind() {
        ErrorKind::PermissionDenied => Some(1),
        ErrorKind::NotFound => Some(2),
        ErrorKind::InvalidInput => Some(22),
        ErrorKind::OutOfMemory => Some(12),
        ErrorKind::Unsupported => Some(95),
        _ => None,
    };
    Missing::explain(&error, code)
}
