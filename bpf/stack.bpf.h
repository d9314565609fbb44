/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Stacks: kernel frames by the kernel's own unwinder, user frames by rules or frame pointers.
 *
 * Distributions build without frame pointers. The tables that say how to unwind such code are in its
 * files, which no program here can read. So the first stack that leads through an address is sent as
 * memory; user space unwinds it and leaves here the rule of each address on the way, by which later
 * ones are walked at once.
 */
#ifndef KINDLING_STACK_BPF_H
#define KINDLING_STACK_BPF_H

/* A read of user memory fails as a whole where a page is missing, so a stack is read in pieces, up
 * to its end or to the first piece that is not there. */
#define STACK_PIECE 512

struct stack_copy {
	char *to;
	u64 sp;
	u32 len;
};

static long copy_piece(u32 piece, void *context)
{
	struct stack_copy *copy = context;
	u32 off = piece * STACK_PIECE;

	if (off >= cfg_stack_bytes || off > KD_STACK_BYTES_MAX - STACK_PIECE)
		return 1;
	if (bpf_probe_read_user(copy->to + off, STACK_PIECE, (void *)(copy->sp + off)))
		return 1;
	copy->len = off + STACK_PIECE;
	return 0;
}

/* Copies the user stack from sp on to a place of KD_STACK_BYTES_MAX bytes; returns how many. */
static __always_inline u32 copy_stack(char *to, u64 sp)
{
	struct stack_copy copy = { .to = to, .sp = sp };

	if (sp)
		bpf_loop(KD_STACK_BYTES_MAX / STACK_PIECE, copy_piece, &copy, 0);
	return copy.len > KD_STACK_BYTES_MAX ? KD_STACK_BYTES_MAX : copy.len;
}

/* Copies that a CPU may send in so many nanoseconds: each is some kilobytes, and work to unwind. */
#define COPIES_NS 100000000ULL
#define COPIES 128

static __always_inline bool may_copy(u64 now, u32 cpu)
{
	struct copies *sent = &copies[cpu & (KD_MAX_CPUS - 1)];

	if (now - sent->since_ts >= COPIES_NS) {
		sent->since_ts = now;
		sent->count = 0;
	}
	return sent->count++ < COPIES;
}

/* A walk through the frames of the current thread in user space. */
struct user_walk {
	struct kd_unwind_key key;
	u64 ip; /* where it begins */
	u64 first_sp;
	u64 first_bp;
	u64 sp; /* where it is */
	u64 bp;
	struct stack_scratch *scratch;
	u32 kernel; /* addresses before those of user space */
	u32 user;
	u32 is_known; /* there was a rule for every frame */
	u32 context; /* whose scratch it is */
};

static long walk_frame(u32 frame, void *context)
{
	struct user_walk *walk = context;
	struct kd_unwind_rule *rule = bpf_map_lookup_elem(&unwind_rules, &walk->key);
	/* Not from what was counted: the verifier follows each value that it had. */
	u32 at = walk->kernel + frame + 1;
	u64 caller, cfa;

	if (!rule || rule->base == KD_UNWIND_OTHERWISE) {
		walk->is_known = 0;
		return 1;
	}
	if (rule->base == KD_UNWIND_END || at >= 2 * KD_STACK_DEPTH)
		return 1;
	cfa = (rule->base == KD_UNWIND_BP ? walk->bp : walk->sp) + rule->cfa;
	/* Outer frames have higher addresses. */
	if (cfa <= walk->sp)
		return 1;
	if (bpf_probe_read_user(&caller, sizeof(caller), (void *)(cfa - sizeof(caller))) || !caller)
		return 1;
	if (rule->bp &&
	    bpf_probe_read_user(&walk->bp, sizeof(walk->bp), (void *)(cfa + rule->bp)))
		return 1;
	walk->sp = cfa;
	/* The call itself is before the address that it returns to. */
	walk->key.address = caller - 1;
	walk->scratch->addr[at] = caller;
	walk->user = frame + 2;
	return 0;
}

/* Takes down where the current thread is in user space; whether it is in 64-bit code. */
static __always_inline bool begin_walk(struct user_walk *walk, struct task_struct *task)
{
	struct pt_regs *regs;

	if (!task->mm)
		return false;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	walk->ip = regs->ip;
	walk->sp = walk->first_sp = regs->sp;
	walk->bp = walk->first_bp = regs->bp;
	walk->key.address = walk->ip;
	walk->key.pid = task->tgid;
	walk->key.program = task->self_exec_id;
	walk->is_known = 1;
	return walk->sp >> 32;
}

/* Walks the user part by rules, behind the kernel's addresses; how many it has, 0 if a rule is
 * missing. */
static __always_inline u32 walk_by_rules(struct user_walk *walk)
{
	if (walk->kernel <= KD_STACK_DEPTH)
		walk->scratch->addr[walk->kernel] = walk->ip;
	walk->user = 1;
	bpf_loop(KD_STACK_DEPTH - 1, walk_frame, walk, 0);
	return walk->is_known ? walk->user : 0;
}

/* Sends a stack as it is in memory, under a hash that is its own. */
static __noinline u64 send_memory(struct user_walk *walk)
{
	u64 now = now_ns();
	u32 cpu = bpf_get_smp_processor_id();
	struct memory_scratch *scratch = bpf_map_lookup_elem(&memory_scratch, &walk->context);
	struct kd_stack_memory *record;
	u32 kernel = walk->kernel;
	u64 len;

	if (!scratch || kernel > KD_STACK_DEPTH)
		return 0;
	/* Samples come as often as was asked for. */
	if (walk->context == SCRATCH_TASK && !may_copy(now, cpu))
		return 0;
	record = &scratch->record;
	fill_head(&record->head, now, (u32)bpf_get_current_pid_tgid(), cpu, KD_STACK,
		  KD_STACK_MEMORY);
	record->hash = (now << 10 | cpu << 1 | walk->context) * 0x9e3779b97f4a7c15ULL;
	record->pid = walk->key.pid;
	record->program = walk->key.program;
	record->ip = walk->ip;
	record->sp = walk->first_sp;
	record->bp = walk->first_bp;
	len = copy_stack(scratch->stack, walk->first_sp);
	record->stack_len = len;
	record->kernel = kernel;
	bpf_probe_read_kernel(record->kernel_addr, kernel * sizeof(u64), walk->scratch->addr);
	if (len > KD_STACK_BYTES_MAX)
		len = KD_STACK_BYTES_MAX;
	return send(&record->head, sizeof(*record) + len) ? record->hash : 0;
}

/* Takes the current thread's kernel and user stack, sends it if it is new, returns its hash. */
static __noinline u64 take_stack(void *ctx, u32 pid, u32 context)
{
	struct stack_scratch *scratch = bpf_map_lookup_elem(&stack_scratch, &context);
	const u32 room = KD_STACK_DEPTH * sizeof(u64);
	u64 pid_tgid = bpf_get_current_pid_tgid();
	struct stack_hash of = { .scratch = scratch };
	u32 kernel, user = 0;
	u64 hash, kernel_hash = 0;
	long bytes;
	u8 one = 1;

	if (!scratch || !ctx)
		return 0;
	kernel = take_kernel_part(ctx, scratch, context, &kernel_hash);
	if (cfg_stack_bytes) {
		struct user_walk walk = {
			.scratch = scratch,
			.kernel = kernel,
			.context = context,
		};

		if (begin_walk(&walk, bpf_get_current_task_btf())) {
			user = walk_by_rules(&walk);
			hash = user ? 0 : send_memory(&walk);
			if (hash)
				return hash;
		}
	}
	if (!user) {
		bytes = bpf_get_stack(ctx, &scratch->addr[kernel], room, BPF_F_USER_STACK);
		user = bytes > 0 ? (u32)bytes / sizeof(u64) : 0;
	}
	if (user > KD_STACK_DEPTH)
		user = KD_STACK_DEPTH;
	if (kernel + user == 0)
		return 0;
	/* User addresses mean something in their process only. */
	of.hash = mix(kernel_hash, (u64)pid << 32 | kernel << 8 | 1);
	of.from = kernel;
	bpf_loop(user, hash_frame, &of, 0);
	hash = of.hash;
	if (bpf_map_lookup_elem(&sent_stacks, &hash))
		return hash;
	fill_head(&scratch->record.head, now_ns(), (u32)pid_tgid,
		  bpf_get_smp_processor_id(), KD_STACK, 0);
	scratch->record.hash = hash;
	scratch->record.pid = pid;
	scratch->record.kernel = kernel;
	scratch->record.user = user;
	if (send(&scratch->record.head, sizeof(scratch->record) + (kernel + user) * sizeof(u64)))
		bpf_map_update_elem(&sent_stacks, &hash, &one, BPF_ANY);
	return hash;
}

#endif
