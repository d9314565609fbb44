/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Page faults of the target. */
#ifndef KINDLING_FAULT_BPF_H
#define KINDLING_FAULT_BPF_H

/* X86_PF_PROT, X86_PF_WRITE and X86_PF_INSTR in <asm/trap_pf.h> */
#define FAULT_PROT 1
#define FAULT_WRITE 2
#define FAULT_INSTR 16

static __always_inline int emit_fault(u64 address, struct pt_regs *regs, u64 error, u8 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 cpu = bpf_get_smp_processor_id();
	struct kd_fault *record;
	void *ring;

	if (!current_is_target())
		return 0;
	ring = ring_of(cpu);
	if (!ring) {
		count_lost(cpu, KD_FAULT);
		return 0;
	}
	if (error & FAULT_WRITE)
		flags |= KD_FAULT_WRITE;
	if (error & FAULT_PROT)
		flags |= KD_FAULT_PRESENT;
	if (error & FAULT_INSTR)
		flags |= KD_FAULT_EXECUTE;
	record = RESERVE(ring, struct kd_fault, sizeof(*record), now_ns(), task->pid, cpu,
			 KD_FAULT, flags);
	if (!record)
		return 0;
	record->address = address;
	record->ip = regs->ip;
	record->pid = task->tgid;
	record->pad = 0;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("tp_btf/page_fault_user")
int MEASURED_PROG(page_fault_user, unsigned long address, struct pt_regs *regs, unsigned long error)
{
	return emit_fault(address, regs, error, 0);
}

SEC("tp_btf/page_fault_kernel")
int MEASURED_PROG(page_fault_kernel, unsigned long address, struct pt_regs *regs, unsigned long error)
{
	return emit_fault(address, regs, error, KD_FAULT_KERNEL);
}

#endif
