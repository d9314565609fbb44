/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The scheduler: switches, wakeups, and the lives of threads. */
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
	int tracepoint(void *ctx)                                                                  \
	{                                                                                          \
		return enter_interrupt(by);                                                        \
	}

INTERRUPT(irq_handler_entry, 1)
INTERRUPT(irq_handler_exit, -1)
INTERRUPT(hrtimer_expire_entry, 1)
INTERRUPT(hrtimer_expire_exit, -1)
INTERRUPT(timer_expire_entry, 1)
INTERRUPT(timer_expire_exit, -1)

static __always_inline void fill_task(struct kd_task *record, struct task_struct *task, u8 event)
{
	__builtin_memset(record, 0, sizeof(*record));
	fill_head(&record->head, bpf_ktime_get_ns(), BPF_CORE_READ(task, pid),
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
	emit_task(task, KD_TASK_MET, false);
}

static __always_inline u64 hash_stack(const u64 *addr, u32 count, u64 hash)
{
	for (u32 i = 0; i < 2 * KD_STACK_DEPTH; i++) {
		if (i >= count)
			break;
		hash = (hash ^ addr[i]) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 29;
	}
	return hash;
}

/* Takes the current thread's kernel and user stack, sends it if it is new, returns its hash. */
static __noinline u64 take_stack(void *ctx, u32 pid)
{
	u32 zero = 0;
	struct stack_scratch *scratch = bpf_map_lookup_elem(&stack_scratch, &zero);
	const u32 room = KD_STACK_DEPTH * sizeof(u64);
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u32 kernel, user;
	long bytes;
	u64 hash;
	u8 one = 1;

	if (!scratch || !ctx)
		return 0;
	bytes = bpf_get_stack(ctx, scratch->addr, room, 0);
	kernel = bytes > 0 ? (u32)bytes / sizeof(u64) : 0;
	if (kernel > KD_STACK_DEPTH)
		kernel = KD_STACK_DEPTH;
	bytes = bpf_get_stack(ctx, &scratch->addr[kernel], room, BPF_F_USER_STACK);
	user = bytes > 0 ? (u32)bytes / sizeof(u64) : 0;
	if (user > KD_STACK_DEPTH)
		user = KD_STACK_DEPTH;
	if (kernel + user == 0)
		return 0;
	/* User addresses mean something in their process only. */
	hash = hash_stack(scratch->addr, kernel + user, (u64)pid << 32 | kernel << 8 | 1);
	if (bpf_map_lookup_elem(&sent_stacks, &hash))
		return hash;
	fill_head(&scratch->record.head, bpf_ktime_get_ns(), (u32)pid_tgid,
		  bpf_get_smp_processor_id(), KD_STACK, 0);
	scratch->record.hash = hash;
	scratch->record.pid = pid;
	scratch->record.kernel = kernel;
	scratch->record.user = user;
	if (send(&scratch->record.head, sizeof(scratch->record) + (kernel + user) * sizeof(u64)))
		bpf_map_update_elem(&sent_stacks, &hash, &one, BPF_ANY);
	return hash;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *prev, struct task_struct *next,
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
	now = bpf_ktime_get_ns();
	if (cfg_switch_stacks && left_is_target && !preempt && prev_state)
		stack = take_stack(ctx, prev->tgid);
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
	ring = ring_of(cpu);
	if (!ring) {
		count_lost(cpu, KD_WAKEUP);
		return 0;
	}
	if (!waker->pid || (cpu < KD_MAX_CPUS && in_interrupt[cpu] > 0))
		flags |= KD_IRQ;
	record = RESERVE(ring, struct kd_wakeup, sizeof(*record), bpf_ktime_get_ns(), waker->pid,
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
int BPF_PROG(sched_waking, struct task_struct *wakee)
{
	return emit_wakeup(wakee, 0);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(sched_wakeup_new, struct task_struct *wakee)
{
	return emit_wakeup(wakee, KD_NEW);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct thread_state *from = state_of(parent);
	struct thread_state *state;

	if (!(from && from->target) && !(cfg_all && child->tgid != cfg_self_tgid))
		return 0;
	state = bpf_task_storage_get(&threads, child, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!state) {
		count_lost(bpf_get_smp_processor_id(), KD_TASK);
		return 0;
	}
	state->target = true;
	emit_task(child, KD_TASK_FORK, true);
	return 0;
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
int BPF_PROG(sched_process_exec, struct task_struct *task, u32 old_tid, struct linux_binprm *bprm)
{
	struct thread_state *state = state_of(task);
	struct text_scratch *scratch = text_of(SCRATCH_TASK);
	unsigned long arg_start, arg_end;
	struct kd_task *record;
	u32 path_len, argv_len;

	if (!state || !state->target || !scratch)
		return 0;
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
int BPF_PROG(sched_process_exit, struct task_struct *task)
{
	struct thread_state *state = state_of(task);

	if (!state || !state->target)
		return 0;
	emit_open_syscall(task, state, bpf_get_smp_processor_id());
	emit_task(task, KD_TASK_EXIT, true);
	return 0;
}

SEC("tp_btf/task_rename")
int BPF_PROG(task_rename, struct task_struct *task, const char *comm)
{
	struct thread_state *state = state_of(task);
	struct kd_task record;

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
