/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The scheduler: switches and wakeups. */
#ifndef KINDLING_SCHED_BPF_H
#define KINDLING_SCHED_BPF_H

/*
 * Whether an interrupt or a timer is being handled on this CPU. The kernel's own count is not
 * readable everywhere, so handlers are followed by their tracepoints. Soft interrupts do not count:
 * on the loopback device they run in the sender, who is the true waker.
 */
static __always_inline int enter_interrupt(int by)
{
	u32 cpu = bpf_get_smp_processor_id();

	/* An exit whose entry came before the recording counts for nothing. */
	if (cpu < KD_MAX_CPUS && in_interrupt[cpu] + by >= 0)
		in_interrupt[cpu] += by;
	return 0;
}

#define INTERRUPT(tracepoint, by)                                                                  \
	SEC("tp_btf/" #tracepoint)                                                                 \
	int MEASURED_PROG(tracepoint)                                                              \
	{                                                                                          \
		return enter_interrupt(by);                                                        \
	}

INTERRUPT(irq_handler_entry, 1)
INTERRUPT(irq_handler_exit, -1)
INTERRUPT(hrtimer_expire_entry, 1)
INTERRUPT(hrtimer_expire_exit, -1)
INTERRUPT(timer_expire_entry, 1)
INTERRUPT(timer_expire_exit, -1)

SEC("tp_btf/sched_switch")
int MEASURED_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
	     unsigned int prev_state)
{
	struct thread_state *left = prev->pid ? state_of(prev) : NULL;
	struct thread_state *came = next->pid ? state_of(next) : NULL;
	bool left_is_target = left && left->target;
	bool came_is_target = came && came->target;
	u32 cpu = bpf_get_smp_processor_id();
	struct kd_switch *record;
	void *ring;
	u64 stack = 0;
	u64 now;

	/*
	 * No thread is switched inside an interrupt: an entry whose exit was missed, because the programs
	 * are attached one after the other, must not make all later wakers interrupts.
	 */
	if (cpu < KD_MAX_CPUS)
		in_interrupt[cpu] = 0;
	if (!left_is_target && !came_is_target)
		return 0;
	if (left_is_target)
		empty_own_outbox();
	if (left_is_target && !preempt && prev_state)
		left->blocked = 1;
	if (is_shed(SHED_SWITCHES, KD_SWITCH))
		return 0;
	now = now_ns();
	if (cfg_switch_stacks && left_is_target && !preempt && prev_state &&
	    !is_shed(SHED_STACKS, KD_STACK))
		stack = take_stack(ctx, prev->tgid, SCRATCH_TASK);
	ring = ring_of(cpu);
	if (!ring) {
		count_lost(cpu, KD_SWITCH);
		return 0;
	}
	record = RESERVE(ring, struct kd_switch, sizeof(*record), now, prev->pid, cpu, KD_SWITCH,
			 preempt ? KD_PREEMPTED : 0);
	if (!record)
		return 0;
	record->next_tid = next->pid;
	record->prev_state = prev_state;
	record->prev_syscall = left_is_target && left->enter_ts ? left->nr : KD_NO_SYSCALL;
	record->prev_priority = prev->prio;
	__builtin_memset(record->pad, 0, sizeof(record->pad));
	record->stack = stack;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	if (!left_is_target && prev->pid)
		meet(prev);
	if (!came_is_target && next->pid)
		meet(next);
	return 0;
}

static __always_inline int emit_wakeup(struct task_struct *wakee, u8 flags)
{
	struct thread_state *woken = state_of(wakee);
	struct task_struct *waker = bpf_get_current_task_btf();
	u32 cpu = bpf_get_smp_processor_id();
	struct kd_wakeup *record;
	void *ring;

	if (!woken || !woken->target)
		return 0;
	if (is_shed(SHED_SWITCHES, KD_WAKEUP))
		return 0;
	ring = ring_of(cpu);
	if (!ring) {
		count_lost(cpu, KD_WAKEUP);
		return 0;
	}
	if (!waker->pid || (cpu < KD_MAX_CPUS && in_interrupt[cpu] > 0))
		flags |= KD_IRQ;
	record = RESERVE(ring, struct kd_wakeup, sizeof(*record), now_ns(), waker->pid,
			 cpu, KD_WAKEUP, flags);
	if (!record)
		return 0;
	record->wakee_tid = wakee->pid;
	record->target_cpu = wakee->wake_cpu;
	record->pad = 0;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/sched_waking")
int MEASURED_PROG(sched_waking, struct task_struct *wakee)
{
	return emit_wakeup(wakee, 0);
}

SEC("tp_btf/sched_migrate_task")
int MEASURED_PROG(sched_migrate_task, struct task_struct *task, int to_cpu)
{
	struct thread_state *state = state_of(task);
	u32 cpu = bpf_get_smp_processor_id();
	struct kd_migration *record;
	void *ring;

	if (!state || !state->target)
		return 0;
	ring = ring_of(cpu);
	if (!ring) {
		count_lost(cpu, KD_MIGRATION);
		return 0;
	}
	record = RESERVE(ring, struct kd_migration, sizeof(*record), now_ns(), task->pid,
			 cpu, KD_MIGRATION, 0);
	if (!record)
		return 0;
	record->by_tid = (u32)bpf_get_current_pid_tgid();
	record->from_cpu = task->thread_info.cpu;
	record->to_cpu = to_cpu;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

#endif
