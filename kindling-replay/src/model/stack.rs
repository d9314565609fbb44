//! Call stacks with names: `stacks`, `frames` and `symbols` put together.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    hash::{BuildHasher, RandomState},
};

use kindling_format::schema::{Frame, Stack, Symbol};

use crate::{context::Context, scan};

/// What a frame is called that the capture does not have.
pub const UNKNOWN: &str = "[unknown]";
/// The module of kernel code.
const KERNEL: &str = "[kernel]";
/// The most functions that one frame may be inlined from: a chain in a damaged capture may be a
/// ring.
const INLINE_LIMIT: usize = 64;

/// All call stacks of a capture.
#[derive(Debug, Default)]
pub struct Stacks {
    /// Where in `frames_of` the frames of each stack are, innermost first; by id. Stacks of other processes that
    /// run the same program often have the same.
    stacks: Vec<(u32, Span)>,
    frames_of: Vec<u32>,
    frames: BTreeMap<u32, Frame>,
    symbols: BTreeMap<u32, Symbol>,
}

/// Where the frames of a stack are: where they begin, and how many there are. The same for stacks that have the
/// same frames, as a rule.
pub type Span = (u32, u32);

/// What is known of frames, by their ids. The recorder numbers them from 1 on, so most are found by their place.
#[derive(Debug)]
pub struct FrameTable<T> {
    near: Vec<Option<T>>,
    far: HashMap<u32, T>,
    /// Where those begin that are far: a capture of others may have any numbers.
    limit: usize,
}

impl<T: Copy> FrameTable<T> {
    /// An empty table for so many frames.
    pub fn new(frames: usize) -> Self {
        Self {
            near: Vec::new(),
            far: HashMap::new(),
            limit: frames.saturating_mul(4),
        }
    }

    /// Keeps what is known of a frame.
    pub fn insert(&mut self, id: u32, value: T) {
        let at = id as usize;
        if at >= self.limit {
            self.far.insert(id, value);
            return;
        }
        if at >= self.near.len() {
            self.near.resize(at + 1, None);
        }
        self.near[at] = Some(value);
    }

    /// What is known of a frame.
    pub fn get(&self, id: u32) -> Option<T> {
        let near = self.near.get(id as usize).copied().flatten();
        near.or_else(|| self.far.get(&id).copied())
    }
}

/// The frames that stacks had while they were read, by a hash of them.
#[derive(Default)]
struct Known {
    spans: HashMap<u64, Span>,
    hasher: RandomState,
}

/// A function of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name, or where it is if the name is not known.
    pub name: String,
    /// Whether it is kernel code.
    pub kernel: bool,
    /// Whether it was inlined into the next one.
    pub inlined: bool,
}

impl Stacks {
    /// Reads the stacks of the whole capture.
    pub fn load(context: &Context) -> Self {
        let mut all = Self::default();
        let mut known = Known::default();
        let hasher = &known.hasher.clone();
        scan::segments(
            context,
            "reading stacks",
            |segment| {
                let rows = segment.rows::<Stack>();
                let stacks = rows.iter().map(|row| (hasher.hash_one(&*row.frames), row));
                let stacks: Vec<(u64, Stack)> = stacks.collect();
                let frames: Vec<Frame> = segment.rows().iter().collect();
                let symbols: Vec<Symbol> = segment.rows().iter().collect();
                (stacks, frames, symbols)
            },
            |(stacks, frames, symbols)| {
                for (hash, row) in stacks {
                    all.add(&mut known, hash, row.id, &row.frames);
                }
                all.frames
                    .extend(frames.into_iter().map(|row| (row.id, row)));
                all.symbols
                    .extend(symbols.into_iter().map(|row| (row.id, row)));
            },
        );
        all.settle();
        all
    }

    /// Adds a stack; what was added is found when it is settled.
    fn add(&mut self, known: &mut Known, hash: u64, id: u32, frames: &[u32]) {
        let before = known.spans.get(&hash).copied();
        let span = before.filter(|&span| self.frames_at(span) == frames);
        let span = span.unwrap_or_else(|| {
            // Beyond 16 GiB of them stacks have none.
            let span = [self.frames_of.len(), frames.len()].map(u32::try_from);
            let [Ok(start), Ok(count)] = span else {
                return (0, 0);
            };
            self.frames_of.extend_from_slice(frames);
            known.spans.insert(hash, (start, count));
            (start, count)
        });
        self.stacks.push((id, span));
    }

    /// Of several stacks with one id the last counts.
    fn settle(&mut self) {
        self.stacks.sort_by_key(|(id, _)| *id);
        self.stacks.dedup_by(|(id, span), (before, kept)| {
            let is_same = id == before;
            if is_same {
                *kept = *span;
            }
            is_same
        });
    }

    /// The frames of a stack, innermost first; empty if the capture does not have it. Several stacks can have
    /// the same.
    pub fn frames(&self, stack: u32) -> &[u32] {
        self.frames_at(self.span(stack))
    }

    /// Where the frames of a stack are; none are anywhere if the capture does not have it.
    pub fn span(&self, stack: u32) -> Span {
        let by_id = |(id, _): &(u32, Span)| *id;
        // Ids are given one after the other, so most stacks are where their number says.
        let first = self.stacks.first().map_or(0, by_id);
        let guess = stack.checked_sub(first).map(|at| at as usize);
        let guess = guess.filter(|&at| self.stacks.get(at).map(by_id) == Some(stack));
        let at = guess.or_else(|| self.stacks.binary_search_by_key(&stack, by_id).ok());
        let span = at.and_then(|at| self.stacks.get(at));
        span.map_or((0, 0), |(_, span)| *span)
    }

    /// The frames that are there.
    pub fn frames_at(&self, (start, count): Span) -> &[u32] {
        let start = start as usize;
        let frames = self.frames_of.get(start..start + count as usize);
        frames.unwrap_or_default()
    }

    /// What the stacks are, by id: `of_frame` is asked once for functions that frames have in common, innermost first,
    /// and `of_stack` for each stack, with what it said of those frames that it said something of.
    pub fn classify<S: Copy, T>(
        &self,
        of_frame: impl Fn(&[Function]) -> Option<S>,
        of_stack: impl Fn(&mut dyn Iterator<Item = S>) -> Option<T>,
    ) -> BTreeMap<u32, T> {
        let mut said = FrameTable::new(self.frames.len());
        for ids in self.frames_by_function() {
            let functions = ids.first().map(|&id| self.functions_of_frame(id));
            if let Some(sign) = functions.and_then(|functions| of_frame(&functions)) {
                ids.into_iter().for_each(|id| said.insert(id, sign));
            }
        }
        let stack = |(id, span): &(u32, Span)| {
            let frames = self.frames_at(*span);
            let class = of_stack(&mut frames.iter().filter_map(|&frame| said.get(frame)));
            Some((*id, class?))
        };
        self.stacks.iter().filter_map(stack).collect()
    }

    /// The functions of a stack, innermost first; empty if the capture does not have it.
    pub fn functions(&self, stack: u32) -> Vec<Function> {
        let frames = self.frames(stack).iter();
        frames
            .flat_map(|&frame| self.functions_of_frame(frame))
            .collect()
    }

    /// The functions of a stack as reports spell them, outermost first: kernel functions end with
    /// `_[k]`, inlined ones with `_[i]`.
    pub fn labels(&self, stack: u32) -> Vec<String> {
        let frames = self.frames(stack).iter().rev();
        frames
            .flat_map(|&frame| self.labels_of_frame(frame))
            .collect()
    }

    /// The ids of all frames; those together that have the same functions.
    pub fn frames_by_function(&self) -> Vec<Vec<u32>> {
        let mut named: BTreeMap<(u32, bool), Vec<u32>> = BTreeMap::new();
        let mut unnamed = Vec::new();
        for (&id, frame) in &self.frames {
            match frame.symbol {
                Some(symbol) => named
                    .entry((symbol, is_kernel(frame)))
                    .or_default()
                    .push(id),
                None => unnamed.push(vec![id]),
            }
        }
        // One whose symbol the capture does not have is called by its place.
        let (named, lost): (Vec<_>, Vec<_>) = named
            .into_iter()
            .partition(|((symbol, _), _)| self.symbols.contains_key(symbol));
        let lost = lost.into_iter().flat_map(|(_, ids)| ids).map(|id| vec![id]);
        let named = named.into_iter().map(|(_, ids)| ids);
        named.chain(lost).chain(unnamed).collect()
    }

    /// The same for a frame: several functions if some were inlined there, [`UNKNOWN`] if the capture does not have
    /// it.
    pub fn labels_of_frame(&self, frame: u32) -> Vec<String> {
        let functions = self.functions_of_frame(frame);
        let label = |function: &Function| {
            let suffix = match (function.kernel, function.inlined) {
                (true, _) => "_[k]",
                (false, true) => "_[i]",
                (false, false) => "",
            };
            format!("{}{suffix}", function.name)
        };
        functions.iter().rev().map(label).collect()
    }

    fn functions_of_frame(&self, id: u32) -> Vec<Function> {
        let Some(frame) = self.frames.get(&id) else {
            return vec![Function {
                name: UNKNOWN.into(),
                kernel: false,
                inlined: false,
            }];
        };
        let kernel = is_kernel(frame);
        let mut functions = Vec::new();
        let mut symbol = frame.symbol.and_then(|id| self.symbols.get(&id));
        while let Some(row) = symbol
            && functions.len() < INLINE_LIMIT
        {
            let outer = row.inlined_in.and_then(|id| self.symbols.get(&id));
            functions.push(Function {
                name: row.name.clone(),
                kernel,
                inlined: outer.is_some(),
            });
            symbol = outer;
        }
        if functions.is_empty() {
            functions.push(Function {
                name: place(frame),
                kernel,
                inlined: false,
            });
        }
        functions
    }
}

fn is_kernel(frame: &Frame) -> bool {
    frame.module == KERNEL
}

/// Where an unnamed frame is: `[libc.so.6+0x1234]`.
fn place(frame: &Frame) -> String {
    let module = frame.module.trim_start_matches('[').trim_end_matches(']');
    let module = module.rsplit('/').next().unwrap_or(module);
    let mut place = format!("[{module}");
    // The address of unknown code means nothing outside of its process.
    if module != "unknown" {
        let _ = write!(place, "+{:#x}", frame.offset);
    }
    place.push(']');
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inlined_functions_are_spelled_out_and_rings_end() {
        let symbol = |id, name: &str, inlined_in| Symbol {
            id,
            name: name.into(),
            inlined_in,
            ..Symbol::default()
        };
        let frame = |id, module: &str, symbol| Frame {
            id,
            module: module.into(),
            offset: 0x10,
            symbol,
            ..Frame::default()
        };
        let rows = [
            symbol(1, "inner", Some(2)),
            symbol(2, "outer", None),
            symbol(3, "ring", Some(3)),
        ];
        let frames = [
            frame(1, "/bin/a", Some(1)),
            frame(2, KERNEL, None),
            frame(3, "/lib/libc.so.6", None),
            frame(4, "[unknown]", None),
            frame(5, "/bin/a", Some(3)),
        ];
        let mut stacks = Stacks {
            frames: frames.into_iter().map(|row| (row.id, row)).collect(),
            symbols: rows.into_iter().map(|row| (row.id, row)).collect(),
            ..Stacks::default()
        };
        let mut known = Known::default();
        stacks.add(&mut known, 1, 2, &[5]);
        // Of one hash, but not the same.
        stacks.add(&mut known, 1, 1, &[2, 1, 3, 4, 99]);
        stacks.add(&mut known, 2, 3, &[5]);
        stacks.add(&mut known, 2, 4, &[5]);
        stacks.settle();
        assert_eq!(stacks.frames(3), stacks.frames(2));
        assert_eq!(stacks.span(4), stacks.span(3));
        let names: Vec<_> = stacks.functions(1).into_iter().map(|f| f.name).collect();
        let expect = [
            "[kernel+0x10]",
            "inner",
            "outer",
            "[libc.so.6+0x10]",
            "[unknown]",
            "[unknown]",
        ];
        assert_eq!(names, expect);
        assert_eq!(stacks.functions(2).len(), INLINE_LIMIT);
        assert!(stacks.functions(77).is_empty());
        let mut together = stacks.frames_by_function();
        together.sort();
        assert_eq!(together, [vec![1], vec![2], vec![3], vec![4], vec![5]]);
        for (id, symbol) in [(6, 1), (7, 9), (8, 9)] {
            stacks.frames.insert(id, frame(id, "/bin/b", Some(symbol)));
        }
        let together = stacks.frames_by_function();
        assert!(together.contains(&vec![1, 6]) && together.contains(&vec![7]));
        let long = |functions: &[Function]| (functions.len() > 1).then_some(functions.len());
        let first = stacks.classify(long, |lengths| lengths.next());
        let rings = [2, 3, 4].map(|id| (id, INLINE_LIMIT));
        assert_eq!(
            first,
            BTreeMap::from_iter(rings.into_iter().chain([(1, 2)]))
        );
    }

    #[test]
    fn a_table_takes_frames_of_any_number() {
        let mut table = FrameTable::new(2);
        for id in [0, 7, 8, u32::MAX] {
            assert_eq!(table.get(id), None);
            table.insert(id, id);
            assert_eq!(table.get(id), Some(id));
        }
        assert_eq!((table.near.len(), table.get(3)), (8, None));
    }
}
