//! Building a ground-truth program, recording it, and looking at the capture.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output},
};

use kindling_format::{Capture, schema::Table};
use serde_json::Value;
use tempfile::TempDir;

/// Leaves a test, with the reason, where the named sources cannot be recorded.
macro_rules! needs {
    ($($source:literal),+) => {
        if let Some(reason) = crate::support::missing(&[$($source),+]) {
            eprintln!("SKIPPED: live tests: {reason}");
            return;
        }
    };
}
pub(crate) use needs;

/// The recorder.
pub(crate) fn recorder() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kindling-record"))
}

/// The analyzer, which a build of the whole workspace puts beside the recorder.
pub(crate) fn analyzer() -> Option<Command> {
    let path = Path::new(env!("CARGO_BIN_EXE_kindling-record")).with_file_name("kindling-replay");
    path.exists().then(|| Command::new(path))
}

/// The analyzer's answer about a recording, from its JSON; `None`, and a line that says so, where the
/// analyzer was not built.
pub(crate) fn analyzed(recording: &Recording, command: &str, options: &[&str]) -> Option<Value> {
    let Some(mut analyzer) = analyzer() else {
        eprintln!("SKIPPED: {command}: kindling-replay was not built");
        return None;
    };
    let output = analyzer
        .arg(command)
        .arg(&recording.path)
        .args(["--format", "json"])
        .args(options)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    Some(report[command.replace('-', "_")].clone())
}

/// Why one of the sources is not available here, as the recorder itself says.
pub(crate) fn missing(sources: &[&str]) -> Option<String> {
    let output = recorder()
        .args(["doctor", "--format", "json"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("doctor's JSON: {error}\n{}", transcript(&output)));
    let rows = report["sources"]
        .as_array()
        .expect("doctor has a list of sources");
    sources.iter().find_map(|wanted| {
        let row = rows.iter().find(|row| row["name"] == **wanted);
        let row = row.unwrap_or_else(|| panic!("doctor does not know {wanted}: {report}"));
        let detail = row["detail"].as_str().unwrap_or_default();
        (row["available"] != true).then(|| format!("{wanted} cannot be recorded: {detail}"))
    })
}

/// A ground-truth program, compiled.
pub(crate) struct Program {
    _dir: TempDir,
    path: PathBuf,
}

impl Program {
    /// Compiles `tests/ground_truth/NAME.c`.
    pub(crate) fn compile(name: &str) -> Self {
        let options = [
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-O2",
            "-pthread",
        ];
        Self::compile_with("cc", &options, &format!("{name}.c"))
    }

    /// Compiles `tests/ground_truth/NAME.rs`.
    pub(crate) fn compile_rust(name: &str) -> Self {
        Self::compile_with("rustc", &["--edition", "2024", "-O"], &format!("{name}.rs"))
    }

    fn compile_with(compiler: &str, options: &[&str], source: &str) -> Self {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ground_truth");
        let source = sources.join(source);
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(source.file_stem().unwrap());
        let output = Command::new(compiler)
            .args(options)
            .arg("-o")
            .arg(&path)
            .arg(&source)
            .output()
            .unwrap_or_else(|error| panic!("{compiler}: {error}; scripts/setup.sh installs it"));
        assert!(output.status.success(), "{}", transcript(&output));
        Self { _dir: dir, path }
    }

    /// Builds `tests/ground_truth/NAME.go`; `None`, and a line that says so, where there is no Go.
    pub(crate) fn compile_go(name: &str, options: &[&str]) -> Option<Self> {
        if Command::new("go").arg("version").output().is_err() {
            eprintln!("SKIPPED: {name}.go: go is not installed (scripts/setup.sh)");
            return None;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ground_truth");
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(name);
        let output = Command::new("go")
            .arg("build")
            .args(options)
            .arg("-o")
            .arg(&path)
            .arg(source.join(name).with_extension("go"))
            .env("GO111MODULE", "off")
            .env("GOTOOLCHAIN", "local")
            .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", transcript(&output));
        Some(Self { _dir: dir, path })
    }

    /// The program without a recorder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Records one run of the program.
    pub(crate) fn record(&self, options: &[&str], args: &[&str]) -> Recording {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("capture.kndl");
        let mut command = recorder();
        command
            .arg("-o")
            .arg(&path)
            .args(options)
            .arg("--")
            .arg(&self.path)
            .args(args);
        let output = command.output().unwrap();
        // 3: recorded, but events were lost.
        assert!(
            matches!(output.status.code(), Some(0 | 3)),
            "{}",
            transcript(&output)
        );
        let truth = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("the program's JSON: {error}\n{}", transcript(&output)));
        let capture = Capture::open(&path).unwrap();
        assert!(capture.summary().is_some(), "the capture is finished");
        Recording {
            _dir: dir,
            path,
            capture,
            truth,
        }
    }
}

/// A recorder that runs beside what the test does.
pub(crate) struct Ongoing {
    dir: TempDir,
    child: Child,
}

impl Ongoing {
    /// Starts the recorder with these options.
    pub(crate) fn start(options: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let child = recorder()
            .arg("-o")
            .arg(dir.path().join("capture.kndl"))
            .args(options)
            .spawn()
            .unwrap();
        Self { dir, child }
    }

    /// Where the capture will be.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("capture.kndl")
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still records.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as Ctrl-C does, and with it the command that it has started.
    pub(crate) fn interrupt(self) -> Recording {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.finish()
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Recording {
        let status = self.child.wait().unwrap();
        assert!(matches!(status.code(), Some(0 | 3)), "{status}");
        let path = self.path();
        let capture = Capture::open(&path).unwrap();
        Recording {
            _dir: self.dir,
            path,
            capture,
            truth: Value::Null,
        }
    }
}

/// Records a program until it is known what these threads did at every moment from `from_ns` to `to_ns` of what
/// it says; `None`, and a line that says so, if that does not come about.
///
/// Some kernels do not report that a thread of the machine's init leaves a CPU, so once in a while nothing says
/// that the next thread came; on a busy machine that is more often.
pub(crate) fn record_until_known(
    program: &Program,
    args: &[&str],
    tids: impl Fn(&Value) -> Vec<&Value>,
) -> Option<Recording> {
    for _ in 0..6 {
        let recording = program.record(&[], args);
        recording.assert_complete();
        let threads = recording.in_window("threads", &[])?;
        let rows = threads["rows"].as_array().unwrap().iter();
        let tids = tids(&recording.truth);
        let mut ours = rows.filter(|row| tids.contains(&&row["tid"]));
        if ours.all(|row| row["unknown_ns"] == 0) {
            return Some(recording);
        }
    }
    eprintln!("SKIPPED: {args:?}: this kernel did not report all switches of these threads");
    None
}

/// A capture of one run, and what the program said it did.
pub(crate) struct Recording {
    _dir: TempDir,
    /// The capture's file.
    pub(crate) path: PathBuf,
    /// The capture.
    pub(crate) capture: Capture,
    /// What the program printed.
    pub(crate) truth: Value,
}

impl Recording {
    /// All rows of a table.
    pub(crate) fn rows<T: Table>(&self) -> Vec<T> {
        let segments = self.capture.segments();
        segments
            .flat_map(|segment| {
                self.capture
                    .read::<T>(segment)
                    .unwrap()
                    .iter()
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// A moment of the program's clock, as the analyzer's options name it.
    fn moment(&self, monotonic_ns: &Value) -> String {
        let start_ns = self.capture.header().start.monotonic_ns;
        format!("{}ns", number(monotonic_ns) - start_ns)
    }

    /// The analyzer's answer about the time from `from_ns` to `to_ns` of what the program says.
    pub(crate) fn in_window(&self, command: &str, options: &[&str]) -> Option<Value> {
        let [from, to] = ["from_ns", "to_ns"].map(|key| self.moment(&self.truth[key]));
        let window = ["--from", &from, "--to", &to];
        analyzed(self, command, &[&window[..], options].concat())
    }

    /// The capture from a moment of the program's clock on, as a capture of its own.
    pub(crate) fn cut_from(&self, monotonic_ns: i64) -> Option<Recording> {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("piece.kndl");
        let from = self.moment(&monotonic_ns.into());
        let mut analyzer = analyzer()?;
        let cut = analyzer.arg("cut").arg(&self.path).args(["--from", &from]);
        let output = cut.arg("-o").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", transcript(&output));
        Some(Recording {
            capture: Capture::open(&path).unwrap(),
            _dir: dir,
            path,
            truth: self.truth.clone(),
        })
    }

    /// How many events of a table did not arrive.
    pub(crate) fn lost(&self, table: &str) -> u64 {
        let summary = self.capture.summary().unwrap();
        summary.lost.get(table).copied().unwrap_or_default()
    }

    /// Fails if anything was lost: then counts cannot be compared one by one.
    pub(crate) fn assert_complete(&self) {
        let lost = &self.capture.summary().unwrap().lost;
        assert!(
            lost.values().all(|count| *count == 0),
            "events were lost: {lost:?}"
        );
    }
}

/// A number of the program's JSON.
pub(crate) fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("a number, not {value}"))
}

/// A number of the program's JSON that is an id.
pub(crate) fn id(value: &Value) -> u32 {
    number(value).try_into().unwrap()
}

/// What a command did, for a failed assertion.
pub(crate) fn transcript(output: &Output) -> String {
    format!(
        "{}\nstdout:\n{}\nstderr:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
