// A thread waits for several futexes at once: for each of them in turn another thread ends the wait, and at the end
// nobody does. Then it waits for one futex and is moved to another before it is woken there. Prints where the futexes
// are and how long the thread took.
//
// usage: futexes MILLISECONDS ROUNDS

#include "truth.h"

#include <linux/futex.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
// Their numbers are the same on all architectures.
#define NR_FUTEX_WAKE 454
#define NR_FUTEX_WAIT 455
#define NR_FUTEX_REQUEUE 456

#define WORDS 3
#define PRIVATE_32 (2 | 128)

struct element {
	uint64_t value;
	uint64_t address;
	uint32_t flags;
	uint32_t reserved;
};

static uint32_t words[WORDS], from, to;
static int asked_ms, rounds;
static int64_t took_ns[WORDS + 2];
static long waiter;

static struct element element_of(uint32_t *word)
{
	return (struct element){ .address = (uintptr_t)word, .flags = PRIVATE_32 };
}

static long wait_for_all(int timeout_ms)
{
	struct element elements[WORDS];
	struct timespec until;

	for (int i = 0; i < WORDS; i++)
		elements[i] = element_of(&words[i]);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += timeout_ms * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return syscall(SYS_futex_waitv, elements, WORDS, 0, timeout_ms ? &until : NULL,
		       CLOCK_MONOTONIC);
}

static void *waits(void *unused)
{
	int64_t start;

	(void)unused;
	waiter = syscall(SYS_gettid);
	for (int round = 0; round < rounds * WORDS; round++) {
		start = clock_ns(CLOCK_MONOTONIC);
		if (wait_for_all(0) != round % WORDS)
			die("futex_waitv");
		took_ns[round % WORDS] += clock_ns(CLOCK_MONOTONIC) - start;
	}
	start = clock_ns(CLOCK_MONOTONIC);
	if (wait_for_all(asked_ms) != -1 || errno != ETIMEDOUT)
		die("futex_waitv");
	took_ns[WORDS] = clock_ns(CLOCK_MONOTONIC) - start;
	start = clock_ns(CLOCK_MONOTONIC);
	if (syscall(NR_FUTEX_WAIT, &from, 0L, 0xffffffffL, PRIVATE_32, NULL, CLOCK_MONOTONIC))
		die("futex_wait");
	took_ns[WORDS + 1] = clock_ns(CLOCK_MONOTONIC) - start;
	return NULL;
}

static void pause_ms(int ms)
{
	usleep(ms * 1000);
}

// Until somebody was there to be woken.
static void wake(uint32_t *word)
{
	while (syscall(NR_FUTEX_WAKE, word, 0xffffffffL, 1, PRIVATE_32) == 0)
		pause_ms(1);
}

int main(int argc, char **argv)
{
	struct element elements[2] = { element_of(&from), element_of(&to) };
	pthread_t thread;

	asked_ms = argc > 1 ? atoi(argv[1]) : 20;
	rounds = argc > 2 ? atoi(argv[2]) : 4;
	if (syscall(NR_FUTEX_WAKE, &from, 0xffffffffL, 1, PRIVATE_32) < 0) {
		printf("{\"missing\": \"futex_wake\"}\n");
		return 0;
	}
	thread = start_thread(waits, NULL);
	for (int round = 0; round < rounds * WORDS; round++) {
		pause_ms(asked_ms);
		wake(&words[round % WORDS]);
	}
	pause_ms(3 * asked_ms);
	while (syscall(NR_FUTEX_REQUEUE, elements, 0, 0, 1) == 0)
		pause_ms(1);
	pause_ms(asked_ms);
	wake(&to);
	pthread_join(thread, NULL);
	printf("{\"pid\": %d, \"waiter\": %ld, \"took_ns\": [", getpid(), waiter);
	for (int i = 0; i < WORDS + 2; i++)
		printf("%s%ld", i ? ", " : "", (long)took_ns[i]);
	printf("], \"words\": [");
	for (int i = 0; i < WORDS; i++)
		printf("%s%lu", i ? ", " : "", (unsigned long)(uintptr_t)&words[i]);
	printf("], \"from\": %lu}\n", (unsigned long)(uintptr_t)&from);
	return 0;
}
