//! Files as byte slices: the one place of this crate that opens a file, and its one `unsafe`.

use std::{fs::File, io, ops::Range, path::Path, sync::Arc};

use bytes::Bytes;
use memmap2::Mmap;

/// The bytes of a file.
#[derive(Debug, Clone)]
pub struct FileBytes {
    /// All of them.
    pub bytes: Bytes,
    map: Option<Arc<Mmap>>,
}

/// Maps the file at `path` for reading.
///
/// A file that cannot be mapped (a pipe, a file system without mmap) is read into memory instead.
///
/// # Errors
/// What the operating system says when the file is opened or read.
pub fn open(path: &Path) -> io::Result<FileBytes> {
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
        if let Ok(map) = unsafe { Mmap::map(&file) } {
            let map = Arc::new(map);
            return Ok(FileBytes {
                bytes: Bytes::from_owner(Shared(map.clone())),
                map: Some(map),
            });
        }
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut &file, &mut bytes)?;
    Ok(Bytes::from(bytes).into())
}

impl FileBytes {
    /// Keeps the kernel from reading what lies around that what is read. Who asks for a part of a capture reads members
    /// here and there, and megabytes around each of them are all of the file.
    pub fn read_in_parts(self) -> Self {
        #[cfg(unix)]
        if let Some(map) = &self.map {
            // Where it is not done, more is read.
            let _ = map.advise(memmap2::Advice::Random);
        }
        self
    }

    /// Has the kernel begin to read these bytes, if it has not read them yet.
    pub fn read_ahead(&self, range: Range<usize>) {
        if let Some(map) = &self.map {
            // Where it is not done, the bytes are read when they are looked at.
            #[cfg(unix)]
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
            #[cfg(not(unix))]
            let _ = (map, range);
        }
    }
}

impl From<Bytes> for FileBytes {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, map: None }
    }
}

struct Shared(Arc<Mmap>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
