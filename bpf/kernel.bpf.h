/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The few kernel types that the programs look at, with only the fields they read.
 *
 * Field offsets are relocated when the programs are loaded (CO-RE, from the running kernel's BTF),
 * so these definitions say names and types, not layouts, and one object serves every kernel. The
 * constants are from the kernel's UAPI and stable, unless a comment says otherwise.
 */
#ifndef KINDLING_KERNEL_BPF_H
#define KINDLING_KERNEL_BPF_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)
#ifndef offsetof
#define offsetof(type, field) __builtin_offsetof(type, field)
#endif

/* <linux/bpf.h> */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_F_NO_PREALLOC = 1 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum { BPF_F_USER_STACK = 256, BPF_F_CURRENT_CPU = 0xffffffffULL };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0 };

/* <linux/socket.h>, <linux/stat.h>, <linux/magic.h>, <linux/tcp_states.h> */
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFIFO 0010000
#define S_IFREG 0100000
#define PROT_EXEC 4
#define TS_COMPAT 2 /* <asm/thread_info.h> of x86 */
#define PF_EXITING 4
#define PF_IO_WORKER 0x10
#define ANON_INODE_FS_MAGIC 0x09041934
#define IPPROTO_TCP 6
#define TCP_SYN_RECV 3
#define TCP_TIME_WAIT 6
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define TCP_NEW_SYN_RECV 12
#define MSG_PEEK 2
#define FMODE_WRITE 2 /* <linux/fs.h>, not UAPI */
/* Futex operations that wait, without their flags. <linux/futex.h> */
#define FUTEX_OPERATION 0x7f
#define FUTEX_WAIT 0
#define FUTEX_LOCK_PI 6
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAIT_REQUEUE_PI 11
#define FUTEX_LOCK_PI2 13
#define EPOLL_CTL_ADD 1
#define EPOLL_CTL_MOD 3

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct qstr {
	u32 len;
	const unsigned char *name;
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	u16 i_mode;
	unsigned long i_ino;
	u32 i_rdev;
	struct super_block *i_sb;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	s64 counter;
} atomic64_t;

typedef struct {
	long counter;
} atomic_long_t;

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

/* file_ref_t replaced the plain f_count in Linux 6.13 (90ee6ed776c0); it counts from 0. */
typedef struct {
	atomic_long_t refcnt;
} file_ref_t;

struct file {
	unsigned int f_mode;
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
	file_ref_t f_ref;
	struct hlist_head *f_ep;
};

struct file___before_6_13 {
	atomic_long_t f_count;
};

struct eventpoll;

struct epoll_filefd {
	int fd;
};

struct epoll_event {
	u64 data;
};

/* What an epoll keeps of a descriptor that it watches; in the list f_ep of the file. */
struct epitem {
	struct epoll_filefd ffd;
	struct eventpoll *ep;
	struct hlist_node fllink;
	struct epoll_event event;
};

/* Any structure that begins with a number of 64 bits: what a lone address in memory is read as. */
struct timespec64 {
	s64 tv_sec;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	atomic_t count;
	struct fdtable *fdt;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

struct pid_namespace {
	struct ns_common ns;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
};

struct in6_addr {
	union {
		u8 u6_addr8[16];
	} in6_u;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	u16 skc_num;
	u16 skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	possible_net_t skc_net;
	atomic64_t skc_cookie;
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	u16 sk_type;
	u16 sk_protocol;
	struct socket *sk_socket;
};

struct socket {
	short type;
	struct file *file;
	struct sock *sk;
};

struct socket_alloc {
	struct socket socket;
	struct inode vfs_inode;
};

struct sockaddr_un {
	u16 sun_family;
	char sun_path[108];
};

struct unix_address {
	int len;
	struct sockaddr_un name[0];
};

struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct sock *peer;
};

struct tcp_sock {
	u32 srtt_us; /* eight times the estimate */
	u32 mdev_us; /* four times the estimate */
	u32 snd_cwnd;
	u32 total_retrans;
	u32 rcv_nxt;
	u32 copied_seq;
	u32 write_seq;
	u32 snd_una;
	u64 bytes_acked;
	u32 segs_in;
	u64 bytes_received;
};

struct io_cqe {
	u64 user_data;
	int fd;
};

struct io_ring_ctx;

struct io_kiocb {
	u8 opcode;
	u64 flags;
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
};

struct io_uring_cqe {
	u64 user_data;
	s32 res;
	u32 flags;
};

struct gendisk {
	char disk_name[32];
};

struct request_queue {
	struct gendisk *disk;
};

struct request {
	u32 cmd_flags;
	unsigned int __data_len;
	u64 __sector;
	struct request_queue *q;
};

struct thread_info {
	u32 status;
	u32 cpu;
};

struct mm_struct {
	unsigned long arg_start;
	unsigned long arg_end;
};

typedef struct {
	u32 val;
} kuid_t;

struct cred {
	kuid_t uid;
};

struct sched_entity {
	u64 sum_exec_runtime;
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
	int group_exit_code;
	u64 nvcsw;
};

struct kernfs_node {
	u64 id;
	const char *name;
};

struct cgroup_subsys_state {
	struct cgroup_subsys_state *parent;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct pt_regs {
	unsigned long r14;
	unsigned long r8;
	unsigned long r9;
	unsigned long r10;
	unsigned long bx;
	unsigned long ax;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
	unsigned long bp;
	unsigned long ip;
	unsigned long sp;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int __state;
	int prio;
	unsigned int flags;
	int on_cpu;
	int recent_used_cpu;
	int wake_cpu;
	struct sched_entity se;
	struct mm_struct *mm;
	int exit_state;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	unsigned long nvcsw;
	unsigned long nivcsw;
	u64 start_time;
	const struct cred *real_cred;
	char comm[16];
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct css_set *cgroups;
	u64 self_exec_id;
};

struct linux_binprm {
	struct file *file;
	const char *filename;
};

/* What the kernel's BTF has for a tracepoint that exists. */
typedef void (*btf_trace_block_io_done)(void *, struct request *);

struct bpf_iter_meta;

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

/* The context of a perf event program: the registers as ptrace shows them. <asm/ptrace.h> */
struct perf_event_context {
	u64 regs[21]; /* r15 … ss */
	u64 sample_period;
};
#define PERF_REGS_CS 17

/* User-space layouts, not relocated. <linux/uio.h>, <linux/socket.h> */
struct user_iovec {
	u64 base;
	u64 len;
};

struct user_msghdr {
	u64 name;
	u32 namelen;
	u32 pad0;
	u64 iov;
	u64 iovlen;
	u64 control;
	u64 controllen;
	u32 flags;
	u32 pad1;
};

struct user_mmsghdr {
	struct user_msghdr header;
	u32 len;
	u32 pad;
};

#endif
