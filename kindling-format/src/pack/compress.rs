//! zstd frames, with one context a thread: making one asks the CPU for its features, which in a
//! virtual machine is an exit to the hypervisor each time.

use std::cell::RefCell;

use bytes::Bytes;
use parquet::{
    basic::ZstdLevel,
    errors::{ParquetError, Result},
};
use zstd::zstd_safe::{
    CCtx, CParameter, ErrorCode, InBuffer, OutBuffer, ResetDirective, compress_bound,
    get_error_name, zstd_sys::ZSTD_EndDirective,
};

thread_local! {
    static CONTEXT: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
}

/// What a block takes beyond its bytes.
const BLOCK_BYTES: usize = 16;

/// One frame of all parts, each of which begins a block of its own.
///
/// # Errors
/// What zstd says.
pub(super) fn frame(parts: &[&[u8]], level: ZstdLevel) -> Result<Bytes> {
    CONTEXT.with_borrow_mut(|context| packed(context, parts, level).map_err(refused))
}

fn packed(
    context: &mut CCtx<'static>,
    parts: &[&[u8]],
    level: ZstdLevel,
) -> std::result::Result<Bytes, ErrorCode> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut packed = vec![0; compress_bound(len) + BLOCK_BYTES * parts.len()];
    context.reset(ResetDirective::SessionOnly)?;
    context.set_parameter(CParameter::CompressionLevel(level.compression_level()))?;
    context.set_pledged_src_size(Some(len as u64))?;
    let mut out = OutBuffer::around(packed.as_mut_slice());
    let last = parts.len().saturating_sub(1);
    for (number, part) in parts.iter().enumerate() {
        let end = match number == last {
            true => ZSTD_EndDirective::ZSTD_e_end,
            false => ZSTD_EndDirective::ZSTD_e_flush,
        };
        let mut input = InBuffer::around(part);
        while context.compress_stream2(&mut out, &mut input, end)? > 0 {}
    }
    let len = out.pos();
    packed.truncate(len);
    Ok(packed.into())
}

fn refused(code: ErrorCode) -> ParquetError {
    ParquetError::General(format!("zstd: {}", get_error_name(code)))
}
