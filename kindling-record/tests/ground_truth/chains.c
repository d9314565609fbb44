// Sleeps, or computes, at the end of two chains of calls, in turn, without frame pointers on the way.
//
//   chains sleep|compute COUNT
//
// The red chain is red_outer, red_inner, rest; the blue one blue_outer, blue_inner, rest. Frames of the
// red functions have a known size; blue_inner's depends on an argument, so that only its rbp tells where
// its caller's is. Each chain is gone
// down COUNT times. What computes calls small functions, so that it is met at their beginnings and ends too.

#include <stdbool.h>

#include "truth.h"

// Before and behind a call, so that what lies on the stack stays there, and the call is no jump.
#define USE(room) __asm__ volatile("" ::"r"(room) : "memory")

static bool computes;

__attribute__((noinline)) static long step(long n)
{
	char room[24];

	USE(room);
	return n * 7 + 1;
}

__attribute__((noinline)) static long steps(long n)
{
	long sum = step(n) ^ step(n + 1);

	return sum + step(sum);
}

__attribute__((noinline)) static void compute(void)
{
	static volatile long sum;

	for (int64_t end = clock_ns(CLOCK_MONOTONIC) + 2000000; clock_ns(CLOCK_MONOTONIC) < end;)
		for (int n = 0; n < 1000; n++)
			sum = steps(sum);
}

__attribute__((noinline)) static void rest(void)
{
	if (computes)
		compute();
	else
		sleep_ns(2000000);
	USE(0);
}

__attribute__((noinline)) static void red_inner(void)
{
	char room[200];

	USE(room);
	rest();
	USE(room);
}

__attribute__((noinline)) static void red_outer(void)
{
	red_inner();
	USE(0);
}

__attribute__((noinline)) static void blue_inner(int size)
{
	char room[size];

	USE(room);
	rest();
	USE(room);
}

__attribute__((noinline)) static void blue_outer(int size)
{
	char room[56];

	USE(room);
	blue_inner(size);
	USE(room);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: chains sleep|compute COUNT\n");
		return 2;
	}
	computes = strcmp(argv[1], "compute") == 0;
	long count = atol(argv[2]);
	for (long n = 0; n < count; n++) {
		red_outer();
		blue_outer(16 + n % 5 * 48);
	}
	printf("{\"rests\": %ld}\n", 2 * count);
	return 0;
}
