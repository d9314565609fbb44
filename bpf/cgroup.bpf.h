/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The cgroup (v2) that a thread is in, and those that are made. The path is sent by the kernel side,
 * because the thread, and with it /proc/PID/cgroup, can be gone or elsewhere when user space looks. */
#ifndef KINDLING_CGROUP_BPF_H
#define KINDLING_CGROUP_BPF_H

#define CGROUP_DEPTH 32

/* NULL above the root. */
static __always_inline struct cgroup *cgroup_above(struct cgroup *cgroup)
{
	struct cgroup_subsys_state *above = BPF_CORE_READ(cgroup, self.parent);

	return above ? (void *)above - bpf_core_field_offset(struct cgroup, self) : NULL;
}

struct cgroup_path {
	struct cgroup *cgroup;
	char *out;
	u32 len;
};

static long cgroup_name(u32 step, void *context)
{
	struct cgroup_path *path = context;
	struct cgroup *cgroup = path->cgroup;
	struct cgroup *above = cgroup_above(cgroup);
	const char *name = BPF_CORE_READ(cgroup, kn, name);
	long len;

	/* The root has no name. */
	if (!above || path->len > KD_PATH_MAX - NAME_LEN)
		return 1;
	len = bpf_probe_read_kernel_str(path->out + (path->len & (KD_PATH_MAX - 1)), NAME_LEN, name);
	if (len <= 0)
		return 1;
	path->len += len;
	path->cgroup = above;
	return 0;
}

/* Sends the path of a cgroup, once it has something in it. */
static __noinline int tell_cgroup(struct cgroup *cgroup, u8 flags, u32 context)
{
	struct text_scratch *scratch = text_of(context);
	struct cgroup_path path = {};
	struct kd_cgroup *record;
	u8 one = 1;
	u64 id;

	if (!cgroup || !scratch)
		return 0;
	id = BPF_CORE_READ(cgroup, kn, id);
	if (bpf_map_lookup_elem(&sent_cgroups, &id))
		return 0;
	record = &scratch->cgroup;
	path.cgroup = cgroup;
	path.out = (char *)(record + 1);
	bpf_loop(CGROUP_DEPTH, cgroup_name, &path, 0);
	__builtin_memset(record, 0, sizeof(*record));
	fill_head(&record->head, now_ns(), 0, bpf_get_smp_processor_id(), KD_CGROUP,
		  flags);
	record->id = id;
	record->path_len = BOUNDED(path.len, KD_PATH_MAX - 1);
	if (send(&record->head, sizeof(*record) + BOUNDED(path.len, KD_PATH_MAX - 1)) &&
	    !(flags & KD_CGROUP_MADE))
		bpf_map_update_elem(&sent_cgroups, &id, &one, BPF_ANY);
	return 0;
}

static __always_inline void tell_cgroup_of(struct task_struct *task, u32 context)
{
	tell_cgroup(BPF_CORE_READ(task, cgroups, dfl_cgrp), 0, context);
}

/* While containers are named: each cgroup is told when it is made, before anything is in it. */
SEC("tp_btf/cgroup_mkdir")
int MEASURED_PROG(cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	/* Hierarchies of version 1 number their cgroups each by itself. */
	if (cfg_new_cgroups && !stopped && !BPF_CORE_READ(cgroup, root, hierarchy_id))
		tell_cgroup(cgroup, KD_CGROUP_MADE, SCRATCH_TASK);
	return 0;
}

#endif
