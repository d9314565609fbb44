//! How another process asks a flight recorder for a dump: a Unix socket in a directory that only its
//! owner can enter.
//!
//! The directory is `/run/kindling-record` for root, else `$XDG_RUNTIME_DIR/kindling-record`, else
//! `/tmp/kindling-record-UID`; the socket is `PID.sock`. A client sends the line `dump` and is answered
//! with one line of JSON when the file is written: `{"file": PATH}` or `{"error": TEXT}`.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::mpsc::{Sender, channel},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

/// How long a client may take for its line.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_BYTES: u64 = 64;

/// The file that was written, or why none was.
pub(crate) type Reply = std::result::Result<PathBuf, String>;

/// Somebody wants a dump.
pub(crate) struct Ask {
    pub(crate) reply: Sender<Reply>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    File(PathBuf),
    Error(String),
}

/// The socket; it goes when this is dropped.
pub(crate) struct ControlSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl ControlSocket {
    /// Opens the socket of this process.
    ///
    /// # Errors
    /// If the directory is not private, or the socket cannot be made.
    pub(crate) fn open() -> Result<Self> {
        Self::open_in(&directory())
    }

    fn open_in(directory: &Path) -> Result<Self> {
        make_private(directory)?;
        let path = directory.join(format!("{}.sock", std::process::id()));
        // One of an earlier process with this number.
        let _ = fs::remove_file(&path);
        let in_place = || format!("cannot make {}", path.display());
        let listener = UnixListener::bind(&path).with_context(in_place)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).with_context(in_place)?;
        Ok(Self { path, listener })
    }

    /// Takes in what clients ask, one after another, on a thread of its own.
    ///
    /// # Errors
    /// If there are no more descriptors.
    pub(crate) fn serve(&self, asks: Sender<Ask>) -> Result<()> {
        let listener = self.listener.try_clone()?;
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that does not keep to the rules gets no answer.
                let _ = answer(&client, &asks);
            }
        });
        Ok(())
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // With --user it may not be ours any more; whoever asks next clears it away.
        let _ = fs::remove_file(&self.path);
    }
}

fn answer(client: &UnixStream, asks: &Sender<Ask>) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(client.take(MOST_BYTES)).read_line(&mut line)?;
    let answer = match line.trim_end() {
        "dump" => {
            let (reply, answered) = channel();
            let asked = asks.send(Ask { reply }).map_err(|_| ());
            let written = asked.and_then(|()| answered.recv().map_err(|_| ()));
            written.unwrap_or_else(|()| Err("the recording has ended".to_owned()))
        }
        other => Err(format!("`{other}` is not a request: dump")),
    };
    let answer = match answer {
        Ok(path) => Answer::File(path),
        Err(error) => Answer::Error(error),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    let mut client = client;
    client.write_all(&line)
}

/// Has the recorder `pid`, or the only one that there is, write a dump; its file.
///
/// # Errors
/// If there is none, there are several, or it cannot.
pub(crate) fn ask(pid: Option<u32>) -> Result<PathBuf> {
    let mut stream = match pid {
        Some(pid) => UnixStream::connect(directory().join(format!("{pid}.sock")))
            .with_context(|| format!("process {pid} is no recorder of yours with --flight"))?,
        None => only_one(&directory())?,
    };
    stream.write_all(b"dump\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(Answer::File(path)) => Ok(path),
        Ok(Answer::Error(error)) => Err(anyhow!(error)),
        Err(_) => bail!("the recorder ended without an answer"),
    }
}

/// The only recorder that listens. Sockets of those that were killed are cleared away.
fn only_one(directory: &Path) -> Result<UnixStream> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let pid = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u32>().ok());
        let Some(pid) = pid else { continue };
        match UnixStream::connect(&path) {
            Ok(stream) => found.push((pid, stream)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let _ = fs::remove_file(&path);
            }
            Err(_) => {}
        }
    }
    if found.len() > 1 {
        let mut pids: Vec<u32> = found.iter().map(|(pid, _)| *pid).collect();
        pids.sort_unstable();
        bail!("there are several recorders with --flight: name one with --pid, of {pids:?}");
    }
    let only = found.pop().map(|(_, stream)| stream);
    only.context("no recorder of yours runs with --flight")
}

fn directory() -> PathBuf {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return "/run/kindling-record".into();
    }
    let of_session = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match of_session {
        Some(dir) => Path::new(&dir).join("kindling-record"),
        None => format!("/tmp/kindling-record-{}", uid.as_raw()).into(),
    }
}

/// Makes a directory that only this user can enter; one that is there must be such a one.
fn make_private(directory: &Path) -> Result<()> {
    let in_place = || format!("cannot make {}", directory.display());
    let made = fs::DirBuilder::new().mode(0o700).create(directory);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(in_place);
        }
        _ => {}
    }
    let found = fs::symlink_metadata(directory).with_context(in_place)?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !is_ours || found.mode() & 0o077 != 0 {
        bail!(
            "{} is not a directory that only you can enter: remove it, or chmod 700",
            directory.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (open, link) = (dir.path().join("open"), dir.path().join("link"));
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(ControlSocket::open_in(&open).is_err());
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(ControlSocket::open_in(&link).is_err());
    }

    #[test]
    fn clients_are_answered_and_the_socket_goes_with_the_recorder() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("private");
        assert!(only_one(&place).is_err());
        let socket = ControlSocket::open_in(&place).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&place), mode(&socket.path)), (0o700, 0o600));
        let (asks, asked) = channel();
        socket.serve(asks).unwrap();
        let recorder = std::thread::spawn(move || {
            let ask: Ask = asked.recv().unwrap();
            ask.reply.send(Ok("/x-0001.kndl".into())).unwrap();
        });
        let ask = |request: &[u8]| {
            let mut stream = only_one(&place).unwrap();
            stream.write_all(request).unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line
        };
        assert_eq!(
            ask(b"stop\n"),
            "{\"error\":\"`stop` is not a request: dump\"}\n"
        );
        assert_eq!(ask(b"dump\n"), "{\"file\":\"/x-0001.kndl\"}\n");
        recorder.join().unwrap();
        assert_eq!(ask(b"dump\n"), "{\"error\":\"the recording has ended\"}\n");
        drop(socket);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }
}
