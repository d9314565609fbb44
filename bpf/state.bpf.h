/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Threads that exist when recording begins, and when it ends. */
#ifndef KINDLING_STATE_BPF_H
#define KINDLING_STATE_BPF_H

/* A thread that sleeps in a syscall when recording begins gets that syscall, with the begin of the
 * recording as its time: an endless epoll_wait has a reason although its entry was never seen. */
static __always_inline u16 syscall_in_flight(struct task_struct *task, struct thread_state *state)
{
	struct pt_regs *regs;
	long nr;

	if (BPF_CORE_READ(task, on_cpu) || !BPF_CORE_READ(task, mm))
		return KD_NO_SYSCALL;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	nr = BPF_CORE_READ(regs, orig_ax);
	if (nr < 0 || nr >= KD_SYSCALLS)
		return KD_NO_SYSCALL;
	state->args[0] = BPF_CORE_READ(regs, di);
	state->args[1] = BPF_CORE_READ(regs, si);
	state->args[2] = BPF_CORE_READ(regs, dx);
	state->args[3] = BPF_CORE_READ(regs, r10);
	state->args[4] = BPF_CORE_READ(regs, r8);
	state->args[5] = BPF_CORE_READ(regs, r9);
	state->nr = nr;
	if (cfg_syscalls[nr].flags & KD_HAS_FILE) {
		u64 file = file_of_fd(task, state->args[0]);
		struct file_slot *slot;

		slot = file ? identify_file(state, file, state->args[0], 0,
						     SCRATCH_ITER) : NULL;
		if (slot) {
			state->file = file;
			state->file_id = slot->id;
			state->stream = slot->stream;
		}
	}
	state->enter_ts = started_ts;
	return nr;
}

static __always_inline void find_task(struct task_struct *task)
{
	u32 pid = task->tgid;
	u8 *target = bpf_map_lookup_elem(&targets, &pid);
	u16 syscall = KD_NO_SYSCALL;
	struct thread_state *state;
	struct kd_task record;

	if (pid == cfg_self_tgid || !task->pid)
		return;
	if (!cfg_all && !target)
		return;
	state = bpf_task_storage_get(&threads, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!state) {
		count_lost(bpf_get_smp_processor_id(), KD_TASK);
		return;
	}
	if (state->target)
		return;
	/* A held command waits in a syscall of the recorder's. */
	if (!target || *target != TARGET_HELD)
		syscall = syscall_in_flight(task, state);
	state->target = true;
	__sync_fetch_and_add(&iter_marked, 1);
	fill_task(&record, task, KD_TASK_FOUND);
	record.target = true;
	record.syscall = syscall;
	send(&record.head, sizeof(record));
}

static __always_inline void end_task(struct task_struct *task)
{
	struct thread_state *state = bpf_task_storage_get(&threads, task, NULL, 0);

	if (!state || !state->target)
		return;
	emit_open_syscall(task, state, bpf_get_smp_processor_id());
	emit_task(task, KD_TASK_END, true);
}

/* A file of the capture begins: it is to know the state of threads that may not move within it. */
static __always_inline void look_at_task(struct task_struct *task)
{
	struct thread_state *state = bpf_task_storage_get(&threads, task, NULL, 0);
	struct kd_task record;

	if (!state || !state->target)
		return;
	fill_task(&record, task, KD_TASK_LOOK);
	record.target = true;
	if (state->enter_ts)
		record.syscall = state->nr;
	send(&record.head, sizeof(record));
}

SEC("iter/task")
int iter_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (!task)
		return 0;
	if (iter_phase == PHASE_FIND)
		find_task(task);
	else if (iter_phase == PHASE_LOOK)
		look_at_task(task);
	else
		end_task(task);
	return 0;
}

#endif
