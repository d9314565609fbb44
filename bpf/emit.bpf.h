/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Sending records: fill the head, find the CPU's ring, count what found no room.
 *
 * The reader is never woken, it comes by itself every few milliseconds: a wakeup, or only the
 * question whether one is due, costs more than the record.
 */
#ifndef KINDLING_EMIT_BPF_H
#define KINDLING_EMIT_BPF_H

/*
 * The time of an event. The lowest bits that one reading of the clock after another differs in are
 * noise, and dear: no encoding makes noise smaller.
 */
static __always_inline u64 now_ns(void)
{
	return bpf_ktime_get_ns() & cfg_time_mask;
}

static __always_inline void *ring_of(u32 cpu)
{
	u32 ring = cpu < KD_MAX_CPUS ? cfg_ring_of_cpu[cpu] : 0;

	return bpf_map_lookup_elem(&rings, &ring);
}

static __always_inline void count_all_lost(u32 cpu, u8 kind, u64 count)
{
	__sync_fetch_and_add(&lost[cpu & (KD_MAX_CPUS - 1)][kind & 15], count);
}

static __always_inline void count_lost(u32 cpu, u8 kind)
{
	count_all_lost(cpu, kind, 1);
}

/* Whether a class of records is left out; then this one is counted. */
static __always_inline bool is_shed(u32 class, u8 kind)
{
	if (shed_level < class)
		return false;
	__sync_fetch_and_add(
		&shed[bpf_get_smp_processor_id() & (KD_MAX_CPUS - 1)][kind & 15], 1);
	return true;
}

static __always_inline void fill_head(struct kd_head *head, u64 ts, u32 tid, u32 cpu, u8 kind,
				      u8 flags)
{
	head->ts = ts;
	head->tid = tid;
	head->cpu = cpu;
	head->kind = kind;
	head->flags = flags;
}

/* Room for a record of a fixed size in the CPU's ring, with the head filled in. */
#define RESERVE(ring, type, size, ts, tid, cpu, kind, flags)                                       \
	({                                                                                         \
		type *__record = bpf_ringbuf_reserve(ring, size, 0);                               \
		if (__record)                                                                      \
			fill_head(&__record->head, ts, tid, cpu, kind, flags);                     \
		else                                                                               \
			count_lost(cpu, kind);                                                     \
		__record;                                                                          \
	})

/* Sends a record that was built elsewhere; its head is filled in already. */
static __always_inline bool send(struct kd_head *head, u64 size)
{
	void *ring = ring_of(head->cpu);

	if (ring && !bpf_ringbuf_output(ring, head, size, BPF_RB_NO_WAKEUP))
		return true;
	count_lost(head->cpu, head->kind);
	return false;
}

/* At most `mask`, in a way that the compiler cannot prove needless and the verifier understands. */
#define BOUNDED(value, mask)                                                                       \
	({                                                                                         \
		u64 __value = (value);                                                             \
		asm volatile("" : "+r"(__value));                                                  \
		__value &= (mask);                                                                 \
		asm volatile("" : "+r"(__value));                                                  \
		__value;                                                                           \
	})

/* What is remembered of a thread; NULL for all of them once recording has ended. */
static __always_inline struct thread_state *state_of(struct task_struct *task)
{
	if (stopped)
		return NULL;
	return bpf_task_storage_get(&threads, task, NULL, 0);
}

static __always_inline bool current_is_target(void)
{
	struct thread_state *thread = state_of(bpf_get_current_task_btf());

	return thread && thread->target;
}

static __always_inline struct text_scratch *text_of(u32 context)
{
	return bpf_map_lookup_elem(&text_scratch, &context);
}

#endif
