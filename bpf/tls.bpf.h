/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Plaintext of TLS: what programs give to and get from OpenSSL and GnuTLS, by probes on the functions
 * of these libraries, and tied to the socket that the library used within its functions.
 *
 * The probes are on files, so that any process may come here: the first thing is to leave if it is
 * not of the target. Unlike at tracepoints another thread may take the CPU meanwhile and come here
 * too: nothing is built in memory per CPU.
 */
#ifndef KINDLING_TLS_BPF_H
#define KINDLING_TLS_BPF_H

/* At a syscall of a thread: a TLS library that runs there uses this socket. The first one counts;
 * what comes later may be a message to a log. */
static __always_inline void note_tls_socket(struct thread_state *thread, struct file_slot *slot,
					    long nr)
{
	if (!thread->in_tls || thread->tls_file || (slot->mode & S_IFMT) != S_IFSOCK)
		return;
	if (!cfg_syscalls[nr & (KD_SYSCALLS - 1)].transfer)
		return;
	thread->tls_file = slot->file;
	thread->tls_file_id = slot->id;
}

static __always_inline struct tls_key tls_key(struct task_struct *task, u64 session)
{
	struct tls_key key = { .session = session, .pid = task->tgid };

	return key;
}

static __always_inline struct tls_session *tls_session(const struct tls_key *key, bool is_whole)
{
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, key);
	struct tls_session fresh = { .is_whole = is_whole };

	if (session)
		return session;
	bpf_map_update_elem(&tls_sessions, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tls_sessions, key);
}

/* A session without a known socket is told as a file of its own. */
static __always_inline void tell_tls_session(struct task_struct *task, struct tls_session *session,
					     u8 flags)
{
	u32 cpu = bpf_get_smp_processor_id();
	void *ring = ring_of(cpu);
	struct kd_file *record;

	if (!ring) {
		count_lost(cpu, KD_FILE);
		return;
	}
	record = bpf_ringbuf_reserve(ring, sizeof(*record), 0);
	if (!record) {
		count_lost(cpu, KD_FILE);
		return;
	}
	__builtin_memset(record, 0, sizeof(*record));
	fill_head(&record->head, now_ns(), task->pid, cpu, KD_FILE, KD_FILE_TLS | flags);
	record->id = session->id;
	record->pid = task->tgid;
	record->fd = -1;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static __always_inline void forget_tls_session(struct task_struct *task, u64 address)
{
	struct tls_key key = tls_key(task, address);
	struct tls_session *session = bpf_map_lookup_elem(&tls_sessions, &key);

	if (!session)
		return;
	if (session->id)
		tell_tls_session(task, session, KD_FILE_CLOSED);
	bpf_map_delete_elem(&tls_sessions, &key);
}

static __always_inline int on_tls_enter(struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread_state *thread = state_of(task);
	u64 function = bpf_get_attach_cookie(regs);
	struct tls_call *call;

	if (!thread || !thread->target)
		return 0;
	if (function == KD_TLS_FREE) {
		forget_tls_session(task, regs->di);
		return 0;
	}
	call = bpf_task_storage_get(&tls_calls, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!call) {
		count_lost(bpf_get_smp_processor_id(), KD_PAYLOAD);
		return 0;
	}
	/* Functions call each other, and TLS can go through TLS: the outermost call counts. One that was
	 * left by longjmp has a frame below. */
	if (thread->in_tls && regs->sp < call->sp)
		return 0;
	call->ts = now_ns();
	call->sp = regs->sp;
	call->session = regs->di;
	call->buffer = regs->si;
	call->count = 0;
	call->function = function;
	if (function == KD_TLS_READ_COUNTED || function == KD_TLS_WRITE_COUNTED) {
		call->count = regs->cx;
	} else if (function == KD_TLS_WRITE_FLAGGED) {
		call->count = regs->r8;
	} else if (function == KD_TLS_HANDSHAKE) {
		struct tls_key key = tls_key(task, call->session);

		tls_session(&key, true);
	}
	thread->tls_file = 0;
	thread->in_tls = 1;
	return 0;
}

SEC("uprobe.multi")
int tls_enter(struct pt_regs *regs)
{
	return MEASURED(on_tls_enter(regs));
}

/* Where the plaintext of a session goes: a file's id and its counts. */
struct tls_stream {
	struct tls_bytes *bytes;
	u32 file;
	bool is_whole;
};

static __always_inline void find_tls_stream(struct task_struct *task, struct tls_session *session,
					    struct tls_stream *stream)
{
	struct file_state *state;

	stream->is_whole = session->is_whole;
	if (session->file) {
		state = bpf_map_lookup_elem(&files, &session->file);
		if (state && state->id == session->file_id) {
			stream->file = state->id;
			stream->bytes = &state->tls;
			return;
		}
	}
	if (!session->id) {
		session->id = __sync_fetch_and_add(&last_file_id, 1) + 1;
		tell_tls_session(task, session, session->is_whole ? KD_FILE_OPENED : 0);
	}
	stream->file = session->id;
	stream->bytes = &session->bytes;
}

/* At most `most`, as the verifier understands it. */
#define AT_MOST(value, most)                                                                       \
	({                                                                                         \
		u64 __value = (value);                                                             \
		asm volatile("" : "+r"(__value));                                                  \
		if (__value > (most))                                                              \
			__value = (most);                                                          \
		asm volatile("" : "+r"(__value));                                                  \
		__value;                                                                           \
	})

/* A record with room for so many bytes: a reservation's size must be a constant. */
#define RESERVE_PLAINTEXT(room)                                                                    \
	do {                                                                                       \
		u64 __len = AT_MOST(len, room);                                                    \
		record = RESERVE(ring, struct kd_payload, sizeof(struct kd_payload) + (room),      \
				 call->ts, task->pid, cpu, KD_PAYLOAD, flags);                     \
		if (!record)                                                                       \
			return;                                                                    \
		if (__len && bpf_probe_read_user(record + 1, __len, (void *)call->buffer))         \
			__len = 0;                                                                 \
		record->len = __len;                                                               \
	} while (0)

static __always_inline void emit_plaintext(struct task_struct *task, struct tls_call *call,
					   struct tls_stream *stream, u64 size)
{
	bool out = call->function != KD_TLS_READ && call->function != KD_TLS_READ_COUNTED &&
		   call->function != KD_TLS_GO_READ;
	u32 cpu = bpf_get_smp_processor_id();
	u8 flags = KD_TLS | (out ? KD_OUT : 0) | (stream->is_whole ? KD_TLS_WHOLE : 0);
	struct kd_payload *record;
	void *ring = ring_of(cpu);
	u64 offset, len;

	offset = out ? __sync_fetch_and_add(&stream->bytes->out, size) :
		       __sync_fetch_and_add(&stream->bytes->in, size);
	/* The offset goes on: what comes after has its right place in the stream. */
	if (is_shed(SHED_PAYLOADS, KD_PAYLOAD))
		return;
	if (!ring) {
		count_lost(cpu, KD_PAYLOAD);
		return;
	}
	len = call->function == KD_TLS_SENDFILE ? 0 : wanted_bytes(size);
	if (len <= 256)
		RESERVE_PLAINTEXT(256);
	else if (len <= 1024)
		RESERVE_PLAINTEXT(1024);
	else if (len <= 4096)
		RESERVE_PLAINTEXT(4096);
	else
		RESERVE_PLAINTEXT(KD_PAYLOAD_MAX + 1);
	record->pid = task->tgid;
	record->file = stream->file;
	record->dur = now_ns() - call->ts;
	record->size = size;
	record->offset = offset;
	record->pad = 0;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* How many bytes a function moved, by what it returned. */
static __always_inline u64 tls_moved(struct tls_call *call, u64 returned)
{
	u64 count = 0;

	if (call->function == KD_TLS_HANDSHAKE)
		return 0;
	if (call->count) {
		if ((s32)returned != 1 ||
		    bpf_probe_read_user(&count, sizeof(count), (void *)call->count))
			return 0;
		return count;
	}
	/* OpenSSL returns an int, GnuTLS and SSL_sendfile an ssize_t: both fit 32 bits. */
	return (s32)returned > 0 ? (u32)returned : 0;
}

static __always_inline int on_tls_return(struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread_state *thread = state_of(task);
	struct tls_session *session;
	struct tls_stream stream = {};
	struct tls_call *call;
	struct tls_key key;
	u64 size;

	if (!thread || !thread->in_tls)
		return 0;
	call = bpf_task_storage_get(&tls_calls, task, NULL, 0);
	/* Its return address is off the stack: only the outermost call is above where it began. */
	if (!call || regs->sp <= call->sp)
		return 0;
	thread->in_tls = 0;
	key = tls_key(task, call->session);
	session = tls_session(&key, false);
	if (!session)
		return 0;
	if (thread->tls_file) {
		session->file = thread->tls_file;
		session->file_id = thread->tls_file_id;
	}
	size = tls_moved(call, regs->ax);
	if (!size)
		return 0;
	find_tls_stream(task, session, &stream);
	emit_plaintext(task, call, &stream, size);
	return 0;
}

SEC("uprobe.multi")
int tls_return(struct pt_regs *regs)
{
	return MEASURED(on_tls_return(regs));
}

#endif
