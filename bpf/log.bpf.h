/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whether a file is a log: by a pattern of its path. */
#ifndef KINDLING_LOG_BPF_H
#define KINDLING_LOG_BPF_H

#define MATCH_STEPS 1024

/* Both the pattern and the path are names from the file up to the root, each ended by a zero. `*`
 * is any part of one name, `?` any byte of one. A pattern that ends before the path does matches
 * if it ends at the end of a name: one without a slash is about the file's name alone. */
struct match {
	const char *path; /* map memory of KD_PATH_MAX bytes */
	u32 path_len;
	u32 log;
	u32 at; /* in the path */
	u32 in; /* in the pattern */
	u32 star_at; /* where to go on if what follows the last star does not match */
	u32 star_in; /* behind the last star; 0: there was none */
	bool found;
};

static long match_step(u32 step, void *context)
{
	struct match *match = context;
	char wanted = 0, found = 0;

	if (match->in < KD_LOG_LEN)
		wanted = cfg_log_patterns[match->log & (KD_LOGS - 1)][match->in & (KD_LOG_LEN - 1)];
	if (wanted == '/') {
		/* The end of the pattern, as user space writes it: two slashes are that of a
		 * whole path. */
		u32 next = (match->in + 1) & (KD_LOG_LEN - 1);

		match->found = cfg_log_patterns[match->log & (KD_LOGS - 1)][next] != '/' ||
			       match->at >= match->path_len;
		return 1;
	}
	if (match->at >= match->path_len)
		return 1;
	found = match->path[match->at & (KD_PATH_MAX - 1)];
	if (wanted == '*') {
		match->in += 1;
		match->star_in = match->in;
		match->star_at = match->at;
		return 0;
	}
	if (wanted == found || (wanted == '?' && found)) {
		match->in += 1;
		match->at += 1;
		return 0;
	}
	/* A star takes one byte more, but not the end of a name. */
	if (!match->star_in || !match->path[match->star_at & (KD_PATH_MAX - 1)])
		return 1;
	match->star_at += 1;
	match->at = match->star_at;
	match->in = match->star_in;
	return 0;
}

static __always_inline bool is_log(const char *path, u32 len)
{
	for (u32 log = 0; log < KD_LOGS; log++) {
		struct match match = { .path = path, .path_len = len, .log = log };

		if (log >= cfg_logs)
			break;
		bpf_loop(MATCH_STEPS, match_step, &match, 0);
		if (match.found)
			return true;
	}
	return false;
}

#endif
