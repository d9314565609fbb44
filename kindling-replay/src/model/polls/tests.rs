use kindling_format::{
    schema::{Argument, File, FileKind, Watch},
    syscalls,
};

use super::{told::Reader, *};
use crate::model::wait_reason::Call;

const EPOLL: u32 = 90;

fn catalog() -> Catalog {
    let file = |id, fd, open_ts, close_ts, kind| File {
        id,
        pid: 1,
        fd,
        open_ts: Some(open_ts),
        close_ts,
        kind,
        ..File::default()
    };
    let files = vec![
        file(30, 3, 0, None, FileKind::Pipe),
        file(40, 4, 0, Some(50), FileKind::Tcp),
        file(50, 5, 0, None, FileKind::Tcp),
        file(60, 6, 0, None, FileKind::Regular),
        file(EPOLL, 9, 0, None, FileKind::Epoll),
    ];
    Catalog::from_rows("x86_64", vec![], vec![], files)
}

fn call(name: &str, ts: i64, args: [u64; 4], ret: i64) -> Call {
    Call {
        ts,
        end: ts + 10,
        nr: syscalls::named("x86_64", name).unwrap().nr,
        file: name.starts_with("epoll").then_some(EPOLL),
        args,
        ret: Some(ret),
    }
}

fn argument(arg: u8, data: &[u8]) -> Argument {
    Argument {
        pid: 1,
        tid: 2,
        arg,
        data: data.to_vec(),
        ..Argument::default()
    }
}

fn event(mark: u64) -> Vec<u8> {
    [&1u32.to_le_bytes()[..], &mark.to_le_bytes()[..]].concat()
}

fn add(ts: i64, fd: u64, mark: u64) -> (Call, Vec<Argument>) {
    let call = call("epoll_ctl", ts, [9, 1, fd, 0], 0);
    (call, vec![argument(3, &event(mark))])
}

fn polled(ts: i64, mark: u64) -> (Call, Vec<Argument>) {
    let call = call("epoll_wait", ts, [9, 0, 64, 0], 1);
    (call, vec![argument(1, &event(mark))])
}

/// What ended the last of these calls.
fn ended(calls: &[(Call, Vec<Argument>)]) -> Option<(Option<i32>, Option<u32>, bool)> {
    ended_with(calls, vec![])
}

/// The same, with what was found watched.
fn ended_with(
    calls: &[(Call, Vec<Argument>)],
    watches: Vec<Watch>,
) -> Option<(Option<i32>, Option<u32>, bool)> {
    let catalog = catalog();
    let reader = Reader {
        catalog: &catalog,
        arch: "x86_64",
    };
    let mut told = Told {
        watches,
        ..Told::default()
    };
    for (call, arguments) in calls {
        reader.call(call, arguments, &mut told);
    }
    let descriptors = Descriptors::of_files(&catalog, asked(&told));
    let polls = Polls::resolve(told, &descriptors, &catalog);
    let (last, _) = calls.last().unwrap();
    let end = polls.ended.get(&(2, last.ts))?;
    Some((end.first.fd, end.first.file, end.first.certain))
}

#[test]
fn a_mark_is_the_descriptor_that_was_added_with_it() {
    let known = |fd, file| Some((Some(fd), Some(file), true));
    let unknown = Some((None, None, true));
    assert_eq!(ended(&[add(1, 3, 77), polled(20, 77)]), known(3, 30));
    // Added later.
    assert_eq!(ended(&[add(40, 3, 77), polled(20, 77)]), unknown);
    // The first one is closed by then, or both are there.
    let twice = |ts| [add(1, 4, 77), add(2, 5, 77), polled(ts, 77)];
    assert_eq!(ended(&twice(60)), known(5, 50));
    assert_eq!(ended(&twice(20)), unknown);
    // The same one again, with another mark.
    let again = [add(1, 3, 77), add(2, 5, 77), add(5, 5, 88), polled(20, 77)];
    assert_eq!(ended(&again), known(3, 30));
}

#[test]
fn a_mark_that_was_not_recorded_may_be_the_descriptor() {
    let guessed = Some((Some(3), Some(30), false));
    let unknown = Some((None, None, true));
    assert_eq!(ended(&[polled(20, 3)]), guessed);
    assert_eq!(ended(&[polled(20, 0xffff_0000_0000_0003)]), guessed);
    assert_eq!(ended(&[add(1, 5, 5), polled(20, 3)]), guessed);
    // This program has other marks; this is no descriptor that is known, or none that can be watched.
    assert_eq!(ended(&[add(1, 5, 0x7f00), polled(20, 3)]), unknown);
    assert_eq!(ended(&[polled(20, 33)]), unknown);
    assert_eq!(ended(&[polled(20, 6)]), unknown);
}

#[test]
fn what_was_found_watched_is_known() {
    let found = |ts, fd| Watch {
        ts,
        pid: 1,
        epoll_fd: 9,
        fd,
        events: 1,
        data: 77,
    };
    let known = |fd, file| Some((Some(fd), Some(file), true));
    assert_eq!(
        ended_with(&[polled(20, 77)], vec![found(1, 3)]),
        known(3, 30)
    );
    // Found at the beginning of a file, after it had been added; or found late.
    let both = [add(1, 3, 77), polled(20, 77)];
    assert_eq!(
        ended_with(&both, vec![found(10, 3), found(50, 3)]),
        known(3, 30)
    );
    // Closed since, and the mark used again.
    let again = [add(55, 5, 77), polled(60, 77)];
    assert_eq!(ended_with(&again, vec![found(1, 4)]), known(5, 50));
    // An epoll that is not known.
    let other = Watch {
        epoll_fd: 8,
        ..found(1, 3)
    };
    assert_eq!(
        ended_with(&[polled(20, 77)], vec![other]),
        Some((None, None, true))
    );
}

#[test]
fn poll_and_select_name_descriptors() {
    let entry = |fd: u8, found: u8| [fd, 0, 0, 0, 1, 0, found, 0];
    let fds = [entry(4, 0), entry(3, 0x10), entry(5, 1)].concat();
    let poll =
        |data: &[u8], ret| ended(&[(call("poll", 20, [1, 3, 0, 0], ret), vec![argument(0, data)])]);
    assert_eq!(poll(&fds, 2), Some((Some(3), Some(30), true)));
    // What was ready lies behind what was recorded; nothing was ready.
    assert_eq!(poll(&fds[..8], 2), Some((None, None, true)));
    assert_eq!(poll(&fds, 0), None);
    let select = |sets: &[(u8, u8)]| {
        let sets = sets
            .iter()
            .map(|&(arg, set)| argument(arg, &[set, 0, 0, 0, 0, 0, 0, 0]));
        ended(&[(call("select", 20, [6, 1, 1, 1], 1), sets.collect())])
    };
    assert_eq!(
        select(&[(1, 0), (2, 0b10_0000)]),
        Some((Some(5), Some(50), true))
    );
    // Bits beyond those that the call looks at mean nothing.
    assert_eq!(select(&[(1, 0b100_0000)]), Some((None, None, true)));
}

#[test]
fn damaged_rows_tell_nothing() {
    for name in [
        "poll",
        "ppoll",
        "select",
        "pselect6",
        "epoll_wait",
        "epoll_ctl",
    ] {
        for len in 0..20 {
            for arg in 0..8 {
                let call = call(name, 20, [u64::MAX, 1, u64::MAX, 0], i64::from(len) - 2);
                let data = vec![0xff; len as usize];
                let _ = ended(&[(call, vec![argument(arg, &data)])]);
            }
        }
    }
}

#[test]
fn what_stood_watched_at_a_moment_is_told_with_its_last_mark() {
    let catalog = catalog();
    let reader = Reader {
        catalog: &catalog,
        arch: "x86_64",
    };
    let mut told = Told {
        watches: vec![Watch {
            ts: 1,
            pid: 1,
            epoll_fd: 9,
            fd: 3,
            events: 1,
            data: 77,
        }],
        ..Told::default()
    };
    // Another mark, one that is closed by then, and one of which nothing is known but this.
    for (call, arguments) in [add(10, 3, 78), add(20, 4, 79), add(30, 33, 80)] {
        reader.call(&call, &arguments, &mut told);
    }
    let asked = [3, 4, 9, 33].map(|fd| (1, fd));
    let descriptors = Descriptors::of_files(&catalog, asked.into());
    let standing: Vec<_> = standing::of(told, &descriptors, 60)
        .into_iter()
        .map(|it| (it.row.ts, it.row.fd, it.row.data, it.file))
        .collect();
    assert_eq!(standing, [(60, 3, 78, Some(30)), (60, 33, 80, None)]);
}
