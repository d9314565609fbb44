//! Who held each CPU, from the context switches that were recorded.
//!
//! Only switches that a recorded thread takes part in are there. So a recorded thread is known to hold
//! its CPU from its coming to its leaving. Between two of them, the CPU is handed to somebody and taken
//! from somebody: if both are the same, it is taken to have held it all the while; if not, who ran is
//! unknown. In a recording of the whole host nothing is left open.

use std::collections::BTreeMap;

use crate::{
    context::Context,
    model::{catalog::Catalog, loss::LossMap, timeline::CpuSwitch},
    selection::Window,
};

/// Who held a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A thread.
    Thread(u32),
    /// Nobody: the idle task.
    Idle,
    /// The capture does not say.
    Unknown,
}

/// A stretch of time in which a CPU had one holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure {
    /// The CPU.
    pub cpu: u16,
    /// Its first moment.
    pub start: i64,
    /// The moment behind its last.
    pub end: i64,
    /// Who held it.
    pub holder: Holder,
}

impl Tenure {
    /// Its length.
    pub fn length_ns(&self) -> i64 {
        self.end.saturating_sub(self.start)
    }
}

/// The CPUs while they are replayed. Of each the tenures tile the window, up to where it is known.
#[derive(Debug)]
pub struct Occupancy<'a> {
    catalog: &'a Catalog,
    losses: LossMap,
    window: Window,
    held: Vec<CpuSwitch>,
    cpus: BTreeMap<u16, Cpu>,
}

#[derive(Debug)]
struct Cpu {
    /// Up to here tenures were given.
    at: i64,
    /// Who came last.
    now: Option<u32>,
    switches: u64,
}

impl<'a> Occupancy<'a> {
    /// The CPUs of a capture in the selected window.
    pub fn new(context: &Context, catalog: &'a Catalog) -> Self {
        Self {
            catalog,
            losses: LossMap::load(context),
            window: context.selection.window,
            held: Vec::new(),
            cpus: BTreeMap::new(),
        }
    }

    /// Takes switches; gives the tenures that they end, if the switches are from before `until`.
    pub fn advance(&mut self, switches: Vec<CpuSwitch>, until: i64) -> Vec<Tenure> {
        self.held.extend(switches);
        self.held.sort_unstable();
        let ready = self.held.partition_point(|switch| switch.ts < until);
        let mut tenures = Vec::new();
        for switch in self.held.drain(..ready) {
            let window = self.window;
            let cpu = self.cpus.entry(switch.cpu).or_insert(Cpu {
                at: window.from,
                now: None,
                switches: 0,
            });
            let ts = switch.ts.clamp(cpu.at, window.to.max(cpu.at));
            let recorded = |tid: u32| is_recorded(self.catalog, tid, switch.ts);
            let holder = match cpu.now {
                Some(now) if now == switch.prev_tid => holder(now),
                // Nothing happened there since the start: a recorded thread was there all the time.
                None if recorded(switch.prev_tid) => holder(switch.prev_tid),
                _ => Holder::Unknown,
            };
            tenures.extend(cut(&self.losses, switch.cpu, cpu.at, ts, holder));
            cpu.at = ts;
            cpu.now = Some(switch.next_tid);
            cpu.switches += u64::from(window.contains(switch.ts));
        }
        tenures
    }

    /// The tenures that last until the end of the window.
    pub fn finish(&mut self) -> Vec<Tenure> {
        let mut tenures = Vec::new();
        for (&number, cpu) in &mut self.cpus {
            // Only a recorded thread would have been seen to leave.
            let now = cpu
                .now
                .filter(|tid| is_recorded(self.catalog, *tid, cpu.at));
            let holder = now.map_or(Holder::Unknown, holder);
            tenures.extend(cut(&self.losses, number, cpu.at, self.window.to, holder));
            cpu.at = self.window.to.max(cpu.at);
        }
        tenures
    }

    /// The moment up to which the tenures of a CPU were given; the end of time for one that was never
    /// seen, as nothing will be.
    pub fn known_until(&self, cpu: u16) -> i64 {
        self.cpus.get(&cpu).map_or(i64::MAX, |cpu| cpu.at)
    }

    /// Each CPU that was seen, with its switches in the window.
    pub fn switches(&self) -> impl Iterator<Item = (u16, u64)> {
        self.cpus
            .iter()
            .map(|(number, cpu)| (*number, cpu.switches))
    }
}

fn is_recorded(catalog: &Catalog, tid: u32, ts: i64) -> bool {
    tid != 0 && catalog.thread_at(tid, ts).is_some_and(|life| life.target)
}

fn holder(tid: u32) -> Holder {
    match tid {
        0 => Holder::Idle,
        tid => Holder::Thread(tid),
    }
}

/// A tenure, its parts where switches were lost as unknown.
fn cut(losses: &LossMap, cpu: u16, start: i64, end: i64, holder: Holder) -> Vec<Tenure> {
    let mut tenures = Vec::new();
    let mut push = |start: i64, end: i64, holder: Holder| {
        if start < end {
            tenures.push(Tenure {
                cpu,
                start,
                end,
                holder,
            });
        }
    };
    let mut at = start;
    for (from, to) in losses.switch_gaps(start, end, Some(cpu)) {
        push(at, from, holder);
        push(from, to, Holder::Unknown);
        at = to;
    }
    push(at, end, holder);
    tenures
}

#[cfg(test)]
mod tests {
    use kindling_format::schema::{Loss, Thread};

    use super::*;

    fn switch(ts: i64, prev_tid: u32, next_tid: u32) -> CpuSwitch {
        CpuSwitch {
            ts,
            cpu: 0,
            prev_tid,
            next_tid,
        }
    }

    /// Threads 1 to 9 are recorded, others are not.
    fn catalog() -> Catalog {
        let threads = (1..10).map(|tid| Thread {
            tid,
            target: true,
            ..Thread::default()
        });
        Catalog::from_rows("x86_64", vec![], threads.collect(), vec![])
    }

    fn occupancy(catalog: &Catalog, losses: Vec<Loss>) -> Occupancy<'_> {
        Occupancy {
            catalog,
            losses: LossMap::new(losses),
            window: Window { from: 0, to: 100 },
            held: Vec::new(),
            cpus: BTreeMap::new(),
        }
    }

    fn check(switches: &[CpuSwitch], expect: &[(i64, Holder)]) {
        let catalog = catalog();
        let mut cpus = occupancy(&catalog, vec![]);
        let mut tenures = cpus.advance(switches.to_vec(), 1_000);
        tenures.extend(cpus.finish());
        let ends: Vec<_> = tenures.iter().map(|t| (t.end, t.holder)).collect();
        assert_eq!(ends, expect, "{switches:?}");
    }

    #[test]
    fn who_came_holds_the_cpu_until_it_leaves() {
        use Holder::{Idle, Thread, Unknown};
        check(&[], &[]);
        check(
            &[switch(10, 1, 0), switch(20, 0, 2)],
            &[(10, Thread(1)), (20, Idle), (100, Thread(2))],
        );
        // Somebody who is not recorded: from its coming until it is seen to leave.
        check(
            &[switch(10, 1, 77), switch(20, 77, 2), switch(30, 2, 0)],
            &[
                (10, Thread(1)),
                (20, Thread(77)),
                (30, Thread(2)),
                (100, Unknown),
            ],
        );
        check(
            &[switch(10, 77, 1), switch(20, 1, 77), switch(30, 78, 2)],
            &[
                (10, Unknown),
                (20, Thread(1)),
                (30, Unknown),
                (100, Thread(2)),
            ],
        );
    }

    #[test]
    fn tenures_tile_the_window() {
        let mut seed = 3u64;
        let mut random = |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let catalog = catalog();
        for round in 0..500 {
            let losses = (0..random(3)).map(|_| {
                let ts = random(100) as i64;
                Loss {
                    ts,
                    end_ts: ts + random(20) as i64,
                    source: "switches".into(),
                    ..Loss::default()
                }
            });
            let mut cpus = occupancy(&catalog, losses.collect());
            let mut tenures = Vec::new();
            for step in 1..5 {
                let switches = (0..random(8))
                    .map(|_| switch(random(120) as i64, random(12) as u32, random(12) as u32));
                tenures.extend(cpus.advance(switches.collect(), step * 30));
            }
            tenures.extend(cpus.advance(vec![], i64::MAX));
            tenures.extend(cpus.finish());
            let mut at = 0;
            for tenure in &tenures {
                assert_eq!(tenure.start, at, "round {round}: {tenures:#?}");
                at = tenure.end;
            }
            assert!(tenures.is_empty() || at == 100, "round {round}");
        }
    }
}
