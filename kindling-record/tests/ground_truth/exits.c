// A process whose first thread ends it while others still wait: they exit after the leader.
//
//   exits THREADS STATUS

#include "truth.h"

static pthread_barrier_t together;

static void *wait_forever(void *argument)
{
	char name[16];

	snprintf(name, sizeof(name), "waiter-%d", (int)(intptr_t)argument);
	pthread_setname_np(pthread_self(), name);
	pthread_barrier_wait(&together);
	for (;;)
		pause();
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: exits THREADS STATUS\n");
		return 2;
	}
	buffer_output();
	int threads = atoi(argv[1]);
	pthread_barrier_init(&together, NULL, (unsigned)threads + 1);
	for (int i = 0; i < threads; i++)
		start_thread(wait_forever, (void *)(intptr_t)i);
	pthread_barrier_wait(&together);
	printf("{\"pid\": %d, \"threads\": %d}\n", getpid(), threads + 1);
	exit(atoi(argv[2]));
}
