//! The flight recorder: what is in a dump, what makes it write one, and what it keeps in memory.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kindling_format::{
    Capture,
    header::Dump,
    schema::{File, Process, Syscall, Table},
    syscalls,
};
use tempfile::TempDir;

use crate::support::{Program, analyzer, needs, recorder, transcript};

/// Longer than anything here takes, even on a busy host.
const PATIENCE: Duration = Duration::from_secs(40);

/// A flight recorder that runs.
struct Flight {
    dir: TempDir,
    child: Child,
}

impl Flight {
    fn start(options: &[&str], command: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = recorder()
            .arg("-o")
            .arg(dir.path().join("x.kndl"))
            .args(options)
            .arg("--")
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { dir, child }
    }

    fn dump_path(&self, number: u32) -> PathBuf {
        self.dir.path().join(format!("x-{number:04}.kndl"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits until so many dumps are told to be written.
    fn wait_for_dumps(&self, count: usize) {
        wait(
            || self.log().matches(" MB to ").count() >= count,
            || self.log(),
        );
    }

    /// Waits for the end; the recorder's last words.
    fn finish(mut self) -> Ended {
        let status = self.child.wait().unwrap();
        let log = self.log();
        assert!(matches!(status.code(), Some(0 | 3)), "{status}: {log}");
        Ended { dir: self.dir, log }
    }

    fn interrupt(self) -> Ended {
        self.signal("INT");
        self.finish()
    }
}

struct Ended {
    dir: TempDir,
    log: String,
}

impl Ended {
    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "kndl")
            })
            .collect();
        files.sort();
        files
    }

    /// The reasons of the dumps, in their order. Each must be sound.
    fn dumps(&self) -> Vec<Dump> {
        self.files().iter().map(|path| sound_dump(path)).collect()
    }

    /// The only dump's reason.
    fn only(&self) -> Dump {
        let mut dumps = self.dumps();
        assert_eq!(dumps.len(), 1, "{}", self.log);
        dumps.remove(0)
    }
}

fn wait(mut is_so: impl FnMut() -> bool, say: impl Fn() -> String) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {}", say());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn rows<T: Table>(capture: &Capture) -> Vec<T> {
    let segments = capture.segments();
    segments
        .flat_map(|segment| {
            capture
                .read::<T>(segment)
                .unwrap()
                .iter()
                .collect::<Vec<_>>()
        })
        .collect()
}

fn sound_dump(path: &Path) -> Dump {
    if let Some(mut check) = analyzer() {
        let output = check.arg("check").arg(path).output().unwrap();
        assert!(output.status.success(), "{}", transcript(&output));
    }
    let capture = Capture::open(path).unwrap();
    assert!(
        capture.summary().is_some(),
        "{} is finished",
        path.display()
    );
    capture.header().dump.clone().expect("a dump has a reason")
}

fn number_of(call: &str) -> u16 {
    syscalls::named(std::env::consts::ARCH, call).unwrap().nr
}

/// When the program made each tick.
fn tick_times(file: &Path) -> Vec<i64> {
    let bytes = std::fs::read(file).unwrap();
    let times = bytes.chunks_exact(8);
    times
        .map(|time| i64::from_ne_bytes(time.try_into().unwrap()))
        .collect()
}

/// The ticks of a dump that its window has are those that the program made in it: the numbers, and
/// how many.
fn assert_ticks(capture: &Capture, times: &[i64]) -> (u64, u64) {
    let (start, end) = (
        capture.header().start.monotonic_ns,
        capture.summary().unwrap().end.monotonic_ns,
    );
    let calls = rows::<Syscall>(capture).into_iter();
    let ticks =
        calls.filter(|row| row.nr == number_of("pwrite64") && row.ts >= start && row.ts < end);
    let recorded: Vec<u64> = ticks.map(|row| row.arg3.unwrap() / 8).collect();
    // The program looks at its clock just before the call: at both ends one may be on either side.
    let made = (0..)
        .zip(times)
        .filter(|(_, ts)| (start..end).contains(*ts));
    let made: Vec<u64> = made.map(|(number, _)| number).collect();
    let (first, last) = (recorded[0], recorded[recorded.len() - 1]);
    assert!(
        recorded.is_sorted() && recorded.len() as u64 == last - first + 1,
        "{recorded:?}"
    );
    assert!(first.abs_diff(made[0]) <= 1, "{first} {made:?}");
    assert!(last.abs_diff(made[made.len() - 1]) <= 1, "{last} {made:?}");
    (first, last)
}

#[test]
fn a_dump_has_the_last_seconds_and_all_that_they_need() {
    needs!("syscalls", "processes", "tasks");
    let program = Program::compile("ticks");
    let place = TempDir::new().unwrap();
    let file = place.path().canonicalize().unwrap().join("numbers");
    let command = [
        program.path().to_str().unwrap(),
        file.to_str().unwrap(),
        "100000",
    ];
    let flight = Flight::start(&["--flight", "1s"], &command);
    let ticked = |count: u64| {
        wait(
            || file.metadata().is_ok_and(|file| file.len() >= 8 * count),
            || flight.log(),
        );
    };
    ticked(250);
    let pid = flight.child.id().to_string();
    let asked = recorder().args(["dump", "--pid", &pid]).output().unwrap();
    assert!(asked.status.success(), "{}", transcript(&asked));
    let first = flight.dump_path(1);
    assert_eq!(
        String::from_utf8(asked.stdout).unwrap().trim(),
        first.to_str().unwrap()
    );
    ticked(400);
    flight.signal("USR1");
    flight.wait_for_dumps(2);
    let (first, second) = (first, flight.dump_path(2));
    let times = tick_times(&file);
    let mut ends = Vec::new();
    for (path, trigger) in [(&first, "command"), (&second, "signal")] {
        assert_eq!(sound_dump(path).trigger, trigger);
        let capture = Capture::open(path).unwrap();
        let length_ns =
            capture.summary().unwrap().end.monotonic_ns - capture.header().start.monotonic_ns;
        assert!(
            (1_000_000_000..1_500_000_000).contains(&length_ns),
            "{length_ns}"
        );
        let (from, to) = assert_ticks(&capture, &times);
        assert!(from > 0, "the beginning is forgotten");
        ends.push(to);
        // What was opened and started long before.
        let files = rows::<File>(&capture);
        let is_it = |row: &&File| row.path.as_deref() == file.to_str();
        let id = files.iter().find(is_it).expect("the file has its path").id;
        let calls = rows::<Syscall>(&capture);
        let mut ticks = calls.iter().filter(|row| row.nr == number_of("pwrite64"));
        assert!(ticks.all(|row| row.file == Some(id)));
        let processes = rows::<Process>(&capture);
        assert!(
            processes
                .iter()
                .any(|row| row.target && row.argv.len() == 3)
        );
    }
    assert!(ends[1] > ends[0]);
    let private = std::os::unix::fs::PermissionsExt::mode(&first.metadata().unwrap().permissions());
    assert_eq!(private & 0o777, 0o600);
    let ended = flight.interrupt();
    assert_eq!(
        ended.files().len(),
        2,
        "the end alone writes nothing: {}",
        ended.log
    );
    let gone = recorder().args(["dump", "--pid", &pid]).output().unwrap();
    assert_eq!(gone.status.code(), Some(1), "{}", transcript(&gone));
}

#[test]
fn analyses_see_the_window_only() {
    needs!("syscalls", "processes");
    let Some(mut replay) = analyzer() else {
        eprintln!("SKIPPED: the analyzer is not built");
        return;
    };
    let script = "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2; done; kill -ABRT $$";
    let options = ["--flight", "1s", "--trigger", "crash", "--after", "0s"];
    let ended = Flight::start(&options, &["sh", "-c", script]).finish();
    assert_eq!(ended.only().trigger, "crash");
    let path = &ended.files()[0];
    let output = replay
        .args(["syscalls", "--format", "json"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds = report["syscalls"]["rows"]
        .as_array()
        .expect("a list of calls");
    let sleeps = kinds
        .iter()
        .find(|row| row["syscall"] == "clock_nanosleep")
        .unwrap();
    let calls = sleeps["calls"].as_u64().unwrap();
    assert!(
        (4..=6).contains(&calls),
        "{calls} sleeps of 0.2 s in one second"
    );
}

#[test]
fn a_dump_has_the_calls_that_threads_are_in() {
    needs!("syscalls", "tasks");
    let flight = Flight::start(&["--flight", "60s"], &["sh", "-c", "sleep 2; sleep 100"]);
    let pid = flight.child.id().to_string();
    // The sleeps that a dump has, finished or not.
    let sleeps = || {
        let asked = recorder().args(["dump", "--pid", &pid]).output().unwrap();
        if !asked.status.success() {
            return Vec::new();
        }
        let path = PathBuf::from(String::from_utf8(asked.stdout).unwrap().trim());
        sound_dump(&path);
        let mut calls = rows::<Syscall>(&Capture::open(&path).unwrap());
        calls.retain(|row| row.nr == number_of("clock_nanosleep"));
        calls.sort_by_key(|row| row.ts);
        calls
    };
    let mut first = Vec::new();
    let mut second = Vec::new();
    wait(
        || {
            first = sleeps();
            !first.is_empty()
        },
        || flight.log(),
    );
    wait(
        || {
            second = sleeps();
            second.len() > 1
        },
        || flight.log(),
    );
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].dur, first[0].ret), (None, None), "it goes on");
    // What was open then is told once, as it ended.
    assert_eq!((second[0].tid, second[0].ts), (first[0].tid, first[0].ts));
    assert!(second[0].dur.is_some_and(|dur| dur >= 2_000_000_000));
    assert_eq!(second[1].dur, None);
    assert_eq!(second.len(), 2);
    flight.interrupt();
}

#[test]
fn crashes_make_it_write() {
    needs!("processes");
    let options = ["--flight", "5s", "--trigger", "crash", "--after", "50ms"];
    let ended = Flight::start(&options, &["sh", "-c", "sleep 0.1; kill -SEGV $$"]).finish();
    let dump = ended.only();
    assert_eq!(dump.event, "killed by SIGSEGV");
    assert_eq!((dump.trigger.as_str(), dump.comm.as_str()), ("crash", "sh"));
    assert!(
        ended.log.contains("crash: killed by SIGSEGV in sh"),
        "{}",
        ended.log
    );
    let capture = Capture::open(&ended.files()[0]).unwrap();
    let processes = rows::<Process>(&capture);
    let dead = processes
        .iter()
        .find(|row| row.exit_status.is_some_and(|status| status & 0x7f == 11));
    assert_eq!(dead.map(|row| row.pid), dump.pid);

    let others = ["--flight", "5s", "--trigger", "crash:abrt,bus"];
    let ended = Flight::start(&others, &["sh", "-c", "kill -SEGV $$"]).finish();
    assert!(ended.files().is_empty());
    assert!(
        ended.log.contains("nothing asked for a dump"),
        "{}",
        ended.log
    );
}

#[test]
fn slow_calls_make_it_write() {
    needs!("syscalls");
    let slow_pipe = "(sleep 0.3; echo x) | cat";
    for (trigger, event) in [
        (
            "syscall:clock_nanosleep>200ms",
            Some("clock_nanosleep took 3"),
        ),
        ("syscall:read>200ms", Some("read of a pipe took ")),
        // Both are meant to wait.
        ("syscall>200ms", None),
    ] {
        let options = ["--flight", "5s", "--trigger", trigger, "--after", "0s"];
        let ended = Flight::start(&options, &["sh", "-c", slow_pipe]).finish();
        let Some(event) = event else {
            assert!(ended.files().is_empty(), "{}", ended.log);
            continue;
        };
        let dump = ended.only();
        assert!(dump.event.starts_with(event), "{dump:?}");
        assert!(dump.latency_ns.unwrap() > 200_000_000);
        // The call itself is in the dump.
        let capture = Capture::open(&ended.files()[0]).unwrap();
        let calls = rows::<Syscall>(&capture);
        let is_it = |row: &Syscall| Some(row.tid) == dump.tid && row.dur == dump.latency_ns;
        assert!(calls.iter().any(is_it), "{dump:?}");
    }
}

#[test]
fn triggers_are_limited_counted_and_old_dumps_go() {
    needs!("syscalls");
    let script = "for i in 1 2 3 4 5; do sleep 0.3; done";
    let base = [
        "--flight",
        "5s",
        "--trigger",
        "syscall:clock_nanosleep>200ms",
        "--after",
        "0s",
    ];
    let ended = Flight::start(&base, &["sh", "-c", script]).finish();
    ended.only();
    assert!(
        ended.log.contains("4 triggers without one of their own"),
        "{}",
        ended.log
    );

    let often = [&base[..], &["--dump-limit", "0s", "--keep", "2"]].concat();
    let ended = Flight::start(&often, &["sh", "-c", script]).finish();
    let names: Vec<_> = ended.files();
    let names: Vec<_> = names
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["x-0004.kndl", "x-0005.kndl"], "{}", ended.log);
    ended.dumps();
}

#[test]
fn a_file_that_is_there_is_never_overwritten() {
    needs!("syscalls");
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("y-0001.kndl"), "precious").unwrap();
    let output = recorder()
        .args(["--flight", "5s", "--trigger", "crash", "-o"])
        .arg(dir.path().join("y.kndl"))
        .args(["--", "sh", "-c", "kill -ABRT $$"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    assert_eq!(
        std::fs::read(dir.path().join("y-0001.kndl")).unwrap(),
        b"precious"
    );
    sound_dump(&dir.path().join("y-0002.kndl"));
}

const HTTP_SERVER: &str = r#"
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow": time.sleep(0.5)
        if self.path == "/never": time.sleep(3)
        self.send_response(500 if self.path == "/fail" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
for i in range(int(sys.argv[1])): server.handle_request()
"#;

fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

#[test]
fn slow_failed_and_missing_answers_of_http_make_it_write() {
    needs!("syscalls");
    if !has("python3") {
        eprintln!("SKIPPED: there is no python3");
        return;
    }
    let triggers = [
        "--trigger",
        "http>300ms",
        "--trigger",
        "http:5xx",
        "--trigger",
        "no-answer>1s",
    ];
    let options = [
        &["--flight", "10s", "--after", "0s", "--dump-limit", "0s"][..],
        &triggers,
    ]
    .concat();
    let mut flight = Flight::start(&options, &["python3", "-c", HTTP_SERVER, "4"]);
    let mut port = String::new();
    BufReader::new(flight.child.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    let get = |path: &str| {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{}", port.trim())).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    };
    get("/fine");
    for (number, path) in [(1, "/slow"), (2, "/fail"), (3, "/never")] {
        get(path);
        flight.wait_for_dumps(number);
    }
    let ended = flight.finish();
    let dumps = ended.dumps();
    let events: Vec<_> = dumps
        .iter()
        .map(|dump| (dump.trigger.as_str(), dump.event.as_str()))
        .collect();
    // The last request is answered after all, and slowly.
    assert_eq!(events.len(), 4, "{events:?}");
    for ((trigger, event), (wanted, start)) in events.iter().zip([
        (
            "http>300ms",
            "GET /slow was answered with status 200 after 5",
        ),
        ("http:5xx", "GET /fail was answered with status 500 after "),
        ("no-answer>1s", "GET /never has no answer after 1."),
        (
            "http>300ms",
            "GET /never was answered with status 200 after 3.",
        ),
    ]) {
        assert!(*trigger == wanted && event.starts_with(start), "{events:?}");
    }
    assert!(
        dumps.iter().all(|dump| dump.comm.starts_with("python")),
        "{dumps:?}"
    );
}

#[test]
fn an_error_of_redis_makes_it_write() {
    needs!("syscalls");
    if !has("redis-server") {
        eprintln!("SKIPPED: there is no redis-server");
        return;
    }
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let options = [
        "--flight",
        "10s",
        "--trigger",
        "redis:error",
        "--after",
        "0s",
    ];
    let port = free.to_string();
    let command = [
        "redis-server",
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
    ];
    let mut flight = Flight::start(&options, &command);
    // It is not to wait for a reader of what it prints.
    let mut printed = flight.child.stdout.take().unwrap();
    std::thread::spawn(move || std::io::copy(&mut printed, &mut std::io::sink()));
    let address = format!("127.0.0.1:{port}");
    wait(|| TcpStream::connect(&address).is_ok(), || flight.log());
    let mut stream = TcpStream::connect(&address).unwrap();
    let mut answer = [0; 5];
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    stream.read_exact(&mut answer).unwrap();
    stream.write_all(b"*1\r\n$5\r\nBOGUS\r\n").unwrap();
    stream.read_exact(&mut answer).unwrap();
    flight.wait_for_dumps(1);
    let dump = flight.interrupt().only();
    assert!(
        dump.event
            .starts_with("BOGUS was answered with ERR unknown command"),
        "{dump:?}"
    );
    assert_eq!(dump.comm, "redis-server");
}

const DNS: &str = r#"
import socket, sys, threading
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
def serve():
    query, peer = server.recvfrom(512)
    server.sendto(query[:2] + b"\x81\x82" + query[4:], peer)
thread = threading.Thread(target=serve)
thread.start()
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", 53))
client.send(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01")
client.recv(512)
thread.join()
"#;

#[test]
fn a_failure_of_dns_makes_it_write() {
    needs!("syscalls");
    if !has("python3") || std::net::UdpSocket::bind("127.0.0.1:53").is_err() {
        eprintln!("SKIPPED: there is no python3, or no port 53");
        return;
    }
    let options = [
        "--flight",
        "10s",
        "--trigger",
        "dns:servfail",
        "--after",
        "0s",
    ];
    let ended = Flight::start(&options, &["python3", "-c", DNS]).finish();
    let dump = ended.only();
    assert!(
        dump.event
            .starts_with("example.org was answered with servfail after "),
        "{dump:?}"
    );
}

/// Resident memory of a process, and its data alone.
fn rss_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

#[test]
fn memory_is_bounded_by_the_window() {
    needs!("syscalls");
    const WINDOW: u64 = 4 << 20;
    const SLACK: u64 = 48 << 20;
    let storm = "while :; do dd if=/dev/zero of=/dev/null bs=1 count=200000 2>/dev/null; done";
    let flight = Flight::start(&["--flight", "4M"], &["sh", "-c", storm]);
    let pid = flight.child.id().to_string();
    let try_dump = || {
        let asked = recorder().args(["dump", "--pid", &pid]).output().unwrap();
        let path = PathBuf::from(String::from_utf8(asked.stdout).unwrap().trim());
        asked.status.success().then(|| {
            sound_dump(&path);
            let capture = Capture::open(&path).unwrap();
            let start = capture.header().start.monotonic_ns;
            let rows = &capture.summary().unwrap().rows;
            let calls = rows.get("syscalls").copied().unwrap_or_default();
            (path.metadata().unwrap().len(), start, calls)
        })
    };
    let dump = || try_dump().unwrap_or_else(|| panic!("no dump: {}", flight.log()));
    let mut first = None;
    wait(
        || {
            first = try_dump();
            first.is_some()
        },
        || flight.log(),
    );
    let began = first.unwrap().1;
    // Until the window is full: then a dump begins later than the recording did.
    let mut last = dump();
    wait(
        || {
            last = dump();
            last.1 > began
        },
        || flight.log(),
    );
    let full = rss_bytes(flight.child.id());
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        last = dump();
        assert!(last.0 <= WINDOW + (1 << 20), "{last:?}");
        let now = rss_bytes(flight.child.id());
        // What waits to be encoded, and the allocator, come and go.
        assert!(now <= full + SLACK, "{full} grew to {now} bytes of memory");
    }
    let (size, _, calls) = last;
    let now = rss_bytes(flight.child.id());
    eprintln!("{calls} calls in {size} bytes; {full} bytes of memory, then {now}");
    flight.interrupt();
}

#[test]
fn what_cannot_be_is_a_usage_error() {
    for (args, words) in [
        (&["--flight", "5s", "--rotate", "5s"][..], "--rotate"),
        (&["--flight", "5s", "-o", "-"], "name them with -o FILE"),
        (&["--trigger", "crash"], "--flight"),
        (
            &["--flight", "5s", "--trigger", "fsync>1s"],
            "at column 1: `fsync` is not",
        ),
        (
            &["--flight", "5s", "--trigger", "http>1s", "--no-payload"],
            "leave out --no-payload",
        ),
        (&["--keep", "2"], "--rotate or --flight"),
    ] {
        let output = recorder().args(args).args(["--", "true"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
    }
}
