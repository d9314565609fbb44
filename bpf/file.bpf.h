/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Which open file a syscall works on.
 *
 * The file is looked up in the kernel's own descriptor table at each call, not derived from the
 * calls that made descriptors: dup, fork, exec, SCM_RIGHTS, close_range and whatever comes next are
 * right by construction, and a lost record can make no other one wrong.
 */
#ifndef KINDLING_FILE_BPF_H
#define KINDLING_FILE_BPF_H

#define PIPEFS_MAGIC 0x50495045
#define TTY_MAJOR 4
#define TTYAUX_MAJOR 5
#define PTY_FIRST_MAJOR 136
#define PTY_LAST_MAJOR 143
#define KERNEL_MINOR_BITS 20
/* The most descriptors of a process that are looked at when it ends. */
#define EXIT_DESCRIPTORS 4096

static __always_inline u64 file_of_fd(struct task_struct *task, u32 fd)
{
	struct files_struct *files = task->files;
	struct fdtable *fdt;

	if (!files)
		return 0;
	fdt = files->fdt;
	if (!fdt || fd >= fdt->max_fds)
		return 0;
	return LOAD_WORD(fdt->fd + fd);
}

static __always_inline bool is_tty(u32 rdev)
{
	u32 major = rdev >> KERNEL_MINOR_BITS;

	return major == TTY_MAJOR || major == TTYAUX_MAJOR ||
	       (major >= PTY_FIRST_MAJOR && major <= PTY_LAST_MAJOR);
}

static __always_inline bool is_stream(u16 mode, u32 rdev)
{
	u16 type = mode & S_IFMT;

	return type == S_IFSOCK || type == S_IFIFO || is_tty(rdev);
}

static __always_inline u32 socket_ports(struct sock *sk)
{
	return ((u32)BPF_CORE_READ(sk, __sk_common.skc_num) << 16) |
	       BPF_CORE_READ(sk, __sk_common.skc_dport);
}

static __always_inline struct sock *sock_of_file(struct file *file)
{
	struct socket *socket = BPF_CORE_READ(file, private_data);

	return BPF_CORE_READ(socket, sk);
}

static __always_inline u32 describe_unix(struct kd_file *record, struct sock *sk, char *text)
{
	struct unix_sock *unix_sock = (struct unix_sock *)sk;
	struct unix_address *addr = BPF_CORE_READ(unix_sock, addr);
	struct sock *peer = BPF_CORE_READ(unix_sock, peer);
	int len;

	if (peer) {
		struct socket *socket = BPF_CORE_READ(peer, sk_socket);
		struct socket_alloc *alloc = (struct socket_alloc *)socket;

		if (socket)
			record->peer_inode = BPF_CORE_READ(alloc, vfs_inode.i_ino);
	}
	if (!addr)
		return 0;
	len = BPF_CORE_READ(addr, len) - (int)sizeof(u16);
	if (len <= 0 || len > (int)sizeof(((struct sockaddr_un *)0)->sun_path))
		return 0;
	/* An abstract address may hold zeros, so it is read by length. */
	if (bpf_probe_read_kernel(text, len & 127,
				  (void *)addr + bpf_core_field_offset(struct unix_address, name) +
					  sizeof(u16)))
		return 0;
	return len & 127;
}

static __always_inline void fill_addresses(const struct sock *sk, u16 family, u8 *local, u8 *remote)
{
	if (family == AF_INET) {
		*(u32 *)local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		*(u32 *)remote = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	} else if (family == AF_INET6) {
		bpf_core_read(local, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_core_read(remote, 16, &sk->__sk_common.skc_v6_daddr);
	}
}

static __always_inline u64 listener_key(const struct sock *sk)
{
	return (u64)BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) << 16 |
	       BPF_CORE_READ(sk, __sk_common.skc_num);
}

/* Remembers a TCP socket of the target, whose file was just described. */
static __always_inline void know_socket(struct sock *sk, u32 file, u64 cookie, u8 state)
{
	struct socket_state known = { .cookie = cookie, .file = file };
	u64 address = (u64)sk;

	bpf_map_update_elem(&sockets, &address, &known, BPF_ANY);
	if (state == TCP_LISTEN) {
		u64 key = listener_key(sk);
		u8 one = 1;

		bpf_map_update_elem(&listeners, &key, &one, BPF_ANY);
	}
}

static __always_inline u32 describe_socket(struct kd_file *record, struct file *file, char *text)
{
	struct sock *sk = sock_of_file(file);

	if (!sk)
		return 0;
	record->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	record->type = BPF_CORE_READ(sk, sk_type);
	record->protocol = BPF_CORE_READ(sk, sk_protocol);
	record->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	record->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	record->tcp_state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (record->family == AF_UNIX)
		return describe_unix(record, sk, text);
	if (record->family != AF_INET && record->family != AF_INET6)
		return 0;
	record->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	record->remote_port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	fill_addresses(sk, record->family, record->local_addr, record->remote_addr);
	if (record->protocol == IPPROTO_TCP)
		know_socket(sk, record->id, record->cookie, record->tcp_state);
	return 0;
}

/* Remembers an anonymous file of the target: if it is a ring, its context is its private data. */
static __always_inline void know_uring(struct file *file, u32 id)
{
	u64 context = (u64)BPF_CORE_READ(file, private_data);
	struct uring_state known = {
		.file = id,
		.pid = bpf_get_current_pid_tgid() >> 32,
	};

	if (context)
		bpf_map_update_elem(&urings, &context, &known, BPF_ANY);
}

/* Sends what is known of an open file, and returns whether it is a log. A global function, with a
 * plain address as its argument: the verifier looks at it once, and not again for each way that
 * leads here. */
__noinline int describe_file(u64 address, u32 id, s32 fd, u32 flags, u32 context)
{
	struct file *file = (struct file *)address;
	struct text_scratch *scratch = text_of(context);
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct kd_file *record;
	struct inode *inode;
	u32 len;

	if (!scratch || !file)
		return 0;
	record = &scratch->file;
	__builtin_memset(record, 0, sizeof(*record));
	if (BPF_CORE_READ(file, f_mode) & FMODE_WRITE)
		flags |= KD_FILE_WRITABLE;
	fill_head(&record->head, now_ns(), (u32)pid_tgid, bpf_get_smp_processor_id(),
		  KD_FILE, flags);
	inode = BPF_CORE_READ(file, f_inode);
	record->id = id;
	record->pid = pid_tgid >> 32;
	record->fd = fd;
	record->mode = BPF_CORE_READ(inode, i_mode);
	record->inode = BPF_CORE_READ(inode, i_ino);
	record->magic = BPF_CORE_READ(inode, i_sb, s_magic);
	record->rdev = BPF_CORE_READ(inode, i_rdev);
	if (record->magic == ANON_INODE_FS_MAGIC)
		know_uring(file, id);
	if ((record->mode & S_IFMT) == S_IFSOCK)
		len = describe_socket(record, file, (char *)(record + 1));
	else
		len = path_components(&file->f_path, (char *)(record + 1));
	if (len > KD_PATH_MAX)
		len = KD_PATH_MAX;
	record->path_len = len;
	send(&record->head, sizeof(*record) + len);
	return cfg_logs && (record->mode & S_IFMT) == S_IFREG && is_log((char *)(record + 1), len);
}

static __always_inline struct file_state *new_file(u64 key, u64 inode, u16 mode, u32 rdev, s32 fd,
						   u8 flags, u32 context)
{
	struct file_state *state = bpf_map_lookup_elem(&new_files, &context);
	bool is_first;

	if (!state)
		return NULL;
	__builtin_memset(state, 0, sizeof(*state));
	state->inode = inode;
	state->id = __sync_fetch_and_add(&last_file_id, 1) + 1;
	state->mode = mode;
	state->stream = is_stream(mode, rdev) ? STREAM_BOTH : STREAM_NONE;
	if ((mode & S_IFMT) == S_IFSOCK) {
		struct sock *sk = sock_of_file((struct file *)key);

		state->ports = sk ? socket_ports(sk) : 0;
	}
	/* Another CPU may meet it at this moment: whoever comes first gives it its id. */
	is_first = !bpf_map_update_elem(&files, &key, state, BPF_NOEXIST);
	state = bpf_map_lookup_elem(&files, &key);
	if (state && is_first && describe_file(key, state->id, fd, flags, context))
		state->stream = STREAM_LOG;
	return state && state->inode == inode ? state : NULL;
}

/* The file that `fd` refers to, in the slot of the thread that called; NULL if there is none. */
static __always_inline struct file_slot *identify_file(struct thread_state *thread, u64 file,
						       s32 fd, u8 flags, u32 context)
{
	struct file_slot *slot = &thread->files[fd & (FILE_SLOTS - 1)];
	struct inode *inode = LOAD(struct file, file, f_inode);
	u64 number = LOAD(struct inode, inode, i_ino);
	struct file_state *state;

	if (slot->file == file && slot->inode == number && !flags)
		return slot;
	state = bpf_map_lookup_elem(&files, &file);
	/* What was at this address is gone. */
	if (state && (state->inode != number || flags & KD_FILE_OPENED)) {
		bpf_map_delete_elem(&files, &file);
		state = NULL;
	}
	if (!state)
		state = new_file(file, number, BPF_CORE_READ(inode, i_mode),
				 BPF_CORE_READ(inode, i_rdev), fd, flags, context);
	if (!state)
		return NULL;
	/* What a program prints is read by people wherever it goes. */
	if ((fd == 1 || fd == 2) && (state->mode & S_IFMT) == S_IFREG)
		state->stream = STREAM_LOG;
	slot->file = file;
	slot->inode = number;
	slot->id = state->id;
	slot->mode = state->mode;
	slot->stream = state->stream;
	slot->watch = 0;
	return slot;
}

/* A socket is told again when its addresses became known or changed. */
static __always_inline void describe_if_changed(u64 file, u32 id, s32 fd, bool always)
{
	struct file_state *state = bpf_map_lookup_elem(&files, &file);
	struct sock *sk;
	u32 ports;

	if (!state || (state->mode & S_IFMT) != S_IFSOCK)
		return;
	sk = sock_of_file((struct file *)file);
	ports = sk ? socket_ports(sk) : 0;
	if (ports == state->ports && !always)
		return;
	state->ports = ports;
	describe_file(file, id, fd, 0, SCRATCH_TASK);
}

/* Whether no other descriptor refers to the file. */
static __always_inline bool is_last_reference(struct file *file)
{
	if (bpf_core_field_exists(file->f_ref))
		return BPF_CORE_READ(file, f_ref.refcnt.counter) == 0;
	return BPF_CORE_READ((struct file___before_6_13 *)file, f_count.counter) == 1;
}

static long close_at_exit(u32 fd, void *context)
{
	u64 file = file_of_fd(bpf_get_current_task_btf(), fd);
	struct file_state *state = file ? bpf_map_lookup_elem(&files, &file) : NULL;
	struct inode *inode;

	if (!state || !is_last_reference((struct file *)file))
		return 0;
	inode = BPF_CORE_READ((struct file *)file, f_inode);
	if (state->inode != BPF_CORE_READ(inode, i_ino))
		return 0;
	describe_file(file, state->id, fd, KD_FILE_CLOSED, SCRATCH_TASK);
	bpf_map_delete_elem(&files, &file);
	return 0;
}

/* The files that the end of a process closes, without a syscall. Its other threads are past this point,
 * and have the table for a moment still; a process that shares it keeps the files open. */
static __always_inline void close_files_at_exit(struct task_struct *task)
{
	struct files_struct *table = task->files;
	struct signal_struct *signal = task->signal;
	struct fdtable *fdt;

	if (!table || signal->live.counter || table->count.counter > signal->nr_threads)
		return;
	fdt = table->fdt;
	if (fdt)
		bpf_loop(fdt->max_fds < EXIT_DESCRIPTORS ? fdt->max_fds : EXIT_DESCRIPTORS,
			 close_at_exit, NULL, 0);
}

#endif
