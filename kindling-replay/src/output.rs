//! Where an answer goes: standard output, or a file that appears only when it is whole.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

/// The place that an answer is written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

impl Target {
    /// The target that `-o` names, checked against the capture that is read.
    ///
    /// # Errors
    /// If both are the same file.
    pub fn new(output: Option<&Path>, input: &Path) -> anyhow::Result<Self> {
        match output {
            None => Ok(Target::Stdout),
            Some(path) if path == Path::new("-") => Ok(Target::Stdout),
            Some(path) => {
                if let (Ok(a), Ok(b)) = (path.canonicalize(), input.canonicalize())
                    && a == b
                {
                    bail!(
                        "cannot write {}: it is the capture that is read",
                        path.display()
                    );
                }
                Ok(Target::File(path.to_owned()))
            }
        }
    }

    /// Writes what `fill` gives. A file is written beside its final name and renamed at the end,
    /// so that a failure leaves whatever was there before.
    ///
    /// # Errors
    /// Those of `fill`, and of the operating system with the file's name.
    pub fn write(
        &self,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Target::Stdout => {
                let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
                fill(&mut out)?;
                out.flush().context("cannot write to standard output")
            }
            Target::File(path) => {
                write_file(path, fill).with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }
}

fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut (dyn Write + Send)) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // A link keeps being a link, and what is no regular file (a FIFO, /dev/null) stays what it is.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        let file = File::options().write(true).open(&path)?;
        return fill_file(file, fill);
    }
    let Some(name) = path.file_name() else {
        bail!("the name has no file in it");
    };
    let mut partial_name = std::ffi::OsString::from(".");
    partial_name.push(name);
    partial_name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(partial_name);
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(&partial)?;
    let done = fill_file(file, fill).and_then(|()| Ok(fs::rename(&partial, &path)?));
    if done.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&partial);
    }
    done
}

fn fill_file(
    file: File,
    fill: impl FnOnce(&mut (dyn Write + Send)) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, file);
    fill(&mut out)?;
    out.flush()?;
    Ok(())
}

/// Whether an error says that the reader of our output went away, which is its right.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answer.txt");
        fs::write(&path, "old").unwrap();
        let target = Target::File(path.clone());
        let failed = target.write(|out| {
            out.write_all(b"half")?;
            bail!("no more")
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        target.write(|out| Ok(out.write_all(b"new")?)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_capture_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.kndl");
        fs::write(&path, "capture").unwrap();
        let detour = dir.path().join(".").join("a.kndl");
        assert!(Target::new(Some(&detour), &path).is_err());
        assert_eq!(
            Target::new(Some(Path::new("-")), &path).unwrap(),
            Target::Stdout
        );
    }
}
