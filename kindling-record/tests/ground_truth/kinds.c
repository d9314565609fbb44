// A thread that waits in the same call for files of four kinds, in an order that is no pattern.
//
//   kinds COUNT
//
// `order` has a letter for each read: of a pipe, an eventfd, a unix socket or a timerfd. A helper ends those that
// do not end by themselves. A read need not wait, if the helper was early.

#include "truth.h"
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

enum { KINDS = 4, MOST = 100000 };

static const char letters[KINDS] = { 'p', 'e', 'u', 't' };
static int readers[KINDS];
static int writers[KINDS];
static _Atomic int wanted;

static void *help(void *unused)
{
	(void)unused;
	for (;;) {
		uint64_t one = 1;
		int kind = wanted;

		if (kind == KINDS)
			return NULL;
		if (kind >= 0) {
			wanted = -1;
			if (write(writers[kind], &one, sizeof(one)) != sizeof(one))
				die("write");
		}
		sleep_ns(20000);
	}
}

int main(int argc, char **argv)
{
	static char order[MOST + 1];
	int count = argc > 1 ? atoi(argv[1]) : 0;
	struct itimerspec soon = { .it_value.tv_nsec = 50000 };
	uint32_t random = 1;
	int ends[2];

	if (count > MOST || pipe(ends))
		die("pipe");
	readers[0] = ends[0];
	writers[0] = ends[1];
	readers[1] = writers[1] = eventfd(0, 0);
	if (readers[1] < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		die("socketpair");
	readers[2] = ends[0];
	writers[2] = ends[1];
	readers[3] = timerfd_create(CLOCK_MONOTONIC, 0);
	if (readers[3] < 0)
		die("timerfd_create");
	wanted = -1;
	pthread_t helper = start_thread(help, NULL);

	for (int n = 0; n < count; n++) {
		uint64_t value;
		int kind;

		random = random * 1664525 + 1013904223;
		kind = random >> 30;
		order[n] = letters[kind];
		if (letters[kind] == 't')
			timerfd_settime(readers[kind], 0, &soon, NULL);
		else
			wanted = kind;
		if (syscall(SYS_read, readers[kind], &value, sizeof(value)) != sizeof(value))
			die("read");
	}
	wanted = KINDS;
	pthread_join(helper, NULL);
	printf("{\"tid\": %d, \"order\": \"%s\"}\n", getpid(), order);
	return 0;
}
