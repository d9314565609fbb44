//! Answers that make it write: slow, failed and missing ones.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
};

use super::{Flight, wait};
use crate::support::needs;

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
