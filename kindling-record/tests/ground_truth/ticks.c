// Writes a number every ten milliseconds, and says in the file when it wrote it.
//
//   ticks FILE COUNT
//
// Tick n is pwrite64(FILE, t, 8, 8 n), where t is CLOCK_MONOTONIC just before.

#include <fcntl.h>

#include "truth.h"

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: ticks FILE COUNT\n");
		return 2;
	}
	int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		die(argv[1]);
	long count = atol(argv[2]);
	for (long tick = 0; tick < count; tick++) {
		int64_t now_ns = clock_ns(CLOCK_MONOTONIC);

		if (syscall(SYS_pwrite64, fd, &now_ns, sizeof(now_ns), tick * sizeof(now_ns)) < 0)
			die("pwrite64");
		sleep_ns(10000000);
	}
	return 0;
}
