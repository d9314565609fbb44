// Threads that each block for one known reason and a known time, beside one that never blocks.
//
//   waits MILLISECONDS
//
// `reason` is the word that kindling-replay has for it. A timer or a poll lasts at least as long as
// asked; for the others somebody sleeps that long before ending the wait.

#include "truth.h"
#include <arpa/inet.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct wait {
	const char *name;
	const char *reason;
	int syscall;
	void (*run)(struct wait *);
	int tid;
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
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int client = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) < 0 ||
	    connect(client, (struct sockaddr *)&address, length) < 0)
		die("tcp");
	int server = accept(listener, NULL, NULL);
	if (server < 0)
		die("accept");
	wait_for_bytes(w, client, server);
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
	{ .name = "wait-sleep", .reason = "timer", .syscall = SYS_clock_nanosleep, .run = wait_sleep },
	{ .name = "wait-poll", .reason = "poll", .syscall = SYS_ppoll, .run = wait_poll },
	{ .name = "wait-epoll", .reason = "poll", .syscall = SYS_epoll_pwait, .run = wait_epoll },
	{ .name = "wait-mutex", .reason = "lock", .syscall = SYS_futex, .run = wait_mutex },
	{ .name = "wait-pipe", .reason = "pipe", .syscall = SYS_read, .run = wait_pipe },
	{ .name = "wait-tcp", .reason = "network", .syscall = SYS_recvfrom, .run = wait_tcp },
	{ .name = "wait-child", .reason = "child", .syscall = SYS_wait4, .run = wait_child },
};
enum { COUNT = sizeof(waits) / sizeof(*waits) };

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
	pthread_t handles[COUNT];

	if (argc != 2) {
		fprintf(stderr, "usage: waits MILLISECONDS\n");
		return 2;
	}
	buffer_output();
	asked_ns = atol(argv[1]) * 1000000;
	pthread_t busy = start_thread(compute, NULL);
	for (int i = 0; i < COUNT; i++)
		handles[i] = start_thread(run_wait, &waits[i]);
	for (int i = 0; i < COUNT; i++)
		pthread_join(handles[i], NULL);
	pthread_join(busy, NULL);

	printf("{\"pid\": %d, \"asked_ns\": %lld, \"waits\": [", getpid(), (long long)asked_ns);
	for (int i = 0; i < COUNT; i++) {
		struct wait *w = &waits[i];
		printf("%s{\"tid\": %d, \"name\": \"%s\", \"reason\": \"%s\", \"nr\": %d, "
		       "\"began_ns\": %lld, \"ended_ns\": %lld}",
		       i ? ", " : "", w->tid, w->name, w->reason, w->syscall, (long long)w->began_ns,
		       (long long)w->ended_ns);
	}
	printf("]}\n");
	return 0;
}
