/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the arguments of a syscall point to, copied when it returns. */
#ifndef KINDLING_ARGUMENT_BPF_H
#define KINDLING_ARGUMENT_BPF_H

#define SOCKADDR_BYTES 128 /* struct sockaddr_storage */
/* The most that is kept of what a poll-like call looks at. */
#define POLLFDS 64
#define FD_SET_BYTES 128
#define EPOLL_EVENTS 8
#define POLLFD_BYTES 8
#define FUTEXES 40
#define FUTEX_WAITV_BYTES 24
/* struct epoll_event is packed on x86, and nowhere else. */
#ifdef __TARGET_ARCH_x86
#define EPOLL_EVENT_BYTES 12
#define EPOLL_DATA_OFFSET 4
#else
#define EPOLL_EVENT_BYTES 16
#define EPOLL_DATA_OFFSET 8
#endif

static __always_inline void send_arg(struct syscall_exit *exit, struct kd_arg *record, u32 arg,
				     u32 len, u8 flags)
{
	fill_head(&record->head, exit->ts, exit->tid, exit->cpu, KD_ARG, flags);
	record->pid = exit->pid;
	record->arg = arg;
	record->len = len;
	send(&record->head, sizeof(*record) + BOUNDED(len, KD_ARG_MAX - 1));
}

static __always_inline void emit_path(struct syscall_exit *exit, u32 arg)
{
	struct text_scratch *scratch = text_of(SCRATCH_TASK);
	u64 pointer = exit->thread->args[arg];
	struct kd_arg *record;
	long len;

	if (!scratch || !pointer)
		return;
	record = &scratch->arg;
	len = bpf_probe_read_user_str(record + 1, KD_ARG_MAX, (void *)pointer);
	if (len > 0)
		send_arg(exit, record, arg, len - 1, len == KD_ARG_MAX ? KD_TRUNCATED : 0);
}

static __noinline int send_bytes(struct syscall_exit *exit, u32 arg, u64 pointer, u32 len, u8 flags)
{
	struct text_scratch *scratch = text_of(SCRATCH_TASK);
	struct kd_arg *record;

	if (!exit || !scratch || !pointer)
		return 0;
	record = &scratch->arg;
	if (bpf_probe_read_user(record + 1, BOUNDED(len, KD_ARG_MAX - 1), (void *)pointer))
		return 0;
	send_arg(exit, record, arg, len, flags);
	return 0;
}

/* Of `size` bytes at most `most`, which is less than KD_ARG_MAX. */
static __always_inline int emit_bytes(struct syscall_exit *exit, u32 arg, u64 pointer, u32 size,
				      u32 most, u8 flags)
{
	if (size > most)
		return send_bytes(exit, arg, pointer, most, flags | KD_TRUNCATED);
	return send_bytes(exit, arg, pointer, size, flags);
}

static __always_inline void emit_address(struct syscall_exit *exit, u32 arg, u64 pointer, u32 size)
{
	emit_bytes(exit, arg, pointer, size, SOCKADDR_BYTES, KD_SOCKADDR);
}

/* Sends the address that a message goes to or comes from; of several messages that of the first. */
static __noinline int emit_message_name(struct syscall_exit *exit)
{
	struct user_msghdr header;

	if (!exit || !exit->thread)
		return 0;
	if (bpf_probe_read_user(&header, sizeof(header), (void *)exit->thread->args[1]))
		return 0;
	if (header.name && header.namelen)
		emit_address(exit, 1, header.name, header.namelen);
	return 0;
}

static __always_inline bool has_message_name(struct syscall_exit *exit, u16 nr)
{
	u8 transfer = cfg_syscalls[nr].transfer;

	/* Headers of 32-bit programs are laid out otherwise. */
	if (nr & KD_COMPAT)
		return false;
	if (transfer == KD_SENDMSG || transfer == KD_SENDMMSG)
		return true;
	return (transfer == KD_RECVMSG || transfer == KD_RECVMMSG) && exit->ret > 0;
}

/* Whether a futex operation waits; of others the argument is no timeout. */
static __always_inline bool is_futex_wait(u64 operation)
{
	switch (operation & FUTEX_OPERATION) {
	case FUTEX_WAIT:
	case FUTEX_LOCK_PI:
	case FUTEX_WAIT_BITSET:
	case FUTEX_WAIT_REQUEUE_PI:
	case FUTEX_LOCK_PI2:
		return true;
	}
	return false;
}

/* Keeps how long a call that begins is to wait at most. */
static __always_inline void keep_timeout(struct thread_state *thread, u16 nr)
{
	u8 timeout = cfg_syscalls[nr].timeout;
	u32 arg = (timeout & ~KD_FUTEX) - 1;

	thread->has_timeout = 0;
	/* Times of 32-bit programs are laid out otherwise. */
	if (!timeout || nr & KD_COMPAT || arg > 5)
		return;
	if (timeout & KD_FUTEX && !is_futex_wait(thread->args[1]))
		return;
	if (!thread->args[arg])
		return;
	thread->has_timeout = !bpf_probe_read_user(thread->timeout, sizeof(thread->timeout),
						   (void *)thread->args[arg]);
}

/* Sends it, if the call has waited. */
static __always_inline void emit_timeout(struct syscall_exit *exit, u16 nr)
{
	struct thread_state *thread = exit->thread;
	struct text_scratch *scratch = text_of(SCRATCH_TASK);
	struct kd_arg *record;

	if (!scratch)
		return;
	record = &scratch->arg;
	__builtin_memcpy(record + 1, thread->timeout, sizeof(thread->timeout));
	send_arg(exit, record, (cfg_syscalls[nr].timeout & ~KD_FUTEX) - 1, sizeof(thread->timeout),
		 KD_BYTES);
}

/* Whether a slot is of the open file that its descriptor refers to now. It is of its thread alone: another one
 * may have closed the file, and the kernel have used the address again. A socket has an inode of its own;
 * what is anonymous shares one. */
static __always_inline bool is_slot_of(const struct file_slot *slot, u64 file)
{
	struct file_state *state;

	if (!file || slot->file != file)
		return false;
	if ((slot->mode & S_IFMT) == S_IFSOCK) {
		struct inode *inode = LOAD(struct file, file, f_inode);

		return slot->inode == LOAD(struct inode, inode, i_ino);
	}
	state = bpf_map_lookup_elem(&files, &file);
	return state && slot->id == state->id;
}

/* The mark that an epoll keeps of a descriptor, if the kernel can be looked into cheaply; of a file that several
 * epolls watch, or one by several descriptors, only the newest is found. */
static __always_inline bool kept_mark(struct file *epoll, struct file *watched, s32 fd, u64 *mark)
{
	struct hlist_head *items;
	struct hlist_node *newest;
	void *item;

	if (!bpf_ksym_exists(bpf_rdonly_cast) || !bpf_core_type_exists(struct epitem) || !epoll)
		return false;
	items = LOAD(struct file, watched, f_ep);
	newest = items ? LOAD(struct hlist_head, items, first) : NULL;
	if (!newest)
		return false;
	item = (void *)newest - bpf_core_field_offset(struct epitem, fllink);
	if (LOAD(struct epitem, item, ep) != LOAD(struct file, epoll, private_data) ||
	    LOAD(struct epitem, item, ffd.fd) != fd)
		return false;
	*mark = LOAD(struct epitem, item, event.data);
	return true;
}

/* Whether an epoll_ctl that adds or changes a descriptor says what its thread has not said before: some
 * programs take a connection out and add it again, with the same mark, for each request. */
static __always_inline bool is_new_watch(struct thread_state *thread)
{
	u32 fd = thread->args[2];
	struct file_slot *slot = &thread->files[fd & (FILE_SLOTS - 1)];
	u64 file = file_of_fd(bpf_get_current_task_btf(), fd);
	u64 mark;

	if (!is_slot_of(slot, file))
		return true;
	if (!kept_mark((struct file *)thread->file, (struct file *)file, fd, &mark) &&
	    bpf_probe_read_user(&mark, sizeof(mark), (void *)thread->args[3] + EPOLL_DATA_OFFSET))
		return true;
	/* Never 0, and other for another epoll. */
	mark = ((mark ^ thread->args[0] << 48) * 0x9e3779b97f4a7c15ULL) | 1;
	if (slot->watch == mark)
		return false;
	slot->watch = mark;
	return true;
}

/*
 * Whether the call says which descriptors it watches or found ready, or which futexes it is about, and that is
 * worth its price: a server under load polls without waiting, and changes what it watches with each request.
 * What ended no wait is nobody's reason, and a change leaves what is known of a descriptor as it is.
 */
static __always_inline bool has_readiness(struct syscall_exit *exit, u16 nr)
{
	struct thread_state *thread = exit->thread;
	u8 readiness = cfg_syscalls[nr].readiness;

	/* Times and sets of 32-bit programs are laid out otherwise. */
	if (!readiness || nr & KD_COMPAT)
		return false;
	if (readiness == KD_EPOLL_CTL)
		return exit->ret == 0 &&
		       ((u32)thread->args[1] == EPOLL_CTL_ADD ||
			(u32)thread->args[1] == EPOLL_CTL_MOD) &&
		       is_new_watch(thread);
	if (readiness == KD_FUTEX_REQUEUE)
		return exit->ret >= 0;
	/* A wait for futexes ends by the one with the number that it returns; which they were counts, however it ended. */
	return thread->blocked && (exit->ret > 0 || readiness == KD_FUTEX_WAITV);
}

static __noinline int emit_readiness(struct syscall_exit *exit, u8 readiness)
{
	struct thread_state *thread;
	u64 *args;

	if (!exit)
		return 0;
	thread = exit->thread;
	if (!thread)
		return 0;
	args = thread->args;
	switch (readiness) {
	case KD_POLL:
		return emit_bytes(exit, 0, args[0], (u32)args[1] * POLLFD_BYTES,
				  POLLFDS * POLLFD_BYTES, KD_BYTES);
	case KD_SELECT:
		for (u32 arg = 1; arg <= 3; arg++)
			/* The kernel's sets are of whole words. */
			emit_bytes(exit, arg, args[arg], ((u32)args[0] + 63) / 64 * sizeof(u64),
				   FD_SET_BYTES, KD_BYTES);
		return 0;
	case KD_EPOLL_WAIT:
		return emit_bytes(exit, 1, args[1], (u32)exit->ret * EPOLL_EVENT_BYTES,
				  EPOLL_EVENTS * EPOLL_EVENT_BYTES, KD_BYTES);
	case KD_FUTEX_WAITV:
		return emit_bytes(exit, 0, args[0], (u32)args[1] * FUTEX_WAITV_BYTES,
				  FUTEXES * FUTEX_WAITV_BYTES, KD_BYTES);
	case KD_FUTEX_REQUEUE:
		return emit_bytes(exit, 0, args[0], 2 * FUTEX_WAITV_BYTES, 2 * FUTEX_WAITV_BYTES,
				  KD_BYTES);
	case KD_EPOLL_CTL:
		return emit_bytes(exit, 3, args[3], EPOLL_EVENT_BYTES, EPOLL_EVENT_BYTES, KD_BYTES);
	}
	return 0;
}

static __always_inline void emit_args(struct syscall_exit *exit, u16 nr)
{
	struct thread_state *thread = exit->thread;
	u8 paths = cfg_syscalls[nr].paths;
	u8 sockaddr = cfg_syscalls[nr].sockaddr;

	if ((paths | sockaddr) && !thread->executed) {
		for (u32 arg = 0; arg < 4; arg++)
			if (paths & (1 << arg))
				emit_path(exit, arg);
		if (sockaddr == 2)
			emit_address(exit, 1, thread->args[1], thread->args[2]);
		else if (sockaddr == 5)
			emit_address(exit, 4, thread->args[4], thread->args[5]);
	}
	if (has_message_name(exit, nr))
		emit_message_name(exit);
	if (has_readiness(exit, nr))
		emit_readiness(exit, cfg_syscalls[nr].readiness);
	if (thread->has_timeout && thread->blocked)
		emit_timeout(exit, nr);
}

#endif
