/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Threads that exist when recording begins, and when it ends. */
#ifndef KINDLING_STATE_BPF_H
#define KINDLING_STATE_BPF_H

static __always_inline void find_task(struct task_struct *task)
{
	u32 pid = task->tgid;
	u8 *target = bpf_map_lookup_elem(&targets, &pid);
	bool is_held = target && *target == TARGET_HELD;

	if (pid == cfg_self_tgid || !task->pid)
		return;
	/* Its end has been told already: it would never end. */
	if (task->flags & PF_EXITING)
		return;
	if (!cfg_all && !target && !is_target_comm(task->group_leader->comm) &&
	    !is_in_target_cgroup(task))
		return;
	/* A held command waits in a syscall of the recorder's. */
	if (take_in(task, is_held, started_ts, SCRATCH_ITER))
		__sync_fetch_and_add(&iter_marked, 1);
}

static __always_inline void end_task(struct task_struct *task)
{
	struct thread_state *state = bpf_task_storage_get(&threads, task, NULL, 0);

	if (!state || !state->target)
		return;
	emit_open_syscall(task, state, bpf_get_smp_processor_id(), 0);
	emit_task(task, KD_TASK_END, true);
}

/* A file of the capture begins: it is to know the state of threads that may not move within it. Or
 * one ends while recording goes on: it is to have the calls that threads are in. */
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
	if (iter_phase == PHASE_DUMP)
		emit_open_syscall(task, state, bpf_get_smp_processor_id(), KD_STILL_OPEN);
}

SEC("iter/task")
int iter_tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (!task)
		return 0;
	if (iter_phase == PHASE_FIND)
		find_task(task);
	else if (iter_phase == PHASE_LOOK || iter_phase == PHASE_DUMP)
		look_at_task(task);
	else
		end_task(task);
	return 0;
}

#endif
