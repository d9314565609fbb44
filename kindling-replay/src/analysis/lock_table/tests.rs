use super::*;
use crate::model::recent::Recent;

const ALL: Window = Window { from: 0, to: 1_000 };

fn wait(tid: u32, start: i64, end: i64, waker: Option<(i64, u32)>) -> LockWait {
    LockWait {
        tid,
        place: LockPlace {
            pid: 1,
            pid_start: 0,
            address: 0xbeef,
        },
        shared: false,
        kind: LockKind::Mutex,
        named: false,
        start,
        end,
        ended: if waker.is_some() {
            Ended::Woken
        } else {
            Ended::TimedOut
        },
        wake: waker.map(|(ts, tid)| LockWake {
            ts,
            tid,
            certain: true,
            elsewhere: None,
        }),
        stack: None,
        selected: true,
    }
}

fn table(batches: Vec<Vec<LockWait>>, let_go: Vec<LetGo>, window: Window) -> Vec<Lock> {
    let outs = Recent::new(1);
    let mut table = LockTable::new(window);
    let mut let_go = Some(let_go);
    for waits in batches.into_iter().chain([vec![], vec![]]) {
        table.add(Batch {
            waits,
            let_go: let_go.take().unwrap_or_default(),
            missed: BTreeMap::new(),
            outs: &outs,
        });
    }
    table.into_locks()
}

/// Waiter, holder, time.
fn edges(lock: &Lock) -> Vec<(u32, Option<u32>, i64)> {
    let edges = lock.edges.iter();
    edges
        .map(|((waiter, holder), tally)| (*waiter, holder.tid, tally.ns))
        .collect()
}

/// ```text
/// 7 ████████ holds ██│
/// 8    │ waits       ├██ holds ██│
/// 9        │ waits for 7 │ for 8 ├██│
///   0  10  20        100         150
/// ```
#[test]
fn a_wait_is_divided_between_those_who_held_the_lock() {
    let first = wait(8, 10, 103, Some((100, 7)));
    let second = wait(9, 20, 155, Some((150, 8)));
    let went = LetGo {
        ts: 149,
        tid: 8,
        pid: 1,
        address: 0xbeef,
    };
    // The order of rows does not matter: the later release may come first.
    let locks = table(vec![vec![second], vec![first]], vec![], ALL);
    assert_eq!(
        edges(&locks[0]),
        [(8, Some(7), 90), (9, Some(7), 80), (9, Some(8), 50)]
    );
    assert_eq!((locks[0].waits.ns, locks[0].wake_ns), (93 + 135, 3 + 5));
    let locks = table(vec![vec![first, second]], vec![went], ALL);
    let holds: Vec<_> = locks[0].holds.iter().map(|(tid, t)| (*tid, t.ns)).collect();
    assert_eq!(holds, [(8, 149 - 103)]);
}

#[test]
fn who_was_let_in_last_may_still_hold_it() {
    let locks = table(
        vec![vec![
            wait(8, 10, 103, Some((100, 7))),
            wait(9, 20, 200, None),
        ]],
        vec![],
        ALL,
    );
    let of_nine: Vec<_> = locks[0].edges.keys().filter(|(tid, _)| *tid == 9).collect();
    let low = Holder {
        tid: Some(8),
        confidence: Confidence::Low,
    };
    assert_eq!(of_nine.last().unwrap().1, low);
    assert_eq!(locks[0].timed_out, 1);
}

#[test]
fn a_lock_of_two_processes_leaves_their_others_alone() {
    let in_other = |address, ts| LockWait {
        place: LockPlace {
            pid: 2,
            pid_start: 7,
            address,
        },
        ..wait(20, ts, ts + 5, Some((ts + 4, 21)))
    };
    let mut shared = wait(8, 60, 90, Some((80, 20)));
    shared.shared = true;
    if let Some(wake) = &mut shared.wake {
        wake.elsewhere = Some((2, 0x200));
    }
    // Met before it is known that one of them is the shared lock, and after it.
    let waits = vec![
        vec![
            in_other(0x100, 10),
            in_other(0x200, 20),
            in_other(0x300, 30),
        ],
        vec![shared],
        vec![
            in_other(0x100, 100),
            in_other(0x200, 110),
            in_other(0x400, 120),
        ],
    ];
    let locks = table(waits, vec![], ALL);
    let places = locks
        .iter()
        .map(|lock| lock.places.iter().copied().collect());
    let mut places: Vec<Vec<(u32, u64)>> = places.collect();
    places.sort();
    let expect = [
        vec![(1, 0xbeef), (2, 0x200)],
        vec![(2, 0x100)],
        vec![(2, 0x300)],
        vec![(2, 0x400)],
    ];
    assert_eq!(places, expect);
}

#[test]
fn all_parts_add_up_whatever_happens() {
    let mut seed = 42u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    for round in 0..300 {
        let mut waits = || {
            let some = 0..random(30);
            some.map(|_| {
                let start = random(900) as i64;
                let woken = start + random(100) as i64;
                let waker = (random(5) > 0).then(|| (woken, random(6) as u32));
                wait(random(6) as u32, start, woken + random(20) as i64, waker)
            })
            .collect::<Vec<_>>()
        };
        let batches = vec![waits(), waits(), waits()];
        let window = Window { from: 100, to: 800 };
        for lock in table(batches, vec![], window) {
            let charged: i64 = lock.edges.values().map(|tally| tally.ns).sum();
            let ended: u64 = lock.edges.values().map(|tally| tally.count).sum();
            assert_eq!(charged + lock.wake_ns, lock.waits.ns, "round {round}");
            assert_eq!(ended, lock.waits.count);
        }
    }
}
