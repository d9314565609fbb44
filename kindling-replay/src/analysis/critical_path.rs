//! The critical path: what determined that a thread was done when it was, and not earlier.
//!
//! It is followed back from the end. While the thread ran or waited for a CPU, that is a piece of the
//! path. Where it was blocked until another thread woke it, what that thread did meanwhile is the path,
//! and so on from waker to waker; at the moment at which the thread began to wait, the path is its own
//! again. A thread that was made within the window continues with who made it. Where a wait for bytes of a
//! connection was ended by an interrupt, the path goes on with the thread that sent last at its other end;
//! the time since then is the network's. So the pieces tile the
//! window exactly. This is the bounded walk of Giraldeau and Dagenais, "Wait analysis of distributed
//! systems using kernel tracing", IEEE TPDS 2016.

use crate::model::{
    lanes::Lanes,
    sends::Sends,
    slice::{Slice, State, Waker},
};

/// A piece of a critical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The thread.
    pub tid: u32,
    /// What it did, clipped to the piece.
    pub slice: Slice,
    /// How many threads wait, each for the next, for what this one does.
    pub depth: usize,
    /// Who made the thread go on at the start of the piece, if the path comes from there.
    pub woken_by: Option<Waker>,
}

/// The critical path of a thread from `from` to `to`, in the order of time.
pub fn walk(lanes: &Lanes, sends: &Sends, tid: u32, from: i64, to: i64) -> Vec<Piece> {
    let mut walk = Walk {
        lanes,
        sends,
        from,
        at: to.max(from),
        tid,
        waiting: Vec::new(),
        pieces: Vec::new(),
    };
    while walk.at > from {
        walk.step();
    }
    walk.pieces.reverse();
    walk.pieces
}

struct Walk<'a> {
    lanes: &'a Lanes,
    sends: &'a Sends,
    from: i64,
    at: i64,
    tid: u32,
    /// Threads that wait for this one, each with when it began to.
    waiting: Vec<(u32, i64)>,
    pieces: Vec<Piece>,
}

impl Walk<'_> {
    fn step(&mut self) {
        let floor = self.waiting.last().map_or(self.from, |(_, since)| *since);
        if self.at <= floor {
            if let Some((tid, _)) = self.waiting.pop() {
                self.tid = tid;
            }
            return;
        }
        let Some(slice) = self.lanes.before(self.tid, self.at) else {
            return self.step_out(floor);
        };
        let start = slice.start.max(floor);
        if let (State::Blocked(_), Some(waker)) = (slice.state, self.cause(slice)) {
            // The window of the wait is now the waker's.
            self.mark(waker);
            self.waiting.push((self.tid, start));
            self.tid = waker.tid;
            return;
        }
        if let Some((sent, sender)) = self.sender(slice, start) {
            self.push(sent, *slice);
            self.mark(sender);
            self.waiting.push((self.tid, start));
            self.tid = sender.tid;
            return;
        }
        self.push(start, *slice);
    }

    /// Who sent what a blocked thread waited for, and when, if the wakeup does not tell.
    fn sender(&self, slice: &Slice, start: i64) -> Option<(i64, Waker)> {
        let blocked = matches!(slice.state, State::Blocked(_)) && slice.end == self.at;
        let file = slice.wait.file.filter(|_| blocked)?;
        let (sent, tid) = self.sends.last(file, start, self.at)?;
        let sender = Waker { tid, irq: false };
        self.may_go_to(sender).then_some((sent, sender))
    }

    /// The thread has nothing here: it was not made yet, or is not known.
    fn step_out(&mut self, floor: i64) {
        let first = self.lanes.of(self.tid).first();
        let born = first.filter(|slice| slice.start == self.at && slice.state == State::Runnable);
        let parent = born.and_then(|slice| slice.wait.waker);
        if let Some(parent) = parent.filter(|parent| self.may_go_to(*parent)) {
            self.mark(parent);
            self.tid = parent.tid;
            return;
        }
        let slices = self.lanes.of(self.tid);
        let begun = slices.partition_point(|slice| slice.start < self.at);
        let last = begun.checked_sub(1).and_then(|last| slices.get(last));
        // A life ends while the thread still runs: the last it does is to wake who waits for its end.
        let ends = last.filter(|last| begun == slices.len() && last.state == State::Running);
        let slice = Slice {
            start: floor,
            end: self.at,
            state: ends.map_or(State::Unknown, |_| State::Running),
            cpu: ends.and_then(|last| last.cpu),
            wait: Default::default(),
        };
        self.push(last.map_or(floor, |slice| slice.end.max(floor)), slice);
    }

    /// The thread that ended a wait, if the path goes on with it.
    fn cause(&self, slice: &Slice) -> Option<Waker> {
        let waker = slice.wait.waker?;
        (slice.end == self.at && self.may_go_to(waker)).then_some(waker)
    }

    /// A thread that waits for this one already cannot be the cause of its wait.
    fn may_go_to(&self, waker: Waker) -> bool {
        let waits = self.waiting.iter().any(|(tid, _)| *tid == waker.tid);
        !waker.irq && waker.tid != self.tid && !waits && self.lanes.has(waker.tid)
    }

    /// The piece that comes next in time begins because of this waker.
    fn mark(&mut self, waker: Waker) {
        if let Some(next) = self.pieces.last_mut() {
            next.woken_by.get_or_insert(waker);
        }
    }

    fn push(&mut self, start: i64, slice: Slice) {
        let slice = Slice {
            start,
            end: self.at,
            ..slice
        };
        let woken_by = match slice.state {
            // Nobody's piece comes before it.
            State::Runnable => slice.wait.waker.filter(|waker| waker.irq),
            _ => None,
        };
        self.pieces.push(Piece {
            tid: self.tid,
            slice,
            depth: self.waiting.len(),
            woken_by,
        });
        self.at = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::slice::{Reason, Wait};

    fn slice(start: i64, end: i64, state: State, waker: Option<u32>) -> Slice {
        Slice {
            start,
            end,
            state,
            cpu: None,
            wait: Wait {
                waker: waker.map(|tid| Waker { tid, irq: tid == 0 }),
                ..Wait::default()
            },
        }
    }

    const BLOCKED: State = State::Blocked(Reason::Lock);

    fn shown(pieces: &[Piece]) -> String {
        let piece = |piece: &Piece| {
            let Slice { end, state, .. } = piece.slice;
            let woken = piece
                .woken_by
                .map_or(String::new(), |w| format!("<{}", w.tid));
            format!("{}:{}{woken}-{end}", piece.tid, state.word())
        };
        pieces.iter().map(piece).collect::<Vec<_>>().join(" ")
    }

    /// ```text
    /// 1 │ runs │ waits for 2                  │ runs │
    /// 2           │ runs │ waits for 3 │ runs │
    /// 3  │ runs              │ by a timer│runs│
    ///   0      10       20   30   40  45     50     60
    /// ```
    #[test]
    fn the_path_goes_from_waker_to_waker_and_back() {
        let lanes = Lanes::from_slices([
            (1, slice(0, 10, State::Running, None)),
            (1, slice(10, 50, BLOCKED, Some(2))),
            (1, slice(50, 60, State::Running, None)),
            (2, slice(0, 20, State::Running, None)),
            (2, slice(20, 45, BLOCKED, Some(3))),
            (2, slice(45, 60, State::Running, None)),
            (3, slice(0, 30, State::Running, None)),
            (3, slice(30, 40, State::Blocked(Reason::Timer), Some(0))),
            (3, slice(40, 60, State::Running, None)),
        ]);
        let path = walk(&lanes, &Sends::default(), 1, 0, 60);
        assert_eq!(
            shown(&path),
            "1:running-10 2:running-20 3:running-30 3:timer-40 3:running-45 2:running<3-50 \
             1:running<2-60"
        );
        let depths: Vec<_> = path.iter().map(|piece| piece.depth).collect();
        assert_eq!(depths, [0, 1, 2, 2, 2, 1, 0]);
        // A window that ends within a wait does not know who will end it.
        assert_eq!(
            shown(&walk(&lanes, &Sends::default(), 1, 5, 30)),
            "1:running-10 1:lock-30"
        );
    }

    #[test]
    fn a_new_thread_goes_on_with_its_parent() {
        let lanes = Lanes::from_slices([
            (1, slice(0, 60, State::Running, None)),
            (2, slice(30, 35, State::Runnable, Some(1))),
            (2, slice(35, 60, State::Running, None)),
        ]);
        assert_eq!(
            shown(&walk(&lanes, &Sends::default(), 2, 0, 60)),
            "1:running-30 2:runnable<1-35 2:running-60"
        );
        assert_eq!(
            shown(&walk(&lanes, &Sends::default(), 9, 0, 60)),
            "9:unknown-60"
        );
        // One that ends wakes who joins it, after its end was noted.
        let lanes = Lanes::from_slices([
            (1, slice(0, 50, BLOCKED, Some(2))),
            (1, slice(50, 60, State::Running, None)),
            (2, slice(0, 40, State::Running, None)),
        ]);
        assert_eq!(
            shown(&walk(&lanes, &Sends::default(), 1, 0, 60)),
            "2:running-40 2:running-50 1:running<2-60"
        );
        assert!(walk(&lanes, &Sends::default(), 1, 60, 60).is_empty());
    }

    /// ```text
    /// 1 │ waits for bytes of file 5 ........│ by an interrupt
    /// 2 │ runs        │ sends at 20, runs on
    /// ```
    #[test]
    fn bytes_lead_to_their_sender() {
        let wait = Slice {
            wait: Wait {
                file: Some(5),
                waker: Some(Waker { tid: 7, irq: true }),
                ..Wait::default()
            },
            ..slice(0, 50, State::Blocked(Reason::Network), None)
        };
        let lanes = Lanes::from_slices([
            (1, wait),
            (1, slice(50, 60, State::Running, None)),
            (2, slice(0, 60, State::Running, None)),
        ]);
        let path = |sends| shown(&walk(&lanes, &Sends::from_calls(sends), 1, 0, 60));
        let sends = vec![(5, 55, 3), (5, 20, 2), (6, 40, 2), (5, 10, 3)];
        assert_eq!(path(sends), "2:running-20 1:network<2-50 1:running-60");
        assert_eq!(path(vec![(6, 20, 2)]), "1:network-50 1:running-60");
        // Who is not recorded cannot be followed.
        assert_eq!(path(vec![(5, 20, 9)]), "1:network-50 1:running-60");
    }

    /// Whoever wakes whom, in whatever ring, the pieces tile the window.
    #[test]
    fn pieces_tile_the_window() {
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for round in 0..2_000 {
            let mut slices = Vec::new();
            for tid in 1..=5 {
                let mut at = random(200) as i64;
                for _ in 0..random(12) {
                    let end = at + 1 + random(100) as i64;
                    let state = match random(4) {
                        0 => State::Running,
                        1 => State::Runnable,
                        _ => BLOCKED,
                    };
                    let waker = (random(4) > 0).then(|| random(7) as u32);
                    let mut slice = slice(at, end, state, waker);
                    slice.wait.file = (random(3) == 0).then(|| random(2) as u32);
                    slices.push((tid, slice));
                    // Mostly no gap; many ends fall together.
                    at = if random(5) == 0 {
                        end + 10
                    } else {
                        end / 10 * 10 + 10
                    };
                }
            }
            let lanes = Lanes::from_slices(slices);
            let calls = (0..random(20)).map(|_| {
                let (file, ts, tid) = (random(2), random(900), random(7));
                (file as u32, ts as i64, tid as u32)
            });
            let sends = Sends::from_calls(calls.collect::<Vec<_>>());
            let (from, to) = (random(300) as i64, 300 + random(500) as i64);
            let path = walk(&lanes, &sends, 1 + random(6) as u32, from, to);
            let mut at = from;
            for piece in &path {
                assert_eq!(piece.slice.start, at, "round {round}: {path:#?}");
                assert!(piece.slice.end > at, "round {round}: {path:#?}");
                at = piece.slice.end;
            }
            assert_eq!(at, to, "round {round}: {path:#?}");
        }
    }
}
