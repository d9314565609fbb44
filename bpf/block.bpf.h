/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Requests to disks, from the thread that makes one to the answer. */
#ifndef KINDLING_BLOCK_BPF_H
#define KINDLING_BLOCK_BPF_H

/* REQ_OP_MASK in <linux/blk_types.h> */
#define REQUEST_OPERATION 0xff

/* Linux 6.5 and newer tell the two ends of a request. Before, it begins where it is first queued or
 * issued, and ends with the completion of its last part. */
static __always_inline bool has_io_ends(void)
{
	return bpf_core_type_exists(btf_trace_block_io_done);
}

static __always_inline int begin_request(struct request *request)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u64 key = (u64)request;
	struct block_request known = {
		.ts = now_ns(),
		.pid = pid_tgid >> 32,
		.tid = (u32)pid_tgid,
	};

	if (!current_is_target())
		return 0;
	known.sector = BPF_CORE_READ(request, __sector);
	known.bytes = BPF_CORE_READ(request, __data_len);
	known.operation = BPF_CORE_READ(request, cmd_flags) & REQUEST_OPERATION;
	BPF_CORE_READ_STR_INTO(&known.disk, request, q, disk, disk_name);
	if (bpf_map_update_elem(&block_requests, &key, &known, BPF_ANY))
		count_lost(bpf_get_smp_processor_id(), KD_BLOCK);
	return 0;
}

static __always_inline int end_request(struct request *request)
{
	u64 key = (u64)request;
	struct block_request *known = bpf_map_lookup_elem(&block_requests, &key);
	u32 cpu = bpf_get_smp_processor_id();
	struct kd_block *record;
	void *ring;

	if (!known)
		return 0;
	ring = stopped ? NULL : ring_of(cpu);
	record = ring ? RESERVE(ring, struct kd_block, sizeof(*record), known->ts, known->tid, cpu,
				KD_BLOCK, 0) :
			NULL;
	if (record) {
		record->dur = now_ns() - known->ts;
		record->queued = known->issue_ts ? known->issue_ts - known->ts : KD_NEVER_ISSUED;
		record->sector = known->sector;
		record->pid = known->pid;
		record->bytes = known->bytes;
		record->operation = known->operation;
		record->status = known->status;
		__builtin_memset(record->pad, 0, sizeof(record->pad));
		__builtin_memcpy(record->disk, known->disk, sizeof(record->disk));
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	}
	bpf_map_delete_elem(&block_requests, &key);
	return 0;
}

SEC("tp_btf/block_io_start")
int MEASURED_PROG(block_io_start, struct request *request)
{
	return begin_request(request);
}

SEC("tp_btf/block_rq_insert")
int MEASURED_PROG(block_rq_insert, struct request *request)
{
	return begin_request(request);
}

SEC("tp_btf/block_rq_issue")
int MEASURED_PROG(block_rq_issue, struct request *request)
{
	u64 key = (u64)request;
	struct block_request *known = bpf_map_lookup_elem(&block_requests, &key);

	if (!known && !has_io_ends()) {
		begin_request(request);
		known = bpf_map_lookup_elem(&block_requests, &key);
	}
	if (!known)
		return 0;
	known->issue_ts = now_ns();
	/* Others may have been merged into it while it waited. */
	known->bytes = BPF_CORE_READ(request, __data_len);
	known->sector = BPF_CORE_READ(request, __sector);
	return 0;
}

/* Comes before block_io_done, and once for each part that is completed by itself. */
SEC("tp_btf/block_rq_complete")
int MEASURED_PROG(block_rq_complete, struct request *request, u8 status, unsigned int bytes)
{
	u64 key = (u64)request;
	struct block_request *known = bpf_map_lookup_elem(&block_requests, &key);

	if (!known)
		return 0;
	if (status)
		known->status = status;
	/* What is left to be done includes the part that is done now. */
	if (!has_io_ends() && bytes >= BPF_CORE_READ(request, __data_len))
		end_request(request);
	return 0;
}

SEC("tp_btf/block_io_done")
int MEASURED_PROG(block_io_done, struct request *request)
{
	return end_request(request);
}

#endif
