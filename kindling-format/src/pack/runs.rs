//! The hybrid of run lengths and packed values that dictionary indices and levels are written in.
//!
//! Indices are packed to whole bytes, though fewer bits would hold them: zstd sees a repeated sequence
//! of bytes wherever it begins, one of bits only every eighth time.

/// Shorter runs are packed as the values around them, for zstd.
const LONG_RUN: usize = 256;

/// Appends the width of the indices into a dictionary of `count` values, and the indices. No run of
/// the same index is longer than `longest_run`.
pub(super) fn indices(indices: &[u32], count: usize, longest_run: usize, out: &mut Vec<u8>) {
    let width_bytes = match count {
        0 | 1 => 0,
        2..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        0x1_0001..=0x100_0000 => 3,
        _ => 4,
    };
    out.push(width_bytes * 8);
    let width_bytes = usize::from(width_bytes);
    if longest_run < LONG_RUN.min(indices.len()) {
        return pack(indices, width_bytes, out);
    }
    let mut start = 0;
    let mut at = 0;
    while at < indices.len() {
        let len = run_len(&indices[at..]);
        // Packed values come in eights, unless they are the last.
        let packed = (at - start).next_multiple_of(8);
        let end = at + len;
        if end >= start + packed + LONG_RUN || (start == 0 && len == indices.len()) {
            pack(&indices[start..start + packed], width_bytes, out);
            repeat(indices[at], end - start - packed, width_bytes, out);
            start = end;
        }
        at = end;
    }
    pack(&indices[start..], width_bytes, out);
}

fn run_len(indices: &[u32]) -> usize {
    let first = indices.first();
    indices
        .iter()
        .position(|index| Some(index) != first)
        .unwrap_or(indices.len())
}

/// Appends `value` `count` times; it takes `width_bytes` bytes.
pub(super) fn repeat(value: u32, count: usize, width_bytes: usize, out: &mut Vec<u8>) {
    varint((count as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..width_bytes]);
}

/// Appends what is before `count` packed values.
pub(super) fn packed_header(count: usize, out: &mut Vec<u8>) {
    varint((count.div_ceil(8) as u64) << 1 | 1, out);
}

fn pack(indices: &[u32], width_bytes: usize, out: &mut Vec<u8>) {
    if indices.is_empty() {
        return;
    }
    packed_header(indices.len(), out);
    match width_bytes {
        1 => out.extend(indices.iter().map(|&index| index as u8)),
        2 => out.extend(
            indices
                .iter()
                .flat_map(|&index| (index as u16).to_le_bytes()),
        ),
        _ => {
            let bytes = indices.iter().map(|index| index.to_le_bytes());
            bytes.for_each(|bytes| out.extend_from_slice(&bytes[..width_bytes]));
        }
    }
    let missing = indices.len().next_multiple_of(8) - indices.len();
    out.resize(out.len() + missing * width_bytes, 0);
}

/// Appends a number as ULEB128.
pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
