//! Where code is: symbols, frames and stacks.

use super::*;

table! {
    /// A function of a program, as symbolized by the recorder.
    Symbol, SymbolColumns, SymbolViews = "symbols",
    sort(id;), span |_r| None, pid |_r| None,
    {
        /// The symbol's id in this capture.
        id: u32, Delta;
        /// The function, demangled.
        name: String, Plain;
        /// Source file, if known.
        file: Option<String>, Dict;
        /// Line in the source file, if known.
        line: Option<u32>, Dict;
        /// The symbol of the function that this one was inlined into at this place.
        inlined_in: Option<u32>, Dict;
    }
}

table! {
    /// A code address, named so that it means the same in every process and on every machine.
    Frame, FrameColumns, FrameViews = "frames",
    sort(id;), span |_r| None, pid |_r| None,
    {
        /// The frame's id in this capture.
        id: u32, Delta;
        /// The file it is in; `[kernel]` for kernel code; `[unknown]` if no mapping was known.
        module: String, Dict;
        /// The module's GNU build-id in hexadecimal.
        build_id: Option<String>, Dict;
        /// Offset in the module's file; the address itself for kernel and unknown code.
        offset: u64, Plain;
        /// The innermost function there, if known.
        symbol: Option<u32>, Dict;
    }
}

table! {
    /// A call stack.
    Stack, StackColumns, StackViews = "stacks",
    sort(id;), span |_r| None, pid |_r| None,
    {
        /// The stack's id in this capture.
        id: u32, Delta;
        /// Frame ids, innermost first: kernel frames, then user frames.
        frames: Vec<u32>, Dict;
    }
}
