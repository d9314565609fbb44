/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* On-CPU stack samples, from a perf event on each CPU. */
#ifndef KINDLING_SAMPLE_BPF_H
#define KINDLING_SAMPLE_BPF_H

static __always_inline int take_sample(struct perf_event_context *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 cpu = bpf_get_smp_processor_id();
	struct thread_state *thread;
	struct kd_sample *record;
	u64 now = now_ns();
	void *ring;
	u64 stack;

	if (!task->pid)
		return 0;
	thread = state_of(task);
	if (!thread || !thread->target)
		return 0;
	if (is_shed(SHED_STACKS, KD_SAMPLE))
		return 0;
	stack = take_stack(ctx, task->tgid, SCRATCH_SAMPLE);
	ring = ring_of(cpu);
	if (!ring) {
		count_lost(cpu, KD_SAMPLE);
		return 0;
	}
	record = RESERVE(ring, struct kd_sample, sizeof(*record), now, task->pid, cpu, KD_SAMPLE,
			 ctx->regs[PERF_REGS_CS] & 3 ? 0 : KD_KERNEL_MODE);
	if (!record)
		return 0;
	record->pid = task->tgid;
	record->pad = 0;
	record->stack = stack;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("perf_event")
int sample(struct perf_event_context *ctx)
{
	return MEASURED(take_sample(ctx));
}

#endif
