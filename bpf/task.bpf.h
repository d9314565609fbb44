/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What is said of a thread: who it is, and what the kernel has counted of it. */
#ifndef KINDLING_TASK_BPF_H
#define KINDLING_TASK_BPF_H

static __always_inline void fill_task(struct kd_task *record, struct task_struct *task, u8 event)
{
	__builtin_memset(record, 0, sizeof(*record));
	fill_head(&record->head, now_ns(), BPF_CORE_READ(task, pid),
		  bpf_get_smp_processor_id(), KD_TASK, event);
	record->pid = BPF_CORE_READ(task, tgid);
	record->ppid = BPF_CORE_READ(task, real_parent, tgid);
	record->start_ts = BPF_CORE_READ(task, start_time);
	record->cpu_ns = BPF_CORE_READ(task, se.sum_exec_runtime);
	record->voluntary_switches = BPF_CORE_READ(task, nvcsw);
	record->involuntary_switches = BPF_CORE_READ(task, nivcsw);
	record->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	record->uid = BPF_CORE_READ(task, real_cred, uid.val);
	record->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	record->pidns = BPF_CORE_READ(task, nsproxy, pid_ns_for_children, ns.inum);
	record->mntns = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	record->exit_code = BPF_CORE_READ(task, exit_code);
	record->state = BPF_CORE_READ(task, __state);
	record->on_cpu = BPF_CORE_READ(task, on_cpu);
	record->syscall = KD_NO_SYSCALL;
	BPF_CORE_READ_STR_INTO(&record->comm, task, comm);
}

static __always_inline void emit_task(struct task_struct *task, u8 event, bool target)
{
	struct kd_task record;

	fill_task(&record, task, event);
	record.target = target;
	send(&record.head, sizeof(record));
}

/* Names a thread outside of the target once, so that a timeline can say who had the CPU. */
static __always_inline void meet(struct task_struct *task)
{
	u32 tid = task->pid;
	u64 start = task->start_time;
	u64 *known = bpf_map_lookup_elem(&met, &tid);

	if (known && *known == start)
		return;
	bpf_map_update_elem(&met, &tid, &start, BPF_ANY);
	tell_cgroup_of(task, SCRATCH_TASK);
	emit_task(task, KD_TASK_MET, false);
}

#endif
