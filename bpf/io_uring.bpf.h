/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * io_uring: what is submitted and completed without a syscall of its own.
 *
 * Completions happen in any context, so events belong to the target by their ring: one that a
 * thread of the target has set up or used.
 */
#ifndef KINDLING_IO_URING_BPF_H
#define KINDLING_IO_URING_BPF_H

/* enum in <linux/io_uring_types.h> */
#define REQ_F_FIXED_FILE 1

/* The open file that a request works on. */
static __always_inline u32 file_of_request(struct io_kiocb *request, struct thread_state *thread)
{
	u8 opcode = BPF_CORE_READ(request, opcode);
	struct file_slot *slot;
	u64 file;
	s32 fd;

	if (!thread || opcode >= 64 || !(cfg_uring_files >> opcode & 1))
		return 0;
	/* A registered file has a number of its own. */
	if (BPF_CORE_READ(request, flags) & REQ_F_FIXED_FILE)
		return 0;
	fd = BPF_CORE_READ(request, cqe.fd);
	file = file_of_fd(bpf_get_current_task_btf(), fd);
	slot = file ? identify_file(thread, file, fd, 0, SCRATCH_TASK) : NULL;
	return slot ? slot->id : 0;
}

static __always_inline void emit_uring(u8 event, struct uring_state *known, u64 user_data,
				       u8 opcode, u32 file, s64 ret, u64 flags)
{
	u32 cpu = bpf_get_smp_processor_id();
	void *ring = ring_of(cpu);
	struct kd_uring *record;

	if (!ring) {
		count_lost(cpu, KD_URING);
		return;
	}
	record = RESERVE(ring, struct kd_uring, sizeof(*record), now_ns(),
			 (u32)bpf_get_current_pid_tgid(), cpu, KD_URING, event);
	if (!record)
		return;
	record->pid = known->pid;
	record->ring = known->file;
	record->user_data = user_data;
	record->ret = ret;
	record->io_flags = flags;
	record->file = file;
	record->opcode = opcode;
	__builtin_memset(record->pad, 0, sizeof(record->pad));
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* 32 bits before Linux 6.10. */
static __always_inline u64 flags_of_request(struct io_kiocb *request)
{
	u64 flags = BPF_CORE_READ(request, flags);

	return bpf_core_field_size(request->flags) == sizeof(u32) ? (u32)flags : flags;
}

static __always_inline int submit(struct io_kiocb *request)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct thread_state *thread = state_of(task);
	u64 context = (u64)BPF_CORE_READ(request, ctx);
	struct uring_state *known = bpf_map_lookup_elem(&urings, &context);

	if (stopped)
		return 0;
	if (!known) {
		/* It was set up before recording began. */
		struct uring_state found = { .pid = task->tgid };

		if (!thread || !thread->target)
			return 0;
		bpf_map_update_elem(&urings, &context, &found, BPF_ANY);
		known = bpf_map_lookup_elem(&urings, &context);
		if (!known)
			return 0;
	}
	emit_uring(KD_URING_SUBMIT, known, BPF_CORE_READ(request, cqe.user_data),
		   BPF_CORE_READ(request, opcode), file_of_request(request, thread), 0,
		   flags_of_request(request));
	return 0;
}

SEC("tp_btf/io_uring_submit_req")
int MEASURED_PROG(io_uring_submit_req, struct io_kiocb *request)
{
	return submit(request);
}

/* Its name before Linux 6.3. */
SEC("tp_btf/io_uring_submit_sqe")
int MEASURED_PROG(io_uring_submit_sqe, struct io_kiocb *request)
{
	return submit(request);
}

static __always_inline int complete(u64 ring, struct io_kiocb *request, u64 user_data, s32 res,
				    u32 flags)
{
	/* Some operations complete more than once; then there may be no request any more. */
	u8 opcode = request ? BPF_CORE_READ(request, opcode) : KD_NO_OPCODE;
	struct uring_state *known = bpf_map_lookup_elem(&urings, &ring);

	if (stopped || !known)
		return 0;
	emit_uring(KD_URING_COMPLETE, known, user_data, opcode, 0, res, flags);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int MEASURED_PROG(io_uring_complete, struct io_ring_ctx *ring, struct io_kiocb *request,
	     struct io_uring_cqe *cqe)
{
	return complete((u64)ring, request, BPF_CORE_READ(cqe, user_data), BPF_CORE_READ(cqe, res),
			BPF_CORE_READ(cqe, flags));
}

/* As it was when the tracepoint had the completion's values, not the entry with them. */
SEC("tp_btf/io_uring_complete")
int MEASURED_PROG(io_uring_complete_values, void *ring, struct io_kiocb *request, u64 user_data,
	     int res, unsigned int flags)
{
	return complete((u64)ring, request, user_data, res, flags);
}

#endif
