//! Loading the BPF object: what is wanted of it, set up for this host.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
};

use kindling_format::syscalls;
use libbpf_rs::{
    ErrorKind, MapCore, MapFlags, MapHandle, MapType, OpenObject,
    skel::{OpenSkel, SkelBuilder},
};

use crate::{
    config::RecordConfig,
    cpus::Cpus,
    io_uring,
    kernel_btf::KernelBtf,
    raw::KD_COMPAT,
    skeleton::{KindlingSkel, KindlingSkelBuilder, OpenKindlingSkel},
    sources::{Missing, SourceSpec},
    spec,
};

/// What programs are chosen and set up for.
pub(super) type Host<'a> = (&'a KernelBtf, &'a Cpus);

/// The wanted sources but for the missing ones.
pub(super) fn without(wanted: &[SourceSpec], missing: &[(SourceSpec, Missing)]) -> Vec<SourceSpec> {
    let is_there = |source: &&SourceSpec| missing.iter().all(|(other, _)| other != *source);
    wanted.iter().filter(is_there).copied().collect()
}

/// The sources that cannot be loaded, each tried alone.
pub(super) fn unloadable(
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

/// Loads the programs of these sources, and makes their rings.
///
/// # Errors
/// If one of them cannot be loaded.
pub(super) fn load<'obj>(
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
    settings.cfg_time_mask = config.resolution.mask();
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

pub(super) fn explain(error: libbpf_rs::Error) -> Missing {
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
