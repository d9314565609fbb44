use kindling_format::schema::Loss;

use super::*;

fn out(state: u32) -> Event {
    Event::Out {
        cpu: 0,
        state,
        preempted: false,
        syscall: None,
        stack: None,
    }
}

const IN: Event = Event::In { cpu: 0 };
const WOKEN: Event = Event::Woken { tid: 9, irq: false };

fn slices(builder: &mut ThreadBuilder, events: &[(i64, Event)], losses: &LossMap) -> Vec<Slice> {
    let mut slices = Vec::new();
    let mut emit = |raw: RawSlice| slices.push(raw.slice);
    for (ts, event) in events {
        builder.event(*ts, *event, losses, &mut emit);
    }
    builder.finish(losses, &mut emit);
    slices
}

/// Each state by its first letter, with the end of the slice; life is 0 to 100.
fn check(born: bool, events: &[(i64, Event)], expect: &str) {
    let mut builder = ThreadBuilder::new(0, 100, born);
    let slices = slices(&mut builder, events, &LossMap::default());
    let words: Vec<String> = slices
        .iter()
        .map(|slice| match slice.state {
            State::Running => format!("run-{}", slice.end),
            State::Runnable => format!("wait-{}", slice.end),
            State::Blocked(Reason::Stopped) => format!("stop-{}", slice.end),
            State::Blocked(_) if slice.wait.waker.is_some() => format!("block!{}", slice.end),
            State::Blocked(_) => format!("block-{}", slice.end),
            State::Unknown => format!("?-{}", slice.end),
        })
        .collect();
    assert_eq!(words.join(" "), expect, "{events:?}");
}

#[test]
fn states_follow_events() {
    check(
        true,
        &[(10, IN), (30, out(0)), (40, IN)],
        "wait-10 run-30 wait-40 run-100",
    );
    check(
        true,
        &[(10, IN), (30, out(1)), (50, WOKEN), (60, IN)],
        "wait-10 run-30 block!50 wait-60 run-100",
    );
    check(
        true,
        &[(10, IN), (30, out(4)), (50, WOKEN)],
        "wait-10 run-30 stop-50 wait-100",
    );
    check(true, &[(10, IN), (30, out(1))], "wait-10 run-30 block-100");
    // It dies: its last switch ends its life, and nothing comes after.
    check(
        true,
        &[(10, IN), (30, out(0x80)), (40, IN)],
        "wait-10 run-30",
    );
    // Preempted while going to sleep: it stays runnable.
    let preempted = Event::Out {
        cpu: 0,
        state: 1,
        preempted: true,
        syscall: None,
        stack: None,
    };
    check(
        true,
        &[(10, IN), (30, preempted), (40, IN)],
        "wait-10 run-30 wait-40 run-100",
    );
    // The wakeup raced with the switch out.
    check(
        true,
        &[(10, IN), (29, WOKEN), (30, out(1)), (40, IN)],
        "wait-10 run-30 wait-40 run-100",
    );
}

#[test]
fn the_first_event_tells_what_was_before() {
    check(false, &[], "?-100");
    check(false, &[(10, IN), (30, out(1))], "?-10 run-30 block-100");
    check(false, &[(30, out(1))], "run-30 block-100");
    check(false, &[(30, WOKEN), (40, IN)], "block!30 wait-40 run-100");
    let seen = |state, on_cpu| Event::Seen {
        state,
        on_cpu,
        syscall: Some(1),
    };
    check(
        false,
        &[(5, seen(1, false)), (30, WOKEN)],
        "?-5 block!30 wait-100",
    );
    check(
        false,
        &[(5, seen(0, false)), (30, IN)],
        "?-5 wait-30 run-100",
    );
    check(
        false,
        &[(5, seen(0, true)), (30, out(0))],
        "?-5 run-30 wait-100",
    );
}

#[test]
fn contradictions_are_unknown() {
    check(
        true,
        &[(10, IN), (30, IN), (40, out(0))],
        "wait-10 ?-30 run-40 wait-100",
    );
    check(true, &[(30, out(1))], "?-30 block-100");
    check(
        true,
        &[(10, IN), (20, out(1)), (30, out(1))],
        "wait-10 run-20 ?-30 block-100",
    );
}

#[test]
fn nothing_is_claimed_where_events_were_lost() {
    let loss = |ts, end_ts, source: &str| Loss {
        ts,
        end_ts,
        source: source.into(),
        ..Loss::default()
    };
    let losses = LossMap::new(vec![loss(15, 20, "switches"), loss(60, 70, "wakeups")]);
    let mut builder = ThreadBuilder::new(0, 100, true);
    let events = [(10, IN), (30, out(1)), (80, IN)];
    let slices = slices(&mut builder, &events, &losses);
    let ends: Vec<_> = slices
        .iter()
        .map(|slice| (slice.end, slice.state.word()))
        .collect();
    let expect = [
        (10, "runnable"),
        (15, "running"),
        (20, "unknown"),
        (30, "running"),
        (60, "other"),
        (80, "unknown"),
        (100, "running"),
    ];
    assert_eq!(ends, expect);
}

/// Whatever the events are, in whatever order, the slices tile the life of the thread.
#[test]
fn slices_tile_the_life() {
    let mut seed = 1u64;
    let mut random = |below: u64| {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) % below
    };
    for round in 0..2_000 {
        let mut losses = Vec::new();
        for _ in 0..random(4) {
            let ts = random(1_000) as i64;
            losses.push(Loss {
                ts,
                end_ts: ts + random(200) as i64,
                cpu: (random(2) == 0).then(|| random(2) as u16),
                source: ["switches", "wakeups"][random(2) as usize].into(),
                ..Loss::default()
            });
        }
        let mut events: Vec<(i64, Event)> = (0..random(40))
            .map(|_| {
                let event = match random(4) {
                    0 => Event::In {
                        cpu: random(2) as u16,
                    },
                    1 => Event::Woken {
                        tid: 1,
                        irq: random(2) == 0,
                    },
                    2 => Event::Seen {
                        state: random(3) as u32,
                        on_cpu: random(2) == 0,
                        syscall: None,
                    },
                    _ => Event::Out {
                        cpu: random(2) as u16,
                        state: [0, 1, 2, 4][random(4) as usize],
                        preempted: random(5) == 0,
                        syscall: None,
                        stack: None,
                    },
                };
                (random(1_200) as i64 - 100, event)
            })
            .collect();
        if round % 10 != 0 {
            events.sort_unstable();
        }
        let mut builder = ThreadBuilder::new(50, 950, random(2) == 0);
        let slices = slices(&mut builder, &events, &LossMap::new(losses));
        let mut at = 50;
        for slice in &slices {
            assert_eq!(slice.start, at, "round {round}: {events:?}");
            assert!(slice.end > slice.start);
            at = slice.end;
        }
        assert_eq!(at, 950, "round {round}: {events:?}");
    }
}
