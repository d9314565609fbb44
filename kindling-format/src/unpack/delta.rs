//! DELTA_BINARY_PACKED: a first number, then differences in blocks of some widths.

use parquet::errors::Result;

use super::{damage, input::Input};

/// Differences that are unpacked at once; every miniblock is a multiple of this.
const AT_ONCE: usize = 32;
/// The longest block that is read here: any writer's default is below.
const LONGEST_BLOCK: u64 = 4096;

/// `count` numbers, each as `of` has it; `None` if their blocks are longer than usual.
///
/// # Errors
/// If there are not so many, or a width is beyond 64 bits.
pub(super) fn unpack<T>(
    input: &mut Input<'_>,
    count: usize,
    of: impl Fn(u64) -> T,
) -> Result<Option<Vec<T>>> {
    let cut = || damage("its differences are cut");
    let [block, miniblocks, total] = [0; 3].map(|_| input.varint());
    let first = input.varint().ok_or_else(cut)?;
    if total != Some(count as u64) {
        return Err(damage(format_args!(
            "{total:?} differences in {count} rows"
        )));
    }
    let miniblocks = miniblocks.filter(|&count| count > 0).unwrap_or(1);
    let block = block.unwrap_or(0);
    let miniblock = (block / miniblocks) as usize;
    if block > LONGEST_BLOCK || miniblock == 0 || !miniblock.is_multiple_of(AT_ONCE) {
        return Ok(None);
    }
    let mut values = Vec::with_capacity(count);
    let mut last = unzigzag(first);
    if count > 0 {
        values.push(of(last));
    }
    let mut above = [0; AT_ONCE];
    while values.len() < count {
        let least = unzigzag(input.varint().ok_or_else(cut)?);
        let widths = input.take(miniblocks as usize).ok_or_else(cut)?;
        for &width in widths {
            let missing = count - values.len();
            if missing == 0 {
                break;
            }
            let width = usize::from(width);
            if width > u64::BITS as usize {
                return Err(damage(format_args!("differences of {width} bits")));
            }
            let packed = input.take(miniblock * width / 8).ok_or_else(cut)?;
            for part in 0..missing.min(miniblock).div_ceil(AT_ONCE) {
                let bytes = AT_ONCE * width / 8;
                unpack_bits(&packed[part * bytes..][..bytes], width, &mut above);
                let missing = count - values.len();
                values.extend(above[..missing.min(AT_ONCE)].iter().map(|above| {
                    last = last.wrapping_add(least).wrapping_add(*above);
                    of(last)
                }));
            }
        }
    }
    Ok(Some(values))
}

/// Unpacks numbers of `width` bits, of which `packed` has exactly all.
fn unpack_bits(packed: &[u8], width: usize, out: &mut [u64; AT_ONCE]) {
    match width {
        0 => out.fill(0),
        8 => unpack_bytes::<1>(packed, out),
        16 => unpack_bytes::<2>(packed, out),
        24 => unpack_bytes::<3>(packed, out),
        32 => unpack_bytes::<4>(packed, out),
        _ => {
            // What a number may reach into beyond its own bits.
            let mut padded = [0; AT_ONCE * 8 + 16];
            padded[..packed.len()].copy_from_slice(packed);
            let mask = u64::MAX >> (u64::BITS as usize - width);
            for (number, value) in out.iter_mut().enumerate() {
                let bit = number * width;
                let around = padded[bit / 8..].first_chunk().copied().unwrap_or_default();
                *value = (u128::from_le_bytes(around) >> (bit % 8)) as u64 & mask;
            }
        }
    }
}

fn unpack_bytes<const BYTES: usize>(packed: &[u8], out: &mut [u64; AT_ONCE]) {
    for (value, packed) in out.iter_mut().zip(packed.as_chunks::<BYTES>().0) {
        let mut bytes = [0; 8];
        bytes[..BYTES].copy_from_slice(packed);
        *value = u64::from_le_bytes(bytes);
    }
}

fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}
