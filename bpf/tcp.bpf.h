/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * TCP: states, retransmissions, resets, and what a connection measures of its path.
 *
 * Most of it happens in interrupts, or in the context of whoever runs at the time, so events belong
 * to the target by their socket: one that a thread of the target has used, or that came in at a
 * port where the target listens.
 */
#ifndef KINDLING_TCP_BPF_H
#define KINDLING_TCP_BPF_H

static __always_inline bool is_full_socket(u8 state)
{
	return state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV;
}

/* What is remembered of a socket of the target; NULL for others. */
static __always_inline struct socket_state *socket_state_of(const struct sock *sk, u64 cookie)
{
	u64 address = (u64)sk;
	struct socket_state *known = bpf_map_lookup_elem(&sockets, &address);
	struct socket_state accepted = { .cookie = cookie };
	u64 key;

	if (known) {
		/* A socket gets its cookie when it is first asked for. */
		if (!known->cookie)
			known->cookie = cookie;
		/* Another one can have the address of one that is gone. */
		if (known->cookie == cookie)
			return known;
	}
	key = listener_key(sk);
	if (!bpf_map_lookup_elem(&listeners, &key))
		return NULL;
	bpf_map_update_elem(&sockets, &address, &accepted, BPF_ANY);
	return bpf_map_lookup_elem(&sockets, &address);
}

static __always_inline void fill_tcp_facts(struct kd_tcp *record, const struct sock *sk)
{
	const struct tcp_sock *tcp = (const struct tcp_sock *)sk;

	record->srtt_us = BPF_CORE_READ(tcp, srtt_us) >> 3;
	record->rttvar_us = BPF_CORE_READ(tcp, mdev_us) >> 2;
	record->cwnd = BPF_CORE_READ(tcp, snd_cwnd);
	record->retransmits = BPF_CORE_READ(tcp, total_retrans);
	record->unread = BPF_CORE_READ(tcp, rcv_nxt) - BPF_CORE_READ(tcp, copied_seq);
	record->unacked = BPF_CORE_READ(tcp, write_seq) - BPF_CORE_READ(tcp, snd_una);
	record->acked = BPF_CORE_READ(tcp, bytes_acked);
	record->received = BPF_CORE_READ(tcp, bytes_received);
}

static __always_inline void send_tcp(const struct sock *sk, const struct socket_state *known, u8 event,
				     u8 old_state, u8 state)
{
	u32 cpu = bpf_get_smp_processor_id();
	void *ring = ring_of(cpu);
	struct kd_tcp *record;

	if (!ring) {
		count_lost(cpu, KD_TCP);
		return;
	}
	record = RESERVE(ring, struct kd_tcp, sizeof(*record), now_ns(), 0, cpu, KD_TCP, event);
	if (!record)
		return;
	__builtin_memset((void *)record + sizeof(record->head), 0,
			 sizeof(*record) - sizeof(record->head));
	record->cookie = known->cookie;
	record->file = known->file;
	record->old_state = old_state;
	record->state = state;
	record->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	record->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	fill_addresses(sk, record->family, record->local_addr, record->remote_addr);
	record->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	record->remote_port = __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (is_full_socket(state)) {
		record->is_full = 1;
		fill_tcp_facts(record, sk);
	}
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static __always_inline void emit_tcp(const struct sock *sk, u64 cookie, u8 event, u8 old_state,
				     u8 state)
{
	struct socket_state *known = socket_state_of(sk, cookie);

	if (known)
		send_tcp(sk, known, event, old_state, state);
}

SEC("tp_btf/inet_sock_set_state")
int MEASURED_PROG(inet_sock_set_state, const struct sock *sk, int old_state, int state)
{
	if (stopped || sk->sk_protocol != IPPROTO_TCP)
		return 0;
	/* A connection that comes in begins as a copy of its listener, whose cookie it still has. */
	if (old_state == TCP_LISTEN && state == TCP_SYN_RECV)
		return 0;
	emit_tcp(sk, bpf_get_socket_cookie((void *)sk), KD_TCP_STATE, old_state, state);
	if (state == TCP_LISTEN && current_is_target()) {
		u64 key = listener_key(sk);
		u8 one = 1;

		bpf_map_update_elem(&listeners, &key, &one, BPF_ANY);
	} else if (old_state == TCP_LISTEN) {
		u64 key = listener_key(sk);

		bpf_map_delete_elem(&listeners, &key);
	}
	return 0;
}

#define TCP_EVENT(tracepoint, event)                                                               \
	SEC("tp_btf/" #tracepoint)                                                                 \
	int MEASURED_PROG(tracepoint, const struct sock *sk)                                          \
	{                                                                                          \
		u8 state;                                                                          \
                                                                                                   \
		/* A reset can answer a packet that belongs to no socket. */                       \
		if (stopped || !sk)                                                                \
			return 0;                                                                  \
		state = sk->__sk_common.skc_state;                                                 \
		emit_tcp(sk, bpf_get_socket_cookie((void *)sk), event, state, state);              \
		return 0;                                                                          \
	}

TCP_EVENT(tcp_retransmit_skb, KD_TCP_RETRANSMIT)
TCP_EVENT(tcp_send_reset, KD_TCP_RESET_SENT)
TCP_EVENT(tcp_receive_reset, KD_TCP_RESET_RECEIVED)

/* Sends what a connection measures, if packets have arrived since it was last sent. */
static long look_at_socket(void *map, const u64 *address, struct socket_state *known, void *context)
{
	const struct sock *sk = (const struct sock *)*address;
	u32 segments;
	u8 state;

	/* It may be gone, and its memory be another's, whose cookie is another one. */
	if (BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) != known->cookie)
		return 0;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (!is_full_socket(state) || state == TCP_CLOSE || state == TCP_LISTEN)
		return 0;
	segments = BPF_CORE_READ((const struct tcp_sock *)sk, segs_in);
	if (segments == known->segments)
		return 0;
	known->segments = segments;
	send_tcp(sk, known, KD_TCP_RTT, state, state);
	return 0;
}

/* Run by user space from time to time. A tracepoint at which packets arrive (tcp_probe) would be passed by every
 * packet of the host. */
SEC("raw_tp")
int look_at_sockets(void *context)
{
	if (!stopped)
		bpf_for_each_map_elem(&sockets, look_at_socket, NULL, 0);
	return 0;
}

#endif
