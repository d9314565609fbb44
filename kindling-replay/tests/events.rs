//! `events` and `syscalls` over a capture with known content.

mod common;

use common::{Segment, capture, file, json, process, text, thread};
use kindling_format::schema::*;

fn call(ts: i64, dur: Option<i64>, nr: u16, args: &[u64], ret: Option<i64>) -> Syscall {
    let arg = |at: usize| args.get(at).copied();
    Syscall {
        ts,
        dur,
        pid: 10,
        tid: 10,
        nr,
        arg0: arg(0),
        arg1: arg(1),
        arg2: arg(2),
        arg3: arg(3),
        arg4: arg(4),
        arg5: arg(5),
        ret,
        ..Syscall::default()
    }
}

fn pointed(ts: i64, arg: u8, data: &[u8]) -> Argument {
    Argument {
        ts,
        pid: 10,
        tid: 10,
        arg,
        data: data.to_vec(),
        truncated: false,
    }
}

/// The poll is entered in the first segment and returns in the second; the argument of the connect
/// is in the first, its row in the second.
fn segments() -> Vec<Segment> {
    let tcp = File {
        id: 4,
        ts: 1_000,
        pid: 10,
        kind: FileKind::Tcp,
        local_address: Some("127.0.0.1".into()),
        local_port: Some(80),
        remote_address: Some("127.0.0.1".into()),
        remote_port: Some(5_000),
        ..File::default()
    };
    let at_cwd = 0xffff_ff9c;
    let read = Syscall {
        file: Some(4),
        ..call(3_000, Some(500), 0, &[7, 0x1000, 64], Some(-11))
    };
    let first = Segment::default()
        .with([process(10, 1_500, "app")], ProcessColumns::push)
        .with([thread(10, 10, "app")], ThreadColumns::push)
        .with([tcp], FileColumns::push)
        .with(
            [
                call(
                    2_000,
                    Some(12_000),
                    257,
                    &[at_cwd, 0x1000, 0x80000, 0],
                    Some(3),
                ),
                read,
                call(
                    3_800,
                    Some(10),
                    9,
                    &[0, 4096, 3, 0x22, 0xffff_ffff, 0],
                    Some(0x7f00_0000),
                ),
            ],
            SyscallColumns::push,
        )
        .with(
            [
                pointed(2_000, 1, b"/etc/passwd"),
                pointed(3_600, 1, &[2, 0, 0x1f, 0x90, 10, 0, 0, 1]),
            ],
            ArgumentColumns::push,
        );
    let second = Segment::default()
        .with(
            [
                call(3_600, Some(2_000), 42, &[5, 0x1000, 16], Some(0)),
                call(3_500, None, 7, &[0x1000, 1, u64::MAX], None),
                call(6_000, Some(1), 999, &[1, 0x5000], Some(0)),
            ],
            SyscallColumns::push,
        )
        .with(
            [Switch {
                ts: 5_000,
                prev_tid: 10,
                prev_state: 1,
                prev_syscall: Some(42),
                ..Switch::default()
            }],
            SwitchColumns::push,
        )
        .with(
            [Wakeup {
                ts: 5_100,
                wakee_tid: 10,
                irq: true,
                ..Wakeup::default()
            }],
            WakeupColumns::push,
        );
    vec![first, second]
}

const SYSCALLS: &str = "\
+0.000001000 app/10                 openat(AT_FDCWD, \"/etc/passwd\", O_RDONLY|O_CLOEXEC) = 3 <0.000012000>
+0.000002000 app/10                 read(7<tcp 127.0.0.1:80->127.0.0.1:5000>, 0x1000, 64) = -1 EAGAIN <0.000000500>
+0.000002500 app/10                 poll(0x1000, 1, -1) = ?
+0.000002600 app/10                 connect(5, {10.0.0.1:8080}, 16) = 0 <0.000002000>
+0.000002800 app/10                 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f000000 <0.000000010>
+0.000005000 app/10                 syscall_999(1, 0x5000) = 0 <0.000000001>
";

#[test]
fn calls_are_in_the_order_of_time_and_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(segments()));
    let path = path.to_str().unwrap();
    assert_eq!(text(&["events", path]), SYSCALLS);
    assert_eq!(text(&["events", path, "--jobs", "1"]), SYSCALLS);
    let two: Vec<&str> = SYSCALLS.lines().take(2).collect();
    assert_eq!(
        text(&["events", path, "--top", "2"])
            .lines()
            .collect::<Vec<_>>(),
        two
    );
    let window = text(&["events", path, "--from", "2500ns", "--to", "2600ns"]);
    assert_eq!(window.lines().count(), 2, "{window}");
}

#[test]
fn other_tables_are_merged_in() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(segments()));
    let tables = "switches,wakeups,processes";
    let events = text(&["events", path.to_str().unwrap(), "--tables", tables]);
    let expect = "\
+0.000000500 app/10                 ** process starts: /bin/app -x
+0.000004000 app/10                 ** leaves CPU 0 to idle (blocked in connect)
+0.000004100 idle                   ** wakes app/10 from an interrupt
";
    assert_eq!(events, expect);
}

#[test]
fn json_rows_have_the_parts() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(segments()));
    let report = json(&["events", path.to_str().unwrap(), "--top", "2"]);
    assert_eq!(report["events"]["total"], 6);
    let rows = report["events"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    let read = &rows[1];
    assert_eq!(
        (&read["syscall"], &read["error"]),
        (&"read".into(), &"EAGAIN".into())
    );
    assert_eq!(
        (&read["ts_ns"], &read["dur_ns"]),
        (&2_000.into(), &500.into())
    );
    assert_eq!(read["file"], "tcp 127.0.0.1:80->127.0.0.1:5000");
    for part in ["capture", "selection", "completeness"] {
        assert!(report[part].is_object(), "{part}");
    }
}

#[test]
fn syscalls_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(segments()));
    let report = json(&["syscalls", path.to_str().unwrap()]);
    let rows = report["syscalls"]["rows"].as_array().unwrap();
    let of = |name: &str| rows.iter().find(|row| row["syscall"] == name).unwrap();
    assert_eq!(rows[0]["syscall"], "openat");
    assert_eq!(
        (&of("read")["calls"], &of("read")["errors"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        (&of("poll")["unfinished"], &of("poll")["total_ns"]),
        (&1.into(), &0.into())
    );
    let p50 = of("openat")["p50_ns"].as_i64().unwrap();
    assert!((11_900..=12_100).contains(&p50), "{p50}");
}

/// A request, a fault and a move of one thread, and a message that it sends.
fn extras() -> Segment {
    let block = Block {
        ts: 4_000,
        dur: 2_000_000,
        queued_ns: Some(500_000),
        pid: 10,
        tid: 10,
        disk: "vda".into(),
        operation: BlockOperation::Write,
        sector: 2_048,
        size_bytes: 4_096,
        status: Some(7),
    };
    let fault = Fault {
        ts: 2_000,
        pid: 10,
        tid: 10,
        cpu: 1,
        address: 0x7000_1000,
        ip: 0x40_1000,
        write: true,
        ..Fault::default()
    };
    let migration = Migration {
        ts: 3_000,
        tid: 10,
        to_cpu: 1,
        by_tid: 20,
        ..Migration::default()
    };
    let address = [2, 0, 0, 53, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    Segment::default()
        .with([process(10, 1_500, "app")], ProcessColumns::push)
        .with(
            [thread(10, 10, "app"), thread(20, 20, "other")],
            ThreadColumns::push,
        )
        .with(
            [call(5_000, Some(10), 46, &[3, 0x1000, 0], Some(2))],
            SyscallColumns::push,
        )
        .with([pointed(5_000, 1, &address)], ArgumentColumns::push)
        .with([block], BlockColumns::push)
        .with([fault], FaultColumns::push)
        .with([migration], MigrationColumns::push)
}

#[test]
fn disks_faults_and_migrations_are_events() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &capture(vec![extras()]));
    let path = path.to_str().unwrap();
    let all = text(&[
        "events",
        path,
        "--tables",
        "block,faults,migrations,syscalls",
    ]);
    let shown: Vec<&str> = all
        .lines()
        .map(|line| line.split_once("app/10").unwrap().1.trim())
        .collect();
    assert_eq!(
        shown,
        [
            "** page fault: write 0x70001000, not there, at 0x401000",
            "** moves from CPU 0 to 1 by other/20",
            "** write 4.00 KiB of vda at sector 2048 took 2.00 ms, 500 us of it queued, failed: ENODATA",
            "sendmsg(3, {msg_name={127.0.0.1:53}}, 0) = 2 <0.000000010>",
        ]
    );
    // A condition that only they can meet shows them without being asked to.
    for (condition, line) in [
        ("fault.write and not fault.kernel", 0),
        ("migration.to == 1", 1),
        ("block.disk == vda and block.size >= 4KiB and dur > 1ms", 2),
        ("block.errno == ENODATA and block.status == 7", 2),
    ] {
        let found = text(&["events", path, "--where", condition]);
        assert_eq!(found.lines().count(), 1, "{condition}");
        assert!(found.contains(shown[line]), "{condition}: {found}");
        let threads = json(&["threads", path, "--where", condition]);
        assert_eq!(threads["threads"]["total"], 1, "{condition}");
    }
    let rows = json(&["events", path, "--tables", "block"]);
    let row = &rows["events"]["rows"][0];
    assert_eq!(
        (&row["table"], &row["dur_ns"], &row["error"]),
        (&"block".into(), &2_000_000.into(), &"ENODATA".into())
    );
}
