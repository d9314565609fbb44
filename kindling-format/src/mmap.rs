//! Files as byte slices: the one place of this crate that opens a file, and its one `unsafe`.

use std::{fs::File, io, path::Path};

use bytes::Bytes;

/// Maps the file at `path` for reading.
///
/// A file that cannot be mapped (a pipe, a file system without mmap) is read into memory instead.
///
/// # Errors
/// What the operating system says when the file is opened or read.
pub fn open(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a directory",
        ));
    }
    if metadata.is_file() && metadata.len() > 0 {
        // SAFETY: the map is only ever read as bytes, through `Bytes`. If another process cuts the
        // file while it is read, the kernel raises SIGBUS, as for every program that maps files; a
        // recorder only ever appends to a capture, so reading while it is written is safe.
        if let Ok(map) = unsafe { memmap2::Mmap::map(&file) } {
            return Ok(Bytes::from_owner(map));
        }
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut &file, &mut bytes)?;
    Ok(bytes.into())
}
