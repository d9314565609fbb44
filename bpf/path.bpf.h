/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The path of a file, read from the directory cache: bpf_d_path is not for these programs. */
#ifndef KINDLING_PATH_BPF_H
#define KINDLING_PATH_BPF_H

#define PATH_COMPONENTS 24
#define NAME_LEN 256

struct path_walk {
	struct dentry *dentry;
	struct vfsmount *mnt;
	char *out;
	u32 len;
};

/* One step towards the root of the mount namespace: appends the name, or crosses a mount point. */
static long path_step(u32 step, void *context)
{
	struct path_walk *walk = context;
	struct dentry *dentry = walk->dentry;
	struct vfsmount *mnt = walk->mnt;
	struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
	struct dentry *mnt_root = BPF_CORE_READ(mnt, mnt_root);
	const unsigned char *name;
	long len;

	/* What is in no directory (an epoll, a memfd) is its own parent, and has a name. */
	if ((dentry == mnt_root || dentry == parent) && !(step == 0 && dentry != mnt_root)) {
		struct mount *mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		if (dentry != mnt_root || above == mount)
			return 1;
		walk->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		walk->mnt = (void *)above + bpf_core_field_offset(struct mount, mnt);
		return 0;
	}
	name = BPF_CORE_READ(dentry, d_name.name);
	if (walk->len > KD_PATH_MAX - NAME_LEN)
		return 1;
	len = bpf_probe_read_kernel_str(walk->out + (walk->len & (KD_PATH_MAX - 1)), NAME_LEN,
					name);
	if (len <= 0)
		return 1;
	walk->len += len;
	walk->dentry = parent;
	return dentry == parent;
}

/* Writes the names from the file up to the root, each ended by a zero, and returns their length.
 * `out` has room for KD_PATH_MAX bytes. */
static __noinline u32 path_components(struct path *path, char *out)
{
	struct path_walk walk = {
		.dentry = BPF_CORE_READ(path, dentry),
		.mnt = BPF_CORE_READ(path, mnt),
		.out = out,
	};

	/* bpf_loop and not a loop: the verifier would follow every path of every step. */
	bpf_loop(PATH_COMPONENTS, path_step, &walk, 0);
	return walk.len;
}

#endif
