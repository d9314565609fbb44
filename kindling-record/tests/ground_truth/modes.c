// A thread that computes in user space, and one that has the kernel work for it.
//
//   modes MILLISECONDS
//
// Each does so for so long of its own CPU time, and says how much of it was spent where.

#include "truth.h"
#include <fcntl.h>
#include <sys/resource.h>

struct account {
	int tid;
	int64_t cpu_ns;
	int64_t user_ns;
	int64_t kernel_ns;
};

static int64_t enough_ns;
static struct account accounts[2];
static volatile unsigned long sink;

static int64_t ns_of(struct timeval time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_usec * 1000;
}

static void settle(struct account *account)
{
	struct rusage usage;

	account->tid = (int)syscall(SYS_gettid);
	account->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	getrusage(RUSAGE_THREAD, &usage);
	account->user_ns = ns_of(usage.ru_utime);
	account->kernel_ns = ns_of(usage.ru_stime);
}

__attribute__((noinline)) static void *compute(void *account)
{
	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < enough_ns)
		for (int i = 0; i < 1000000; i++)
			sink += (unsigned long)i * 31;
	settle(account);
	return NULL;
}

__attribute__((noinline)) static void *fetch(void *account)
{
	static char zeros[1 << 20];
	int file = open("/dev/zero", O_RDONLY);

	if (file < 0)
		die("/dev/zero");
	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < enough_ns)
		if (read(file, zeros, sizeof(zeros)) < 0)
			die("read");
	settle(account);
	close(file);
	return NULL;
}

int main(int argc, char **argv)
{
	void *(*const work[])(void *) = { compute, fetch };
	pthread_t threads[2];

	if (argc != 2) {
		fprintf(stderr, "usage: modes MILLISECONDS\n");
		return 2;
	}
	buffer_output();
	enough_ns = (int64_t)atoi(argv[1]) * 1000000;
	for (int i = 0; i < 2; i++)
		threads[i] = start_thread(work[i], &accounts[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	printf("{\"pid\": %d", getpid());
	for (int i = 0; i < 2; i++)
		printf(", \"%s\": {\"tid\": %d, \"cpu_ns\": %lld, \"user_ns\": %lld, \"kernel_ns\": %lld}",
		       i ? "fetch" : "compute", accounts[i].tid, (long long)accounts[i].cpu_ns,
		       (long long)accounts[i].user_ns, (long long)accounts[i].kernel_ns);
	printf("}\n");
	return 0;
}
