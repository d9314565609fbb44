/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The least that any recorder of syscalls has to do with these means: a program at entry and at exit,
 * a clock read and a look at the thread's storage in each, and one ring record of 48 bytes.
 */
#include "../../../bpf/kernel.bpf.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#define RING_BYTES (16 << 20)

struct thread {
	u64 enter_ts;
};

struct record {
	u64 ts;
	u64 dur;
	u64 ret;
	u64 more[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} ring SEC(".maps");

/* The process that is recorded, with its children; how many calls were, and found no room. */
u32 target = 0;
u64 recorded = 0;
u64 lost = 0;

SEC("tp_btf/sys_enter")
int BPF_PROG(sys_enter, struct pt_regs *regs, long nr)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *thread = bpf_task_storage_get(&threads, task, NULL, 0);

	if (!thread && (task->tgid == target || task->real_parent->tgid == target))
		thread = bpf_task_storage_get(&threads, task, NULL,
					      BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (thread)
		thread->enter_ts = bpf_ktime_get_ns();
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	u64 now = bpf_ktime_get_ns();
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread *thread = bpf_task_storage_get(&threads, task, NULL, 0);
	struct record *record;

	if (!thread || !thread->enter_ts)
		return 0;
	record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	if (!record) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->ts = thread->enter_ts;
	record->dur = now - record->ts;
	record->ret = ret;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	recorded++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
