//! User stacks from registers and a copy of the stack's memory, by the tables that every program
//! carries for exceptions (`.eh_frame`): distributions build without frame pointers.

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use framehop::{
    ExplicitModuleSectionInfo, Module, Unwinder,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};
use object::{Object, ObjectSection, ObjectSegment, SegmentFlags, elf};

use crate::mappings::MappedFile;

/// Frames that are taken of one stack, as the kernel takes by frame pointers.
const DEPTH: usize = 127;

/// Whether stacks of this machine can be unwound from memory.
pub(crate) const IS_SUPPORTED: bool = cfg!(target_arch = "x86_64");

/// The registers and the memory of a thread in user space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StackMemory {
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    pub(crate) bp: u64,
    /// The stack from `sp` on.
    pub(crate) bytes: Vec<u8>,
}

impl StackMemory {
    fn word(&self, address: u64) -> Result<u64, ()> {
        let offset = address
            .checked_sub(self.sp)
            .and_then(|offset| usize::try_from(offset).ok());
        let word = offset.and_then(|offset| self.bytes.get(offset..)?.first_chunk());
        word.map(|word| u64::from_ne_bytes(*word)).ok_or(())
    }
}

/// The parts of a program's file that unwinding needs.
#[derive(Debug)]
struct Tables {
    /// File offset, virtual address and file size of each segment with code.
    code: Vec<(u64, u64, u64)>,
    sections: HashMap<&'static str, (Range<u64>, Arc<[u8]>)>,
}

const SECTIONS: [&str; 4] = [".text", ".eh_frame", ".eh_frame_hdr", ".got"];

/// Unwinds the stacks of many processes; files that several have mapped are read once.
pub(crate) struct Unwinders {
    by_pid: HashMap<u32, UnwinderX86_64<Arc<[u8]>>>,
    tables: HashMap<PathBuf, Option<Arc<Tables>>>,
    cache: CacheX86_64,
}

impl Unwinders {
    pub(crate) fn new() -> Self {
        Self {
            by_pid: HashMap::new(),
            tables: HashMap::new(),
            cache: CacheX86_64::new(),
        }
    }

    /// A process has mapped a file that can be read at `path`. What was at those addresses is gone.
    pub(crate) fn map(&mut self, mapped: &MappedFile, path: &Path) {
        let tables = self.tables.entry(path.to_owned());
        let Some(tables) = tables
            .or_insert_with(|| read_tables(path).map(Arc::new))
            .clone()
        else {
            return;
        };
        if let Some(module) = module(mapped, &tables) {
            let unwinder = self.by_pid.entry(mapped.pid).or_default();
            unwinder.remove_module(mapped.start);
            unwinder.add_module(module);
        }
    }

    /// A child begins with the mappings of its parent.
    pub(crate) fn fork(&mut self, parent: u32, child: u32) {
        if let Some(unwinder) = self.by_pid.get(&parent).cloned() {
            self.by_pid.insert(child, unwinder);
        }
    }

    /// A process has ended, long ago.
    pub(crate) fn forget(&mut self, pid: u32) {
        self.by_pid.remove(&pid);
    }

    /// The addresses of a stack, innermost first: where the thread was, then return addresses. As
    /// many as the tables and the memory lead to.
    pub(crate) fn unwind(&mut self, pid: u32, memory: &StackMemory) -> Vec<u64> {
        let mut read = |address| memory.word(address);
        let unwinder = self.by_pid.entry(pid).or_default();
        let registers = UnwindRegsX86_64::new(memory.ip, memory.sp, memory.bp);
        let mut frames = unwinder.iter_frames(memory.ip, registers, &mut self.cache, &mut read);
        let mut addresses = Vec::new();
        while addresses.len() < DEPTH
            && let Ok(Some(frame)) = frames.next()
        {
            addresses.push(frame.address());
        }
        addresses
    }
}

fn read_tables(path: &Path) -> Option<Tables> {
    let file = kindling_format::mmap::open(path).ok()?;
    let object = object::File::parse(&*file).ok()?;
    let code = object.segments().filter_map(|segment| {
        let SegmentFlags::Elf { p_flags } = segment.flags() else {
            return None;
        };
        let (offset, size) = segment.file_range();
        (p_flags & elf::PF_X != 0).then_some((offset, segment.address(), size))
    });
    let mut sections = HashMap::new();
    for name in SECTIONS {
        if let Some(section) = object.section_by_name(name)
            && let Ok(data) = section.data()
        {
            let range = section.address()..section.address().saturating_add(section.size());
            sections.insert(name, (range, Arc::from(data)));
        }
    }
    Some(Tables {
        code: code.collect(),
        sections,
    })
}

/// `None` if the mapped part of the file holds no code.
fn module(mapped: &MappedFile, tables: &Tables) -> Option<Module<Arc<[u8]>>> {
    let holds = |&&(offset, _, size): &&(u64, u64, u64)| {
        // A mapping begins at a page, a segment anywhere in it.
        mapped.offset < offset.saturating_add(size)
            && offset < mapped.offset.saturating_add(mapped.end - mapped.start)
    };
    let &(offset, address, _) = tables.code.iter().find(holds)?;
    let base = mapped
        .start
        .wrapping_sub(mapped.offset)
        .wrapping_add(offset)
        .wrapping_sub(address);
    let range = |name: &str| tables.sections.get(name).map(|(range, _)| range.clone());
    let data = |name: &str| tables.sections.get(name).map(|(_, data)| Arc::clone(data));
    let sections = ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: range(".text"),
        text: data(".text"),
        got_svma: range(".got"),
        eh_frame_svma: range(".eh_frame"),
        eh_frame: data(".eh_frame"),
        eh_frame_hdr_svma: range(".eh_frame_hdr"),
        eh_frame_hdr: data(".eh_frame_hdr"),
        ..ExplicitModuleSectionInfo::default()
    };
    Some(Module::new(
        mapped.path.clone(),
        mapped.start..mapped.end,
        base,
        sections,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_within_its_bounds() {
        let bytes = [1u64, 2]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let memory = StackMemory {
            ip: 0,
            sp: 100,
            bp: 0,
            bytes,
        };
        assert_eq!((memory.word(100), memory.word(108)), (Ok(1), Ok(2)));
        assert_eq!(
            (memory.word(99), memory.word(109), memory.word(u64::MAX)),
            (Err(()), Err(()), Err(()))
        );
    }

    #[test]
    fn an_unknown_process_has_at_least_the_place_where_it_was() {
        let memory = StackMemory {
            ip: 77,
            sp: 100,
            bp: 0,
            bytes: vec![],
        };
        assert_eq!(Unwinders::new().unwind(5, &memory), [77]);
    }

    #[test]
    fn this_program_has_tables() {
        let tables = read_tables(Path::new("/proc/self/exe")).unwrap();
        assert!(!tables.code.is_empty());
        assert!(tables.sections.contains_key(".eh_frame_hdr"));
    }
}
