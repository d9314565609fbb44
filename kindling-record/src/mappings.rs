//! Executable mappings: from the kernel's own records of them (`PERF_RECORD_MMAP2`), which name
//! short-lived processes too, and from `/proc` for processes that were there before.

use std::collections::BTreeSet;

use perf_event::{Builder, Clock, SampleFlag, Sampler, data, events::Software};
use procfs::process::{MMPermissions, MMapPath, Process};

/// Each CPU's ring; a power of two.
const RING_BYTES: usize = 512 << 10;
/// `<sys/mman.h>`
const PROT_EXEC: u32 = 4;

/// A file that was mapped executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MappedFile {
    pub(crate) ts: i64,
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) offset: u64,
    pub(crate) path: String,
    pub(crate) build_id: Option<String>,
}

/// The kernel's stream of executable mappings, on every CPU.
pub(crate) struct MappingSource {
    samplers: Vec<Sampler>,
}

impl MappingSource {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the kernel does not let this process watch others (`perf_event_paranoid`,
    /// `CAP_PERFMON`).
    pub(crate) fn open(cpus: &[usize]) -> std::io::Result<Self> {
        let open = |&cpu: &usize| {
            let mut builder = Builder::new(Software::DUMMY);
            builder
                .any_pid()
                .one_cpu(cpu)
                .mmap(true)
                .mmap2(true)
                .build_id(true);
            builder
                .sample(SampleFlag::TIME)
                .sample_id_all(true)
                .clockid(Clock::MONOTONIC);
            let mut sampler = builder.build()?.sampled(RING_BYTES)?;
            sampler.as_counter_mut().enable()?;
            Ok(sampler)
        };
        Ok(Self {
            samplers: cpus.iter().map(open).collect::<std::io::Result<_>>()?,
        })
    }

    /// Takes what has arrived; returns how many records the kernel had no room for.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(MappedFile)) -> u64 {
        let mut lost = 0;
        for sampler in &mut self.samplers {
            while let Some(record) = sampler.next_record() {
                let ts = time_of(&record.to_contiguous());
                match record.parse_record() {
                    Ok(data::Record::Mmap2(mapping)) if mapping.prot & PROT_EXEC != 0 => {
                        take(of_record(ts, &mapping));
                    }
                    Ok(data::Record::Lost(record)) => lost += record.lost,
                    _ => {}
                }
            }
        }
        lost
    }
}

/// The mappings of the target. They come by another way than the rings: those of processes that the
/// rings have not named yet wait for one more segment.
#[derive(Default)]
pub(crate) struct TargetMappings {
    source: Option<MappingSource>,
    /// What came before the last segment was cut.
    waiting: Vec<MappedFile>,
    /// What came since.
    new: Vec<MappedFile>,
    lost: u64,
}

impl TargetMappings {
    /// Begins to listen on these CPUs; without the kernel's stream there are none.
    ///
    /// # Errors
    /// Those of [`MappingSource::open`], beside what goes on without it.
    pub(crate) fn open(cpus: &[usize]) -> (Self, std::io::Result<()>) {
        let (source, outcome) = match MappingSource::open(cpus) {
            Ok(source) => (Some(source), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let this = Self {
            source,
            ..Self::default()
        };
        (this, outcome)
    }

    /// Shows what has arrived since the last look, of any process.
    pub(crate) fn look(&mut self) -> &[MappedFile] {
        let known = self.new.len();
        if let Some(source) = &mut self.source {
            self.lost += source.drain(|mapped| self.new.push(mapped));
        }
        self.new.get(known..).unwrap_or_default()
    }

    /// Takes what has arrived of the processes in `targets`, and how many records were lost.
    pub(crate) fn take(&mut self, targets: &BTreeSet<u32>) -> (Vec<MappedFile>, u64) {
        self.look();
        let mut ours = std::mem::take(&mut self.waiting);
        ours.retain(|mapped| targets.contains(&mapped.pid));
        for mapped in std::mem::take(&mut self.new) {
            match targets.contains(&mapped.pid) {
                true => ours.push(mapped),
                false => self.waiting.push(mapped),
            }
        }
        (ours, std::mem::take(&mut self.lost))
    }
}

/// With `sample_id_all`, each record ends with the sample's fields: here its time only.
fn time_of(record: &[u8]) -> i64 {
    record
        .last_chunk()
        .map_or(0, |bytes| i64::from_ne_bytes(*bytes))
}

fn of_record(ts: i64, mapping: &data::Mmap2<'_>) -> MappedFile {
    let path = &mapping.filename;
    let end = path
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(path.len());
    MappedFile {
        ts,
        pid: mapping.pid,
        start: mapping.addr,
        end: mapping.addr.saturating_add(mapping.len),
        offset: mapping.pgoff,
        path: String::from_utf8_lossy(path.get(..end).unwrap_or_default()).into_owned(),
        build_id: mapping.build_id().filter(|id| !id.is_empty()).map(hex),
    }
}

/// Executable mappings of a process that was there before; none if it is gone.
pub(crate) fn of_process(pid: u32, ts: i64) -> Vec<MappedFile> {
    let maps = i32::try_from(pid)
        .ok()
        .and_then(|pid| Process::new(pid).ok()?.maps().ok());
    let maps = maps.into_iter().flatten();
    maps.filter(|map| map.perms.contains(MMPermissions::EXECUTE))
        .filter_map(|map| {
            let path = match map.pathname {
                MMapPath::Path(path) => path.to_string_lossy().into_owned(),
                MMapPath::Vdso => "[vdso]".to_owned(),
                _ => return None,
            };
            let (start, end) = map.address;
            Some(MappedFile {
                ts,
                pid,
                start,
                end,
                offset: map.offset,
                path,
                build_id: None,
            })
        })
        .collect()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
