/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Records that cross the ring: what the kernel side sees, uninterpreted.
 *
 * Rust gets these types from the generated skeleton, which is why each has a dummy instance in
 * kindling.bpf.c. Every record starts with struct kd_head; fields are of fixed width, padding has a
 * name, and kinds are never renumbered. What follows a fixed part is said in its comment.
 */
#ifndef KINDLING_H
#define KINDLING_H

#define KD_COMM_LEN 16
/* Frames taken of one stack, for kernel and user space each (PERF_MAX_STACK_DEPTH). */
#define KD_STACK_DEPTH 127
/* Most bytes of a user stack that are copied. */
#define KD_STACK_BYTES_MAX 16384
/* Most bytes of a payload that can be asked for. A mask too; and twice as many must fit the 32 KiB
 * that a per-CPU value may have. */
#define KD_PAYLOAD_MAX 8191
/* Most bytes of a path or address argument. */
#define KD_ARG_MAX 1024
/* Most bytes of a resolved path, and of a command line. */
#define KD_PATH_MAX 2048
/* Bigger than any syscall number of the ABIs that are recorded. */
#define KD_TABLE 512
/* Set in the number of a call that was made the way of 32-bit programs, which have their own table. */
#define KD_COMPAT KD_TABLE
#define KD_SYSCALLS (2 * KD_TABLE)
#define KD_MAX_CPUS 512
/* Patterns of log files: how many, and how long. */
#define KD_LOGS 8
#define KD_LOG_LEN 128

enum kd_kind {
	KD_SYSCALL = 1,
	KD_SWITCH = 2,
	KD_WAKEUP = 3,
	KD_SAMPLE = 4,
	KD_STACK = 5,
	KD_TASK = 6,
	KD_FILE = 7,
	KD_ARG = 8,
	KD_PAYLOAD = 9,
	KD_TCP = 10,
	KD_URING = 11,
	KD_CGROUP = 12,
	KD_MIGRATION = 13,
	KD_BLOCK = 14,
	KD_FAULT = 15,
	KD_KINDS = 16,
};

struct kd_head {
	u64 ts; /* CLOCK_MONOTONIC, nanoseconds */
	u32 tid; /* the thread that the record is about */
	u16 cpu;
	u8 kind; /* enum kd_kind */
	u8 flags; /* by kind */
};

/* KD_STILL_OPEN: it goes on, and was looked at; it is sent again when it returns. KD_SEVERAL: it is a struct
 * kd_calls. */
enum { KD_NEVER_RETURNED = 1, KD_STILL_OPEN = 2, KD_SEVERAL = 4 };

/* Followed by `args` argument values, u64 each. head.ts is when it was entered. */
struct kd_syscall {
	struct kd_head head;
	u32 pid;
	u16 nr;
	u16 args;
	u64 dur;
	s64 ret;
	u32 file; /* 0: it has no file */
	u32 pad;
};

/* The most syscalls of one record. */
#define KD_CALLS 16

/* Finished syscalls of one thread on one CPU, one after the other. Followed by `count` struct kd_call in `words`
 * words of 64 bits. head.ts is that of the first. */
struct kd_calls {
	struct kd_head head;
	u32 pid;
	u16 count;
	u16 words;
};

/* Followed by `args` argument values, u64 each. */
struct kd_call {
	u64 ts; /* of entry */
	u64 dur;
	s64 ret;
	u32 file; /* 0: it has no file */
	u16 nr;
	u16 args;
};

enum { KD_PREEMPTED = 1 };
#define KD_NO_SYSCALL 0xffff

/* head.tid is the thread that leaves. */
struct kd_switch {
	struct kd_head head;
	u32 next_tid;
	u32 prev_state;
	u16 prev_syscall;
	u8 prev_priority; /* task_struct.prio */
	u8 pad[5];
	u64 stack; /* hash, 0: none */
};

enum { KD_IRQ = 1, KD_NEW = 2 };

/* head.tid is the thread that runs on the waking CPU. */
struct kd_wakeup {
	struct kd_head head;
	u32 wakee_tid;
	u16 target_cpu;
	u16 pad;
};

enum { KD_KERNEL_MODE = 1 };

struct kd_sample {
	struct kd_head head;
	u32 pid;
	u32 pad;
	u64 stack; /* hash, 0: none */
};

/* Followed by kernel + user addresses, innermost first, u64 each. Sent once per hash. */
struct kd_stack {
	struct kd_head head;
	u64 hash;
	u32 pid;
	u16 kernel;
	u16 user;
};

/* In the flags of a KD_STACK: it is a struct kd_stack_memory. */
enum { KD_STACK_MEMORY = 1 };

/* A stack that user space is to unwind: followed by `stack_len` bytes of the user stack from sp on. */
struct kd_stack_memory {
	struct kd_head head;
	u64 hash; /* of this stack alone */
	u32 pid;
	u32 program; /* changes when the process executes another one */
	u64 ip; /* the user-space registers */
	u64 sp;
	u64 bp;
	u32 stack_len;
	u32 kernel;
	u64 kernel_addr[KD_STACK_DEPTH]; /* innermost first */
};

/* How to get from a frame to its caller's: what user space has learned of an address of code, of the
 * byte before it if a call returns there. */
struct kd_unwind_key {
	u64 address;
	u32 pid;
	u32 program; /* as in struct kd_stack_memory */
};

enum kd_unwind_base {
	KD_UNWIND_SP = 1, /* the caller's stack begins at sp + cfa, behind the return address */
	KD_UNWIND_BP = 2, /* at bp + cfa */
	KD_UNWIND_END = 3, /* there is no caller */
	KD_UNWIND_OTHERWISE = 4, /* neither tells: only the stack's memory will do */
};

struct kd_unwind_rule {
	s32 cfa;
	s16 bp; /* where the caller's bp is, from its stack's beginning; 0: it is unchanged */
	u8 base; /* enum kd_unwind_base */
	u8 pad;
};

enum kd_task_event {
	KD_TASK_FOUND = 1, /* existed when recording began; state, on_cpu and syscall are valid */
	KD_TASK_FORK = 2,
	KD_TASK_EXEC = 3, /* followed by the path and the command line */
	KD_TASK_RENAME = 4,
	KD_TASK_EXIT = 5,
	KD_TASK_MET = 6, /* not of the target; named because it met one that is */
	KD_TASK_END = 7, /* alive when recording ends */
	KD_TASK_LOOK = 8, /* looked at again while recording; valid as with FOUND */
};

/* head.flags is enum kd_task_event. head.tid is the thread itself. */
struct kd_task {
	struct kd_head head;
	u32 pid;
	u32 ppid;
	u64 start_ts;
	u64 cpu_ns;
	u64 voluntary_switches;
	u64 involuntary_switches;
	u64 cgroup;
	u32 uid;
	u32 netns;
	u32 pidns;
	u32 mntns;
	s32 exit_code;
	u32 state;
	u32 old_tid; /* exec from another thread than the leader */
	u16 syscall;
	u8 on_cpu;
	u8 target;
	u16 path_len; /* components, innermost first, each ended by a zero */
	u16 argv_len; /* as in /proc/PID/cmdline */
	u32 pad;
	char comm[KD_COMM_LEN];
};

/* KD_CGROUP_MADE: it is new, and nothing is in it. */
enum { KD_CGROUP_MADE = 1 };

/* Followed by the path's names, innermost first, each ended by a zero. Sent once per cgroup, before
 * the first task in it; and, if that is wanted, when it is made. */
struct kd_cgroup {
	struct kd_head head;
	u64 id;
	u16 path_len;
	u16 pad[3];
};

/* KD_FILE_TLS: no file, but a TLS session whose connection is not known; nothing else is valid. */
enum { KD_FILE_OPENED = 1, KD_FILE_CLOSED = 2, KD_FILE_TLS = 4, KD_FILE_WRITABLE = 8 };

/* Followed by the path's components as in struct kd_task, or by a Unix socket's address. */
struct kd_file {
	struct kd_head head;
	u32 id;
	u32 pid;
	s32 fd;
	u32 mode; /* i_mode */
	u64 inode;
	u64 magic; /* s_magic of the file system */
	u64 cookie;
	u64 peer_inode;
	u32 rdev;
	u32 netns;
	u16 family;
	u16 type;
	u16 protocol;
	u16 local_port;
	u16 remote_port;
	u8 tcp_state;
	u8 pad0;
	u16 path_len;
	u16 pad1;
	u8 local_addr[16]; /* network order; IPv4 in the first four */
	u8 remote_addr[16];
};

/* KD_BYTES: neither a path nor an address, but what the call left or took in its own layout. */
enum { KD_TRUNCATED = 1, KD_SOCKADDR = 2, KD_BYTES = 4 };

/* Followed by `len` bytes. head.ts is that of the syscall. */
struct kd_arg {
	struct kd_head head;
	u32 pid;
	u16 arg;
	u16 len;
};

/* KD_TLS: plaintext, as a call of a TLS library gave or took it; KD_TLS_WHOLE: the session was
 * followed from its handshake on. */
enum { KD_OUT = 1, KD_TLS = 2, KD_TLS_WHOLE = 4 };

/* Followed by `len` bytes, and maybe by more that mean nothing. head.ts is that of the syscall, or of
 * the call of the TLS library. */
struct kd_payload {
	struct kd_head head;
	u32 pid;
	u32 file;
	u64 dur;
	u64 size;
	u64 offset;
	u32 len;
	u32 pad;
};

enum kd_tcp_event {
	KD_TCP_STATE = 1,
	KD_TCP_RETRANSMIT = 2,
	KD_TCP_RESET_SENT = 3,
	KD_TCP_RESET_RECEIVED = 4,
	KD_TCP_RTT = 5,
};

/* head.flags is enum kd_tcp_event; head.tid is 0. */
struct kd_tcp {
	struct kd_head head;
	u64 cookie;
	u64 acked; /* bytes that the other side has confirmed */
	u64 received;
	u32 file; /* 0: not known */
	u32 netns;
	u32 srtt_us;
	u32 rttvar_us;
	u32 cwnd;
	u32 retransmits;
	u32 unread; /* bytes that wait to be read */
	u32 unacked; /* bytes that were written and are not confirmed */
	u16 family;
	u16 local_port;
	u16 remote_port;
	u8 old_state;
	u8 state;
	u8 is_full; /* the facts above are valid: it is more than the rest of a connection */
	u8 pad[7];
	u8 local_addr[16]; /* network order; IPv4 in the first four */
	u8 remote_addr[16];
};

enum kd_uring_event { KD_URING_SUBMIT = 1, KD_URING_COMPLETE = 2 };
#define KD_NO_OPCODE 255

/* head.flags is enum kd_uring_event. */
struct kd_uring {
	struct kd_head head;
	u64 user_data;
	s64 ret;
	u64 io_flags;
	u32 pid; /* the ring's process */
	u32 ring; /* file id, 0: not known */
	u32 file; /* 0: it has none */
	u8 opcode;
	u8 pad[3];
};

/* head.tid is the thread that is moved. */
struct kd_migration {
	struct kd_head head;
	u32 by_tid; /* the thread that ran where it was decided */
	u16 from_cpu;
	u16 to_cpu;
};

#define KD_DISK_LEN 32
#define KD_NEVER_ISSUED 0xffffffffffffffffULL

/* head.ts is when the request was made, head.tid the thread that made it. */
struct kd_block {
	struct kd_head head;
	u64 dur;
	u64 queued; /* until the device was given it */
	u64 sector; /* in units of 512 bytes */
	u32 pid;
	u32 bytes;
	u32 operation; /* enum req_op */
	u8 status; /* blk_status_t */
	u8 pad[3];
	char disk[KD_DISK_LEN];
};

enum { KD_FAULT_KERNEL = 1, KD_FAULT_WRITE = 2, KD_FAULT_PRESENT = 4, KD_FAULT_EXECUTE = 8 };

struct kd_fault {
	struct kd_head head;
	u64 address;
	u64 ip;
	u32 pid;
	u32 pad;
};

/* How a syscall's arguments are to be read; filled by user space before loading. */
enum kd_transfer {
	KD_NO_TRANSFER = 0,
	KD_READ = 1, /* buffer in arg1 */
	KD_WRITE = 2,
	KD_READV = 3, /* struct iovec array in arg1, count in arg2 */
	KD_WRITEV = 4,
	KD_RECVMSG = 5, /* struct msghdr in arg1 */
	KD_SENDMSG = 6,
	KD_SENDFILE = 7, /* out of arg1 into arg0; user space never sees the bytes */
	KD_SPLICE = 8, /* out of arg0 into arg2; copy_file_range too */
	KD_TEE = 9, /* into arg1, and arg0 keeps them */
	KD_RECVMMSG = 10, /* array of struct mmsghdr in arg1; returns how many */
	KD_SENDMMSG = 11,
};

/* What tells which descriptors a call watches or found ready, or which futexes it is about. */
enum kd_readiness {
	KD_NO_READINESS = 0,
	KD_POLL = 1, /* struct pollfd array in arg0, count in arg1 */
	KD_SELECT = 2, /* fd_sets in arg1, arg2 and arg3, of as many bits as arg0 says */
	KD_EPOLL_WAIT = 3, /* struct epoll_event array in arg1; returns how many */
	KD_EPOLL_CTL = 4, /* struct epoll_event in arg3 */
	KD_FUTEX_WAITV = 5, /* struct futex_waitv array in arg0, count in arg1 */
	KD_FUTEX_REQUEUE = 6, /* two struct futex_waitv in arg0 */
};

/* What a function of a TLS library does: the cookie of the probe on it. The session is its first
 * argument, and of those that move bytes the buffer its second and the buffer's size its third. */
enum kd_tls_function {
	KD_TLS_READ = 1, /* returns how many bytes */
	KD_TLS_WRITE = 2,
	KD_TLS_READ_COUNTED = 3, /* returns 1 and puts how many bytes where the fourth argument points */
	KD_TLS_WRITE_COUNTED = 4,
	KD_TLS_WRITE_FLAGGED = 5, /* likewise, the fifth */
	KD_TLS_SENDFILE = 6, /* returns how many bytes; the kernel took them from a file */
	KD_TLS_HANDSHAKE = 7,
	KD_TLS_FREE = 8,
	/* Methods of Go's tls.Conn, whose registers and stacks are Go's. */
	KD_TLS_GO_READ = 9,
	KD_TLS_GO_WRITE = 10,
	KD_TLS_GO_HANDSHAKE = 11,
	KD_TLS_GO_CLOSE = 12,
};

enum { KD_HAS_FILE = 1, KD_OPENS = 2, KD_CLOSES = 4, KD_DESCRIBE = 8 };

struct kd_syscall_spec {
	u8 args; /* arity */
	u8 flags; /* KD_HAS_FILE: arg0 is a descriptor; KD_OPENS: ret is; … */
	u8 transfer; /* enum kd_transfer */
	u8 paths; /* bit per argument that is a path */
	u8 sockaddr; /* 1 + argument that is a socket address; its length is the next one */
	u8 peek; /* 1 + argument that holds the flags of a call that can look without taking */
	u8 readiness; /* enum kd_readiness */
	u8 timeout; /* 1 + argument that points to how long to wait at most; maybe with KD_FUTEX */
};

/* In the timeout of a call: its second argument says whether it waits at all. */
enum { KD_FUTEX = 0x80 };

#endif
