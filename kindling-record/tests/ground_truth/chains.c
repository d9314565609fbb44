// Sleeps at the end of two chains of calls, in turn, without frame pointers on the way.
//
//   chains COUNT
//
// The red chain is red_outer, red_inner, rest; the blue one blue_outer, blue_inner, rest. Frames of the
// red functions have a known size; blue_inner's depends on an argument, so that only its rbp tells where
// its caller's is. Each chain sleeps COUNT times.

#include "truth.h"

// Before and behind a call, so that what lies on the stack stays there, and the call is no jump.
#define USE(room) __asm__ volatile("" ::"r"(room) : "memory")

__attribute__((noinline)) static void rest(void)
{
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
	if (argc != 2) {
		fprintf(stderr, "usage: chains COUNT\n");
		return 2;
	}
	long count = atol(argv[1]);
	for (long n = 0; n < count; n++) {
		red_outer();
		blue_outer(16 + n % 5 * 48);
	}
	printf("{\"sleeps\": %ld}\n", 2 * count);
	return 0;
}
