//! DELTA_BINARY_PACKED: differences of neighbours, packed to the bits that 32 of them need.

use super::{column::Word, runs::varint};

const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;

/// Appends the values.
pub(super) fn pack<W: Word>(values: &[W], out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint((BLOCK / MINIBLOCK) as u64, out);
    varint(values.len() as u64, out);
    let Some((&first, rest)) = values.split_first() else {
        return varint(0, out);
    };
    varint(zigzag(first.difference(W::default())), out);
    let mut last = first;
    let mut deltas = [0; BLOCK];
    for block in rest.chunks(BLOCK) {
        for (delta, &value) in deltas.iter_mut().zip(block) {
            *delta = value.difference(last);
            last = value;
        }
        pack_block(&mut deltas[..block.len()], out);
    }
}

fn pack_block(deltas: &mut [i64], out: &mut Vec<u8>) {
    let least = deltas.iter().copied().min().unwrap_or(0);
    varint(zigzag(least), out);
    let widths = out.len();
    out.extend_from_slice(&[0; BLOCK / MINIBLOCK]);
    for (number, miniblock) in deltas.chunks(MINIBLOCK).enumerate() {
        let mut above = [0; MINIBLOCK];
        let mut all = 0;
        for (above, delta) in above.iter_mut().zip(miniblock) {
            *above = delta.wrapping_sub(least) as u64;
            all |= *above;
        }
        let width = width_of(all);
        out[widths + number] = width as u8;
        pack_bits(&above, width, out);
    }
}

/// The bits that numbers take whose bits are in `all`. Where the lowest are always 0, as in times that are
/// kept in steps, whole bytes are smaller in the end: zstd cannot see zeros that lie elsewhere in each.
fn width_of(all: u64) -> u32 {
    let width = u64::BITS - all.leading_zeros();
    match all.trailing_zeros() {
        0..3 => width,
        _ => width.next_multiple_of(u8::BITS),
    }
}

fn pack_bits(values: &[u64; MINIBLOCK], width: u32, out: &mut Vec<u8>) {
    let mut bits = 0u128;
    let mut count = 0;
    for &value in values {
        bits |= u128::from(value) << count;
        count += width;
        if count >= 64 {
            out.extend_from_slice(&(bits as u64).to_le_bytes());
            bits >>= 64;
            count -= 64;
        }
    }
    // 32 values of any width are whole words of 32 bits.
    out.extend_from_slice(&(bits as u64).to_le_bytes()[..count as usize / 8]);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}
