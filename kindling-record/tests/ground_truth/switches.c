// Threads that leave the CPU in different ways, and the kernel's own account of it.
//
//   switches ROUNDS
//
// At its end each thread reads how often it was switched out, voluntarily and not, and how long it
// held a CPU, together with the moment of which that is true.

#include "truth.h"
#include <sched.h>
#include <sys/resource.h>

enum { THREADS = 6 };

struct account {
	int tid;
	const char *work;
	long voluntary;
	long involuntary;
	int64_t cpu_ns;
	int64_t at_ns;
};

static int rounds;
static int there[2], back[2];
static struct account accounts[THREADS];
static pthread_barrier_t together;

static void sleep_often(void)
{
	for (int i = 0; i < rounds; i++)
		sleep_ns(100 * 1000);
}

// Two threads do this on one CPU, so that each yield has someone to yield to.
static void yield_often(void)
{
	cpu_set_t first;

	sched_getaffinity(0, sizeof(first), &first);
	int cpu = 0;
	while (!CPU_ISSET(cpu, &first))
		cpu++;
	CPU_ZERO(&first);
	CPU_SET(cpu, &first);
	sched_setaffinity(0, sizeof(first), &first);
	for (int i = 0; i < rounds; i++)
		sched_yield();
}

static void pass(int from, int to, int first)
{
	char ball = 'o';

	for (int i = 0; i < rounds; i++) {
		if (first && write(to, &ball, 1) != 1)
			die("write");
		if (read(from, &ball, 1) != 1)
			die("read");
		if (!first && write(to, &ball, 1) != 1)
			die("write");
	}
}

static void ping(void)
{
	pass(back[0], there[1], 1);
}

static void pong(void)
{
	pass(there[0], back[1], 0);
}

static void compute(void)
{
	volatile uint64_t value = 1;
	int64_t end_ns = clock_ns(CLOCK_MONOTONIC) + 100 * 1000 * 1000;

	while (clock_ns(CLOCK_MONOTONIC) < end_ns) {
		for (int i = 0; i < 10000; i++)
			value = value * 6364136223846793005u + 1;
	}
}

// Reads again until no switch fell between the readings, so that they are of one moment.
static void take_account(struct account *account)
{
	struct rusage before, after;

	do {
		getrusage(RUSAGE_THREAD, &before);
		account->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		account->at_ns = clock_ns(CLOCK_MONOTONIC);
		getrusage(RUSAGE_THREAD, &after);
	} while (before.ru_nvcsw != after.ru_nvcsw || before.ru_nivcsw != after.ru_nivcsw);
	account->voluntary = after.ru_nvcsw;
	account->involuntary = after.ru_nivcsw;
}

static const struct {
	const char *name;
	void (*run)(void);
} works[THREADS] = {
	{ "sleep", sleep_often }, { "yield", yield_often }, { "yield", yield_often },
	{ "ping", ping },	  { "pong", pong },	    { "compute", compute },
};

static void *work(void *argument)
{
	int number = (int)(intptr_t)argument;

	accounts[number].tid = (int)syscall(SYS_gettid);
	accounts[number].work = works[number].name;
	pthread_barrier_wait(&together);
	works[number].run();
	take_account(&accounts[number]);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t handles[THREADS];

	if (argc != 2) {
		fprintf(stderr, "usage: switches ROUNDS\n");
		return 2;
	}
	buffer_output();
	rounds = atoi(argv[1]);
	if (pipe(there) < 0 || pipe(back) < 0)
		die("pipe");
	pthread_barrier_init(&together, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		handles[i] = start_thread(work, (void *)(intptr_t)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(handles[i], NULL);

	printf("{\"pid\": %d, \"threads\": [", getpid());
	for (int i = 0; i < THREADS; i++) {
		struct account *a = &accounts[i];
		printf("%s{\"tid\": %d, \"work\": \"%s\", \"voluntary\": %ld, \"involuntary\": %ld, "
		       "\"cpu_ns\": %lld, \"at_ns\": %lld}",
		       i ? ", " : "", a->tid, a->work, a->voluntary, a->involuntary,
		       (long long)a->cpu_ns, (long long)a->at_ns);
	}
	printf("]}\n");
	return 0;
}
