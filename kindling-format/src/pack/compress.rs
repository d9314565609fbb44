//! zstd frames, with one context for all: making one asks the CPU for its features, which in a
//! virtual machine is an exit to the hypervisor each time.

use bytes::Bytes;
use parquet::{
    basic::ZstdLevel,
    errors::{ParquetError, Result},
};
use zstd::zstd_safe::{
    CCtx, CParameter, ErrorCode, InBuffer, OutBuffer, ResetDirective, compress_bound,
    get_error_name, zstd_sys::ZSTD_EndDirective,
};

/// What a block takes beyond its bytes.
const BLOCK_BYTES: usize = 16;

/// Makes frames.
pub(super) struct Compressor {
    context: CCtx<'static>,
    /// Where they are made.
    out: Vec<u8>,
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self {
            context: CCtx::create(),
            out: Vec::new(),
        }
    }

    /// One frame of all parts, each of which begins a block of its own.
    ///
    /// # Errors
    /// What zstd says.
    pub(super) fn frame(&mut self, parts: &[&[u8]], level: ZstdLevel) -> Result<Bytes> {
        self.pack(parts, level).map_err(refused)
    }

    fn pack(&mut self, parts: &[&[u8]], level: ZstdLevel) -> std::result::Result<Bytes, ErrorCode> {
        let Self { context, out } = self;
        let len: usize = parts.iter().map(|part| part.len()).sum();
        out.clear();
        out.reserve(compress_bound(len) + BLOCK_BYTES * parts.len());
        context.reset(ResetDirective::SessionOnly)?;
        context.set_parameter(CParameter::CompressionLevel(level.compression_level()))?;
        context.set_pledged_src_size(Some(len as u64))?;
        let mut frame = OutBuffer::around(out);
        let last = parts.len().saturating_sub(1);
        for (number, part) in parts.iter().enumerate() {
            let end = match number == last {
                true => ZSTD_EndDirective::ZSTD_e_end,
                false => ZSTD_EndDirective::ZSTD_e_flush,
            };
            let mut input = InBuffer::around(part);
            while context.compress_stream2(&mut frame, &mut input, end)? > 0 {}
        }
        Ok(Bytes::copy_from_slice(frame.as_slice()))
    }

    /// Gives memory back that only a large frame took.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        self.out.clear();
        self.out.shrink_to(bytes);
    }
}

fn refused(code: ErrorCode) -> ParquetError {
    ParquetError::General(format!("zstd: {}", get_error_name(code)))
}
