// A thread that polls several descriptors in each way there is, of which a known one becomes ready.
//
//   polls MILLISECONDS [EPOLL_ROUNDS]
//
// In each case a helper thread sleeps that long before it makes the descriptor ready, so that the call blocks.
// `ready` is that descriptor, `events` what becomes of it in the words of kindling-replay, `others` how many are
// ready with it; a case without `ready` ends by its time. `quick` are calls that find what they look for at once.
// The thread `adder` adds a descriptor to an epoll `adds` times, with `marks` different marks.
// With rounds, everything is registered first, and a line says so; then stdin is waited for, and an epoll polled
// that often.

#include "truth.h"
#include "loopback.h"
#include <poll.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

enum { PIPES = 3, CHOSEN = 1 };

struct channel {
	int from;
	int to;
};

struct test {
	const char *name;
	void (*run)(struct test *);
	int syscall;
	int ready;
	const char *events;
	const char *kind;
	int others;
	int64_t began_ns;
};

static int64_t asked_ns;
static struct channel channels[PIPES];

static void open_channels(void)
{
	for (int i = 0; i < PIPES; i++) {
		int ends[2];

		if (pipe(ends) < 0)
			die("pipe");
		channels[i] = (struct channel){ .from = ends[0], .to = ends[1] };
	}
}

static void close_channels(void)
{
	for (int i = 0; i < PIPES; i++) {
		close(channels[i].from);
		close(channels[i].to);
	}
}

static void *write_late(void *argument)
{
	sleep_ns(asked_ns);
	if (write((int)(intptr_t)argument, "x", 1) != 1)
		die("write");
	return NULL;
}

static void *close_late(void *argument)
{
	sleep_ns(asked_ns);
	close((int)(intptr_t)argument);
	return NULL;
}

static pthread_t late(void *(*run)(void *), int fd)
{
	return start_thread(run, (void *)(intptr_t)fd);
}

// What programs do with a descriptor that is ready.
static void take(int fd)
{
	char byte;

	if (read(fd, &byte, 1) < 0)
		die("read");
}

static long timed(struct test *t, long nr, long a, long b, long c, long d, long e, long f)
{
	t->syscall = (int)nr;
	t->began_ns = clock_ns(CLOCK_MONOTONIC);
	return syscall(nr, a, b, c, d, e, f);
}

static int new_epoll(bool by_pointer)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (int i = 0; i < PIPES; i++) {
		struct epoll_event event = { .events = EPOLLIN };

		if (by_pointer)
			event.data.ptr = &channels[i];
		else
			event.data.fd = channels[i].from;
		if (syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_ADD, channels[i].from, &event) < 0)
			die("epoll_ctl");
	}
	return epoll;
}

static void wait_for_epoll(struct test *t, int epoll)
{
	struct epoll_event events[PIPES];
	pthread_t writer = late(write_late, channels[CHOSEN].to);

	if (timed(t, SYS_epoll_wait, epoll, (long)events, PIPES, 60000, 0, 0) != 1)
		die("epoll_wait");
	t->ready = channels[CHOSEN].from;
	take(t->ready);
	pthread_join(writer, NULL);
}

static void epoll_by_fd(struct test *t)
{
	int epoll = new_epoll(false);

	wait_for_epoll(t, epoll);
	close(epoll);
}

static void epoll_by_pointer(struct test *t)
{
	int epoll = new_epoll(true);

	wait_for_epoll(t, epoll);
	close(epoll);
}

// The mark that an epoll gives back is not the one that was added.
static void epoll_with_new_mark(struct test *t)
{
	int epoll = new_epoll(true);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = &asked_ns };

	if (syscall(SYS_epoll_ctl, epoll, EPOLL_CTL_MOD, channels[CHOSEN].from, &event) < 0)
		die("epoll_ctl");
	wait_for_epoll(t, epoll);
	close(epoll);
}

static void fill(struct pollfd *fds)
{
	for (int i = 0; i < PIPES; i++)
		fds[i] = (struct pollfd){ .fd = channels[i].from, .events = POLLIN };
}

static void poll_until(struct test *t, void *(*change)(void *))
{
	struct pollfd fds[PIPES];
	pthread_t changer = late(change, channels[CHOSEN].to);

	fill(fds);
	if (timed(t, SYS_poll, (long)fds, PIPES, 60000, 0, 0, 0) != 1)
		die("poll");
	t->ready = channels[CHOSEN].from;
	take(t->ready);
	pthread_join(changer, NULL);
}

static void poll_several(struct test *t)
{
	poll_until(t, write_late);
}

static void poll_hang_up(struct test *t)
{
	poll_until(t, close_late);
}

// Two descriptors of one pipe are ready together.
static void poll_duplicates(struct test *t)
{
	int first = channels[CHOSEN].from, second = dup(first);
	struct pollfd fds[] = { { .fd = second, .events = POLLIN }, { .fd = first, .events = POLLIN } };
	pthread_t writer = late(write_late, channels[CHOSEN].to);

	if (timed(t, SYS_ppoll, (long)fds, 2, 0, 0, 8, 0) != 2)
		die("ppoll");
	t->ready = second;
	take(first);
	close(second);
	pthread_join(writer, NULL);
}

static void poll_in_vain(struct test *t)
{
	struct pollfd fds[PIPES];

	fill(fds);
	if (timed(t, SYS_poll, (long)fds, PIPES, asked_ns / 1000000, 0, 0, 0) != 0)
		die("poll");
}

static void select_several(struct test *t)
{
	fd_set set;
	pthread_t writer = late(write_late, channels[CHOSEN].to);

	FD_ZERO(&set);
	for (int i = 0; i < PIPES; i++)
		FD_SET(channels[i].from, &set);
	if (timed(t, SYS_pselect6, FD_SETSIZE, (long)&set, 0, 0, 0, 0) != 1)
		die("select");
	t->ready = channels[CHOSEN].from;
	take(t->ready);
	pthread_join(writer, NULL);
}

// A socket that was never used before it becomes ready.
static void poll_tcp(struct test *t)
{
	struct loopback tcp = connect_loopback();
	struct pollfd fds[] = { { .fd = tcp.listener, .events = POLLIN },
				{ .fd = tcp.server, .events = POLLIN } };
	pthread_t writer = late(write_late, tcp.client);

	if (timed(t, SYS_poll, (long)fds, 2, 60000, 0, 0, 0) != 1)
		die("poll");
	t->ready = tcp.server;
	take(tcp.server);
	pthread_join(writer, NULL);
	close(tcp.listener);
	close(tcp.client);
	close(tcp.server);
}

// What is ready at once ends no wait.
static int quick(void)
{
	int calls = 0;

	open_channels();
	int epoll = new_epoll(false);
	for (int i = 0; i < 20; i++) {
		struct epoll_event events[PIPES];
		struct pollfd fds[PIPES];
		fd_set set;

		if (write(channels[CHOSEN].to, "x", 1) != 1)
			die("write");
		fill(fds);
		FD_ZERO(&set);
		FD_SET(channels[CHOSEN].from, &set);
		if (syscall(SYS_epoll_wait, epoll, events, PIPES, -1) != 1 ||
		    syscall(SYS_poll, fds, PIPES, -1) != 1 ||
		    syscall(SYS_pselect6, FD_SETSIZE, &set, NULL, NULL, NULL, NULL) != 1)
			die("quick");
		take(channels[CHOSEN].from);
		calls += 3;
	}
	close(epoll);
	close_channels();
	return calls;
}

// Takes a descriptor out and adds it again, with two marks one after the other.
enum { ADDS = 10, MARKS = 2 };

static void *add_again(void *unused)
{
	int epoll = epoll_create1(0);

	(void)unused;
	open_channels();
	int fd = channels[CHOSEN].from;
	if (write(channels[CHOSEN].to, "x", 1) != 1)
		die("write");
	take(fd);
	for (int i = 0; i < MARKS * ADDS; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.u64 = i / ADDS };

		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ||
		    epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL) < 0)
			die("epoll_ctl");
	}
	close_channels();
	close(epoll);
	return (void *)syscall(SYS_gettid);
}

static struct test tests[] = {
	{ .name = "epoll-fd", .run = epoll_by_fd, .events = "in", .kind = "pipe" },
	{ .name = "epoll-pointer", .run = epoll_by_pointer, .events = "in", .kind = "pipe" },
	{ .name = "epoll-new-mark", .run = epoll_with_new_mark, .events = "in", .kind = "pipe" },
	{ .name = "poll", .run = poll_several, .events = "in", .kind = "pipe" },
	{ .name = "duplicates", .run = poll_duplicates, .events = "in", .kind = "pipe", .others = 1 },
	{ .name = "hang-up", .run = poll_hang_up, .events = "hup", .kind = "pipe" },
	{ .name = "in-vain", .run = poll_in_vain, .ready = -1 },
	{ .name = "select", .run = select_several, .events = "in", .kind = "pipe" },
	{ .name = "tcp", .run = poll_tcp, .events = "in", .kind = "tcp" },
};
enum { ALL = sizeof(tests) / sizeof(*tests) };

static void *run_test(void *argument)
{
	struct test *t = argument;

	pthread_setname_np(pthread_self(), t->name);
	open_channels();
	t->run(t);
	close_channels();
	return (void *)syscall(SYS_gettid);
}

static int registered_before(int rounds)
{
	char go;

	open_channels();
	int epoll = new_epoll(true);
	printf("%d %d %d\n", getpid(), epoll, channels[CHOSEN].from);
	fflush(stdout);
	if (read(0, &go, 1) != 1)
		die("stdin");
	for (int i = 0; i < rounds; i++) {
		struct test t = { 0 };

		wait_for_epoll(&t, epoll);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int tids[ALL];

	if (argc != 2 && argc != 3) {
		fprintf(stderr, "usage: polls MILLISECONDS [EPOLL_ROUNDS]\n");
		return 2;
	}
	buffer_output();
	asked_ns = atol(argv[1]) * 1000000;
	if (argc == 3)
		return registered_before(atoi(argv[2]));
	int64_t from_ns = clock_ns(CLOCK_MONOTONIC);
	for (int i = 0; i < ALL; i++) {
		void *tid;

		pthread_join(start_thread(run_test, &tests[i]), &tid);
		tids[i] = (int)(intptr_t)tid;
	}
	int calls = quick();
	int64_t to_ns = clock_ns(CLOCK_MONOTONIC);
	void *again;

	pthread_join(start_thread(add_again, NULL), &again);
	printf("{\"pid\": %d, \"asked_ns\": %lld, \"from_ns\": %lld, \"to_ns\": %lld, \"quick\": %d, ",
	       getpid(), (long long)asked_ns, (long long)from_ns, (long long)to_ns, calls);
	printf("\"adder\": %d, \"adds\": %d, \"marks\": %d, \"polls\": [", (int)(intptr_t)again,
	       MARKS * ADDS, MARKS);
	for (int i = 0; i < ALL; i++) {
		struct test *t = &tests[i];

		printf("%s{\"tid\": %d, \"name\": \"%s\", \"nr\": %d, \"began_ns\": %lld, \"ready\": ",
		       i ? ", " : "", tids[i], t->name, t->syscall, (long long)t->began_ns);
		if (t->ready < 0)
			printf("null}");
		else
			printf("%d, \"events\": \"%s\", \"kind\": \"%s\", \"others\": %d}", t->ready, t->events,
			       t->kind, t->others);
	}
	printf("]}\n");
	return 0;
}
