//! Whom to record: a command, processes, names, cgroups, containers, or everybody.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    cli::RecordArgs,
    containers::{Container, Containers},
};

/// What to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Every process but the recorder.
    All,
    /// All that one of these names.
    Chosen(Chosen),
}

/// The union of what was named; children of what it takes in belong to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// A command that the recorder starts; empty for none.
    pub(crate) command: Vec<String>,
    /// Processes that run already.
    pub(crate) pids: BTreeSet<u32>,
    /// Names of processes, now and later.
    pub(crate) comms: Vec<String>,
    /// Cgroups as they were typed.
    pub(crate) cgroups: Vec<PathBuf>,
    /// Containers as they were typed.
    pub(crate) containers: Vec<String>,
    /// The ids of the cgroups, those of the containers included.
    pub(crate) cgroup_ids: BTreeSet<u64>,
    /// Containers that do not run yet, as they were typed.
    pub(crate) awaited: Vec<String>,
    /// Whether containers that start later are found: by their cgroups, in the v2 hierarchy.
    pub(crate) follows_containers: bool,
    /// Processes of containers that have no cgroup of their own in the v2 hierarchy.
    pub(crate) container_pids: BTreeSet<u32>,
}

/// A target that cannot be recorded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TargetError {
    #[error(
        "nothing to record: name a command after --, or --pid, --comm, --cgroup, --container or --all"
    )]
    Nothing,
    #[error("there is no process {0}: see ps")]
    NoProcess(u32),
    #[error(
        "there is no cgroup {0} in the cgroup v2 hierarchy{1}: see /proc/PID/cgroup, the line `0::`"
    )]
    NoCgroup(String, String),
    #[error(
        "no running container has the name {0}, or an id that begins so; one that starts later would be found in the cgroup v2 hierarchy, which is not mounted here"
    )]
    NoContainer(String),
}

impl Target {
    /// Finds what was named.
    ///
    /// # Errors
    /// [`TargetError`] says what is not there.
    pub(crate) fn new(args: &RecordArgs) -> Result<Self, TargetError> {
        if args.all {
            return Ok(Target::All);
        }
        let mut chosen = Chosen {
            command: args.argv.clone(),
            pids: args.pid.iter().copied().collect(),
            comms: args.comm.clone(),
            cgroups: args.cgroup.clone(),
            containers: args.container.clone(),
            ..Chosen::default()
        };
        if chosen == Chosen::default() {
            return Err(TargetError::Nothing);
        }
        chosen.follows_containers = !chosen.containers.is_empty() && unified_mount().is_some();
        let gone = |pid: &&u32| !Path::new(&format!("/proc/{pid}")).exists();
        if let Some(&pid) = chosen.pids.iter().find(gone) {
            return Err(TargetError::NoProcess(pid));
        }
        for path in &args.cgroup {
            chosen.cgroup_ids.insert(cgroup_id(path)?);
        }
        for wanted in &args.container {
            chosen.find_container(wanted)?;
        }
        Ok(Target::Chosen(chosen))
    }

    pub(crate) fn is_all(&self) -> bool {
        *self == Target::All
    }

    /// What was named, if not everybody.
    pub(crate) fn chosen(&self) -> Option<&Chosen> {
        match self {
            Target::All => None,
            Target::Chosen(chosen) => Some(chosen),
        }
    }

    /// The command to start.
    pub(crate) fn command(&self) -> Option<&[String]> {
        let command = &self.chosen()?.command;
        (!command.is_empty()).then_some(command)
    }

    /// In a few words, for the capture's header.
    pub(crate) fn words(&self) -> String {
        let Some(chosen) = self.chosen() else {
            return "all".to_owned();
        };
        let kinds = [
            ("command", chosen.command.is_empty()),
            ("pids", chosen.pids.is_empty()),
            ("comms", chosen.comms.is_empty()),
            ("cgroups", chosen.cgroups.is_empty()),
            ("containers", chosen.containers.is_empty()),
        ];
        let named: Vec<_> = kinds
            .iter()
            .filter(|(_, is_empty)| !is_empty)
            .map(|(word, _)| *word)
            .collect();
        named.join(",")
    }
}

impl Chosen {
    /// Whether processes can join it that have nothing to do with those that are in it.
    pub(crate) fn is_open(&self) -> bool {
        !self.comms.is_empty() || !self.cgroup_ids.is_empty() || self.follows_containers
    }

    /// Whether the path of a cgroup is that of one of its containers, not of a cgroup in one.
    pub(crate) fn is_container(&self, path: &str) -> bool {
        let container = Containers::default().of_cgroup(path);
        container.is_some_and(|container| self.calls(&container))
            && container_root(path) == Path::new(path)
    }

    /// The cgroups of its containers that there are now, those that nothing is in yet included.
    pub(crate) fn container_cgroups(&self) -> BTreeSet<u64> {
        let mount = unified_mount().filter(|_| self.follows_containers);
        let Some(mount) = mount else {
            return BTreeSet::new();
        };
        let cgroups = directories_below(&mount).into_iter();
        let own = cgroups.filter(|dir| {
            let path = dir.strip_prefix(&mount).unwrap_or(dir);
            self.is_container(&format!("/{}", path.display()))
        });
        own.filter_map(|dir| Some(fs::metadata(dir).ok()?.ino()))
            .collect()
    }

    fn calls(&self, container: &Container) -> bool {
        let mut names = self.containers.iter();
        names.any(|name| container.is_called(name))
    }

    fn find_container(&mut self, wanted: &str) -> Result<(), TargetError> {
        let containers = Containers::default();
        let mut found = false;
        for (pid, text) in cgroups_of_processes() {
            if !containers
                .of_process(&text)
                .is_some_and(|container| container.is_called(wanted))
            {
                continue;
            }
            found = true;
            let own = unified_path(&text).filter(|path| {
                let container = containers.of_cgroup(path);
                container.is_some_and(|container| container.is_called(wanted))
            });
            match own.map(|path| cgroup_id(&container_root(path))) {
                Some(Ok(id)) => self.cgroup_ids.insert(id),
                _ => self.container_pids.insert(pid),
            };
        }
        match (found, self.follows_containers) {
            (true, _) => {}
            (false, true) => self.awaited.push(wanted.to_owned()),
            (false, false) => return Err(TargetError::NoContainer(wanted.to_owned())),
        }
        Ok(())
    }
}

/// The path of a process in the v2 hierarchy, from its `/proc/PID/cgroup`.
fn unified_path(cgroups: &str) -> Option<&str> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// A container's own cgroup: some have processes in cgroups below it, such as podman's `container`.
fn container_root(path: &str) -> PathBuf {
    let is_container = |path: &Path| {
        let text = path.to_string_lossy();
        Containers::default().of_cgroup(&text).is_some()
    };
    let above = Path::new(path).ancestors();
    above
        .take_while(|path| is_container(path))
        .last()
        .unwrap_or(Path::new(path))
        .to_owned()
}

fn cgroups_of_processes() -> impl Iterator<Item = (u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let text = fs::read_to_string(entry.path().join("cgroup")).ok()?;
        Some((pid, text))
    })
}

fn directories_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let dirs = entries.filter(is_dir).map(|entry| entry.path());
    dirs.flat_map(|dir| {
        let mut found = directories_below(&dir);
        found.push(dir);
        found
    })
    .collect()
}

/// The kernel's id of a cgroup (its inode number), by its path below the mount point of the v2
/// hierarchy, or from the root of the file system.
fn cgroup_id(path: &Path) -> Result<u64, TargetError> {
    let Some(mount) = unified_mount() else {
        let missing = " (which is not mounted here)".to_owned();
        return Err(TargetError::NoCgroup(path.display().to_string(), missing));
    };
    let below = path.strip_prefix("/").unwrap_or(path);
    let found = if path.starts_with(&mount) {
        fs::metadata(path)
    } else {
        fs::metadata(mount.join(below))
    };
    found.map(|found| found.ino()).map_err(|_| {
        let place = format!(" at {}", mount.display());
        TargetError::NoCgroup(path.display().to_string(), place)
    })
}

/// Where the cgroup v2 hierarchy is mounted.
fn unified_mount() -> Option<PathBuf> {
    let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
    let unified = mounts
        .into_iter()
        .find(|mount| mount.fs_type == "cgroup2")?;
    Some(unified.mount_point)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn target(args: &[&str]) -> Result<Target, TargetError> {
        let line = ["kindling-record", "-o", "x"].iter().chain(args);
        Target::new(&crate::cli::Cli::parse_from(line).record)
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert_eq!(target(&[]), Err(TargetError::Nothing));
        assert_eq!(
            target(&["--pid", "5000000"]),
            Err(TargetError::NoProcess(5_000_000))
        );
        assert!(matches!(
            target(&["--cgroup", "/no/such.slice"]),
            Err(TargetError::NoCgroup(path, _)) if path == "/no/such.slice"
        ));
    }

    #[test]
    fn a_container_that_is_not_there_is_awaited_where_it_can_be_found() {
        let name = "nobody-calls-one-so";
        match target(&["--container", name]) {
            Ok(target) => {
                assert!(unified_mount().is_some());
                let chosen = target.chosen().unwrap();
                assert_eq!(chosen.awaited, [name]);
                assert!(chosen.is_open());
                assert_eq!(chosen.container_cgroups(), BTreeSet::new());
            }
            Err(error) => {
                assert!(unified_mount().is_none());
                assert_eq!(error, TargetError::NoContainer(name.into()));
            }
        }
    }

    #[test]
    fn a_cgroup_in_a_container_is_not_its_own() {
        let id = "0123456789abcdef".repeat(4);
        let web = target(&["--container", &id[..12]]);
        let Ok(web) = web else { return };
        let chosen = web.chosen().unwrap();
        let own = format!("/machine.slice/libpod-{id}.scope");
        assert!(chosen.is_container(&own));
        assert!(!chosen.is_container(&format!("{own}/container")));
        assert!(!chosen.is_container("/machine.slice"));
    }

    #[test]
    fn several_targets_are_a_union() {
        let own = std::process::id().to_string();
        let both = target(&[
            "--pid",
            &own,
            "--comm",
            "redis-server,nginx",
            "--",
            "ls",
            "-l",
        ]);
        let both = both.unwrap();
        assert_eq!(both.words(), "command,pids,comms");
        assert_eq!(
            both.command(),
            Some(&["ls".to_owned(), "-l".to_owned()][..])
        );
        let chosen = both.chosen().unwrap();
        assert_eq!(chosen.comms, ["redis-server", "nginx"]);
        assert!(chosen.is_open());
        assert!(
            !target(&["--pid", &own])
                .unwrap()
                .chosen()
                .unwrap()
                .is_open()
        );
        assert_eq!(target(&["--all"]).unwrap().words(), "all");
    }

    #[test]
    fn the_line_of_the_unified_hierarchy_has_no_controllers() {
        assert_eq!(unified_path("4:memory:/a\n0::/b\n"), Some("/b"));
        assert_eq!(unified_path("4:memory:/a\n"), None);
    }
}
