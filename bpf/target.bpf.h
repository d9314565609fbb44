/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which threads are of the target: those that exist when recording begins, and processes that get
 * its name or enter its cgroup later. Once in the target, a process stays, and its children follow.
 */
#ifndef KINDLING_TARGET_BPF_H
#define KINDLING_TARGET_BPF_H

struct cgroup_walk {
	struct cgroup *cgroup;
	bool found;
};

static long cgroup_step(u32 step, void *context)
{
	struct cgroup_walk *walk = context;
	struct cgroup *cgroup = walk->cgroup;
	u64 id = BPF_CORE_READ(cgroup, kn, id);

	if (bpf_map_lookup_elem(&target_cgroups, &id)) {
		walk->found = true;
		return 1;
	}
	walk->cgroup = cgroup_above(cgroup);
	return !walk->cgroup;
}

static __always_inline bool is_in_target_cgroup(struct task_struct *task)
{
	struct cgroup_walk walk = { .cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp) };

	if (!cfg_cgroups || !walk.cgroup)
		return false;
	bpf_loop(CGROUP_DEPTH, cgroup_step, &walk, 0);
	return walk.found;
}

/* Whether it is a name of the target. */
static __always_inline bool is_target_comm(const char *comm)
{
	char key[KD_COMM_LEN] = {};

	if (!cfg_comms)
		return false;
	/* What is behind the end of a name in the kernel is not always zeros. */
	bpf_probe_read_kernel_str(key, sizeof(key), comm);
	return bpf_map_lookup_elem(&target_comms, key);
}

/* A thread that is in a syscall when it is found gets that syscall, with `since` as its time: an
 * endless epoll_wait has a reason although its entry was never seen. */
static __always_inline u16 syscall_in_flight(struct task_struct *task, struct thread_state *state,
					     u64 since, u32 context)
{
	bool is_current = task->pid == (u32)bpf_get_current_pid_tgid();
	struct pt_regs *regs;
	long nr;

	/* The registers of a thread that runs elsewhere are those of its last visit to the kernel. */
	if ((BPF_CORE_READ(task, on_cpu) && !is_current) || !BPF_CORE_READ(task, mm))
		return KD_NO_SYSCALL;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	nr = BPF_CORE_READ(regs, orig_ax);
	if (nr < 0 || nr >= KD_TABLE)
		return KD_NO_SYSCALL;
	if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT) {
		nr |= KD_COMPAT;
		state->args[0] = (u32)BPF_CORE_READ(regs, bx);
		state->args[1] = (u32)BPF_CORE_READ(regs, cx);
		state->args[2] = (u32)BPF_CORE_READ(regs, dx);
		state->args[3] = (u32)BPF_CORE_READ(regs, si);
		state->args[4] = (u32)BPF_CORE_READ(regs, di);
		state->args[5] = (u32)BPF_CORE_READ(regs, bp);
	} else {
		state->args[0] = BPF_CORE_READ(regs, di);
		state->args[1] = BPF_CORE_READ(regs, si);
		state->args[2] = BPF_CORE_READ(regs, dx);
		state->args[3] = BPF_CORE_READ(regs, r10);
		state->args[4] = BPF_CORE_READ(regs, r8);
		state->args[5] = BPF_CORE_READ(regs, r9);
	}
	state->nr = nr;
	state->blocked = 1;
	/* What it was given may have been written over. */
	state->has_timeout = 0;
	if (cfg_syscalls[nr].flags & KD_HAS_FILE) {
		u64 file = file_of_fd(task, state->args[0]);
		struct file_slot *slot;

		slot = file ? identify_file(state, file, state->args[0], 0, context) : NULL;
		if (slot) {
			state->file = file;
			state->file_id = slot->id;
			state->stream = slot->stream;
		}
	}
	state->enter_ts = since;
	return nr;
}

/* What is to be remembered of a thread of the target. The kernel refuses now and then, when it was
 * interrupted in the same work on this CPU: then the thread is left to the iterator, and counted,
 * because what it does until then is missing. */
static __always_inline struct thread_state *remember(struct task_struct *task)
{
	struct thread_state *state;
	u8 kind = TARGET_RUNNING;
	u32 pid = task->tgid;

	state = bpf_task_storage_get(&threads, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (state)
		return state;
	count_lost(bpf_get_smp_processor_id(), KD_TASK);
	bpf_map_update_elem(&targets, &pid, &kind, BPF_NOEXIST);
	__sync_fetch_and_add(&joined, 1);
	return NULL;
}

/* Makes a thread that runs already one of the target, and says so; false if it was one. */
static __always_inline bool take_in(struct task_struct *task, bool is_held, u64 since, u32 context)
{
	struct thread_state *state;
	u16 syscall = KD_NO_SYSCALL;
	struct kd_task record;

	state = remember(task);
	if (!state || state->target)
		return false;
	if (!is_held)
		syscall = syscall_in_flight(task, state, since, context);
	state->target = true;
	tell_cgroup_of(task, context);
	fill_task(&record, task, KD_TASK_FOUND);
	record.target = true;
	record.syscall = syscall;
	send(&record.head, sizeof(record));
	return true;
}

/* Takes in a process that came to belong to the target. Its other threads, if it has any, are left
 * to the iterator, which user space then runs. */
static __always_inline void join(struct task_struct *task)
{
	u32 pid = task->tgid;
	u8 kind = TARGET_RUNNING;

	if (stopped || pid == cfg_self_tgid || !task->pid)
		return;
	if (!take_in(task, false, now_ns(), SCRATCH_TASK))
		return;
	if (bpf_map_update_elem(&targets, &pid, &kind, BPF_ANY))
		count_lost(bpf_get_smp_processor_id(), KD_TASK);
	if (BPF_CORE_READ(task, signal, nr_threads) > 1)
		__sync_fetch_and_add(&joined, 1);
}

SEC("tp_btf/cgroup_attach_task")
int MEASURED_PROG(cgroup_attach_task, struct cgroup *cgroup, const char *path, struct task_struct *task)
{
	if (is_in_target_cgroup(task))
		join(task);
	return 0;
}

#endif
