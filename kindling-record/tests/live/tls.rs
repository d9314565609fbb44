//! Plaintext of TLS: of libraries whose calls are known to the byte, and of real servers and clients.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use kindling_format::{
    Capture,
    schema::{Direction, FileKind, Payload, Process, Tls},
};
use tempfile::TempDir;

use crate::{
    plaintext::{file, plaintexts, rpcs, streams},
    support::{Ongoing, Program, id, needs, recorder, transcript},
};

/// Leaves a test where a program that it runs is not installed.
macro_rules! needs_program {
    ($($program:literal),+) => {
        for program in [$($program),+] {
            if Command::new(program).arg("--version").output().is_err() {
                eprintln!("SKIPPED: TLS with {program}: it is not installed (scripts/setup.sh)");
                return;
            }
        }
    };
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ground_truth/tls.py");
/// What `tls.py` exchanges.
const SIZES: [usize; 4] = [1, 100, 5000, 8000];

fn block(number: usize) -> Vec<u8> {
    let size = SIZES[number % SIZES.len()];
    (0..size).map(|at| ((number + at) % 251) as u8).collect()
}

fn blocks() -> Vec<u8> {
    (0..SIZES.len()).flat_map(block).collect()
}

/// A key and a certificate.
fn certificate() -> TempDir {
    let dir = TempDir::new().unwrap();
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .current_dir(&dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    dir
}

/// A program that runs beside the recorder, until the value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One that talks in lines.
struct Talker {
    program: Running,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Talker {
    fn start(what: &str, argument: &str) -> Self {
        let mut child = Command::new("python3")
            .args([SCRIPT, what, argument])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self {
            program: Running(child),
            stdin,
            stdout,
        }
    }

    fn pid(&self) -> String {
        self.program.0.id().to_string()
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn say(&mut self) {
        self.stdin.write_all(b"\n").unwrap();
        self.stdin.flush().unwrap();
    }
}

/// An echo server of `tls.py` with its port.
fn server(certificate: &TempDir) -> (Talker, String) {
    let mut server = Talker::start("serve", certificate.path().to_str().unwrap());
    let port = server.hear();
    (server, port)
}

/// Starts recording a process, and waits until it has been found, and its libraries with it.
fn record(pid: &str) -> Ongoing {
    let options = ["--payload-bytes", "8191", "--flush", "50ms", "--pid", pid];
    let mut ongoing = Ongoing::start(&options);
    let has_rows = |path: &Path| Capture::open(path).is_ok_and(|it| it.segments().count() > 0);
    while ongoing.is_running() && !has_rows(&ongoing.path()) {
        sleep(Duration::from_millis(20));
    }
    ongoing
}

#[test]
fn every_call_that_moves_plaintext_is_one_row() {
    needs!("tls", "syscalls");
    let recording = Program::compile("tls").record(&["--payload-bytes", "4000"], &[]);
    recording.assert_complete();
    let pid = id(&recording.truth["pid"]);
    let mut rows = plaintexts(&recording);
    rows.sort_by_key(|row| (row.direction, row.offset));
    assert!(
        rows.iter()
            .all(|row| row.pid == pid && row.tls == Tls::Whole)
    );
    let socket = file(&recording, rows[0].file);
    assert_eq!(socket.kind, FileKind::Unix);
    assert!(rows.iter().all(|row| row.file == socket.id));
    let moved = |direction| {
        let rows = rows.iter().filter(move |row| row.direction == direction);
        rows.map(|row| (row.offset, row.size)).collect::<Vec<_>>()
    };
    assert_eq!(moved(Direction::Out), [(0, 10), (10, 20), (30, 8192)]);
    let received = moved(Direction::In);
    assert_eq!(received[..3], [(0, 4), (4, 6), (10, 20)]);
    // The rest comes in pieces of what the session keeps.
    assert_eq!(
        received[3..].iter().map(|(_, size)| size).sum::<u64>(),
        8192
    );
    let alphabet: Vec<u8> = (0..8192).map(|at| b'a' + (at % 26) as u8).collect();
    for row in rows.iter().filter(|row| row.direction == Direction::Out) {
        assert_eq!(row.data, alphabet[..row.size.min(4000) as usize]);
    }
    // The syscalls of the library are within its calls, and moved something else.
    let all = recording.rows::<Payload>();
    let first = rows
        .iter()
        .find(|row| row.direction == Direction::Out)
        .unwrap();
    let mut encrypted = all.iter().filter(|row| {
        row.tls == Tls::No
            && row.tid == first.tid
            && row.ts > first.ts
            && row.ts < first.ts + first.dur
    });
    assert_eq!(
        encrypted.next().unwrap().data,
        alphabet[..10]
            .iter()
            .map(|byte| byte ^ 0x55)
            .collect::<Vec<_>>()
    );
}

#[test]
fn plaintext_of_openssl_is_what_was_sent_at_both_ends() {
    needs!("tls", "syscalls");
    needs_program!("openssl", "python3");
    let certificate = certificate();
    // The server runs already, the client starts later.
    let (server, port) = server(&certificate);
    let options = [
        "--payload-bytes",
        "8191",
        "--pid",
        &server.pid(),
        "--",
        "python3",
        SCRIPT,
        "client",
        &port,
    ];
    let recording = Ongoing::start(&options).finish();
    recording.assert_complete();
    let streams = streams(&recording);
    assert_eq!(
        streams.len(),
        4,
        "two ends, two directions: {:?}",
        streams.keys()
    );
    for ((pid, id, direction), bytes) in streams {
        assert!(bytes == blocks(), "process {pid}, {direction}");
        let socket = file(&recording, id);
        assert_eq!(socket.kind, FileKind::Tcp);
        let ports = [socket.local_port, socket.remote_port];
        assert!(ports.contains(&port.parse().ok()));
    }
    assert!(
        plaintexts(&recording)
            .iter()
            .all(|row| row.tls == Tls::Whole)
    );
    // What crossed the network is something else.
    let needle = &block(3)[..200];
    let leaked =
        |row: &Payload| row.tls == Tls::No && row.data.windows(200).any(|window| window == needle);
    assert!(!recording.rows::<Payload>().iter().any(leaked));
}

#[test]
fn plaintext_of_gnutls_is_what_was_sent() {
    needs!("tls", "syscalls");
    needs_program!("openssl", "python3", "gnutls-cli");
    let certificate = certificate();
    let (_server, port) = server(&certificate);
    let script = format!(
        "(printf '%s\\n' one two; sleep 0.3) | gnutls-cli --insecure --logfile=/dev/null -p {port} 127.0.0.1 > /dev/null"
    );
    let recording = Ongoing::start(&["--", "sh", "-c", &script]).finish();
    recording.assert_complete();
    let streams = streams(&recording);
    let shown: Vec<_> = streams
        .iter()
        .map(|((_, _, direction), bytes)| (*direction, bytes.as_slice()))
        .collect();
    assert_eq!(
        shown,
        [
            (Direction::In, &b"one\ntwo\n"[..]),
            (Direction::Out, &b"one\ntwo\n"[..])
        ]
    );
}

#[test]
fn a_session_that_carries_its_own_bytes_is_a_file_by_itself() {
    needs!("tls", "syscalls");
    needs_program!("openssl", "python3");
    let certificate = certificate();
    let (_server, port) = server(&certificate);
    let options = [
        "--payload-bytes",
        "8191",
        "--",
        "python3",
        SCRIPT,
        "memory",
        &port,
    ];
    let recording = Ongoing::start(&options).finish();
    recording.assert_complete();
    let rows = plaintexts(&recording);
    assert!(!rows.is_empty());
    let session = file(&recording, rows[0].file);
    assert_eq!((session.kind, session.fd), (FileKind::Tls, -1));
    assert!(session.open_ts.is_some() && session.close_ts.is_some());
    for ((_, id, direction), bytes) in streams(&recording) {
        assert_eq!(id, session.id);
        assert!(bytes == blocks(), "{direction}");
    }
}

#[test]
fn a_library_that_is_mapped_later_is_seen() {
    needs!("tls", "syscalls");
    needs_program!("openssl", "python3");
    let certificate = certificate();
    let (_server, port) = server(&certificate);
    let mut later = Talker::start("later", &port);
    assert_eq!(later.hear(), "ready");
    let maps = fs::read_to_string(format!("/proc/{}/maps", later.pid())).unwrap();
    assert!(!maps.contains("libssl"));
    // It ends with its target.
    let recording = record(&later.pid());
    later.say();
    let recording = recording.finish();
    let sent = plaintexts(&recording)
        .into_iter()
        .filter(|row| row.direction == Direction::Out);
    let sent: Vec<u8> = sent.flat_map(|row| row.data).collect();
    assert!(
        blocks().ends_with(&sent) && !sent.is_empty(),
        "{} bytes",
        sent.len()
    );
}

#[test]
fn a_session_from_before_is_tied_to_its_connection() {
    needs!("tls", "syscalls");
    needs_program!("openssl", "python3");
    let certificate = certificate();
    let (_server, port) = server(&certificate);
    let mut client = Talker::start("between", &port);
    assert_eq!(client.hear(), "ready");
    let recording = record(&client.pid());
    client.say();
    assert_eq!(client.hear(), "done");
    drop(client);
    let recording = recording.finish();
    let rows = plaintexts(&recording);
    assert!(
        rows.iter()
            .all(|row| row.tls == Tls::Rest && row.data == block(1))
    );
    assert_eq!(rows.len(), 2);
    assert_eq!(file(&recording, rows[0].file).kind, FileKind::Tcp);
}

/// An nginx with TLS on its own port, in one process.
fn nginx(certificate: &Path) -> (Running, u16) {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let place = certificate.display();
    fs::write(certificate.join("a.txt"), "hello\n").unwrap();
    let settings = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;
        events {{}}
        http {{ access_log off; client_body_temp_path {place}; proxy_temp_path {place}; fastcgi_temp_path {place};
            uwsgi_temp_path {place}; scgi_temp_path {place};
            server {{ listen 127.0.0.1:{port} ssl; root {place}; ssl_certificate cert.pem; ssl_certificate_key key.pem; }} }}"
    );
    let path = certificate.join("nginx.conf");
    fs::write(&path, settings).unwrap();
    let nginx = Command::new("nginx").arg("-c").arg(&path).spawn();
    let nginx = Running(nginx.unwrap());
    for _ in 0..100 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return (nginx, port);
        }
        sleep(Duration::from_millis(50));
    }
    panic!("nginx does not listen on port {port}");
}

#[test]
fn requests_over_tls_are_found_and_none_of_a_short_client_is_missed() {
    needs!("tls", "syscalls");
    needs_program!("openssl", "nginx", "curl");
    const CLIENTS: usize = 10;
    let certificate = certificate();
    let (nginx, port) = nginx(certificate.path());
    let script = format!(
        "for i in $(seq {CLIENTS}); do curl -sk -H 'Authorization: Bearer hidden-{port}' https://127.0.0.1:{port}/a.txt https://127.0.0.1:{port}/none; done > /dev/null"
    );
    let options = [
        "--redact",
        "headers",
        "--pid",
        &nginx.0.id().to_string(),
        "--",
        "sh",
        "-c",
        &script,
    ];
    let recording = Ongoing::start(&options).finish();
    recording.assert_complete();
    let rows = plaintexts(&recording);
    let clients: Vec<u32> = recording
        .rows::<Process>()
        .iter()
        .filter(|row| row.comm == "curl" && row.exit_ts.is_some())
        .map(|row| row.pid)
        .collect();
    assert_eq!(clients.len(), CLIENTS);
    for pid in clients {
        let sent = rows
            .iter()
            .filter(|row| row.pid == pid && row.direction == Direction::Out);
        let sent: Vec<_> = sent
            .map(|row| String::from_utf8_lossy(&row.data).into_owned())
            .collect();
        assert_eq!(sent.len(), 2, "{sent:?}");
        assert!(sent[0].starts_with("GET /a.txt HTTP/1.1\r\n") && sent[1].starts_with("GET /none"));
        assert!(
            sent.iter()
                .all(|text| text.contains("\r\nAuthorization: xxxxxx")),
            "{sent:?}"
        );
    }
    let secret = format!("hidden-{port}");
    let leaked = |row: &Payload| {
        row.data
            .windows(secret.len())
            .any(|window| window == secret.as_bytes())
    };
    assert!(!recording.rows::<Payload>().iter().any(leaked));
    let Some(rpcs) = rpcs(&recording) else {
        eprintln!("SKIPPED: requests over TLS: no kindling-replay beside the recorder");
        return;
    };
    let rows = rpcs["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2 * CLIENTS, "{rpcs}");
    for row in rows {
        assert_eq!(
            (&row["protocol"], &row["tls"]),
            (&"http".into(), &true.into())
        );
        assert_eq!(
            (&row["client"]["comm"], &row["server"]["comm"]),
            (&"curl".into(), &"nginx".into())
        );
        assert_eq!(row["inferred"], false);
        let status = if row["endpoint"] == "GET /none" {
            404
        } else {
            200
        };
        assert_eq!(row["status"], status, "{row}");
    }
}

#[test]
fn plaintext_is_left_out_when_it_is_not_wanted() {
    needs!("tls", "syscalls");
    let program = Program::compile("tls");
    for options in [&["--no-tls"][..], &["--events", "-tls"], &["--no-payload"]] {
        assert!(
            plaintexts(&program.record(options, &[])).is_empty(),
            "{options:?}"
        );
    }
}

#[test]
fn what_is_mapped_after_rights_were_given_up_is_seen() {
    needs!("tls", "syscalls");
    let program = Program::compile("tls");
    let place = TempDir::new().unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    let path = place.path().join("capture.kndl");
    // Nobody knows of the program before it is executed, so that it is missed at first.
    let script = format!(
        "for i in $(seq 200); do {}; done > /dev/null",
        program.path().display()
    );
    let output = recorder()
        .args(["--user", "nobody", "-o"])
        .arg(&path)
        .args(["--", "sh", "-c", &script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", transcript(&output));
    let capture = Capture::open(&path).unwrap();
    let plain = capture.segments().any(|segment| {
        let rows = capture.read::<Payload>(segment).unwrap();
        rows.iter().any(|row| row.tls == Tls::Whole)
    });
    assert!(plain, "{}", transcript(&output));
}
