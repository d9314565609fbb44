/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Reading kernel memory on the way of every syscall. */
#ifndef KINDLING_LOAD_BPF_H
#define KINDLING_LOAD_BPF_H

/*
 * Reads a field through an address that the verifier knows nothing of: where the kernel has the cast
 * (Linux 6.2) by a load whose fault it catches, else by a helper that takes ten times as long.
 */
extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym __weak;

#define LOAD(type, address, field)                                                                 \
	(bpf_ksym_exists(bpf_rdonly_cast) ?                                                        \
		 bpf_core_cast((void *)(address), type)->field :                                   \
		 BPF_CORE_READ((type *)(address), field))

/* The word at an address, whose calculation must not be taken for a way through structures. */
#define LOAD_WORD(address)                                                                         \
	({                                                                                         \
		u64 __address = (u64)(address);                                                    \
		(u64) LOAD(struct timespec64, __address, tv_sec);                                  \
	})

#endif
