//! Who belongs to the target: by name, by cgroup and by container, now and later.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kindling_format::{
    schema::{Argument, Process, Syscall, Thread},
    syscalls,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Ongoing, Program, Recording, id, needs, transcript};

/// How often each run of a storm calls.
const CALLS: usize = 100;

fn nr(name: &str) -> u16 {
    syscalls::named(std::env::consts::ARCH, name).unwrap().nr
}

/// The processes of the target, with their names at the end.
fn targets(recording: &Recording) -> BTreeMap<u32, Process> {
    let rows = recording.rows::<Process>();
    let targets = rows.into_iter().filter(|row| row.target);
    targets.map(|row| (row.pid, row)).collect()
}

/// Runs a storm by a command; the process that it was.
fn storm(mut command: Command) -> u32 {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let truth: Value = serde_json::from_slice(&output.stdout).unwrap();
    id(&truth["pid"])
}

/// Runs storms as long as the recorder records, and returns those that ran wholly within: between
/// the first and the last of which anything was recorded.
fn storms(mut ongoing: Ongoing, run: impl Fn() -> u32) -> (Recording, Vec<u32>) {
    let mut pids = Vec::new();
    while ongoing.is_running() {
        pids.push(run());
    }
    let recording = ongoing.finish();
    let seen: BTreeSet<u32> = recording
        .rows::<Syscall>()
        .iter()
        .map(|row| row.pid)
        .collect();
    let first = pids.iter().position(|pid| seen.contains(pid));
    let last = pids.iter().rposition(|pid| seen.contains(pid));
    let within = match (first, last) {
        (Some(first), Some(last)) if first + 1 < last => pids[first + 1..last].to_vec(),
        _ => panic!("of {pids:?} only {seen:?} were recorded"),
    };
    (recording, within)
}

/// All calls of a storm, and how it was executed.
fn is_whole(calls: &[Syscall], arguments: &[Argument], pid: u32) -> bool {
    let of_pid = || calls.iter().filter(|row| row.pid == pid);
    let getppid = of_pid().filter(|row| row.nr == nr("getppid")).count();
    let exec = of_pid().find(|row| row.nr == nr("execve") && row.ret == Some(0));
    let path = exec.and_then(|exec| {
        let is_path = |row: &&Argument| (row.tid, row.ts) == (exec.tid, exec.ts);
        arguments.iter().find(is_path)
    });
    getppid == CALLS && path.is_some_and(|row| row.data.ends_with(b"storm"))
}

/// Every process is there from its exec on, but for as many as the capture says it missed.
fn assert_whole(recording: &Recording, pids: &[u32]) {
    let calls = recording.rows::<Syscall>();
    let arguments = recording.rows::<Argument>();
    let broken = pids
        .iter()
        .filter(|&&pid| !is_whole(&calls, &arguments, pid));
    let broken: Vec<_> = broken.collect();
    let lost = recording.lost("threads");
    assert!(
        broken.len() as u64 <= lost,
        "{broken:?} are not whole, {lost} lost"
    );
    assert!(
        broken.len() * 10 < pids.len(),
        "{broken:?} of {}",
        pids.len()
    );
}

#[test]
fn processes_join_by_their_name() {
    needs!("processes", "tasks", "syscalls");
    let program = Program::compile("storm");
    let other = program.path().with_file_name("other-storm");
    fs::copy(program.path(), &other).unwrap();
    let calls = CALLS.to_string();
    let run = |path: &Path| {
        let mut command = Command::new(path);
        command.arg(&calls);
        storm(command)
    };
    let ongoing = Ongoing::start(&["--comm", "storm", "--duration", "2s"]);
    let (recording, pids) = storms(ongoing, || {
        run(&other);
        run(program.path())
    });
    assert_eq!(recording.capture.header().options.comms, ["storm"]);
    assert_whole(&recording, &pids);
    let targets = targets(&recording);
    assert!(
        targets.values().all(|row| row.comm == "storm"),
        "{targets:?}"
    );
    let exe = program.path().to_str();
    // One that was found when recording began may have been gone when it was asked.
    let other = targets
        .values()
        .find(|row| row.exe.is_some() && row.exe.as_deref() != exe);
    assert_eq!(other, None);
}

#[test]
fn threads_and_children_of_a_process_that_joins_follow_it() {
    needs!("processes", "tasks", "syscalls");
    // A shell gets its name by exec; what it starts has other names.
    let dir = TempDir::new().unwrap();
    let shell = dir.path().join("kd-parent");
    fs::copy("/bin/sh", &shell).unwrap();
    let storm = Program::compile("storm");
    let mut ongoing = Ongoing::start(&["--comm", "kd-parent", "--duration", "2s"]);
    let script = format!("{} {CALLS}; exit 0", storm.path().display());
    while ongoing.is_running() {
        let output = Command::new(&shell).args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{}", transcript(&output));
    }
    let recording = ongoing.finish();
    let targets = targets(&recording);
    let parents = |pid: u32| targets.get(&pid).map(|row| row.comm.as_str());
    let children: Vec<_> = targets.values().filter(|row| row.comm == "storm").collect();
    assert!(!children.is_empty(), "{targets:?}");
    assert!(
        children
            .iter()
            .all(|row| parents(row.ppid) == Some("kd-parent"))
    );
}

/// A cgroup of the v2 hierarchy that goes away with the test.
struct Cgroup {
    /// The directory.
    dir: PathBuf,
    /// The path in the hierarchy.
    path: String,
}

impl Cgroup {
    /// Makes one, or says why it cannot be made.
    fn new(name: &str) -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
                (kind == "cgroup2").then_some(place)
            })
            .next()
            .ok_or("no cgroup v2 hierarchy is mounted")?;
        let path = format!("/{name}-{}", std::process::id());
        let dir = PathBuf::from(format!("{mount}{path}"));
        fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { dir, path })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.dir);
    }
}

/// A cgroup, or leaves the test with the reason.
macro_rules! cgroup {
    ($name:literal) => {
        match Cgroup::new($name) {
            Ok(cgroup) => cgroup,
            Err(reason) => {
                eprintln!("SKIPPED: targets by cgroup: {reason}");
                return;
            }
        }
    };
}

#[test]
fn processes_join_by_their_cgroup() {
    needs!("processes", "tasks", "syscalls", "cgroups");
    let cgroup = cgroup!("kindling-join");
    let below = cgroup.dir.join("below");
    fs::create_dir(&below).unwrap();
    let program = Program::compile("storm");
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec {} {CALLS}",
        below.display(),
        program.path().display()
    );
    let run = || {
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        storm(command)
    };
    let ongoing = Ongoing::start(&["--cgroup", &cgroup.path, "--duration", "2s"]);
    let (recording, pids) = storms(ongoing, run);
    fs::remove_dir(&below).unwrap();
    assert_whole(&recording, &pids);
    let inside = format!("{}/below", cgroup.path);
    let targets = targets(&recording);
    let elsewhere = |pid: &&u32| {
        let process = targets.get(pid);
        process.is_some_and(|row| row.cgroup.as_deref() != Some(&inside))
    };
    assert_eq!(pids.iter().find(elsewhere), None);
    assert!(
        targets
            .values()
            .all(|row| row.comm == "storm" || row.comm == "sh"),
        "{targets:?}"
    );
}

#[test]
fn all_threads_of_a_process_join_with_it() {
    needs!("processes", "tasks", "syscalls", "cgroups");
    let cgroup = cgroup!("kindling-crowd");
    let mut crowd = Command::new(Program::compile("crowd").path())
        .arg("7")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ongoing = Ongoing::start(&["--cgroup", &cgroup.path, "--duration", "2s"]);
    // The capture is made when everything is attached.
    while ongoing.is_running() && !ongoing.path().exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    fs::write(cgroup.dir.join("cgroup.procs"), crowd.id().to_string()).unwrap();
    let recording = ongoing.finish();
    drop(crowd.stdin.take());
    crowd.wait().unwrap();
    let getppid = nr("getppid");
    let calls = recording.rows::<Syscall>();
    let callers: BTreeSet<u32> = calls
        .iter()
        .filter(|row| row.pid == crowd.id() && row.nr == getppid)
        .map(|row| row.tid)
        .collect();
    assert_eq!(callers.len(), 7);
    let start = recording.capture.header().start.monotonic_ns;
    let found = recording.rows::<Thread>();
    let first = found
        .iter()
        .filter(|row| row.target)
        .map(|row| row.ts)
        .min();
    assert!(
        first.is_some_and(|ts| ts > start),
        "it joined while recording"
    );
}

/// A container of runc's over a root file system of one static busybox. No daemon.
struct Container {
    bundle: TempDir,
    id: String,
}

impl Container {
    fn new(id: &str, cgroup: Option<&str>, script: &str) -> Result<Self, String> {
        let bundle = TempDir::new().unwrap();
        let spec = Command::new("runc")
            .arg("spec")
            .current_dir(&bundle)
            .output();
        let spec = spec.map_err(|_| "no runc: scripts/setup.sh installs it")?;
        assert!(spec.status.success(), "{}", transcript(&spec));
        let bin = bundle.path().join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox"))
            .map_err(|_| "no busybox: scripts/setup.sh installs it")?;
        for applet in ["sh", "echo", "sleep"] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        let path = bundle.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/bin/sh", "-c", script]);
        if let Some(cgroup) = cgroup {
            config["linux"]["cgroupsPath"] = json!(cgroup);
        }
        fs::write(&path, config.to_string()).unwrap();
        let id = id.to_owned();
        Ok(Self { bundle, id })
    }

    /// Runs it to its end, or says why this machine cannot.
    fn run(&self) -> Result<(), String> {
        let output = Command::new("runc")
            .args(["run", &self.id])
            .current_dir(&self.bundle)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = format!("runc: {}", transcript(&output));
        output.status.success().then_some(()).ok_or(said)
    }

    /// Starts it and returns at once.
    fn start(&self) -> Result<(), String> {
        let status = Command::new("runc")
            .args(["run", "--detach", &self.id])
            .current_dir(&self.bundle)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        status
            .success()
            .then_some(())
            .ok_or(format!("runc: {status}"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("runc")
            .args(["delete", "--force", &self.id])
            .stderr(Stdio::null())
            .status();
    }
}

/// What a step gives, or leaves the test with the reason.
macro_rules! possible {
    ($step:expr) => {
        match $step {
            Ok(value) => value,
            Err(reason) => {
                eprintln!("SKIPPED: recording of containers: {reason}");
                return;
            }
        }
    };
}

#[test]
fn a_container_that_starts_in_a_recorded_cgroup_is_known_by_its_id() {
    needs!("processes", "tasks", "syscalls", "cgroups");
    let cgroup = cgroup!("kindling-pods");
    let id = format!("{:064x}", 0x1234_5678_9abc_u64);
    let pod = "2b5e3a3c-91d4-4f0e-8a53-0c2f6f1d7e11";
    let path = format!("{}/pod{pod}/crio-{id}", cgroup.path);
    let container = possible!(Container::new(
        "kindling-pods",
        Some(&path),
        "echo from inside; exec sleep 0.01"
    ));
    let mut ongoing = Ongoing::start(&["--cgroup", &cgroup.path, "--duration", "3s"]);
    let mut failed = None;
    while ongoing.is_running() && failed.is_none() {
        failed = container.run().err();
    }
    let recording = ongoing.finish();
    let _ = fs::remove_dir(cgroup.dir.join(format!("pod{pod}")));
    if let Some(reason) = failed {
        eprintln!("SKIPPED: recording of containers: {reason}");
        return;
    }
    let targets = targets(&recording);
    let sleeps: Vec<_> = targets.values().filter(|row| row.comm == "sleep").collect();
    assert!(!sleeps.is_empty(), "{targets:?}");
    let own_netns = fs::metadata("/proc/self/ns/net").unwrap();
    for row in sleeps {
        assert_eq!(row.container.as_deref(), Some(&id[..]));
        assert_eq!(row.container_runtime.as_deref(), Some("cri-o"));
        assert_eq!(row.pod_uid.as_deref(), Some(pod));
        // One that was found when recording began may have been gone when it was asked.
        assert!(
            row.argv.is_empty() || row.argv == ["sleep", "0.01"],
            "{row:?}"
        );
        let netns = u64::from(row.netns.unwrap());
        assert_ne!(netns, std::os::unix::fs::MetadataExt::ino(&own_netns));
    }
}

#[test]
fn a_running_container_is_recorded_by_its_name() {
    needs!("processes", "tasks", "syscalls", "cgroups");
    let name = format!("kindling-named-{}", std::process::id());
    let container = possible!(Container::new(&name, None, "while :; do sleep 0.02; done"));
    possible!(container.start());
    let recording = Ongoing::start(&["--container", &name, "--duration", "1s"]).finish();
    assert_eq!(recording.capture.header().options.target, "containers");
    assert_eq!(
        recording.capture.header().options.containers,
        [name.as_str()]
    );
    let targets = targets(&recording);
    assert!(targets.len() > 5, "a shell and its children: {targets:?}");
    for row in targets.values() {
        assert!(matches!(row.comm.as_str(), "sh" | "sleep"), "{row:?}");
        assert_eq!(row.container.as_deref(), Some(name.as_str()), "{row:?}");
        assert_eq!(row.container_runtime.as_deref(), Some("runc"), "{row:?}");
    }
}

#[test]
fn a_container_that_starts_later_is_recorded_by_its_name_each_time() {
    needs!("processes", "tasks", "syscalls", "cgroups");
    let name = format!("kindling-later-{}", std::process::id());
    let other = format!("kindling-other-{}", std::process::id());
    let script = "sleep 0.3; for i in 1 2 3 4 5; do sleep 0.02; done";
    let awaited = possible!(Container::new(&name, None, script));
    let not_named = possible!(Container::new(&other, None, script));
    let mut ongoing = Ongoing::start(&["--container", &name, "--duration", "6s"]);
    // The capture is made when everything is attached.
    while ongoing.is_running() && !ongoing.path().exists() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    for container in [&awaited, &not_named, &awaited] {
        possible!(container.run());
    }
    assert!(ongoing.is_running(), "it was over too early");
    let recording = ongoing.finish();
    let targets = targets(&recording);
    let of = |comm: &str| {
        let named = targets.values().filter(|row| row.comm == comm);
        named
            .filter(|row| row.container.as_deref() == Some(name.as_str()))
            .count()
    };
    assert_eq!(of("sh"), 2, "{targets:?}");
    assert!(of("sleep") >= 10, "{targets:?}");
    for row in targets.values() {
        assert_ne!(row.container.as_deref(), Some(other.as_str()), "{row:?}");
        assert!(
            row.container_runtime
                .as_deref()
                .is_none_or(|runtime| runtime == "runc")
        );
    }
    // How early it was found: with its program's exec or after.
    let calls = recording.rows::<Syscall>();
    let arguments = recording.rows::<Argument>();
    let execs = calls.iter().filter(|row| {
        let path = arguments
            .iter()
            .find(|path| (path.tid, path.ts) == (row.tid, row.ts));
        row.nr == nr("execve") && path.is_some_and(|path| path.data == b"/bin/sh")
    });
    eprintln!(
        "of 2 containers {} were there before their program",
        execs.count()
    );
}
