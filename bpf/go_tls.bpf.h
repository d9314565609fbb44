/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Plaintext of TLS in Go programs (1.18 and newer on x86-64): what is given to and got from crypto/tls.
 *
 * Nothing of a thread tells here which call is meant: goroutines move between threads while they wait, and
 * their stacks move in memory. So a call is known by its goroutine, whose address does not change, and its
 * return is seen at the method's own return instructions: another return address on the stack, as uretprobes put
 * it there, would be a riddle to Go when it moves the stack.
 *
 * The registers are those of ABIInternal in src/cmd/compile/abi-internal.md of Go: arguments and results in
 * AX, BX, CX, …, the current goroutine in R14.
 */
#ifndef KINDLING_GO_TLS_BPF_H
#define KINDLING_GO_TLS_BPF_H

/* struct g in src/runtime/runtime2.go begins with this. */
struct go_stack {
	u64 lo;
	u64 hi;
};
/* tls.Conn begins with a net.Conn, an interface: its type, and a pointer to what has that type. */
#define GO_INTERFACE_DATA 8
/* net.TCPConn is a pointer to a netFD, which begins with a poll.FD: a fdMutex of 16 bytes, the descriptor. */
#define GO_SYSFD 16
/* What wraps a connection embeds it as a rule, and so begins with a net.Conn too; so many times at most. */
#define GO_WRAPPERS 4

static __always_inline u64 read_user_word(u64 address)
{
	u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

static __always_inline struct tls_key goroutine_key(struct task_struct *task, struct pt_regs *regs)
{
	return tls_key(task, regs->r14);
}

static __always_inline struct go_stack go_stack(struct pt_regs *regs)
{
	struct go_stack stack = {};

	bpf_probe_read_user(&stack, sizeof(stack), (void *)regs->r14);
	return stack;
}

/* Ties a session to the socket of its connection, if there is one underneath. */
static __always_inline void find_go_socket(struct task_struct *task, struct tls_session *session, u64 conn)
{
	u64 data = read_user_word(conn + GO_INTERFACE_DATA);
	struct file_state *state;
	u64 fd, net_fd, file;
	int depth;

	for (depth = 0; depth < GO_WRAPPERS && data; depth++) {
		net_fd = read_user_word(data);
		/* No descriptor must not be taken for standard input. */
		if (!net_fd || bpf_probe_read_user(&fd, sizeof(fd), (void *)(net_fd + GO_SYSFD)))
			fd = ~0ULL;
		file = fd <= 0x7fffffff ? file_of_fd(task, fd) : 0;
		state = file ? bpf_map_lookup_elem(&files, &file) : NULL;
		if (state && (state->mode & S_IFMT) == S_IFSOCK) {
			session->file = file;
			session->file_id = state->id;
			return;
		}
		data = read_user_word(data + GO_INTERFACE_DATA);
	}
}

static __always_inline int on_go_tls_enter(struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread_state *thread = state_of(task);
	u64 function = bpf_get_attach_cookie(regs);
	struct go_stack stack = go_stack(regs);
	struct tls_call call = {};
	struct tls_key key;

	if (!thread || !thread->target)
		return 0;
	if (function == KD_TLS_GO_CLOSE) {
		forget_tls_session(task, regs->ax);
		return 0;
	}
	if (function == KD_TLS_GO_HANDSHAKE) {
		/* One that nobody closed may have been where this one is now. */
		forget_tls_session(task, regs->ax);
		key = tls_key(task, regs->ax);
		tls_session(&key, true);
		return 0;
	}
	call.ts = now_ns();
	call.sp = stack.hi - regs->sp;
	call.session = regs->ax;
	call.buffer = regs->bx;
	/* A buffer on the stack moves with it. */
	call.on_stack = call.buffer >= stack.lo && call.buffer < stack.hi;
	if (call.on_stack)
		call.buffer = stack.hi - call.buffer;
	call.function = function;
	key = goroutine_key(task, regs);
	bpf_map_update_elem(&go_calls, &key, &call, BPF_ANY);
	return 0;
}

SEC("uprobe.multi")
int go_tls_enter(struct pt_regs *regs)
{
	return MEASURED(on_go_tls_enter(regs));
}

static __always_inline int on_go_tls_return(struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread_state *thread = state_of(task);
	struct tls_key key = goroutine_key(task, regs);
	struct go_stack stack = go_stack(regs);
	struct tls_stream stream = {};
	struct tls_session *session;
	struct tls_call *call;
	s64 size = regs->ax;

	if (!thread || !thread->target)
		return 0;
	call = bpf_map_lookup_elem(&go_calls, &key);
	if (!call || call->sp != stack.hi - regs->sp)
		return 0;
	if (call->on_stack)
		call->buffer = stack.hi - call->buffer;
	if (size > 0) {
		struct tls_key conn = tls_key(task, call->session);

		session = tls_session(&conn, false);
		if (session) {
			find_go_socket(task, session, call->session);
			find_tls_stream(task, session, &stream);
			emit_plaintext(task, call, &stream, size);
		}
	}
	bpf_map_delete_elem(&go_calls, &key);
	return 0;
}

SEC("uprobe.multi")
int go_tls_return(struct pt_regs *regs)
{
	return MEASURED(on_go_tls_return(regs));
}

#endif
