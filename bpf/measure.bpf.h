/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the programs themselves cost: while user space takes a sample, each run reads the clock at its
 * start and at its end; at all other times it looks at one word.
 *
 * The kernel's own statistics (BPF_ENABLE_STATS) are not used: switching them takes CAP_SYS_ADMIN,
 * which the recorder has given up by then, interrupts every CPU to patch the kernel's code, and makes
 * the programs of others slower too.
 */
#ifndef KINDLING_MEASURE_BPF_H
#define KINDLING_MEASURE_BPF_H

/* Whether a sample is being taken. */
u32 measuring = 0;

/* Runs that began within a sample, and how long they took; a cache line for each CPU. */
struct measured {
	u64 runs;
	u64 ns;
	u64 pad[6];
} measured[KD_MAX_CPUS] = {};

/* When a run begins; 0 outside of samples. */
static __always_inline u64 begin_measure(void)
{
	return measuring ? bpf_ktime_get_ns() : 0;
}

/* Another program may interrupt this one on its CPU, or the thread be moved: hence atomic. */
static __always_inline int end_measure(u64 begun)
{
	struct measured *here;

	if (!begun)
		return 0;
	here = &measured[bpf_get_smp_processor_id() & (KD_MAX_CPUS - 1)];
	__sync_fetch_and_add(&here->runs, 1);
	__sync_fetch_and_add(&here->ns, bpf_ktime_get_ns() - begun);
	return 0;
}

/* A program, measured. */
#define MEASURED(run)                                                                              \
	({                                                                                         \
		u64 __begun = begin_measure();                                                     \
		run;                                                                               \
		end_measure(__begun);                                                              \
	})

/* BPF_PROG of libbpf, measured. */
#define MEASURED_PROG(name, args...)                                                               \
	name(unsigned long long *ctx);                                                             \
	static __always_inline int measured_##name(unsigned long long *ctx, ##args);               \
	int name(unsigned long long *ctx)                                                          \
	{                                                                                          \
		_Pragma("GCC diagnostic push")                                                     \
		_Pragma("GCC diagnostic ignored \"-Wint-conversion\"")                             \
		return MEASURED(measured_##name(___bpf_ctx_cast(args)));                           \
		_Pragma("GCC diagnostic pop")                                                      \
	}                                                                                          \
	static __always_inline int measured_##name(unsigned long long *ctx, ##args)

#endif
