// A storm of the cheapest syscall.
//
//   storm CALLS

#include "truth.h"

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: storm CALLS\n");
		return 2;
	}
	buffer_output();
	long calls = atol(argv[1]);
	int64_t began_ns = clock_ns(CLOCK_MONOTONIC);
	for (long call = 0; call < calls; call++)
		syscall(SYS_getppid);
	int64_t ended_ns = clock_ns(CLOCK_MONOTONIC);

	printf("{\"pid\": %d, \"nr\": %d, \"calls\": %ld, \"took_ns\": %lld}\n", getpid(), SYS_getppid,
	       calls, (long long)(ended_ns - began_ns));
	return 0;
}
