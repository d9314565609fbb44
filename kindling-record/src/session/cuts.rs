//! Where a batch ends and where it goes: segments, the next file or slice, dumps.

use anyhow::Result;
use kindling_format::header::Moment;

use super::{Session, Way};
use crate::{batch::ROUND, clocks, encoder::Order, flight::SliceStart, sources::MAPPINGS};

impl Session<'_, '_> {
    pub(super) fn is_file_or_slice_due(&self, now_ns: i64) -> bool {
        match &self.way {
            Way::Files(parts) => parts.is_due(now_ns, self.encoder.written_bytes()),
            Way::Flight(flight) => flight.is_slice_due(now_ns, self.encoder.slice_bytes()),
        }
    }

    /// Ends the current file, or slice, and begins the next, which repeats all that is known: it is
    /// complete by itself. `false` if nothing can be written any more.
    pub(super) fn go_on(&mut self) -> Result<bool> {
        // What has ended until now belongs to the file, or slice, that ends.
        self.drain_rings();
        // The look comes first, so that it tells the state at the start: what it sends is drained later.
        self.probes.look_again()?;
        let now = clocks::now();
        self.read_meter(now.monotonic_ns);
        let mut drain = self.drain.borrow_mut();
        drain.batch.clock(now);
        drain.forget_stacks();
        drop(drain);
        if !self.cut() {
            return Ok(false);
        }
        match &mut self.way {
            Way::Files(parts) => {
                let summary = self.account.summary(now, "rotated", None);
                let next = parts.next(now, self.encoder.written_bytes())?;
                self.account.next_part();
                self.drain.borrow_mut().repeat(now);
                Ok(self.encoder.tell(Order::Next(Box::new((summary, next)))))
            }
            Way::Flight(flight) => {
                let needed_ns = flight.begin_slice(now.monotonic_ns);
                let mut drain = self.drain.borrow_mut();
                drain.repeat(now);
                let state = *std::mem::take(&mut drain.batch);
                drop(drain);
                let slice = SliceStart {
                    needed_ns,
                    start: now,
                    state,
                };
                Ok(self.encoder.tell(Order::Slice(Box::new(slice))))
            }
        }
    }

    /// Writes a dump, if a trigger or somebody wants one; `false` if nothing can be written any more.
    pub(super) fn dump_what_is_due(&mut self, now_ns: i64) -> Result<bool> {
        let Way::Flight(flight) = &mut self.way else {
            return Ok(true);
        };
        flight.take_reports();
        let mut drain = self.drain.borrow_mut();
        if let Some((fired, more)) = drain.take_fired(now_ns) {
            flight.fired(fired, more);
        }
        if let Some(watch) = &mut drain.watch {
            watch.mute(flight.is_limited(now_ns));
        }
        drop(drain);
        if !flight.is_due(now_ns, false) {
            return Ok(true);
        }
        // As at a slice's start: threads that do not move tell what they are in.
        self.probes.look_at_calls()?;
        let end = clocks::now();
        self.drain_rings();
        self.last_cut_ns = end.monotonic_ns;
        self.cut_for_dump(end, None)
    }

    /// Takes everything that waits in the rings now, or on its way to them.
    pub(super) fn drain_rings(&mut self) {
        self.probes.empty_outboxes();
        let most = self.drain.borrow().bytes + self.ring_bytes * self.probes.rings.len() as u64;
        while self.rings.consume_raw_n(ROUND) > 0
            && self.cut_if_full()
            && self.drain.borrow().bytes < most
        {}
    }

    /// Ends the batch, and has what is in memory written.
    fn cut_for_dump(&mut self, end: Moment, exit_status: Option<i32>) -> Result<bool> {
        self.read_meter(end.monotonic_ns);
        self.drain.borrow_mut().batch.clock(end);
        let Way::Flight(flight) = &mut self.way else {
            return Ok(true);
        };
        let open = self.drain.borrow_mut().take_open_calls();
        let order = flight.order(end, exit_status, open);
        let is_open = self.cut();
        Ok(match order {
            Some(order) => is_open && self.encoder.tell(Order::Dump(Box::new(order))),
            None => is_open,
        })
    }

    /// Hands the batch to the encoder.
    pub(super) fn cut(&mut self) -> bool {
        self.take_mappings();
        let mut drain = self.drain.borrow_mut();
        if drain.batch.is_empty() {
            return true;
        }
        drain.batch.cut_at = Some(clocks::now());
        let batch = std::mem::replace(&mut drain.batch, self.encoder.spare());
        drop(drain);
        self.encoder.batch(batch)
    }

    fn take_mappings(&mut self) {
        let mut drain = self.drain.borrow_mut();
        let (mapped, lost) = self.mappings.take(&drain.lives.targets);
        drain.batch.code.mapped.extend(mapped);
        drop(drain);
        let now = clocks::monotonic_ns();
        self.account
            .lose(None, MAPPINGS, "perf ring full", lost, now);
    }

    /// Hands over the last events; a flight recorder writes what triggers and others still wait for.
    pub(super) fn write_end(&mut self, end: Moment, exit_status: Option<i32>) -> Result<()> {
        let now_ns = clocks::monotonic_ns();
        if let Way::Flight(flight) = &mut self.way {
            if let Some((fired, more)) = self.drain.borrow_mut().take_fired(now_ns) {
                flight.fired(fired, more);
            }
            while let Way::Flight(flight) = &mut self.way
                && flight.is_due(now_ns, true)
            {
                self.cut_for_dump(end, exit_status)?;
            }
            return Ok(());
        }
        self.read_meter(now_ns);
        self.drain.borrow_mut().batch.clock(end);
        self.cut();
        Ok(())
    }

    pub(super) fn cut_if_full(&mut self) -> bool {
        let is_full = self.drain.borrow().batch.is_full();
        !is_full || self.cut()
    }
}
