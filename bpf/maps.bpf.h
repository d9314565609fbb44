/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Settings, state and counters that the programs share. */
#ifndef KINDLING_MAPS_BPF_H
#define KINDLING_MAPS_BPF_H

/* Settings, fixed when the programs are loaded: the verifier drops what they turn off. */
const volatile bool cfg_all = false;
/* Whether processes join the target by their name, or by their cgroup. */
const volatile bool cfg_comms = false;
const volatile bool cfg_cgroups = false;
/* Whether user space wants to know of cgroups that are made: it looks for containers. */
const volatile bool cfg_new_cgroups = false;
const volatile bool cfg_payloads = true;
const volatile bool cfg_switch_stacks = true;
const volatile u32 cfg_payload_bytes = 1024;
/* Bytes of user stack to copy where no rule is known; 0 walks frame pointers instead. */
const volatile u32 cfg_stack_bytes = 0;
const volatile u32 cfg_self_tgid = 0;
/* The bits of a time that are kept. */
const volatile u64 cfg_time_mask = ~0ULL;
/* Paths of files whose written bytes are kept, as patterns in the order of path_components. */
const volatile u32 cfg_logs = 0;
const volatile char cfg_log_patterns[KD_LOGS][KD_LOG_LEN] = {};
/* A bit for each io_uring operation that works on a file. */
const volatile u64 cfg_uring_files = 0;
const volatile struct kd_syscall_spec cfg_syscalls[KD_SYSCALLS] = {};
/* The ring of each CPU: CPUs that share a cache share a ring. */
const volatile u16 cfg_ring_of_cpu[KD_MAX_CPUS] = {};

/* When recording began; the time of syscalls that were entered before. */
u64 started_ts = 0;
/* What the iterator over tasks is to do. */
enum { PHASE_FIND = 0, PHASE_END = 1, PHASE_LOOK = 2, PHASE_DUMP = 3 };
u32 iter_phase = PHASE_FIND;
/* Threads that the last run of the iterator newly marked; 0 means that none was missed. */
u64 iter_marked = 0;
/* Processes that joined the target while recording: the iterator is to look for their threads. */
u64 joined = 0;
u32 last_file_id = 0;
/* Recording has ended: one moment for all programs, while detaching them takes a while. */
u32 stopped = 0;

/* What is left out because recording costs too much: everything up to this class. */
enum shed {
	SHED_NOTHING = 0,
	SHED_PAYLOADS = 1,
	SHED_STACKS = 2, /* samples too */
	SHED_SYSCALLS = 3,
	SHED_SWITCHES = 4, /* wakeups too */
};
u32 shed_level = SHED_NOTHING;
/* Records that were left out, per CPU and kind. */
u64 shed[KD_MAX_CPUS][16] = {};

/* Records that found no room, per CPU and kind. Memory that user space maps: it reads without a
 * syscall, and knows when as well as how many. */
u64 lost[KD_MAX_CPUS][16] = {};
/* How many interrupt handlers are running, per CPU. */
s8 in_interrupt[KD_MAX_CPUS] = {};

/* What has to be remembered of a thread. One lookup serves the filter, the syscall in flight and
 * the last files. Task storage goes with the task, so it cannot leak and needs no size. Descriptors
 * that a server goes through in turn find their slots taken, if these are few. */
#define FILE_SLOTS 64

/* Which bytes through a file are kept. */
enum stream {
	STREAM_NONE = 0,
	STREAM_BOTH = 1, /* a socket, a pipe, a terminal */
	STREAM_LOG = 2, /* a regular file that is written for people to read */
};

struct file_slot {
	u64 file; /* struct file * */
	u64 inode;
	u32 id;
	u16 mode;
	u16 stream; /* bytes through it are kept: enum stream */
	u64 watch; /* what was last said of an epoll that watches it; 0: nothing */
};

struct thread_state {
	u64 enter_ts; /* 0: not in a syscall */
	u64 args[6];
	u32 file_id;
	u16 nr;
	u8 target;
	u8 stream;
	u8 executed; /* the syscall in flight replaced the program, and with it its arguments */
	u8 in_tls; /* a function of a TLS library is running: the one in tls_calls */
	u8 blocked; /* the thread has left its CPU to wait since it entered the syscall in flight */
	u8 has_timeout; /* it gave the syscall in flight the one below */
	u64 file; /* struct file * of the syscall in flight */
	u64 tls_file; /* the socket that the TLS library used first; 0: none yet */
	u32 tls_file_id;
	struct file_slot files[FILE_SLOTS];
	u64 timeout[2]; /* struct timespec or timeval, as it was at entry: some calls write what is left there */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread_state);
} threads SEC(".maps");

/* Processes that the iterator is to mark: running ones, and the command before it is executed. */
enum { TARGET_RUNNING = 1, TARGET_HELD = 2 };

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, u8);
} targets SEC(".maps");

/* Names of processes of the target, padded with zeros. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, char[KD_COMM_LEN]);
	__type(value, u8);
} target_comms SEC(".maps");

/* Cgroups of the target, by id: everything in them and below. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u8);
} target_cgroups SEC(".maps");

/* How much plaintext went each way. */
struct tls_bytes {
	u64 in;
	u64 out;
};

/* Open files by struct file *. LRU, because nothing tells when a file goes away: an entry that is
 * pushed out costs the file a second id. */
struct file_state {
	u64 inode; /* tells a struct file that was reused for another socket or pipe */
	u64 in_bytes;
	u64 out_bytes;
	struct tls_bytes tls;
	u32 id;
	u32 ports; /* what was last told of a socket, to notice when it changes */
	u16 mode;
	u16 stream;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);
	__type(value, struct file_state);
} files SEC(".maps");

/* Functions of TLS libraries that are running, by thread. Not in thread_state: few threads need it. */
struct tls_call {
	u64 ts;
	u64 sp; /* at entry: what is called from within has a lower one */
	u64 session;
	u64 buffer;
	u64 count; /* where it puts how many bytes; 0: it returns that */
	u32 function; /* enum kd_tls_function */
	u32 on_stack; /* the `buffer` is how far below the end of a stack that can move */
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tls_call);
} tls_calls SEC(".maps");

/* TLS sessions by process and address (SSL *, gnutls_session_t). LRU: one that is pushed out is
 * known again when it next uses its socket. */
struct tls_key {
	u64 session;
	u32 pid;
	u32 pad;
};

struct tls_session {
	u64 file; /* the socket underneath, struct file *; 0: not known */
	u32 file_id;
	u32 id; /* as a file of its own, as long as the socket is not known; 0: none yet */
	struct tls_bytes bytes; /* likewise */
	u32 is_whole; /* the handshake was seen */
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct tls_key);
	__type(value, struct tls_session);
} tls_sessions SEC(".maps");

/* Methods of Go's tls.Conn that are running, by process and goroutine: `sp` is how far below the stack's
 * end it was, which stays when the stack is moved. LRU, because a panic may leave
 * a method for good. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct tls_key);
	__type(value, struct tls_call);
} go_calls SEC(".maps");

/* TCP sockets of the target by struct sock *. */
struct socket_state {
	u64 cookie; /* tells an address that was reused */
	u32 file;
	u32 segments; /* that had arrived when the socket's measurements were last sent */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, u64);
	__type(value, struct socket_state);
} sockets SEC(".maps");

/* Where the target listens: network namespace and port. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u8);
} listeners SEC(".maps");

/* The io_urings of the target by their context, which is the private data of their file. */
struct uring_state {
	u32 file;
	u32 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, struct uring_state);
} urings SEC(".maps");

/* Requests of the target that a disk has not answered yet, by struct request *. */
struct block_request {
	u64 ts;
	u64 issue_ts; /* 0: not yet */
	u64 sector;
	u32 pid;
	u32 tid;
	u32 bytes;
	u32 operation;
	u32 status; /* blk_status_t of a completion that failed; 0: none did */
	u32 pad;
	char disk[KD_DISK_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct block_request);
} block_requests SEC(".maps");

/* Syscalls that have finished on a CPU and wait to be sent together: a place in the ring costs as much as the
 * rest of a syscall's record. All are of one thread. */
#define OUTBOX_WORDS 128
#define CALL_WORDS (sizeof(struct kd_call) / sizeof(u64))

struct outbox {
	struct kd_calls record;
	/* The last one begins within OUTBOX_WORDS. */
	u64 words[OUTBOX_WORDS + CALL_WORDS + 6];
	u32 busy; /* it is being filled, or emptied */
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct outbox);
} outboxes SEC(".maps");

/* What user space sees of them, to know which have to be emptied for their CPU: a cache line for each. */
struct outbox_look {
	u64 waiting;
	u64 sent;
	u64 pad[6];
} outbox_looks[KD_MAX_CPUS] = {};

/* Stacks that were sent already, by hash. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, u64);
	__type(value, u8);
} sent_stacks SEC(".maps");

/* What user space has learned of the frames of stacks. LRU: an address that is pushed out is asked for
 * again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct kd_unwind_key);
	__type(value, struct kd_unwind_rule);
} unwind_rules SEC(".maps");

/* Stacks that were sent as memory of late, per CPU. */
struct copies {
	u64 since_ts;
	u64 count;
} copies[KD_MAX_CPUS] = {};

/* Cgroups whose paths were sent already, by id. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u8);
} sent_cgroups SEC(".maps");

/* Threads outside of the target that were named already: tid to start time. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, u64);
} met SEC(".maps");

/* Rings, one per cache domain; user space puts them in. */
struct ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, KD_MAX_CPUS);
	__type(key, u32);
	__array(values, struct ring);
} rings SEC(".maps");

/* Room to build what does not fit the BPF stack, per CPU and context, so that no program can
 * interrupt another that uses the same. */
enum {
	SCRATCH_TASK = 0,
	SCRATCH_ITER = 1,
	SCRATCHES = 2,
	/* Stacks are taken of tasks that leave their CPU, and by a perf event, which may interrupt that. */
	SCRATCH_SAMPLE = 1,
	STACK_SCRATCHES = 2,
};

struct stack_scratch {
	u64 bounds[2];
	struct kd_stack record;
	u64 addr[2 * KD_STACK_DEPTH + 2];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_SCRATCHES);
	__type(key, u32);
	__type(value, struct stack_scratch);
} stack_scratch SEC(".maps");

/* Where the kernel's part of a stack has its return addresses. */
#define KERNEL_STACK_FRAMES 32
#define KERNEL_STACK_PLACES 48
struct kernel_stack {
	u64 hash; /* 0: none was learned */
	u32 frames;
	u32 places; /* 0: it is not to be recognised */
	u64 addr[KERNEL_STACK_FRAMES];
	/* Whose address is where: in bytes from this program's context on, or before the registers of user
	 * space if it is negative. */
	u8 frame[KERNEL_STACK_PLACES];
	s16 place[KERNEL_STACK_PLACES];
};

/* Those of calls of the same number, or of some. */
#define KERNEL_STACK_CALLS 32
#define KERNEL_STACKS_OF_CALL 4
struct kernel_stacks {
	u32 oldest;
	u32 others; /* stacks since one was recognised */
	struct kernel_stack kept[KERNEL_STACKS_OF_CALL];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KERNEL_STACK_CALLS);
	__type(key, u32);
	__type(value, struct kernel_stacks);
} kernel_stacks SEC(".maps");

struct memory_scratch {
	struct kd_stack_memory record;
	char stack[KD_STACK_BYTES_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_SCRATCHES);
	__type(key, u32);
	__type(value, struct memory_scratch);
} memory_scratch SEC(".maps");

/* A file that is about to be put into `files`; on the stack it would be in the way of the kernels that allow
 * 512 bytes for a program and all that it calls. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, u32);
	__type(value, struct file_state);
} new_files SEC(".maps");

struct text_scratch {
	union {
		struct kd_task task;
		struct kd_cgroup cgroup;
		struct kd_file file;
		struct kd_arg arg;
		struct kd_payload payload;
	};
	/* Twice the limit, because the verifier knows offset and length only each by itself. */
	char text[2 * (KD_PAYLOAD_MAX + 1)];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, u32);
	__type(value, struct text_scratch);
} text_scratch SEC(".maps");

#endif
