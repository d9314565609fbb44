// A thread that changes the protection of its memory while another one of its process keeps the lock of
// the address space by filling memory.
//
//   memory MILLISECONDS
//
// For so long, one thread maps 32 MiB at a time with MAP_POPULATE, for which the kernel holds that lock. The
// other one calls mprotect, and adds up how long that took and how much of it the thread had a CPU or waited for
// one; the rest can only have been for the lock.

#include "truth.h"
#include <fcntl.h>
#include <sys/mman.h>

enum { FILLED = 32 << 20 };

static _Atomic int done;

static void *fill(void *unused)
{
	while (!done) {
		void *memory = mmap(NULL, FILLED, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (memory == MAP_FAILED)
			die("mmap");
		munmap(memory, FILLED);
	}
	return unused;
}

static int64_t run_delay_ns(void)
{
	static int file = -1;
	char text[128] = "";
	long long ran, waited;

	if (file < 0 && (file = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)) < 0)
		die("schedstat");
	if (pread(file, text, sizeof(text) - 1, 0) < 0 || sscanf(text, "%lld %lld", &ran, &waited) != 2)
		die("schedstat");
	return waited;
}

int main(int argc, char **argv)
{
	int64_t calls = 0, blocked_ns = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: memory MILLISECONDS\n");
		return 2;
	}
	buffer_output();
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		die("mmap");
	pthread_t filler = start_thread(fill, NULL);
	int64_t from_ns = clock_ns(CLOCK_MONOTONIC);
	int64_t end_ns = from_ns + atol(argv[1]) * 1000000;
	while (clock_ns(CLOCK_MONOTONIC) < end_ns) {
		int64_t began_ns = clock_ns(CLOCK_MONOTONIC);
		int64_t had_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + run_delay_ns();
		if (mprotect(page, 4096, calls++ % 2 ? PROT_READ : PROT_READ | PROT_WRITE) < 0)
			die("mprotect");
		had_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + run_delay_ns() - had_ns;
		blocked_ns += clock_ns(CLOCK_MONOTONIC) - began_ns - had_ns;
	}
	int64_t to_ns = clock_ns(CLOCK_MONOTONIC);
	done = 1;
	pthread_join(filler, NULL);
	printf("{\"tid\": %d, \"from_ns\": %lld, \"to_ns\": %lld, \"calls\": %lld, \"blocked_ns\": %lld}\n",
	       getpid(), (long long)from_ns, (long long)to_ns, (long long)calls, (long long)blocked_ns);
	return 0;
}
