//! Which functions of a program or library give or take plaintext, and where in its file they are.

use std::{fs::File, io, path::Path};

use object::{Architecture, Object, ObjectSegment, ObjectSymbol, ReadCache};

use crate::go_program;

/// What a function does; `enum kd_tls_function` in `kindling.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Does {
    Read = 1,
    Write = 2,
    ReadCounted = 3,
    WriteCounted = 4,
    WriteFlagged = 5,
    Sendfile = 6,
    Handshake = 7,
    Free = 8,
    GoRead = 9,
    GoWrite = 10,
    GoHandshake = 11,
    GoClose = 12,
}

impl Does {
    /// Whether it is a method of Go's.
    pub(crate) fn is_go(self) -> bool {
        matches!(
            self,
            Self::GoRead | Self::GoWrite | Self::GoHandshake | Self::GoClose
        )
    }
}

/// The functions of OpenSSL 1.1 and 3 (and of the libraries that have its interface: LibreSSL,
/// BoringSSL), and of GnuTLS. Those that only look (`SSL_peek`) are not among them, because what they
/// give is read again.
const FUNCTIONS: [(&str, Does); 15] = [
    ("SSL_read", Does::Read),
    ("SSL_read_ex", Does::ReadCounted),
    ("SSL_write", Does::Write),
    ("SSL_write_ex", Does::WriteCounted),
    ("SSL_write_ex2", Does::WriteFlagged),
    ("SSL_sendfile", Does::Sendfile),
    ("SSL_accept", Does::Handshake),
    ("SSL_connect", Does::Handshake),
    ("SSL_do_handshake", Does::Handshake),
    ("SSL_free", Does::Free),
    ("gnutls_record_recv", Does::Read),
    ("gnutls_record_send", Does::Write),
    ("gnutls_record_send2", Does::Write),
    ("gnutls_handshake", Does::Handshake),
    ("gnutls_deinit", Does::Free),
];

/// The architecture whose registers the probes read.
const ARCHITECTURE: Architecture = Architecture::X86_64;

/// A function that is to be probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFunction {
    pub(crate) does: Does,
    /// Where it begins in the file.
    pub(crate) offset: usize,
    pub(crate) returns: Returns,
}

/// How it is seen that a function returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Returns {
    /// That is not looked at.
    Unseen,
    /// The kernel puts another return address on the stack.
    Anywhere,
    /// By the instructions at these places of the file.
    At(Vec<usize>),
}

/// The functions that a program or library has: from the symbols that it exports, else from those
/// that it keeps for debuggers, as a program that OpenSSL is linked into. None if it is no TLS
/// library, or of another architecture.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn functions(path: &Path) -> io::Result<Vec<TlsFunction>> {
    let cache = ReadCache::new(File::open(path)?);
    let Ok(file) = object::File::parse(&cache) else {
        return Ok(Vec::new());
    };
    if file.architecture() != ARCHITECTURE || !file.is_64() {
        return Ok(Vec::new());
    }
    let mut found = find(&file, file.dynamic_symbols());
    if found.is_empty() {
        found = find(&file, file.symbols());
    }
    found.extend(go_program::functions(&file));
    let moves = |function: &TlsFunction| {
        !matches!(
            function.does,
            Does::Handshake | Does::Free | Does::GoHandshake | Does::GoClose
        )
    };
    if !found.iter().any(moves) {
        found.clear();
    }
    Ok(found)
}

fn find<'data, S: ObjectSymbol<'data>>(
    file: &impl Object<'data>,
    symbols: impl Iterator<Item = S>,
) -> Vec<TlsFunction> {
    let function = |symbol: S| {
        let name = symbol.name().ok().filter(|_| symbol.is_definition())?;
        let (_, does) = FUNCTIONS.iter().find(|(known, _)| *known == name)?;
        let offset = file_offset(file, symbol.address())?;
        Some(TlsFunction {
            does: *does,
            offset,
            returns: match does {
                Does::Free => Returns::Unseen,
                _ => Returns::Anywhere,
            },
        })
    };
    symbols.filter_map(function).collect()
}

/// Where a program begins: a place that can be probed, and that nothing comes to again.
///
/// # Errors
/// If the file cannot be read, or is no program.
pub(crate) fn entry_point(path: &Path) -> io::Result<TlsFunction> {
    let cache = ReadCache::new(File::open(path)?);
    let file = object::File::parse(&cache).map_err(io::Error::other)?;
    let offset = file_offset(&file, file.entry());
    let offset = offset.ok_or_else(|| io::Error::other("the program has no entry point"))?;
    Ok(TlsFunction {
        does: Does::Handshake,
        offset,
        returns: Returns::Anywhere,
    })
}

/// Where in the file the code at an address is.
pub(crate) fn file_offset<'data>(file: &impl Object<'data>, address: u64) -> Option<usize> {
    let offset = file.segments().find_map(|segment| {
        let into = address.checked_sub(segment.address())?;
        let (start, size) = segment.file_range();
        (into < size).then(|| start.saturating_add(into))
    });
    usize::try_from(offset?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_tls_has_no_functions() {
        let myself = std::env::current_exe().unwrap();
        assert_eq!(functions(&myself).unwrap(), []);
        assert!(entry_point(&myself).unwrap().offset > 0);
    }

    #[test]
    fn what_is_no_program_has_no_functions() {
        let text = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(text.path(), "SSL_read").unwrap();
        assert_eq!(functions(text.path()).unwrap(), []);
        assert!(functions(Path::new("/no/such/file")).is_err());
    }
}
