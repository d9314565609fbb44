/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The lives of threads: fork, first wakeup, exec, rename, exit. */
#ifndef KINDLING_LIFE_BPF_H
#define KINDLING_LIFE_BPF_H

SEC("tp_btf/sched_process_fork")
int MEASURED_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct thread_state *from = state_of(parent);
	struct thread_state *state;

	if (stopped || child->tgid == cfg_self_tgid)
		return 0;
	/* A child can be born into another cgroup than its parent's (CLONE_INTO_CGROUP). */
	if (!cfg_all && !(from && from->target) && !is_in_target_cgroup(child))
		return 0;
	state = remember(child);
	if (!state)
		return 0;
	state->target = true;
	tell_cgroup_of(child, SCRATCH_TASK);
	emit_task(child, KD_TASK_FORK, true);
	return 0;
}

/* The kernel makes threads for an io_uring in the process that has it, and says so only by waking
 * them. */
static __always_inline void follow_worker(struct task_struct *task)
{
	struct thread_state *leader, *state;

	if (!(task->flags & PF_IO_WORKER) || state_of(task))
		return;
	leader = state_of(task->group_leader);
	if (!leader || !leader->target)
		return;
	state = remember(task);
	if (!state)
		return;
	state->target = true;
	emit_task(task, KD_TASK_FORK, true);
}

SEC("tp_btf/sched_wakeup_new")
int MEASURED_PROG(sched_wakeup_new, struct task_struct *wakee)
{
	follow_worker(wakee);
	return emit_wakeup(wakee, KD_NEW);
}

/* The path that was executed. At the syscall's exit its pointer means nothing any more. */
static __always_inline void emit_exec_path(struct task_struct *task, struct thread_state *state,
					   struct linux_binprm *bprm, struct text_scratch *scratch)
{
	struct kd_arg *record = &scratch->arg;
	u16 nr = state->nr & (KD_SYSCALLS - 1);
	long len;

	state->executed = 1;
	if (!state->enter_ts)
		return;
	len = bpf_probe_read_kernel_str(record + 1, KD_ARG_MAX, bprm->filename);
	if (len <= 0)
		return;
	fill_head(&record->head, state->enter_ts, task->pid, bpf_get_smp_processor_id(), KD_ARG,
		  len == KD_ARG_MAX ? KD_TRUNCATED : 0);
	record->pid = task->tgid;
	record->arg = cfg_syscalls[nr].paths & 1 ? 0 : 1; /* execve, execveat */
	record->len = len - 1;
	send(&record->head, sizeof(*record) + BOUNDED(len - 1, KD_ARG_MAX - 1));
}

SEC("tp_btf/sched_process_exec")
int MEASURED_PROG(sched_process_exec, struct task_struct *task, u32 old_tid, struct linux_binprm *bprm)
{
	struct thread_state *state = state_of(task);
	struct text_scratch *scratch = text_of(SCRATCH_TASK);
	unsigned long arg_start, arg_end;
	struct kd_task *record;
	u32 path_len, argv_len;

	if (!state || !state->target || !scratch)
		return 0;
	tell_cgroup_of(task, SCRATCH_TASK);
	record = &scratch->task;
	fill_task(record, task, KD_TASK_EXEC);
	record->target = true;
	record->old_tid = old_tid;
	path_len = path_components(&bprm->file->f_path, (char *)(record + 1));
	if (path_len > KD_PATH_MAX)
		path_len = KD_PATH_MAX;
	record->path_len = path_len;
	arg_start = BPF_CORE_READ(task, mm, arg_start);
	arg_end = BPF_CORE_READ(task, mm, arg_end);
	argv_len = arg_end - arg_start;
	if (argv_len >= KD_PATH_MAX)
		argv_len = KD_PATH_MAX - 1;
	if (bpf_probe_read_user((char *)(record + 1) + path_len, argv_len, (void *)arg_start))
		argv_len = 0;
	record->argv_len = argv_len;
	send(&record->head, sizeof(*record) + path_len + argv_len);
	emit_exec_path(task, state, bprm, scratch);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int MEASURED_PROG(sched_process_exit, struct task_struct *task)
{
	struct thread_state *state = state_of(task);
	u32 pid = task->tgid;

	if (!state || !state->target)
		return 0;
	empty_own_outbox();
	emit_open_syscall(task, state, bpf_get_smp_processor_id(), 0);
	close_files_at_exit(task);
	emit_task(task, KD_TASK_EXIT, true);
	/* Its number may be given to another. */
	if (task->pid == pid)
		bpf_map_delete_elem(&targets, &pid);
	return 0;
}

SEC("tp_btf/task_rename")
int MEASURED_PROG(task_rename, struct task_struct *task, const char *comm)
{
	struct thread_state *state = state_of(task);
	bool is_leader = task->pid == task->tgid;
	struct kd_task record;

	/* At exec too: the new name comes before the new program is said. */
	if (!(state && state->target) && is_leader && is_target_comm(comm)) {
		join(task);
		state = state_of(task);
	}
	if (!state || !state->target)
		return 0;
	fill_task(&record, task, KD_TASK_RENAME);
	record.target = true;
	/* The task still has its old name. */
	__builtin_memset(record.comm, 0, sizeof(record.comm));
	bpf_probe_read_kernel_str(record.comm, sizeof(record.comm), comm);
	send(&record.head, sizeof(record));
	return 0;
}

#endif
