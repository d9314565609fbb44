//! User stacks from registers and a copy of the stack's memory, by the tables that every program
//! carries for exceptions (`.eh_frame`): distributions build without frame pointers.

use std::{
    collections::HashMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use framehop::{
    ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};
use object::{Object, ObjectSection, ObjectSegment, SegmentFlags, elf};

use crate::{
    mappings::MappedFile,
    unwind_rules::{Base, Rule},
};

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
    /// Which program it is of those that its process executes one after the other.
    pub(crate) program: u32,
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

    /// How to get to the caller of each frame of a stack, by the address that its code is looked up with. It ends
    /// with the first frame that has no rule: a walk ends there, and what is behind it may be no code at all.
    pub(crate) fn rules(&mut self, pid: u32, stack: &[u64]) -> Vec<(u64, Rule)> {
        let unwinder = self.by_pid.entry(pid).or_default();
        let frames = stack.iter().enumerate().filter_map(|(depth, &address)| {
            if depth == 0 {
                return Some(FrameAddress::from_instruction_pointer(address));
            }
            FrameAddress::from_return_address(address)
        });
        let mut rules = Vec::new();
        for frame in frames {
            let mut registers = UnwindRegsX86_64::new(frame.address(), SP, BP);
            let mut read = |address: u64| address.checked_add(READ).ok_or(());
            let step = unwinder.unwind_frame(frame, &mut registers, &mut self.cache, &mut read);
            let rule = rule_of(step, &registers).unwrap_or(Rule::of(Base::Otherwise));
            rules.push((frame.address_for_lookup(), rule));
            if rule.base == Base::Otherwise {
                break;
            }
        }
        rules
    }
}

/// Where a frame is that exists only to see what becomes of it. Its `bp` lies above, as it would.
const SP: u64 = 1 << 40;
const BP: u64 = 1 << 41;
/// What is read at an address of such a frame is the address and this.
const READ: u64 = 1 << 50;

/// What the unwinder's step from such a frame was: where it found the caller.
fn rule_of(step: Result<Option<u64>, framehop::Error>, caller: &UnwindRegsX86_64) -> Option<Rule> {
    let Ok(returns_to) = step else { return None };
    let Some(returns_to) = returns_to else {
        return Some(Rule::of(Base::End));
    };
    let cfa = caller.sp();
    let from = |base: u64| i32::try_from(cfa.wrapping_sub(base) as i64).ok();
    let (base, offset) = match (from(SP), from(BP)) {
        (Some(offset), _) => (Base::Sp, offset),
        (_, Some(offset)) => (Base::Bp, offset),
        _ => return None,
    };
    let read_at = |value: u64| value.wrapping_sub(READ).wrapping_sub(cfa) as i64;
    let bp = match caller.bp() {
        BP => 0,
        read => i16::try_from(read_at(read)).ok()?,
    };
    (read_at(returns_to) == -8).then_some(Rule {
        base,
        cfa: offset,
        bp,
    })
}

fn read_tables(path: &Path) -> Option<Tables> {
    let file = kindling_format::mmap::open(path).ok()?;
    let object = object::File::parse(&*file.bytes).ok()?;
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
            program: 0,
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
            program: 0,
        };
        assert_eq!(Unwinders::new().unwind(5, &memory), [77]);
    }

    #[test]
    fn a_step_from_a_frame_is_a_rule() {
        let step = |sp, bp, ret| rule_of(Ok(Some(ret)), &UnwindRegsX86_64::new(0, sp, bp));
        let rule = |base, cfa, bp| Some(Rule { base, cfa, bp });
        // sub rsp, 0x18: the return address is above; rbp is not touched, or was pushed before.
        assert_eq!(
            step(SP + 0x20, BP, SP + 0x18 + READ),
            rule(Base::Sp, 0x20, 0)
        );
        assert_eq!(
            step(SP + 0x28, SP + 0x18 + READ, SP + 0x20 + READ),
            rule(Base::Sp, 0x28, -16)
        );
        // A frame with a frame pointer.
        assert_eq!(
            step(BP + 16, BP + READ, BP + 8 + READ),
            rule(Base::Bp, 16, -16)
        );
        // The caller's stack is where memory says, or the return address is elsewhere.
        assert_eq!(step(SP + READ, BP, SP + READ - 8), None);
        assert_eq!(step(SP + 0x20, BP, SP + READ), None);
        let registers = UnwindRegsX86_64::new(0, SP, BP);
        assert_eq!(rule_of(Ok(None), &registers), rule(Base::End, 0, 0));
    }

    #[test]
    fn this_program_has_tables() {
        let tables = read_tables(Path::new("/proc/self/exe")).unwrap();
        assert!(!tables.code.is_empty());
        assert!(tables.sections.contains_key(".eh_frame_hdr"));
    }
}
