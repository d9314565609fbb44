//! Who ran where, who was woken by whom, and where threads were.

use super::*;

table! {
    /// A context switch that a recorded thread took part in.
    Switch, SwitchColumns, SwitchViews = "switches",
    sort(cpu; ts), span |r| Some((r.ts, r.ts)), pid |_r| None,
    {
        /// When.
        ts: i64, Delta;
        /// On which CPU.
        cpu: u16, Dict;
        /// The thread that left; 0 is the idle task.
        prev_tid: u32, Dict;
        /// The state it left in (`task_struct.__state`): 0 is still runnable.
        prev_state: u32, Dict;
        /// Whether it was preempted: it stayed runnable whatever `prev_state` says.
        preempted: bool, Dict;
        /// The syscall it was in, numbered as in `syscalls`; null if it was in none or is not recorded.
        prev_syscall: Option<u16>, Dict;
        /// Its priority (`task_struct.prio`): 120 is the default, more is nicer, below 100 is real
        /// time; null in older captures.
        prev_priority: Option<u8>, Dict;
        /// The thread that came; 0 is the idle task.
        next_tid: u32, Dict;
        /// Where the thread that left was, if recorded.
        stack: Option<u32>, Dict;
    }
}

table! {
    /// A thread of the target was moved to another CPU. Optional source `migrations`: where a thread
    /// runs is in `switches` too, but not when and by whom it was moved.
    Migration, MigrationColumns, MigrationViews = "migrations",
    sort(tid; ts), span |r| Some((r.ts, r.ts)), pid |_r| None,
    {
        /// When.
        ts: i64, Delta;
        /// Where it was decided.
        cpu: u16, Dict;
        /// The thread that was moved.
        tid: u32, Dict;
        /// From this CPU
        from_cpu: u16, Dict;
        /// to this one.
        to_cpu: u16, Dict;
        /// The thread that ran where it was decided: its waker, often, or one that was just
        /// interrupted; 0 is the idle task.
        by_tid: u32, Dict;
    }
}

table! {
    /// A thread was made runnable.
    Wakeup, WakeupColumns, WakeupViews = "wakeups",
    sort(wakee_tid; ts), span |r| Some((r.ts, r.ts)), pid |_r| None,
    {
        /// When, on the waker's side (`sched_waking`).
        ts: i64, Delta;
        /// On which CPU the waker was.
        cpu: u16, Dict;
        /// The thread that was running there; 0 is the idle task.
        waker_tid: u32, Dict;
        /// Whether an interrupt did it: then `waker_tid` only names whom it interrupted.
        irq: bool, Dict;
        /// The thread that was woken.
        wakee_tid: u32, Delta;
        /// The CPU it last ran on, where the kernel starts to look for one.
        target_cpu: u16, Dict;
        /// Whether this is the first wakeup of a new thread.
        new: bool, Dict;
    }
}

table! {
    /// A stack sample of a thread that held a CPU.
    Sample, SampleColumns, SampleViews = "samples",
    sort(tid; ts), span |r| Some((r.ts, r.ts)), pid |r| Some(r.pid),
    {
        /// When.
        ts: i64, Delta;
        /// On which CPU.
        cpu: u16, Dict;
        /// The process.
        pid: u32, Delta;
        /// The thread.
        tid: u32, Delta;
        /// Where it was.
        mode: Mode, Dict;
        /// The time that the sample stands for.
        period_ns: i64, Dict;
        /// The call stack; null if it could not be taken.
        stack: Option<u32>, Dict;
    }
}
