// Known syscalls in several threads of several processes.
//
//   syscalls THREADS PROCS CALLS
//
// Each of THREADS threads in each of PROCS forked processes goes CALLS times through this round:
//
//   getppid()                              -> the first process
//   write(pipe, message, 64)               -> 64; the message names the call and the thread
//   read(the same pipe, ., 64)             -> 64
//   openat(., "/nonexistent/kindling", .)  -> -ENOENT
//   read(/dev/zero, ., 512)                -> 512
//   close(-1)                              -> -EBADF
//
// Nothing else in those threads makes a syscall of these numbers.

#include "truth.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { MESSAGE_BYTES = 64, ZERO_BYTES = 512, MAX_THREADS = 64 };

struct row {
	int pid;
	int tid;
};

static int threads, calls, first_pid, zero_fd;
static struct row *rows; // of this process, in memory shared with the first
static int pipes[MAX_THREADS][2];
static pthread_barrier_t together;

static void expect(long found, long wanted, const char *what)
{
	if (found != wanted)
		die(what);
}

static void *make_calls(void *argument)
{
	int number = (int)(intptr_t)argument;
	int tid = (int)syscall(SYS_gettid);
	char message[MESSAGE_BYTES + 1], buffer[ZERO_BYTES];

	rows[number] = (struct row){ .pid = getpid(), .tid = tid };
	// All threads live at once: stacks are not reused, which would save some the mmap.
	pthread_barrier_wait(&together);
	for (int call = 0; call < calls; call++) {
		memset(message, '.', sizeof(message));
		int length = snprintf(message, sizeof(message), "call %08d of thread %08d", call, tid);
		message[length] = '.';
		expect(syscall(SYS_getppid), first_pid, "getppid");
		expect(syscall(SYS_write, pipes[number][1], message, MESSAGE_BYTES), MESSAGE_BYTES,
		       "write");
		expect(syscall(SYS_read, pipes[number][0], buffer, MESSAGE_BYTES), MESSAGE_BYTES,
		       "read from the pipe");
		expect(syscall(SYS_openat, AT_FDCWD, "/nonexistent/kindling", O_RDONLY), -1, "openat");
		expect(syscall(SYS_read, zero_fd, buffer, ZERO_BYTES), ZERO_BYTES, "read of /dev/zero");
		expect(syscall(SYS_close, -1), -1, "close");
	}
	pthread_barrier_wait(&together);
	return NULL;
}

static void run_process(void)
{
	pthread_t handles[MAX_THREADS];

	pthread_barrier_init(&together, NULL, (unsigned)threads);
	for (int i = 0; i < threads; i++) {
		if (pipe2(pipes[i], O_CLOEXEC) < 0)
			die("pipe2");
	}
	for (int i = 0; i < threads; i++)
		handles[i] = start_thread(make_calls, (void *)(intptr_t)i);
	for (int i = 0; i < threads; i++)
		pthread_join(handles[i], NULL);
	_exit(0);
}

static void print_row(const struct row *row)
{
	printf("{\"pid\": %d, \"tid\": %d, \"calls\": [", row->pid, row->tid);
	printf("{\"nr\": %d, \"ret\": %d, \"count\": %d}, ", SYS_getppid, first_pid, calls);
	printf("{\"nr\": %d, \"ret\": %d, \"count\": %d}, ", SYS_write, MESSAGE_BYTES, calls);
	printf("{\"nr\": %d, \"ret\": %d, \"count\": %d}, ", SYS_read, MESSAGE_BYTES, calls);
	printf("{\"nr\": %d, \"ret\": %d, \"count\": %d}, ", SYS_openat, -ENOENT, calls);
	printf("{\"nr\": %d, \"ret\": %d, \"count\": %d}, ", SYS_read, ZERO_BYTES, calls);
	printf("{\"nr\": %d, \"ret\": %d, \"count\": %d}]}", SYS_close, -EBADF, calls);
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: syscalls THREADS PROCS CALLS\n");
		return 2;
	}
	buffer_output();
	threads = atoi(argv[1]);
	int processes = atoi(argv[2]);
	calls = atoi(argv[3]);
	if (threads < 1 || threads > MAX_THREADS || processes < 1 || calls < 0) {
		fprintf(stderr, "syscalls: 1 to %d threads, at least one process\n", MAX_THREADS);
		return 2;
	}
	first_pid = getpid();
	zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (zero_fd < 0)
		die("/dev/zero");
	size_t count = (size_t)threads * (size_t)processes;
	struct row *all = mmap(NULL, count * sizeof(*all), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		die("mmap");

	for (int process = 0; process < processes; process++) {
		rows = all + process * threads;
		pid_t child = fork();
		if (child < 0)
			die("fork");
		if (child == 0)
			run_process();
	}
	for (int process = 0; process < processes; process++) {
		int status;
		if (wait(&status) < 0 || status != 0)
			die("a child failed");
	}

	printf("{\"pid\": %d, \"calls\": %d, \"message_bytes\": %d, \"threads\": [", first_pid, calls,
	       MESSAGE_BYTES);
	for (size_t i = 0; i < count; i++) {
		if (i)
			printf(", ");
		print_row(&all[i]);
	}
	printf("]}\n");
	return 0;
}
