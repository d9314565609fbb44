/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Finished syscalls on their way: each CPU collects those of the thread that it runs, and sends them together
 * when there are enough, when the thread leaves the CPU, and when user space asks, which looks often.
 *
 * Syscalls are traced with preemption disabled, so nothing of their kind comes between; `busy` is for
 * kernels where that changes, and for the interrupt by which user space asks.
 */
#ifndef KINDLING_OUTBOX_BPF_H
#define KINDLING_OUTBOX_BPF_H

/* The compiler is to leave what is stored before, and after, where it is. */
#define IN_ORDER() asm volatile("" ::: "memory")

static __always_inline struct outbox *outbox_here(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&outboxes, &zero);
}

/* Sends what waits. */
static __always_inline void empty_outbox(struct outbox *box, u32 cpu)
{
	struct outbox_look *look = &outbox_looks[cpu & (KD_MAX_CPUS - 1)];
	u64 words = box->record.words;
	void *ring = ring_of(cpu);

	if (words > OUTBOX_WORDS + CALL_WORDS + 6)
		words = OUTBOX_WORDS + CALL_WORDS + 6;
	if (!ring || bpf_ringbuf_output(ring, &box->record,
					sizeof(box->record) + words * sizeof(u64), BPF_RB_NO_WAKEUP))
		count_all_lost(cpu, KD_SYSCALL, box->record.count);
	box->record.count = 0;
	box->record.words = 0;
	look->waiting = 0;
	look->sent++;
}

/* Sends what waits on this CPU, before something else is told; false if that is not possible now. */
static __always_inline bool empty_own_outbox(void)
{
	struct outbox *box = outbox_here();

	if (!box || box->busy)
		return false;
	/* The interrupt by which user space asks must not send it once more. */
	box->busy = 1;
	IN_ORDER();
	if (box->record.count)
		empty_outbox(box, bpf_get_smp_processor_id());
	IN_ORDER();
	box->busy = 0;
	return true;
}

/* Adds a finished syscall; false if it has to be sent by itself. */
static __always_inline bool put_call(struct syscall_exit *exit, u16 nr, u16 args)
{
	struct thread_state *thread = exit->thread;
	struct outbox *box = outbox_here();
	struct kd_call *call;
	u64 *values;
	u32 at;

	if (!box || box->busy)
		return false;
	box->busy = 1;
	IN_ORDER();
	if (box->record.count && box->record.head.tid != exit->tid)
		empty_outbox(box, exit->cpu);
	at = box->record.words;
	if (at >= OUTBOX_WORDS)
		at = 0;
	if (!box->record.count) {
		fill_head(&box->record.head, exit->ts, exit->tid, exit->cpu, KD_SYSCALL, KD_SEVERAL);
		box->record.pid = exit->pid;
	}
	call = (struct kd_call *)&box->words[at];
	call->ts = exit->ts;
	call->dur = exit->dur;
	call->ret = exit->ret;
	call->file = thread->file_id;
	call->nr = nr;
	call->args = args;
	values = (u64 *)(call + 1);
	for (int i = 0; i < 6; i++)
		values[i] = thread->args[i];
	at += CALL_WORDS + (args < 6 ? args : 6);
	box->record.words = at;
	box->record.count++;
	outbox_looks[exit->cpu & (KD_MAX_CPUS - 1)].waiting = box->record.count;
	if (at >= OUTBOX_WORDS || box->record.count >= KD_CALLS)
		empty_outbox(box, exit->cpu);
	IN_ORDER();
	box->busy = 0;
	return true;
}

/* Run by user space on a CPU: sends what waits there; 1 if it is to be asked again. */
SEC("raw_tp")
int send_outbox(void *ctx)
{
	return empty_own_outbox() ? 0 : 1;
}

#endif
