//! What this version does not know.

use kindling_format::{Capture, CaptureWriter, Header, Summary, header::Moment, schema::*};

use crate::{common::run, str};

/// A capture with a table of a later version, which has 7 rows, and a column of one.
fn later(start_ns: i64) -> Vec<u8> {
    let moment = |ns| Moment {
        monotonic_ns: ns,
        boottime_ns: ns,
        realtime_ns: ns,
    };
    let header = Header {
        start: moment(start_ns),
        ..Header::default()
    };
    let mut columns = Syscall::columns();
    for n in 0..7 {
        let row = Syscall {
            ts: start_ns + n,
            ..Syscall::default()
        };
        SyscallColumns::push(&mut columns, row);
    }
    let mut member = Syscall::encode(columns).unwrap();
    member.table = "tides".into();
    let mut tide = Wakeup::columns();
    let row = Wakeup {
        ts: start_ns,
        wakee_tid: 7,
        ..Wakeup::default()
    };
    WakeupColumns::push(&mut tide, row);
    let mut with_tide = Wakeup::encode(tide).unwrap();
    // A name of the same length, in the Parquet footer.
    let place = |bytes: &[u8]| bytes.windows(3).position(|name| name == b"irq");
    while let Some(at) = place(&with_tide.bytes) {
        with_tide.bytes[at..at + 3].copy_from_slice(b"ebb");
    }
    let mut writer = CaptureWriter::new(Vec::new(), &header).unwrap();
    writer.append(0, member).unwrap();
    writer.append(0, with_tide).unwrap();
    let summary = Summary {
        end: moment(start_ns + 100),
        ..Summary::default()
    };
    writer.finish(&summary).unwrap()
}

#[test]
fn what_later_versions_add_is_kept_or_told() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, out] = ["a", "b", "out"].map(|name| dir.path().join(name));
    std::fs::write(&first, later(1_000)).unwrap();
    std::fs::write(&second, later(5_000)).unwrap();
    let told = |args: &[&str], code: i32| {
        let args = [args, &["-o", str(&out)]].concat();
        String::from_utf8(run(&args, code).stderr).unwrap()
    };
    let stderr = told(&["cut", str(&first)], 3);
    assert!(stderr.contains("tides (7 rows)"), "{stderr}");
    assert!(stderr.contains("does not know: wakeups.ebb;"), "{stderr}");
    let stderr = told(&["merge", str(&first), str(&second)], 3);
    assert!(stderr.contains("tides (14 rows)"), "{stderr}");
    assert!(stderr.contains("does not know: wakeups.ebb;"), "{stderr}");
    for (command, code) in [("compact", 3), ("salvage", 0)] {
        let stderr = told(&[command, str(&first)], code);
        assert!(!stderr.contains("tides"), "{stderr}");
        assert_eq!(
            stderr.contains("wakeups.ebb"),
            command == "compact",
            "{stderr}"
        );
        let kept = Capture::open(&out).unwrap();
        assert!(kept.members(0).any(|(table, _)| table == "tides"));
    }
}
