// Two threads that use a new pipe for the first time at the same moment, again and again.
//
//   together ROUNDS
//
// In each round each of them writes one byte.

#include "truth.h"

static _Atomic long begun;
static _Atomic long done;
static int ends[2];
static long rounds;
static int other_tid;

static void write_byte(void)
{
	if (write(ends[1], "x", 1) != 1)
		die("write");
}

static void *run_other(void *argument)
{
	(void)argument;
	other_tid = syscall(SYS_gettid);
	for (long n = 1; n <= rounds; n++) {
		while (begun < n)
			;
		write_byte();
		done = n;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t other;
	char bytes[2];

	if (argc != 2) {
		fprintf(stderr, "usage: together ROUNDS\n");
		return 2;
	}
	rounds = atol(argv[1]);
	other = start_thread(run_other, NULL);
	for (long n = 1; n <= rounds; n++) {
		if (pipe(ends) < 0)
			die("pipe");
		begun = n;
		write_byte();
		while (done < n)
			;
		if (read(ends[0], bytes, 2) != 2)
			die("read");
		close(ends[0]);
		close(ends[1]);
	}
	pthread_join(other, NULL);
	printf("{\"rounds\": %ld, \"tids\": [%d, %d]}\n", rounds, getpid(), other_tid);
	return 0;
}
