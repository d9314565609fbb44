/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The kernel's part of the stack of a thread that leaves its CPU.
 *
 * The kernel's unwinder takes microseconds for a dozen frames, and most threads wait at the same few
 * places. So each CPU keeps where on the stack the return addresses of the last ones were, and
 * recognises the next by them. A stack with the same addresses in the same places is the same: the
 * unwinder finds each frame by nothing else than the address and the place before it.
 */
#ifndef KINDLING_KERNEL_STACK_BPF_H
#define KINDLING_KERNEL_STACK_BPF_H

/* Where code of the kernel, of its modules and of programs like this begins (x86-64). */
#define KERNEL_TEXT 0xffffffff80000000ULL
/* More words of a stack are not looked at. */
#define KERNEL_STACK_WORDS 448
/* Below the registers of user space the kernel leaves a gap of another size in each call
 * (randomize_kstack_offset): so many bytes next to them are above it. */
#define ABOVE_THE_GAP 64
/* At most so many frames are below this program's context. */
#define FRAMES_BELOW 4
/* So many stacks in a row are not recognised before one is learned, which takes as long as unwinding. */
#define KERNEL_STACK_PATIENCE 8

static __always_inline u64 mix(u64 hash, u64 value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 29;
}

struct stack_hash {
	const struct stack_scratch *scratch;
	u32 from;
	u64 hash;
};

static long hash_frame(u32 frame, void *context)
{
	struct stack_hash *of = context;
	u32 at = of->from + frame;

	if (at >= 2 * KD_STACK_DEPTH)
		return 1;
	of->hash = mix(of->hash, of->scratch->addr[at]);
	return 0;
}

/* A look at the stack from where this program was called up to the registers of user space. */
struct kernel_look {
	u64 from;
	u64 regs;
	struct kernel_stacks *of_call; /* what was seen there of late */
	struct kernel_stack *kept; /* one of them */
	u32 found; /* frames whose address was found, a bit for each */
	bool is_other;
};

static __always_inline void begin_look(struct kernel_look *look, void *ctx,
				       struct stack_scratch *scratch)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	volatile u64 *bounds = scratch->bounds;
	u32 at = regs->orig_ax & (KERNEL_STACK_CALLS - 1);

	/* Pointers become numbers, with which one can calculate, by way of memory. */
	bounds[0] = (u64)ctx;
	bounds[1] = (u64)regs;
	look->from = bounds[0];
	look->regs = bounds[1];
	look->of_call = bpf_map_lookup_elem(&kernel_stacks, &at);
}

/* Whether a return address is where it was. */
static __always_inline bool is_there(struct kernel_look *look, u32 at)
{
	struct kernel_stack *kept = look->kept;
	s64 place = kept->place[at];

	return LOAD_WORD((place < 0 ? look->regs : look->from) + place) ==
	       kept->addr[kept->frame[at] & (KERNEL_STACK_FRAMES - 1)];
}

static long recognise_place(u32 at, void *context)
{
	struct kernel_look *look = context;

	if (at >= KERNEL_STACK_PLACES)
		return 1;
	if (is_there(look, at))
		return 0;
	look->is_other = true;
	return 1;
}

static __always_inline bool is_recognised(struct kernel_look *look)
{
	u32 at;

	for (at = 0; at < KERNEL_STACKS_OF_CALL; at++) {
		look->kept = &look->of_call->kept[at];
		if (!look->kept->places)
			continue;
		look->is_other = false;
		bpf_loop(look->kept->places, recognise_place, look, 0);
		if (!look->is_other) {
			look->of_call->others = 0;
			return true;
		}
	}
	look->of_call->others++;
	return false;
}

/* Keeps a place where the address of a frame is. */
static __always_inline bool keep_place(struct kernel_stack *kept, s16 place, u8 frame)
{
	if (kept->places >= KERNEL_STACK_PLACES)
		return false;
	kept->place[kept->places] = place;
	kept->frame[kept->places] = frame;
	kept->places++;
	return true;
}

/* Whether the address of each frame was found, but for those of this program itself: they lie below its
 * context, and are the same each time. */
static __always_inline bool is_whole(const struct kernel_look *look)
{
	u32 missing = ~look->found & (u32)((1ULL << look->kept->frames) - 1);

	return !(missing & (missing + 1)) && missing < 1u << FRAMES_BELOW;
}

static long learn_word(u32 word, void *context)
{
	struct kernel_look *look = context;
	struct kernel_stack *kept = look->kept;
	u64 address = look->from + word * sizeof(u64);
	u64 value = LOAD_WORD(address);
	u32 frame;

	if (value < KERNEL_TEXT)
		return 0;
	for (frame = 0; frame < KERNEL_STACK_FRAMES; frame++) {
		if (frame >= kept->frames)
			return 0;
		if (kept->addr[frame] == value)
			break;
	}
	if (frame >= KERNEL_STACK_FRAMES)
		return 0;
	look->found |= 1u << frame;
	/* An earlier call may have left the same address elsewhere. Both are taken: which of them is the
	 * right one cannot be told yet, but while both are there the right one is. */
	if (keep_place(kept, address + ABOVE_THE_GAP < look->regs ? address - look->from :
								     address - look->regs, frame))
		return 0;
	look->is_other = true;
	return 1;
}

/* The same stack was not recognised: what is not there now was not right. */
static long forget_place(u32 at, void *context)
{
	struct kernel_look *look = context;
	struct kernel_stack *kept = look->kept;

	if (at >= KERNEL_STACK_PLACES)
		return 1;
	if (!is_there(look, at))
		return 0;
	look->found |= 1u << (kept->frame[at] & (KERNEL_STACK_FRAMES - 1));
	keep_place(kept, kept->place[at], kept->frame[at]);
	return 0;
}

/* Keeps where the addresses of a stack that was unwound are. */
static __always_inline void learn(struct kernel_look *look, const u64 *addr, u32 frames, u64 hash)
{
	struct kernel_stacks *of_call = look->of_call;
	struct kernel_stack *kept;
	u32 at, places;

	if (!frames || frames > KERNEL_STACK_FRAMES ||
	    look->regs - look->from > KERNEL_STACK_WORDS * sizeof(u64))
		return;
	look->found = 0;
	for (at = 0; at < KERNEL_STACKS_OF_CALL; at++) {
		kept = look->kept = &of_call->kept[at];
		if (kept->hash != hash)
			continue;
		places = kept->places;
		kept->places = 0;
		bpf_loop(places, forget_place, look, 0);
		if (!is_whole(look))
			kept->places = 0;
		return;
	}
	at = of_call->oldest & (KERNEL_STACKS_OF_CALL - 1);
	kept = look->kept = &of_call->kept[at];
	if (kept->hash && of_call->others < KERNEL_STACK_PATIENCE)
		return;
	of_call->others = 0;
	of_call->oldest++;
	kept->hash = hash;
	kept->frames = frames;
	kept->places = 0;
	bpf_probe_read_kernel(kept->addr, frames * sizeof(u64), addr);
	look->is_other = false;
	bpf_loop((look->regs - look->from) / sizeof(u64), learn_word, look, 0);
	if (look->is_other || !is_whole(look))
		kept->places = 0;
}

/* Puts the kernel's part of the current thread's stack into `scratch`; how many frames it has. */
static __always_inline u32 take_kernel_part(void *ctx, struct stack_scratch *scratch, u32 context,
					    u64 *hash)
{
	struct stack_hash of = { .scratch = scratch };
	struct kernel_look look = {};
	u32 frames;
	long bytes;

	/* Samples come anywhere. */
	if (context == SCRATCH_TASK)
		begin_look(&look, ctx, scratch);
	if (look.of_call && is_recognised(&look)) {
		frames = look.kept->frames;
		if (frames > KERNEL_STACK_FRAMES)
			return 0;
		bpf_probe_read_kernel(scratch->addr, frames * sizeof(u64), look.kept->addr);
		*hash = look.kept->hash;
		return frames;
	}
	bytes = bpf_get_stack(ctx, scratch->addr, KD_STACK_DEPTH * sizeof(u64), 0);
	frames = bytes > 0 ? (u32)bytes / sizeof(u64) : 0;
	if (frames > KD_STACK_DEPTH)
		frames = KD_STACK_DEPTH;
	bpf_loop(frames, hash_frame, &of, 0);
	*hash = of.hash;
	if (look.of_call)
		learn(&look, scratch->addr, frames, of.hash);
	return frames;
}

#endif
