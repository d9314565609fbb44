/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The bytes that a syscall moved: copied when it returns, in the order of their stream. */
#ifndef KINDLING_PAYLOAD_BPF_H
#define KINDLING_PAYLOAD_BPF_H

#define IOVECS 16
/* UIO_MAXIOV, the most messages of one call. */
#define MESSAGES 1024

struct syscall_exit {
	struct thread_state *thread;
	u64 ts; /* of entry */
	u64 dur;
	s64 ret;
	u32 pid;
	u32 tid;
	u32 cpu;
};

/* Copies the buffers of an iovec array behind each other; returns how many bytes it copied. */
static __always_inline u32 copy_iovec(char *out, u64 iov, u64 count, u32 want)
{
	u32 have = 0;

	for (int i = 0; i < IOVECS; i++) {
		struct user_iovec part;
		u32 len;

		if (i >= count || have >= want)
			break;
		if (bpf_probe_read_user(&part, sizeof(part), (void *)(iov + i * sizeof(part))))
			break;
		len = want - have;
		if (part.len < len)
			len = part.len;
		if (bpf_probe_read_user(out + BOUNDED(have, KD_PAYLOAD_MAX),
					BOUNDED(len, KD_PAYLOAD_MAX), (void *)part.base))
			break;
		have += len;
	}
	return have;
}

static __always_inline u32 copy_payload(char *out, struct thread_state *thread, u8 transfer,
					u32 want)
{
	struct user_msghdr header;

	/* 32-bit programs have other iovecs and headers: how much is known, not what. */
	if (thread->nr & KD_COMPAT && transfer != KD_READ && transfer != KD_WRITE)
		return 0;
	switch (transfer) {
	case KD_READ:
	case KD_WRITE:
		if (bpf_probe_read_user(out, BOUNDED(want, KD_PAYLOAD_MAX),
					(void *)thread->args[1]))
			return 0;
		return want;
	case KD_READV:
	case KD_WRITEV:
		return copy_iovec(out, thread->args[1], thread->args[2], want);
	case KD_RECVMSG:
	case KD_SENDMSG:
		if (bpf_probe_read_user(&header, sizeof(header), (void *)thread->args[1]))
			return 0;
		return copy_iovec(out, header.iov, header.iovlen, want);
	}
	return 0;
}

static __always_inline bool is_out(u8 transfer)
{
	return transfer == KD_WRITE || transfer == KD_WRITEV || transfer == KD_SENDMSG ||
	       transfer == KD_SENDMMSG;
}

/* Bytes that were only looked at will be received again. */
static __always_inline bool is_peek(struct thread_state *thread, u16 nr)
{
	u8 peek = cfg_syscalls[nr].peek;

	return (peek == 3 && thread->args[2] & MSG_PEEK) ||
	       (peek == 4 && thread->args[3] & MSG_PEEK);
}

static __always_inline void send_payload(struct syscall_exit *exit, struct kd_payload *record,
					 struct file_state *state, u32 file, bool out, u64 size,
					 u32 len)
{
	record->offset = out ? __sync_fetch_and_add(&state->out_bytes, size) :
			       __sync_fetch_and_add(&state->in_bytes, size);
	/* The offset goes on: what comes after has its right place in the stream. */
	if (is_shed(SHED_PAYLOADS, KD_PAYLOAD))
		return;
	fill_head(&record->head, exit->ts, exit->tid, exit->cpu, KD_PAYLOAD, out ? KD_OUT : 0);
	record->pid = exit->pid;
	record->file = file;
	record->dur = exit->dur;
	record->size = size;
	record->len = len;
	record->pad = 0;
	send(&record->head, sizeof(*record) + BOUNDED(len, KD_PAYLOAD_MAX));
}

static __always_inline u32 wanted_bytes(u64 size)
{
	u32 want = size < cfg_payload_bytes ? size : cfg_payload_bytes;

	if (shed_level >= SHED_PAYLOADS)
		return 0;
	return want > KD_PAYLOAD_MAX ? KD_PAYLOAD_MAX : want;
}

static __noinline int emit_payload(struct syscall_exit *exit, u8 transfer)
{
	struct text_scratch *scratch = text_of(SCRATCH_TASK);
	struct thread_state *thread;
	struct kd_payload *record;
	struct file_state *state;
	u64 size;
	u32 len;

	if (!scratch || !exit)
		return 0;
	thread = exit->thread;
	if (!thread)
		return 0;
	state = bpf_map_lookup_elem(&files, &thread->file);
	if (!state)
		return 0;
	size = exit->ret;
	record = &scratch->payload;
	len = copy_payload((char *)(record + 1), thread, transfer, wanted_bytes(size));
	send_payload(exit, record, state, thread->file_id, is_out(transfer), size, len);
	return 0;
}

struct message_walk {
	struct syscall_exit exit;
	u64 file;
	u64 headers; /* struct mmsghdr * */
	u32 file_id;
	u32 count;
	bool out;
};

static long emit_message(u32 index, void *context)
{
	struct message_walk *walk = context;
	struct text_scratch *scratch = text_of(SCRATCH_TASK);
	struct kd_payload *record;
	struct user_mmsghdr message;
	struct file_state *state;
	u32 len;

	if (index >= walk->count || !scratch)
		return 1;
	state = bpf_map_lookup_elem(&files, &walk->file);
	if (!state)
		return 1;
	if (bpf_probe_read_user(&message, sizeof(message),
				(void *)(walk->headers + index * sizeof(message))))
		return 1;
	record = &scratch->payload;
	len = copy_iovec((char *)(record + 1), message.header.iov, message.header.iovlen,
			 wanted_bytes(message.len));
	send_payload(&walk->exit, record, state, walk->file_id, walk->out, message.len, len);
	return 0;
}

/* One payload for each message of sendmmsg or recvmmsg. */
static __noinline int emit_messages(struct syscall_exit *exit, u8 transfer)
{
	struct thread_state *thread;
	struct message_walk walk;

	if (!exit)
		return 0;
	thread = exit->thread;
	if (!thread)
		return 0;
	walk.exit = *exit;
	walk.file = thread->file;
	walk.headers = thread->args[1];
	walk.file_id = thread->file_id;
	walk.count = exit->ret;
	walk.out = is_out(transfer);
	bpf_loop(MESSAGES, emit_message, &walk, 0);
	return 0;
}

/* Bytes that the kernel moved from file to file: how many, by file. */
static __always_inline void emit_moved(struct syscall_exit *exit, s32 fd, bool out)
{
	struct text_scratch *scratch = text_of(SCRATCH_TASK);
	u64 file = file_of_fd(bpf_get_current_task_btf(), fd);
	struct file_state *state;
	struct file_slot *slot;

	if (!scratch || !file)
		return;
	slot = identify_file(exit->thread, file, fd, 0, SCRATCH_TASK);
	state = bpf_map_lookup_elem(&files, &file);
	if (slot && state)
		send_payload(exit, &scratch->payload, state, slot->id, out, exit->ret, 0);
}

static __noinline int emit_move(struct syscall_exit *exit, u8 transfer)
{
	struct thread_state *thread;

	if (!exit)
		return 0;
	thread = exit->thread;
	if (!thread)
		return 0;
	switch (transfer) {
	case KD_SENDFILE:
		emit_moved(exit, thread->args[1], false);
		emit_moved(exit, thread->args[0], true);
		break;
	case KD_SPLICE:
		emit_moved(exit, thread->args[0], false);
		emit_moved(exit, thread->args[2], true);
		break;
	case KD_TEE:
		emit_moved(exit, thread->args[1], true);
		break;
	}
	return 0;
}

/* The bytes that a syscall moved, if they are to be kept. */
static __always_inline void emit_transfer(struct syscall_exit *exit, u16 nr)
{
	struct thread_state *thread = exit->thread;
	u8 transfer = cfg_syscalls[nr].transfer;

	if (!transfer || exit->ret <= 0)
		return;
	if (transfer == KD_SENDFILE || transfer == KD_SPLICE || transfer == KD_TEE) {
		emit_move(exit, transfer);
		return;
	}
	if (!thread->stream || is_peek(thread, nr))
		return;
	if (thread->stream == STREAM_LOG && !is_out(transfer))
		return;
	if (transfer != KD_RECVMMSG && transfer != KD_SENDMMSG)
		emit_payload(exit, transfer);
	else if (!(nr & KD_COMPAT))
		emit_messages(exit, transfer);
}

#endif
