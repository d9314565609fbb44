/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* On-CPU stack samples, from a perf event on each CPU. */
#ifndef KINDLING_SAMPLE_BPF_H
#define KINDLING_SAMPLE_BPF_H

/* Where user space was, whether the sample hit it there or in a syscall. */
static __always_inline void user_registers(struct kd_sample *record,
					   struct perf_event_context *ctx,
					   struct task_struct *task)
{
	struct pt_regs *regs;

	if ((ctx->regs[PERF_REGS_CS] & 3) != 0) {
		record->ip = ctx->regs[PERF_REGS_IP];
		record->sp = ctx->regs[PERF_REGS_SP];
		record->bp = ctx->regs[PERF_REGS_BP];
		return;
	}
	record->head.flags = KD_KERNEL_MODE;
	if (!task->mm)
		return;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	record->ip = BPF_CORE_READ(regs, ip);
	record->sp = BPF_CORE_READ(regs, sp);
	record->bp = BPF_CORE_READ(regs, bp);
}

static __always_inline int take_sample(struct perf_event_context *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sample_scratch *scratch;
	struct thread_state *thread;
	struct kd_sample *record;
	u64 now = now_ns();
	u32 zero = 0;
	u64 follows;
	long bytes;

	if (!task->pid)
		return 0;
	thread = state_of(task);
	if (!thread || !thread->target)
		return 0;
	if (is_shed(SHED_STACKS, KD_SAMPLE))
		return 0;
	scratch = bpf_map_lookup_elem(&sample_scratch, &zero);
	if (!scratch)
		return 0;
	record = &scratch->record;
	/* All but the addresses, of which only as many as are counted mean something. */
	__builtin_memset(record, 0, offsetof(struct kd_sample, kernel_addr));
	fill_head(&record->head, now, task->pid, bpf_get_smp_processor_id(), KD_SAMPLE, 0);
	record->pid = task->tgid;
	user_registers(record, ctx, task);
	bytes = bpf_get_stack(ctx, record->kernel_addr, sizeof(record->kernel_addr), 0);
	record->kernel = bytes > 0 ? (u64)bytes / sizeof(u64) : 0;
	if (cfg_stack_bytes) {
		record->stack_len = copy_stack(scratch->stack, record->sp);
		follows = record->stack_len;
	} else {
		bytes = bpf_get_stack(ctx, scratch->stack, KD_STACK_DEPTH * sizeof(u64),
				      BPF_F_USER_STACK);
		record->user = bytes > 0 ? (u64)bytes / sizeof(u64) : 0;
		follows = record->user * sizeof(u64);
	}
	if (follows > KD_STACK_BYTES_MAX)
		follows = KD_STACK_BYTES_MAX;
	send(&record->head, sizeof(*record) + follows);
	return 0;
}

SEC("perf_event")
int sample(struct perf_event_context *ctx)
{
	return MEASURED(take_sample(ctx));
}

#endif
