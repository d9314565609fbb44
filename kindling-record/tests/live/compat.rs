//! Calls that are made the way of 32-bit programs, which have numbers of their own.

use std::{os::unix::process::ExitStatusExt, process::Command};

use kindling_format::{
    schema::{Argument, Direction, Payload, Syscall},
    syscalls::{COMPAT, find},
};

use crate::support::{Program, analyzer, id, needs, number};

/// `<signal.h>`
const SIGSEGV: i32 = 11;

#[test]
fn calls_of_32_bit_programs_are_told_apart() {
    needs!("syscalls");
    if cfg!(not(target_arch = "x86_64")) {
        eprintln!("SKIPPED: calls of 32-bit programs: known for x86_64 only");
        return;
    }
    let program = Program::compile("compat");
    let alone = Command::new(program.path()).output().unwrap();
    if alone.status.signal() == Some(SIGSEGV) {
        eprintln!(
            "SKIPPED: calls of 32-bit programs: this kernel has none (CONFIG_IA32_EMULATION)"
        );
        return;
    }
    let recording = program.record(&[], &[]);
    recording.assert_complete();
    let pid = id(&recording.truth["pid"]);
    let calls = recording.rows::<Syscall>();
    let of = |name: &str, is_compat: bool| {
        let is = |row: &&Syscall| {
            let spec = find("x86_64", row.nr);
            row.pid == pid
                && spec.is_some_and(|spec| spec.name == name)
                && (row.nr & COMPAT != 0) == is_compat
        };
        calls.iter().filter(is).cloned().collect::<Vec<_>>()
    };
    let made = |field: &str| number(&recording.truth[field]) as usize;
    assert_eq!(of("getppid", true).len(), made("getppid"));
    assert_eq!(of("getppid", false).len(), made("native_getppid"));
    // Arguments are those of 32 bits, in other registers.
    let opened = of("open", true);
    assert_eq!(opened.len(), 1);
    let open = &opened[0];
    let path = recording.truth["path"].as_str().unwrap();
    let arguments = recording.rows::<Argument>();
    let mut named = arguments
        .iter()
        .filter(|row| (row.tid, row.ts) == (open.tid, open.ts));
    assert_eq!(named.next().unwrap().data, path.as_bytes());
    assert_eq!(open.ret, Some(-2));
    let closed = of("close", true);
    assert_eq!(
        (closed.len(), closed[0].arg0, closed[0].ret),
        (1, Some(0xffff_ffff), Some(-9))
    );
    // And their bytes are kept as those of others are.
    let written = &of("write", true)[0];
    let payloads = recording.rows::<Payload>();
    let mut rows = payloads
        .iter()
        .filter(|row| (row.tid, row.ts) == (written.tid, written.ts));
    let row = rows.next().unwrap();
    assert_eq!(
        (row.direction, row.data.as_slice()),
        (Direction::Out, &b"by int 0x80\n"[..])
    );
    assert_eq!(row.size, made("bytes") as u64);
    let Some(mut analyzer) = analyzer() else {
        eprintln!("SKIPPED: names of these calls: no kindling-replay beside the recorder");
        return;
    };
    let events = analyzer
        .arg("events")
        .arg(&recording.path)
        .args([
            "--where",
            "syscall.compat and syscall.name in (open, close)",
        ])
        .output()
        .unwrap();
    let lines = String::from_utf8(events.stdout).unwrap();
    let open = format!("i386:open(\"{path}\", O_RDONLY) = -1 ENOENT");
    assert!(
        lines.contains(&open) && lines.contains("i386:close(-1) = -1 EBADF"),
        "{lines}"
    );
    assert_eq!(lines.lines().count(), 2, "{lines}");
}
