//! Syscalls, finished or not, and what their arguments point to.

use kindling_format::schema::{Argument, Syscall};

use super::{Drain, State, id};
use crate::raw::{Record, get, layout, numbers, syscall_number};

const NEVER_RETURNED: u8 = 1;
const STILL_OPEN: u8 = 2;
const SEVERAL: u8 = 4;
const TRUNCATED: u8 = 1;
const SOCKADDR: u8 = 2;
const BYTES: u8 = 4;

impl Drain {
    pub(super) fn syscall(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_head>::split(bytes)?;
        let flags: u8 = get!(record, kd_head, flags);
        if flags & SEVERAL != 0 {
            return self.syscalls(bytes);
        }
        let record = Record::<layout::kd_syscall>::split(bytes)?;
        let returned = flags & NEVER_RETURNED == 0;
        let count = usize::from(get!(record, kd_syscall, args));
        let row = Syscall {
            ts: get!(record, kd_syscall, head.ts) as i64,
            dur: returned.then(|| get!(record, kd_syscall, dur) as i64),
            pid: get!(record, kd_syscall, pid),
            tid: get!(record, kd_syscall, head.tid),
            cpu: get!(record, kd_syscall, head.cpu),
            nr: syscall_number(get!(record, kd_syscall, nr)),
            ret: returned.then(|| get!(record, kd_syscall, ret)),
            file: id(get!(record, kd_syscall, file)),
            ..with_arguments(record.rest, count)
        };
        match flags & STILL_OPEN {
            0 => self.push_syscall(row),
            _ => self.open_calls.push(row),
        }
        Some(())
    }

    /// Finished syscalls of one thread.
    fn syscalls(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_calls>::split(bytes)?;
        let (pid, tid) = (
            get!(record, kd_calls, pid),
            get!(record, kd_calls, head.tid),
        );
        let cpu = get!(record, kd_calls, head.cpu);
        let mut rest = record.rest;
        for _ in 0..get!(record, kd_calls, count) {
            let call = Record::<layout::kd_call>::split(rest)?;
            let count = usize::from(get!(call, kd_call, args));
            let (args, behind) = call.rest.split_at_checked(count * size_of::<u64>())?;
            rest = behind;
            self.push_syscall(Syscall {
                ts: get!(call, kd_call, ts) as i64,
                dur: Some(get!(call, kd_call, dur) as i64),
                pid,
                tid,
                cpu,
                nr: syscall_number(get!(call, kd_call, nr)),
                ret: Some(get!(call, kd_call, ret)),
                file: id(get!(call, kd_call, file)),
                ..with_arguments(args, count)
            });
            self.records += 1;
        }
        // One was counted for the record itself.
        self.records -= 1;
        Some(())
    }

    #[inline]
    fn push_syscall(&mut self, row: Syscall) {
        // It came back while it was looked at.
        self.open_calls
            .retain(|open| (open.tid, open.ts) != (row.tid, row.ts));
        if let Some(watch) = &mut self.watch {
            let (files, lives) = (&self.files, &self.lives);
            watch.call(&row, &State { files, lives });
        }
        self.batch.syscalls.push(row);
    }

    pub(super) fn argument(&mut self, bytes: &[u8]) -> Option<()> {
        let record = Record::<layout::kd_arg>::split(bytes)?;
        let flags: u8 = get!(record, kd_arg, head.flags);
        let len = usize::from(get!(record, kd_arg, len));
        let mut data = record.rest.get(..len)?.to_vec();
        match &self.paths {
            Some(_) if flags & BYTES != 0 => {}
            Some(mask) if flags & SOCKADDR != 0 => mask.hide_address(&mut data),
            Some(mask) => mask.hide_argument(&mut data),
            None => {}
        }
        self.batch.arguments.push(Argument {
            ts: get!(record, kd_arg, head.ts) as i64,
            pid: get!(record, kd_arg, pid),
            tid: get!(record, kd_arg, head.tid),
            arg: get!(record, kd_arg, arg) as u8,
            data,
            truncated: flags & TRUNCATED != 0,
        });
        Some(())
    }
}

/// A row of which nothing but its arguments is known: the first `count` numbers; no syscall has more than six.
#[inline(always)]
fn with_arguments(bytes: &[u8], count: usize) -> Syscall {
    let mut args = [None; 6];
    for (arg, value) in args.iter_mut().zip(numbers(bytes).take(count)) {
        *arg = Some(value);
    }
    let [arg0, arg1, arg2, arg3, arg4, arg5] = args;
    Syscall {
        arg0,
        arg1,
        arg2,
        arg3,
        arg4,
        arg5,
        ..Syscall::default()
    }
}
