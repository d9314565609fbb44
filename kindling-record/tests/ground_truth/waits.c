// Threads that each block for one known reason and a known time, beside one that never blocks.
//
//   waits MILLISECONDS
//
// `reason` is the word that kindling-replay has for it, `ended` the one for how it ended. Those whose time is
// over last at least as long as asked; for the others somebody sleeps that long before ending the wait.
// `helper` and `word` are that thread, and the word of memory, of a wait by one of futex2's calls.

#include "truth.h"
#include "loopback.h"
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct wait {
	const char *name;
	const char *reason;
	const char *ended;
	int syscall;
	void (*run)(struct wait *);
	int tid;
	int helper;
	_Atomic uint32_t word;
	int64_t began_ns;
	int64_t ended_ns;
};

static int64_t asked_ns;

static void begin(struct wait *w)
{
	w->began_ns = clock_ns(CLOCK_MONOTONIC);
}

static void end(struct wait *w)
{
	w->ended_ns = clock_ns(CLOCK_MONOTONIC);
}

// ---- reasons that end by themselves ------------------------------------------------------------

static void wait_sleep(struct wait *w)
{
	begin(w);
	sleep_ns(asked_ns);
	end(w);
}

static void wait_poll(struct wait *w)
{
	struct timespec time = { .tv_sec = asked_ns / 1000000000, .tv_nsec = asked_ns % 1000000000 };
	int ends[2];
	struct pollfd silent = { .events = POLLIN };

	if (pipe(ends) < 0)
		die("pipe");
	silent.fd = ends[0];
	begin(w);
	syscall(SYS_ppoll, &silent, 1, &time, NULL, 0);
	end(w);
}

static void wait_epoll(struct wait *w)
{
	struct epoll_event event;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	begin(w);
	syscall(SYS_epoll_pwait, epoll, &event, 1, (int)(asked_ns / 1000000), NULL, 8);
	end(w);
}

static void wait_futex(struct wait *w)
{
	struct timespec time = { .tv_sec = asked_ns / 1000000000, .tv_nsec = asked_ns % 1000000000 };

	begin(w);
	if (syscall(SYS_futex, &w->word, FUTEX_WAIT_PRIVATE, 0, &time, NULL, 0) == 0)
		die("futex");
	end(w);
}

// A socket with a limit of its own.
static void wait_socket(struct wait *w)
{
	struct timeval time = { .tv_sec = asked_ns / 1000000000,
				.tv_usec = asked_ns % 1000000000 / 1000 };
	int silent = socket(AF_INET, SOCK_DGRAM, 0);
	char byte;

	if (silent < 0 || setsockopt(silent, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)) < 0)
		die("socket");
	begin(w);
	recv(silent, &byte, 1, 0);
	end(w);
}

// ---- reasons that another thread or process ends -----------------------------------------------

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t held;

static void *hold_mutex(void *unused)
{
	pthread_mutex_lock(&mutex);
	pthread_barrier_wait(&held);
	sleep_ns(asked_ns);
	pthread_mutex_unlock(&mutex);
	return unused;
}

static void wait_mutex(struct wait *w)
{
	pthread_barrier_init(&held, NULL, 2);
	pthread_t holder = start_thread(hold_mutex, NULL);
	pthread_barrier_wait(&held);
	begin(w);
	pthread_mutex_lock(&mutex);
	end(w);
	pthread_mutex_unlock(&mutex);
	pthread_join(holder, NULL);
}

static void *write_late(void *argument)
{
	sleep_ns(asked_ns);
	if (write((int)(intptr_t)argument, "late", 4) != 4)
		die("write");
	return NULL;
}

static void wait_ready(struct wait *w)
{
	int ends[2];
	struct pollfd late = { .events = POLLIN };

	if (pipe(ends) < 0)
		die("pipe");
	late.fd = ends[0];
	pthread_t writer = start_thread(write_late, (void *)(intptr_t)ends[1]);
	begin(w);
	if (syscall(SYS_poll, &late, 1, 60000) != 1)
		die("poll");
	end(w);
	pthread_join(writer, NULL);
}

static void *signal_late(void *argument)
{
	sleep_ns(asked_ns);
	pthread_kill((pthread_t)argument, SIGUSR1);
	return NULL;
}

static void on_signal(int number)
{
	(void)number;
}

static void wait_signal(struct wait *w)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct timespec minute = { .tv_sec = 60 };

	sigaction(SIGUSR1, &action, NULL);
	pthread_t sender = start_thread(signal_late, (void *)pthread_self());
	begin(w);
	if (syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &minute, NULL) == 0)
		die("nanosleep");
	end(w);
	pthread_join(sender, NULL);
}

// ---- the calls of futex2 -------------------------------------------------------------------------

enum { FUTEX_WAITV = 449, FUTEX2_WAKE = 454, FUTEX2_WAIT = 455, FUTEX2_U32_PRIVATE = 2 | 128 };

static void *wake_late(void *argument)
{
	struct wait *w = argument;

	w->helper = (int)syscall(SYS_gettid);
	sleep_ns(asked_ns);
	w->word = 1;
	if (syscall(FUTEX2_WAKE, &w->word, 0xfffffffful, 1, FUTEX2_U32_PRIVATE) < 0)
		die("futex_wake");
	return NULL;
}

static void wait_futex2(struct wait *w)
{
	pthread_t waker = start_thread(wake_late, w);

	begin(w);
	while (!w->word)
		syscall(FUTEX2_WAIT, &w->word, 0ul, 0xfffffffful, FUTEX2_U32_PRIVATE, NULL, CLOCK_MONOTONIC);
	end(w);
	pthread_join(waker, NULL);
}

static void wait_several(struct wait *w)
{
	struct {
		uint64_t value, address;
		uint32_t flags, reserved;
	} word = { .address = (uintptr_t)&w->word, .flags = FUTEX2_U32_PRIVATE };
	pthread_t waker = start_thread(wake_late, w);

	begin(w);
	while (!w->word)
		syscall(FUTEX_WAITV, &word, 1, 0, NULL, CLOCK_MONOTONIC);
	end(w);
	pthread_join(waker, NULL);
}

// Reads what a helper thread writes late into the other end.
static void wait_for_bytes(struct wait *w, int from, int to)
{
	char buffer[4];
	pthread_t writer = start_thread(write_late, (void *)(intptr_t)to);

	begin(w);
	long got = w->syscall == SYS_recvfrom ? recv(from, buffer, sizeof(buffer), 0) :
						read(from, buffer, sizeof(buffer));
	end(w);
	if (got != sizeof(buffer))
		die("read");
	pthread_join(writer, NULL);
}

static void wait_pipe(struct wait *w)
{
	int ends[2];

	if (pipe(ends) < 0)
		die("pipe");
	wait_for_bytes(w, ends[0], ends[1]);
}

static void wait_tcp(struct wait *w)
{
	struct loopback tcp = connect_loopback();

	wait_for_bytes(w, tcp.client, tcp.server);
}

static void wait_child(struct wait *w)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child == 0) {
		sleep_ns(asked_ns);
		_exit(0);
	}
	begin(w);
	if (waitpid(child, NULL, 0) != child)
		die("waitpid");
	end(w);
}

// ---- all of them -------------------------------------------------------------------------------

static struct wait waits[] = {
	{ .name = "wait-sleep", .reason = "timer", .ended = "timed_out", .syscall = SYS_clock_nanosleep, .run = wait_sleep },
	{ .name = "wait-poll", .reason = "poll", .ended = "timed_out", .syscall = SYS_ppoll, .run = wait_poll },
	{ .name = "wait-epoll", .reason = "poll", .ended = "timed_out", .syscall = SYS_epoll_pwait, .run = wait_epoll },
	{ .name = "wait-futex", .reason = "lock", .ended = "timed_out", .syscall = SYS_futex, .run = wait_futex },
	{ .name = "wait-socket", .reason = "network", .ended = "timed_out", .syscall = SYS_recvfrom, .run = wait_socket },
	{ .name = "wait-mutex", .reason = "lock", .ended = "woken", .syscall = SYS_futex, .run = wait_mutex },
	{ .name = "wait-pipe", .reason = "pipe", .ended = "woken", .syscall = SYS_read, .run = wait_pipe },
	{ .name = "wait-tcp", .reason = "network", .ended = "woken", .syscall = SYS_recvfrom, .run = wait_tcp },
	{ .name = "wait-child", .reason = "child", .ended = "woken", .syscall = SYS_wait4, .run = wait_child },
	{ .name = "wait-ready", .reason = "poll", .ended = "woken", .syscall = SYS_poll, .run = wait_ready },
	{ .name = "wait-signal", .reason = "timer", .ended = "interrupted", .syscall = SYS_clock_nanosleep, .run = wait_signal },
	{ .name = "wait-futex2", .reason = "lock", .ended = "woken", .syscall = FUTEX2_WAIT, .run = wait_futex2 },
	{ .name = "wait-several", .reason = "lock", .ended = "woken", .syscall = FUTEX_WAITV, .run = wait_several },
};
enum { ALL = sizeof(waits) / sizeof(*waits), FUTEX2_WAITS = 2 };

static void *run_wait(void *argument)
{
	struct wait *w = argument;

	w->tid = (int)syscall(SYS_gettid);
	pthread_setname_np(pthread_self(), w->name);
	w->run(w);
	return NULL;
}

static void *compute(void *unused)
{
	volatile uint64_t value = 1;
	int64_t end_ns = clock_ns(CLOCK_MONOTONIC) + asked_ns;

	pthread_setname_np(pthread_self(), "compute");
	while (clock_ns(CLOCK_MONOTONIC) < end_ns) {
		for (int i = 0; i < 10000; i++)
			value = value * 6364136223846793005u + 1;
	}
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t handles[ALL];

	if (argc != 2) {
		fprintf(stderr, "usage: waits MILLISECONDS\n");
		return 2;
	}
	buffer_output();
	asked_ns = atol(argv[1]) * 1000000;
	// Older kernels have none of these calls.
	int has_futex2 = syscall(FUTEX2_WAKE, &waits[0].word, 0xfffffffful, 1, FUTEX2_U32_PRIVATE) == 0;
	int count = has_futex2 ? ALL : ALL - FUTEX2_WAITS;
	int64_t from_ns = clock_ns(CLOCK_MONOTONIC);
	pthread_t busy = start_thread(compute, NULL);
	for (int i = 0; i < count; i++)
		handles[i] = start_thread(run_wait, &waits[i]);
	for (int i = 0; i < count; i++)
		pthread_join(handles[i], NULL);
	pthread_join(busy, NULL);

	int64_t to_ns = clock_ns(CLOCK_MONOTONIC);
	printf("{\"pid\": %d, \"asked_ns\": %lld, \"from_ns\": %lld, \"to_ns\": %lld, \"waits\": [", getpid(),
	       (long long)asked_ns, (long long)from_ns, (long long)to_ns);
	for (int i = 0; i < count; i++) {
		struct wait *w = &waits[i];
		printf("%s{\"tid\": %d, \"name\": \"%s\", \"reason\": \"%s\", \"ended\": \"%s\", "
		       "\"nr\": %d, \"helper\": %d, \"word\": %lld, \"began_ns\": %lld, \"ended_ns\": %lld}",
		       i ? ", " : "", w->tid, w->name, w->reason, w->ended, w->syscall, w->helper,
		       (long long)(intptr_t)&w->word, (long long)w->began_ns, (long long)w->ended_ns);
	}
	printf("]}\n");
	return 0;
}
