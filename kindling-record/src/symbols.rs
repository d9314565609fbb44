//! Addresses to frames and symbols, while the files that explain them are still there.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    path::{Path, PathBuf},
};

use blazesym::symbolize::{
    CodeInfo, Input, Sym, Symbolized, Symbolizer,
    source::{Elf, Kernel, Source},
};
use kindling_format::schema::{
    Frame, FrameColumns, Mapping, MappingColumns, Stack, StackColumns, Symbol, SymbolColumns, Table,
};

use crate::{
    batch::{Code, RawStack, UserStack},
    lives::SpaceEvent,
    mappings::MappedFile,
    namer::Keep,
    spaces::Spaces,
    unwind::{StackMemory, Unwinders},
    unwind_rules::UnwindRules,
};

const KERNEL: &str = "[kernel]";
const UNKNOWN: &str = "[unknown]";
/// Of so many processes that have ended, mappings stay known: those that stacks may still come of.
const MOST_DEAD: usize = 256;
/// Likewise in a flight recorder, whose window goes back further.
const MOST_DEAD_IN_WINDOW: usize = 4096;

/// Turns raw stacks into the rows of `stacks`, `frames`, `symbols` and `mappings`.
pub(crate) struct Symbols {
    spaces: Spaces,
    unwinders: Unwinders,
    rules: Option<UnwindRules>,
    symbolizer: Symbolizer,
    frames: HashMap<(String, u64), u32>,
    /// Kernel frames of BPF programs and of what runs them.
    own_frames: HashSet<u32>,
    symbols: HashMap<Symbol, u32>,
    keep: Keep,
    kept: KeptCode,
    /// Processes that have ended, oldest first; their last stacks may still be unnamed.
    dead: VecDeque<u32>,
}

/// Code that is named already, if it is to be told again.
#[derive(Debug, Default)]
struct KeptCode {
    stacks: BTreeMap<u32, Stack>,
    frames: Vec<Frame>,
    symbols: Vec<Symbol>,
}

/// The rows that a batch adds.
#[derive(Debug, Default)]
pub(crate) struct SymbolRows {
    pub(crate) mappings: MappingColumns,
    pub(crate) stacks: StackColumns,
    pub(crate) frames: FrameColumns,
    pub(crate) symbols: SymbolColumns,
}

impl Symbols {
    /// `rules` are those by which the kernel side walks stacks, if it does.
    pub(crate) fn new(keep: Keep, rules: Option<UnwindRules>) -> Self {
        let symbolizer = Symbolizer::builder()
            .enable_code_info(true)
            .enable_inlined_fns(true)
            .enable_demangling(true)
            .build();
        Self {
            spaces: Spaces::default(),
            unwinders: Unwinders::new(),
            rules,
            symbolizer,
            frames: HashMap::new(),
            own_frames: HashSet::new(),
            symbols: HashMap::new(),
            keep,
            kept: KeptCode::default(),
            dead: VecDeque::new(),
        }
    }

    /// Takes in what happened to address spaces, in the order of time, then names the stacks.
    pub(crate) fn rows(&mut self, code: Code) -> SymbolRows {
        let Code {
            stacks,
            mut spaces,
            mut mapped,
            forgotten,
        } = code;
        for id in forgotten {
            self.kept.stacks.remove(&id);
        }
        spaces.sort_by_key(|(ts, _)| *ts);
        let mut rows = SymbolRows::default();
        mapped.sort_by_key(|map| map.ts);
        let mut mapped = mapped.into_iter().peekable();
        for (ts, event) in spaces {
            while let Some(map) = mapped.next_if(|map| map.ts < ts) {
                self.map(map, &mut rows);
            }
            match event {
                SpaceEvent::Fork { parent, child } => {
                    self.dead.retain(|&pid| pid != child);
                    self.spaces.fork(parent, child);
                    self.unwinders.fork(parent, child);
                }
                // The old program's mappings are kept: its last stacks may still be unnamed.
                SpaceEvent::Exec { .. } | SpaceEvent::Found { .. } => {}
                SpaceEvent::Exit { pid } => self.dead.push_back(pid),
            }
        }
        mapped.for_each(|map| self.map(map, &mut rows));
        for stack in stacks {
            let frames = self.frames_of(&stack, &mut rows);
            let row = Stack {
                id: stack.id,
                frames,
            };
            if stack.is_shared && self.keep != Keep::Nothing {
                self.kept.stacks.insert(row.id, row.clone());
            }
            if !stack.is_shared || self.keep != Keep::Only {
                rows.stacks.push(row);
            }
        }
        let most_dead = match self.keep {
            Keep::Only => MOST_DEAD_IN_WINDOW,
            Keep::Nothing | Keep::Also => MOST_DEAD,
        };
        while self.dead.len() > most_dead {
            self.forget_oldest();
        }
        match self.keep {
            Keep::Only => SymbolRows {
                stacks: rows.stacks,
                ..SymbolRows::default()
            },
            _ => rows,
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(pid) = self.dead.pop_front() {
            self.spaces.forget(pid);
            self.unwinders.forget(pid);
            if let Some(rules) = &mut self.rules {
                rules.forget(pid, 0..u64::MAX);
            }
        }
    }

    /// The rows that were kept.
    pub(crate) fn repeat(&self) -> SymbolRows {
        let mut rows = SymbolRows::default();
        for map in self.spaces.all() {
            rows.mappings.push(mapping(map));
        }
        let kept = &self.kept;
        let symbols = kept.symbols.iter().cloned();
        symbols.for_each(|row| rows.symbols.push(row));
        let frames = kept.frames.iter().cloned();
        frames.for_each(|row| rows.frames.push(row));
        let stacks = kept.stacks.values().cloned();
        stacks.for_each(|row| rows.stacks.push(row));
        rows
    }

    fn map(&mut self, map: MappedFile, rows: &mut SymbolRows) {
        rows.mappings.push(mapping(&map));
        if let Some(path) = readable_path(&map.path, map.pid) {
            self.unwinders.map(&map, &path);
        }
        if let Some(rules) = &mut self.rules {
            rules.forget(map.pid, map.start..map.end);
        }
        self.spaces.map(map);
    }

    fn frames_of(&mut self, stack: &RawStack, rows: &mut SymbolRows) -> Vec<u32> {
        let user = match &stack.user {
            UserStack::Walked(addresses) => addresses.clone(),
            UserStack::Memory(memory) => {
                let addresses = self.unwinders.unwind(stack.pid, memory);
                self.teach(stack, memory, &addresses);
                addresses
            }
        };
        let mut frames = Vec::with_capacity(stack.kernel.len() + user.len());
        for (depth, &address) in stack.kernel.iter().enumerate() {
            let frame = self.frame(KERNEL, None, call_site(address, depth), None, rows);
            // The recorder's own programs stand on top of what they interrupted.
            if !frames.is_empty() || !self.own_frames.contains(&frame) {
                frames.push(frame);
            }
        }
        // A walk by frame pointers that ran out ends with a zero.
        let user = user.into_iter().take_while(|&address| address != 0);
        for (depth, address) in user.enumerate() {
            let address = call_site(address, depth);
            let Some(map) = self.spaces.find(stack.pid, address, stack.ts).cloned() else {
                // Code without frame pointers leads the walk astray: what follows an address that
                // is no code is not to be believed.
                frames.push(self.frame(UNKNOWN, None, 0, None, rows));
                break;
            };
            let offset = address - map.start + map.offset;
            let path = readable_path(&map.path, stack.pid);
            frames.push(self.frame(&map.path, map.build_id, offset, path.as_deref(), rows));
        }
        frames
    }

    /// Answers the kernel side that has asked with a stack: with what is known of code, for where a walk was led
    /// astray there is another address each time.
    fn teach(&mut self, stack: &RawStack, memory: &StackMemory, addresses: &[u64]) {
        let is_code = |&(depth, &address): &(usize, &u64)| {
            let address = call_site(address, depth);
            self.spaces.find(stack.pid, address, stack.ts).is_some()
        };
        let code = addresses.iter().enumerate().take_while(is_code).count();
        let addresses = addresses.get(..code).unwrap_or_default();
        if let Some(rules) = &mut self.rules {
            for (address, rule) in self.unwinders.rules(stack.pid, addresses) {
                rules.teach(stack.pid, memory.program, address, rule);
            }
        }
    }

    fn frame(
        &mut self,
        module: &str,
        build_id: Option<String>,
        offset: u64,
        elf: Option<&Path>,
        rows: &mut SymbolRows,
    ) -> u32 {
        let key = (module.to_owned(), offset);
        if let Some(&id) = self.frames.get(&key) {
            return id;
        }
        let chain = match (module, elf) {
            (KERNEL, _) => self.symbolize(&Source::from(Kernel::default()), Input::AbsAddr(offset)),
            (_, Some(path)) => {
                self.symbolize(&Source::from(Elf::new(path)), Input::FileOffset(offset))
            }
            _ => Vec::new(),
        };
        let id = self.frames.len() as u32 + 1;
        if module == KERNEL && chain.first().is_some_and(|symbol| is_own(&symbol.name)) {
            self.own_frames.insert(id);
        }
        let symbol = chain.into_iter().fold(None, |outer, symbol| {
            Some(self.intern(
                Symbol {
                    inlined_in: outer,
                    ..symbol
                },
                rows,
            ))
        });
        let row = Frame {
            id,
            module: module.to_owned(),
            build_id,
            offset,
            symbol,
        };
        if self.keep != Keep::Nothing {
            self.kept.frames.push(row.clone());
        }
        rows.frames.push(row);
        self.frames.insert(key, id);
        id
    }

    /// The function there with what was inlined into it, outermost first. A missing symbol is not
    /// an error: the frame keeps its module and offset.
    fn symbolize(&self, source: &Source<'_>, input: Input<u64>) -> Vec<Symbol> {
        match self.symbolizer.symbolize_single(source, input) {
            Ok(Symbolized::Sym(sym)) => inline_chain(&sym),
            _ => Vec::new(),
        }
    }

    fn intern(&mut self, symbol: Symbol, rows: &mut SymbolRows) -> u32 {
        let next = self.symbols.len() as u32 + 1;
        let id = *self.symbols.entry(symbol.clone()).or_insert(next);
        if id == next {
            let row = Symbol { id, ..symbol };
            if self.keep != Keep::Nothing {
                self.kept.symbols.push(row.clone());
            }
            rows.symbols.push(row);
        }
        id
    }
}

fn mapping(map: &MappedFile) -> Mapping {
    Mapping {
        ts: map.ts,
        pid: map.pid,
        start: map.start,
        end: map.end,
        offset: map.offset,
        path: map.path.clone(),
        build_id: map.build_id.clone(),
    }
}

/// For callers, the address behind the call instruction is known; the byte before is in the call.
fn call_site(address: u64, depth: usize) -> u64 {
    if depth == 0 {
        address
    } else {
        address.wrapping_sub(1)
    }
}

/// Whether a kernel function is part of how BPF programs are run at a tracepoint.
fn is_own(name: &str) -> bool {
    ["bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The function with what was inlined into it there, outermost first.
fn inline_chain(sym: &Sym<'_>) -> Vec<Symbol> {
    let symbol = |name: &str, code: Option<&CodeInfo<'_>>| Symbol {
        name: name.to_owned(),
        file: code.map(|code| code.to_path().to_string_lossy().into_owned()),
        line: code.and_then(|code| code.line),
        ..Symbol::default()
    };
    let mut chain = vec![symbol(&sym.name, sym.code_info.as_deref())];
    chain.extend(
        sym.inlined
            .iter()
            .map(|inlined| symbol(&inlined.name, inlined.code_info.as_ref())),
    );
    chain
}

/// Where the recorder can read a file that `pid` has mapped: processes in a container have paths of
/// their own.
fn readable_path(path: &str, pid: u32) -> Option<PathBuf> {
    if !path.starts_with('/') {
        return None;
    }
    let here = PathBuf::from(path);
    if here.exists() {
        return Some(here);
    }
    let there = PathBuf::from(format!("/proc/{pid}/root{path}"));
    there.exists().then_some(there)
}

impl SymbolRows {
    /// The encoded members, in the order of the file.
    pub(crate) fn encode(
        self,
    ) -> Result<Vec<kindling_format::EncodedMember>, kindling_format::FormatError> {
        Ok(vec![
            Mapping::encode(self.mappings)?,
            Symbol::encode(self.symbols)?,
            Frame::encode(self.frames)?,
            Stack::encode(self.stacks)?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spaces::tests::mapped;

    #[test]
    fn a_child_has_the_mappings_of_its_parent() {
        let mut symbols = Symbols::new(Keep::Nothing, None);
        let fork = vec![(
            15,
            SpaceEvent::Fork {
                parent: 1,
                child: 2,
            },
        )];
        symbols.rows(Code {
            spaces: fork,
            mapped: vec![mapped(10, 0x1000, "before"), mapped(20, 0x3000, "after")],
            stacks: vec![],
            forgotten: vec![],
        });
        assert!(symbols.spaces.find(2, 0x1004, 30).is_some());
        assert!(symbols.spaces.find(2, 0x3004, 30).is_none());
    }

    #[test]
    fn processes_that_ended_long_ago_are_forgotten() {
        for (keep, most) in [(Keep::Also, MOST_DEAD), (Keep::Only, MOST_DEAD_IN_WINDOW)] {
            let mut symbols = Symbols::new(keep, None);
            let pids = 1..=most as u32 + 10;
            let exits = pids.clone().map(|pid| (20, SpaceEvent::Exit { pid }));
            let maps = pids.map(|pid| MappedFile {
                pid,
                ..mapped(10, 0x1000, "gone")
            });
            symbols.rows(Code {
                spaces: exits.collect(),
                mapped: maps.collect(),
                stacks: vec![],
                forgotten: vec![],
            });
            let known = |pid| symbols.spaces.find(pid, 0x1004, 15).is_some();
            assert_eq!((known(10), known(11)), (false, true), "{keep:?}");
        }
    }

    #[test]
    fn a_stack_becomes_frames_that_mean_the_same_everywhere() {
        let mut symbols = Symbols::new(Keep::Nothing, None);
        let stack = RawStack {
            id: 1,
            is_shared: true,
            ts: 30,
            pid: 1,
            kernel: vec![],
            user: UserStack::Walked(vec![0x1008, 0x1010, 0x9]),
        };
        let rows = symbols.rows(Code {
            spaces: vec![],
            mapped: vec![mapped(10, 0x1000, "/no/such/file")],
            stacks: vec![stack],
            forgotten: vec![],
        });
        assert_eq!(
            (rows.stacks.len(), rows.frames.len(), rows.symbols.len()),
            (1, 3, 0)
        );
        assert!(
            symbols
                .frames
                .contains_key(&("/no/such/file".to_owned(), 0x2008))
        );
        assert!(
            symbols
                .frames
                .contains_key(&("/no/such/file".to_owned(), 0x200f))
        );
        assert!(symbols.frames.contains_key(&(UNKNOWN.to_owned(), 0)));
    }
}
