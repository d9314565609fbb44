//! Where the capture goes: a file that only its owner can read, or the standard output.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, Result};
use rustix::{
    fs::{FallocateFlags, Mode, OFlags},
    io::Errno,
};

use crate::config::Destination;

/// An open destination.
pub(crate) enum Output {
    File(File),
    Stdout(io::Stdout),
}

impl Output {
    /// Opens the destination, readable by its owner only.
    ///
    /// The recorder may run as root in a directory that others can write. So a file that is in the
    /// way is removed and not written to, whoever has it open or has another link to it; and a
    /// symbolic link is refused. A device or a pipe is written to as it is.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(crate) fn open(destination: &Destination) -> Result<Self> {
        let Destination::File(path) = destination else {
            return Ok(Output::Stdout(io::stdout()));
        };
        let file = create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Output::File(file))
    }
}

/// Creates a file that is not there yet, readable by its owner only.
///
/// # Errors
/// If something is there, a symbolic link included, or it cannot be created.
pub(crate) fn create_new(path: &Path) -> io::Result<Output> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(Output::File(File::from(file)))
}

fn create(path: &Path) -> io::Result<File> {
    let kind = path.symlink_metadata().map(|metadata| metadata.file_type());
    let is_new = match kind {
        Ok(kind) if kind.is_symlink() => {
            return Err(io::Error::other(
                "it is a symbolic link; name the file itself",
            ));
        }
        Ok(kind) if kind.is_file() => {
            fs::remove_file(path)?;
            true
        }
        Ok(_) => false,
        Err(_) => true,
    };
    // Should somebody be quicker and put something in its place, this fails.
    let flags = match is_new {
        true => OFlags::CREATE | OFlags::EXCL,
        false => OFlags::empty(),
    };
    let flags = flags | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(File::from(file))
}

impl Output {
    /// Forces what was flushed to the disk. A pipe has none.
    ///
    /// # Errors
    /// What the disk reports.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            Output::File(file) if file.metadata()?.is_file() => file.sync_data(),
            _ => Ok(()),
        }
    }

    /// Keeps so many bytes behind the first `len` free for this file. [`Output::cut`] sets them free.
    ///
    /// # Errors
    /// If the disk does not have them. File systems that cannot keep any are none.
    pub(crate) fn reserve(&self, len: u64, bytes: u64) -> io::Result<()> {
        let Output::File(file) = self else {
            return Ok(());
        };
        match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, len, bytes) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(error.into()),
            // A device, a pipe, or a file system without preallocation.
            _ => Ok(()),
        }
    }

    /// Sets free what was kept behind the last byte that was written.
    ///
    /// # Errors
    /// What the disk reports.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        match self {
            Output::File(file) if file.metadata()?.is_file() => {
                let len = file.stream_position()?;
                file.set_len(len)
            }
            _ => Ok(()),
        }
    }

    /// Cuts off what is behind the first `len` bytes, and goes on from there. A pipe cannot take
    /// anything back.
    ///
    /// # Errors
    /// What the disk reports, or that it is none.
    pub(crate) fn cut(&mut self, len: u64) -> io::Result<()> {
        match self {
            Output::File(file) if !file.metadata()?.is_file() => Ok(()),
            Output::File(file) => {
                file.set_len(len)?;
                file.seek(SeekFrom::Start(len)).map(drop)
            }
            Output::Stdout(_) => Err(io::Error::other("a pipe cannot be cut")),
        }
    }
}

impl Destination {
    /// Where part `number` of a recording goes that is divided: `web.kndl` becomes
    /// `web.000000.kndl`.
    pub(crate) fn part(&self, number: u32) -> Self {
        self.with_mark(&format!(".{number:06}"))
    }

    /// Where dump `number` of a flight recorder goes: `web.kndl` becomes `web-0001.kndl`.
    pub(crate) fn dump(&self, number: u32) -> Self {
        self.with_mark(&format!("-{number:04}"))
    }

    fn with_mark(&self, mark: &str) -> Self {
        let Destination::File(path) = self else {
            return self.clone();
        };
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(mark);
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        Destination::File(path.with_file_name(name))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::File(file) => file.write(bytes),
            Output::Stdout(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::File(file) => file.flush(),
            Output::Stdout(stdout) => stdout.flush(),
        }
    }
}

/// Removes a capture in which nothing was recorded. A device or a pipe stays.
pub(crate) fn discard(destination: &Destination) {
    if let Destination::File(path) = destination
        && path
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_file())
    {
        // The error that led here is the one to report.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_capture_is_private_and_replaces_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.kndl");
        std::fs::write(&path, "old and longer").unwrap();
        let mut output = Output::open(&Destination::File(path.clone())).unwrap();
        output.write_all(b"new").unwrap();
        output.flush().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn another_link_to_the_file_that_was_there_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a.kndl"), dir.path().join("other"));
        fs::write(&other, "kept").unwrap();
        fs::hard_link(&other, &path).unwrap();
        Output::open(&Destination::File(path.clone())).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"kept");
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn parts_are_numbered_before_the_extension() {
        let part = |path: &str| match Destination::File(path.into()).part(7) {
            Destination::File(path) => path.display().to_string(),
            Destination::Stdout => String::new(),
        };
        assert_eq!(part("/tmp/web.kndl"), "/tmp/web.000007.kndl");
        assert_eq!(part("web"), "web.000007");
        assert_eq!(part("a.b/web.x.kndl"), "a.b/web.x.000007.kndl");
    }

    #[test]
    fn a_symbolic_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let error = Output::open(&Destination::File(link)).err().unwrap();
        assert!(format!("{error:#}").contains("symbolic link"));
        assert_eq!(std::fs::read(&target).unwrap(), b"kept");
    }
}
