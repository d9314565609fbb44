/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Syscalls: entry and exit paired in the thread's state, told at exit. */
#ifndef KINDLING_SYSCALL_BPF_H
#define KINDLING_SYSCALL_BPF_H

/* Sends a syscall by itself: one that has not finished, above all. */
static __always_inline void emit_syscall(struct syscall_exit *exit, u8 flags)
{
	struct thread_state *thread = exit->thread;
	u16 nr = thread->nr & (KD_SYSCALLS - 1);
	void *ring = ring_of(exit->cpu);
	struct kd_syscall *record;
	u64 *args;

	if (!ring) {
		count_lost(exit->cpu, KD_SYSCALL);
		return;
	}
	record = RESERVE(ring, struct kd_syscall, sizeof(*record) + 6 * sizeof(u64), exit->ts,
			 exit->tid, exit->cpu, KD_SYSCALL, flags);
	if (!record)
		return;
	args = (u64 *)(record + 1);
	for (int i = 0; i < 6; i++)
		args[i] = thread->args[i];
	record->pid = exit->pid;
	record->nr = nr;
	record->args = cfg_syscalls[nr].args;
	record->dur = exit->dur;
	record->ret = exit->ret;
	record->file = thread->file_id;
	record->pad = 0;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* What a descriptor refers to changed: opened, closed, bound, connected. */
static __always_inline void follow_files(struct syscall_exit *exit, struct task_struct *task,
					 u16 nr)
{
	u8 flags = cfg_syscalls[nr].flags;
	struct thread_state *thread = exit->thread;

	if (flags & KD_OPENS && exit->ret >= 0) {
		u64 file = file_of_fd(task, exit->ret);

		if (file) {
			struct file_slot *slot = identify_file(thread, file, exit->ret,
							       KD_FILE_OPENED, SCRATCH_TASK);

			if (slot && !thread->file_id)
				thread->file_id = slot->id;
		}
	}
	if (flags & KD_DESCRIBE && thread->file)
		describe_if_changed(thread->file, thread->file_id, thread->args[0], true);
}

SEC("tp_btf/sys_enter")
int MEASURED_PROG(sys_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread_state *thread = state_of(task);
	u32 fd;
	u8 flags;

	if (!thread || !thread->target)
		return 0;
	if (nr < 0 || nr >= KD_TABLE)
		return 0;
	if (is_shed(SHED_SYSCALLS, KD_SYSCALL)) {
		thread->enter_ts = 0;
		return 0;
	}
	if (task->thread_info.status & TS_COMPAT) {
		nr |= KD_COMPAT;
		thread->args[0] = (u32)regs->bx;
		thread->args[1] = (u32)regs->cx;
		thread->args[2] = (u32)regs->dx;
		thread->args[3] = (u32)regs->si;
		thread->args[4] = (u32)regs->di;
		thread->args[5] = (u32)regs->bp;
	} else {
		thread->args[0] = regs->di;
		thread->args[1] = regs->si;
		thread->args[2] = regs->dx;
		thread->args[3] = regs->r10;
		thread->args[4] = regs->r8;
		thread->args[5] = regs->r9;
	}
	fd = thread->args[0];
	thread->nr = nr;
	thread->file = 0;
	thread->file_id = 0;
	thread->stream = 0;
	thread->executed = 0;
	thread->blocked = 0;
	keep_timeout(thread, nr);
	flags = cfg_syscalls[nr].flags;
	if (flags & KD_HAS_FILE) {
		u64 file = file_of_fd(task, fd);

		if (file) {
			struct file_slot *slot = identify_file(thread, file, fd, 0, SCRATCH_TASK);

			if (slot) {
				thread->file = file;
				thread->file_id = slot->id;
				thread->stream = slot->stream;
				note_tls_socket(thread, slot, nr);
			}
			if (flags & KD_CLOSES && is_last_reference((struct file *)file)) {
				/* What was done with it comes before its end. */
				empty_own_outbox();
				describe_file(file, thread->file_id, fd, KD_FILE_CLOSED,
					      SCRATCH_TASK);
				bpf_map_delete_elem(&files, &file);
				if (slot)
					slot->file = 0;
			}
		}
	}
	thread->enter_ts = now_ns();
	return 0;
}

SEC("tp_btf/sys_exit")
int MEASURED_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	u64 now = now_ns();
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread_state *thread = state_of(task);
	struct syscall_exit exit;
	u16 nr;

	if (!thread || !thread->enter_ts)
		return 0;
	exit.thread = thread;
	exit.ts = thread->enter_ts;
	exit.dur = now - exit.ts;
	exit.ret = ret;
	exit.pid = task->tgid;
	exit.tid = task->pid;
	exit.cpu = bpf_get_smp_processor_id();
	thread->enter_ts = 0;
	nr = thread->nr & (KD_SYSCALLS - 1);
	follow_files(&exit, task, nr);
	if (!put_call(&exit, nr, cfg_syscalls[nr].args))
		emit_syscall(&exit, 0);
	emit_args(&exit, nr);
	if (cfg_payloads)
		emit_transfer(&exit, nr);
	return 0;
}

/* A syscall that did not return: its thread ends in it, the recording does, or it is looked at
 * (KD_STILL_OPEN) while it goes on. */
static __always_inline void emit_open_syscall(struct task_struct *task,
					      struct thread_state *thread, u32 cpu, u8 flags)
{
	struct syscall_exit exit = {
		.thread = thread,
		.ts = thread->enter_ts,
		.pid = task->tgid,
		.tid = task->pid,
		.cpu = cpu,
	};

	if (!exit.ts)
		return;
	if (!(flags & KD_STILL_OPEN))
		thread->enter_ts = 0;
	emit_syscall(&exit, KD_NEVER_RETURNED | flags);
}

#endif
