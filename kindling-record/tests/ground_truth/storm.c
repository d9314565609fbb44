// A storm of one syscall: the cheapest, or reads of one byte of /dev/zero.
//
//   storm CALLS [read]

#include <fcntl.h>
#include <stdbool.h>

#include "truth.h"

int main(int argc, char **argv)
{
	bool reads = argc == 3 && !strcmp(argv[2], "read");

	if (argc != 2 && !reads) {
		fprintf(stderr, "usage: storm CALLS [read]\n");
		return 2;
	}
	buffer_output();
	int fd = open("/dev/zero", O_RDONLY);
	if (fd < 0)
		die("/dev/zero");
	long nr = reads ? SYS_read : SYS_getppid;
	long calls = atol(argv[1]);
	char byte;
	int64_t began_ns = clock_ns(CLOCK_MONOTONIC);
	for (long call = 0; call < calls; call++)
		syscall(nr, fd, &byte, 1);
	int64_t ended_ns = clock_ns(CLOCK_MONOTONIC);

	printf("{\"pid\": %d, \"nr\": %ld, \"calls\": %ld, \"took_ns\": %lld}\n", getpid(), nr,
	       calls, (long long)(ended_ns - began_ns));
	return 0;
}
