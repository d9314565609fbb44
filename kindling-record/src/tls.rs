//! The TLS libraries of the target: found where they are mapped, or before, and probed once each.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use libbpf_rs::Link;
use procfs::process::Process;

use crate::{
    lives::SpaceEvent,
    mappings::{self, MappedFile},
    probes::Probes,
    target::Target,
    tls_library::{self, TlsFunction},
};

/// How long a mapping waits for its process to turn out to be one of the target: both come on
/// different ways.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often probes of processes that have ended are taken away.
const PRUNE_INTERVAL: Duration = Duration::from_secs(5);
/// What the dynamic linker knows of the system's libraries.
const LINKER_CACHE: &str = "/etc/ld.so.cache";
/// How the names of libraries begin that are worth a look before anything has mapped them.
const LIBRARIES: [&str; 2] = ["libssl.so", "libgnutls.so"];

/// Where a probe takes effect.
///
/// A breakpoint costs whoever runs into it, of the target or not; but what is in a file already is
/// also there for a process that starts, uses TLS and ends before anybody could look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// In every process that has the file mapped, now and later.
    File,
    /// In the processes of the target alone.
    Process,
}

/// A file whatever its path is: device and inode.
type FileId = (u64, u64);

/// The libraries that are probed; dropping it takes the probes away.
pub(crate) struct TlsProbes {
    scope: Scope,
    /// What was found in each file that was looked at.
    functions: HashMap<FileId, Vec<TlsFunction>>,
    /// By the process that they are in, if they are in one only.
    probed: HashMap<Option<u32>, HashSet<FileId>>,
    links: Vec<(Option<u32>, Vec<Link>)>,
    waiting: VecDeque<(Instant, u32, String)>,
    pruned: Instant,
}

impl TlsProbes {
    /// Probes what the target is going to use, before its first instruction.
    pub(crate) fn start(target: &Target, probes: &Probes<'_>) -> Self {
        let mut this = Self {
            scope: scope(target),
            functions: HashMap::new(),
            probed: HashMap::new(),
            links: Vec::new(),
            waiting: VecDeque::new(),
            pruned: Instant::now(),
        };
        if this.scope == Scope::File {
            let command = target.command().unwrap_or_default();
            for file in system_libraries().into_iter().chain(program(command)) {
                this.probe(probes, &file, None, &file);
            }
        }
        this
    }

    /// Probes what processes of the target have mapped: those that were found or forked since the last
    /// call, and by new mappings of any process.
    pub(crate) fn look(
        &mut self,
        probes: &Probes<'_>,
        newcomers: &[SpaceEvent],
        mapped: &[MappedFile],
        targets: &BTreeSet<u32>,
    ) {
        for event in newcomers {
            let pid = match event {
                SpaceEvent::Found { pid } => *pid,
                // What is in a file is in the child as well.
                SpaceEvent::Fork { child, .. } if self.scope == Scope::Process => *child,
                _ => continue,
            };
            for mapping in mappings::of_process(pid, 0) {
                self.probe_mapped(probes, pid, &mapping.path);
            }
        }
        let until = Instant::now() + PATIENCE;
        let new = mapped.iter().filter(|mapping| is_path(&mapping.path));
        self.waiting
            .extend(new.map(|mapping| (until, mapping.pid, mapping.path.clone())));
        for (until, pid, path) in std::mem::take(&mut self.waiting) {
            if targets.contains(&pid) {
                self.probe_mapped(probes, pid, &path);
            } else if Instant::now() < until {
                self.waiting.push_back((until, pid, path));
            }
        }
        self.prune();
    }

    fn probe_mapped(&mut self, probes: &Probes<'_>, pid: u32, path: &str) {
        if !is_path(path) {
            return;
        }
        // As the process sees it; it may be in a container, or gone.
        let seen = PathBuf::from(format!("/proc/{pid}/root{path}"));
        let within = (self.scope == Scope::Process).then_some(pid);
        let path = Path::new(path);
        if !self.probe(probes, &seen, within, path) && self.scope == Scope::File {
            self.probe(probes, path, None, path);
        }
    }

    /// Probes a file unless it was before; `false` if there is none.
    fn probe(&mut self, probes: &Probes<'_>, path: &Path, pid: Option<u32>, name: &Path) -> bool {
        let Ok(file) = fs::metadata(path).map(|file| (file.dev(), file.ino())) else {
            return false;
        };
        if !self.probed.entry(pid).or_default().insert(file) {
            return true;
        }
        let functions = self
            .functions
            .entry(file)
            .or_insert_with(|| tls_library::functions(path).unwrap_or_default());
        if functions.is_empty() {
            return true;
        }
        match probes.attach_tls(path, pid, functions) {
            Ok(links) => self.links.push((pid, links)),
            Err(missing) => {
                eprintln!(
                    "kindling-record: no plaintext of {}: {missing}",
                    name.display()
                );
            }
        }
        true
    }

    /// Forgets processes that have ended: their numbers may be given to others.
    fn prune(&mut self) {
        if self.scope == Scope::File || self.pruned.elapsed() < PRUNE_INTERVAL {
            return;
        }
        self.pruned = Instant::now();
        let lives = |pid: &Option<u32>| {
            pid.is_none_or(|pid| Path::new("/proc").join(pid.to_string()).exists())
        };
        self.probed.retain(|pid, _| lives(pid));
        let probed = &self.probed;
        self.links.retain(|(pid, _)| probed.contains_key(pid));
    }
}

/// Processes that were named and have no children are probed alone: whoever else uses the same
/// library pays nothing. All other targets can have processes that live for a moment only.
fn scope(target: &Target) -> Scope {
    let Some(chosen) = target.chosen() else {
        return Scope::File;
    };
    let is_alone = chosen.command.is_empty()
        && !chosen.is_open()
        && !chosen.pids.iter().any(|&pid| has_children(pid));
    match is_alone {
        true => Scope::Process,
        false => Scope::File,
    }
}

fn has_children(pid: u32) -> bool {
    let tasks = i32::try_from(pid)
        .ok()
        .and_then(|pid| Process::new(pid).ok()?.tasks().ok());
    let mut tasks = tasks.into_iter().flatten().flatten();
    tasks.any(|task| task.children().is_ok_and(|children| !children.is_empty()))
}

/// Whether a mapping has a path, not only the kernel's name for it.
fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && !["//anon", "/memfd:", "/dev/", "/SYSV"]
            .iter()
            .any(|name| path.starts_with(name))
}

/// The program of a command: OpenSSL may be linked into it.
fn program(command: &[String]) -> Option<PathBuf> {
    let name = Path::new(command.first()?);
    if name.components().count() > 1 {
        return Some(name.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).map(|place| place.join(name));
    places.find(|place| place.is_file())
}

/// The TLS libraries that the dynamic linker would load.
fn system_libraries() -> Vec<PathBuf> {
    libraries(&fs::read(LINKER_CACHE).unwrap_or_default())
}

/// The cache is made for mapping into memory; of its paths, which are zero-terminated, nothing but
/// the text is needed.
fn libraries(cache: &[u8]) -> Vec<PathBuf> {
    let paths = cache
        .split(|&byte| byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok());
    let is_library = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        path.starts_with('/') && LIBRARIES.iter().any(|library| name.starts_with(library))
    };
    paths.filter(is_library).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_knows_libraries_by_their_paths() {
        let cache = b"ld.so-1.7.0\0\x01\xff\0libssl.so.3\0/lib/libssl.so.3\0/lib/libssl3.so\0/opt/libgnutls.so.30";
        assert_eq!(
            libraries(cache),
            [
                Path::new("/lib/libssl.so.3"),
                Path::new("/opt/libgnutls.so.30")
            ]
        );
        assert!(libraries(b"").is_empty());
    }

    #[test]
    fn the_program_of_a_command_is_found_as_a_shell_does() {
        let found = |name: &str| program(&[name.to_owned()]);
        assert!(found("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(found("./here").as_deref(), Some(Path::new("./here")));
        assert!(found("no-such-program-anywhere").is_none());
        assert!(program(&[]).is_none());
    }

    #[test]
    fn names_of_the_kernel_are_no_paths() {
        assert!(is_path("/usr/lib/libssl.so.3"));
        assert!(!is_path("[vdso]") && !is_path("//anon") && !is_path("/memfd:x (deleted)"));
    }
}
