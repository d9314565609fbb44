/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel side of the recorder: one object, one file per family of events.
 *
 * Programs attach to BTF tracepoints, a perf event, an iterator and user-space functions only:
 * kprobes and fentry are refused by many hosts. Nothing here interprets what it sees; it finds the thread's state, fills a
 * record and sends it.
 */
#include "kernel.bpf.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "kindling.h"

#include "maps.bpf.h"
#include "measure.bpf.h"
#include "emit.bpf.h"
#include "load.bpf.h"
#include "path.bpf.h"
#include "log.bpf.h"
#include "file.bpf.h"
#include "payload.bpf.h"
#include "tls.bpf.h"
#include "go_tls.bpf.h"
#include "argument.bpf.h"
#include "outbox.bpf.h"
#include "syscall.bpf.h"
#include "cgroup.bpf.h"
#include "task.bpf.h"
#include "target.bpf.h"
#include "tcp.bpf.h"
#include "io_uring.bpf.h"
#include "kernel_stack.bpf.h"
#include "stack.bpf.h"
#include "sched.bpf.h"
#include "block.bpf.h"
#include "fault.bpf.h"
#include "life.bpf.h"
#include "sample.bpf.h"
#include "state.bpf.h"

/* One instance of each record, so that the skeleton has its type. */
struct kd_records {
	struct kd_head head;
	struct kd_syscall syscall;
	struct kd_calls calls;
	struct kd_call call;
	struct kd_switch switched;
	struct kd_wakeup wakeup;
	struct kd_sample sample;
	struct kd_stack stack;
	struct kd_stack_memory stack_memory;
	struct kd_unwind_key unwind_key;
	struct kd_unwind_rule unwind_rule;
	struct kd_task task;
	struct kd_file file;
	struct kd_arg arg;
	struct kd_payload payload;
	struct kd_cgroup cgroup;
	struct kd_migration migration;
	struct kd_block block;
	struct kd_fault fault;
	struct kd_tcp tcp;
	struct kd_uring uring;
} kd_records = {};

char LICENSE[] SEC("license") = "Dual BSD/GPL";
