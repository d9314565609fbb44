// A process with many threads, each of which calls getppid every millisecond, until standard input
// ends.
//
//   crowd THREADS

#include "truth.h"

static _Atomic int done;

static void *call(void *argument)
{
	struct timespec millisecond = { .tv_nsec = 1000000 };

	(void)argument;
	while (!done) {
		syscall(SYS_getppid);
		nanosleep(&millisecond, NULL);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[64];
	char byte;

	int count = argc == 2 ? atoi(argv[1]) : 0;
	if (count < 1 || count > 64) {
		fprintf(stderr, "usage: crowd THREADS (1 to 64)\n");
		return 2;
	}
	for (int i = 0; i < count; i++)
		threads[i] = start_thread(call, NULL);
	while (read(0, &byte, 1) > 0)
		;
	done = 1;
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
