//! Call stacks with names: `stacks`, `frames` and `symbols` put together.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use kindling_format::schema::{Frame, Stack, Symbol};

use crate::{context::Context, model::by_id::ById, scan};

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
    /// The ids of all stacks, in order.
    ids: Vec<u32>,
    spans: ById<Span>,
    /// Frames of stacks, innermost first; of each segment those that no segment before had.
    parts: Vec<Vec<u32>>,
    frames: BTreeMap<u32, Frame>,
    symbols: BTreeMap<u32, Symbol>,
}

/// Where the frames of a stack are. The same for stacks that have the same frames: other processes that run the same
/// program often do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Span {
    part: u32,
    start: u32,
    count: u32,
}

/// Stacks while they are read.
#[derive(Default)]
struct Reader {
    /// With their ids, in the order in which they come.
    stacks: Vec<(u32, Span)>,
    parts: Vec<Vec<u32>>,
    /// By a hash of the frames.
    known: HashMap<u64, Span, ahash::RandomState>,
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
        let mut reader = Reader::default();
        let mut all = Self::default();
        let hasher = &ahash::RandomState::new();
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
                reader.add(&stacks);
                all.frames
                    .extend(frames.into_iter().map(|row| (row.id, row)));
                all.symbols
                    .extend(symbols.into_iter().map(|row| (row.id, row)));
            },
        );
        all.take(reader);
        all
    }

    /// Takes what was read; of several stacks with one id the last counts.
    fn take(&mut self, reader: Reader) {
        self.parts = reader.parts;
        self.spans = ById::new(reader.stacks.len());
        let stacks = reader.stacks.into_iter();
        let insert = |(id, span)| {
            self.spans.insert(id, span);
            id
        };
        self.ids = stacks.map(insert).collect();
        self.ids.sort_unstable();
        self.ids.dedup();
    }

    /// The frames of a stack, innermost first; empty if the capture does not have it. Several stacks can have
    /// the same.
    pub fn frames(&self, stack: u32) -> &[u32] {
        self.frames_at(self.span(stack))
    }

    /// Where the frames of a stack are; none are anywhere if the capture does not have it.
    pub fn span(&self, stack: u32) -> Span {
        self.spans.get(stack).unwrap_or_default()
    }

    /// The frames that are there.
    pub fn frames_at(&self, span: Span) -> &[u32] {
        frames_at(&self.parts, span)
    }

    /// What the stacks are, by id: `of_frame` is asked once for functions that frames have in common, innermost first,
    /// and `of_stack` for each stack, with what it said of those frames that it said something of.
    pub fn classify<S: Copy, T>(
        &self,
        of_frame: impl Fn(&[Function]) -> Option<S>,
        of_stack: impl Fn(&mut dyn Iterator<Item = S>) -> Option<T>,
    ) -> BTreeMap<u32, T> {
        let mut said = ById::new(self.frames.len());
        for ids in self.frames_by_function() {
            let functions = ids.first().map(|&id| self.functions_of_frame(id));
            if let Some(sign) = functions.and_then(|functions| of_frame(&functions)) {
                ids.into_iter().for_each(|id| said.insert(id, sign));
            }
        }
        let stack = |&id: &u32| {
            let frames = self.frames(id);
            let class = of_stack(&mut frames.iter().filter_map(|&frame| said.get(frame)));
            Some((id, class?))
        };
        self.ids.iter().filter_map(stack).collect()
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

impl Reader {
    /// Adds the stacks of a segment, each with a hash of its frames.
    fn add(&mut self, stacks: &[(u64, Stack)]) {
        let Ok(part) = u32::try_from(self.parts.len()) else {
            return;
        };
        // What is not known yet is counted first: all of it is a part of its own, in memory of its own.
        let is_new = |(hash, row): &&(u64, Stack)| {
            let span = self.known.get(hash);
            span.is_none_or(|&span| frames_at(&self.parts, span) != row.frames)
        };
        let new = stacks.iter().filter(is_new);
        let room = new.map(|(_, row)| row.frames.len()).sum();
        self.parts.push(Vec::with_capacity(room));
        for (hash, row) in stacks {
            let before = self.known.get(hash).copied();
            let before = before.filter(|&span| frames_at(&self.parts, span) == row.frames);
            let span = before.unwrap_or_else(|| self.keep(part, *hash, &row.frames));
            self.stacks.push((row.id, span));
        }
    }

    fn keep(&mut self, part: u32, hash: u64, frames: &[u32]) -> Span {
        let Some(kept) = self.parts.last_mut() else {
            return Span::default();
        };
        // A segment that has more than 16 GiB of them has none.
        let [Ok(start), Ok(count)] = [kept.len(), frames.len()].map(u32::try_from) else {
            return Span::default();
        };
        kept.extend_from_slice(frames);
        let span = Span { part, start, count };
        self.known.insert(hash, span);
        span
    }
}

fn frames_at(parts: &[Vec<u32>], span: Span) -> &[u32] {
    let start = span.start as usize;
    let part = parts.get(span.part as usize);
    let frames = part.and_then(|part| part.get(start..start + span.count as usize));
    frames.unwrap_or_default()
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
        let row = |hash, id, frames: &[u32]| {
            let frames = frames.to_vec();
            (hash, Stack { id, frames })
        };
        let mut reader = Reader::default();
        // Two of one hash that are not the same, then one with frames of the segment before.
        reader.add(&[
            row(1, 2, &[5]),
            row(1, 1, &[2, 1, 3, 4, 99]),
            row(2, 3, &[5]),
        ]);
        reader.add(&[row(2, 4, &[5])]);
        stacks.take(reader);
        let lengths: Vec<usize> = stacks.parts.iter().map(Vec::len).collect();
        assert_eq!(lengths, [7, 0]);
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
}
