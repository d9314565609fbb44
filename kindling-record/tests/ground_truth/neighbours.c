// A thread that shares one CPU with a thread of its own process and with another process, and who had that
// CPU meanwhile by the kernel's own account.
//
//   neighbours MILLISECONDS SLEEP_MICROSECONDS
//
// The victim computes for so long, and sleeps so long after every two milliseconds of computing (0: never).
// The others compute until it is done. At both ends it reads everybody's CPU clock, how long it has
// waited for a CPU itself (run_delay of schedstat), and how often it was switched out.

#include "truth.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum { VICTIM, OWN, OTHER, COUNT };

struct account {
	int64_t at_ns;
	int64_t cpu_ns[COUNT];
	int64_t run_delay_ns;
	int64_t steal_ns;
	long voluntary;
	long involuntary;
};

// What the two processes share.
struct common {
	_Atomic int ready;
	_Atomic int done;
	int tid[COUNT];
};

static struct common *common;
static clockid_t clocks[COUNT];
static int cpu;

static void stay_on_one_cpu(void)
{
	cpu_set_t set;

	sched_getaffinity(0, sizeof(set), &set);
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

static void compute_a_little(void)
{
	volatile uint64_t value = 1;

	for (int i = 0; i < 20000; i++)
		value = value * 6364136223846793005u + 1;
}

static void *compute(void *who)
{
	common->tid[(intptr_t)who] = (int)syscall(SYS_gettid);
	common->ready++;
	while (!common->done)
		compute_a_little();
	return NULL;
}

// Its second number.
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

// What the hypervisor took from this CPU, in ticks: CPU clocks stand still meanwhile.
static int64_t steal_ns(void)
{
	char line[256], name[16];
	long long ticks = 0;
	FILE *file = fopen("/proc/stat", "re");

	if (!file)
		die("/proc/stat");
	snprintf(name, sizeof(name), "cpu%d ", cpu);
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, strlen(name)))
			sscanf(line, "%*s %*d %*d %*d %*d %*d %*d %*d %lld", &ticks);
	}
	fclose(file);
	return ticks * (1000000000 / sysconf(_SC_CLK_TCK));
}

// Reads again until no switch fell between the readings, so that they are of one moment.
static struct account take_account(void)
{
	struct account account;
	struct rusage before, after;

	account.steal_ns = steal_ns();
	do {
		getrusage(RUSAGE_THREAD, &before);
		for (int i = 0; i < COUNT; i++)
			account.cpu_ns[i] = clock_ns(clocks[i]);
		account.run_delay_ns = run_delay_ns();
		account.at_ns = clock_ns(CLOCK_MONOTONIC);
		getrusage(RUSAGE_THREAD, &after);
	} while (before.ru_nvcsw != after.ru_nvcsw || before.ru_nivcsw != after.ru_nivcsw);
	account.voluntary = after.ru_nvcsw;
	account.involuntary = after.ru_nivcsw;
	return account;
}

static void suffer(int64_t length_ns, int64_t sleep)
{
	int64_t end_ns = clock_ns(CLOCK_MONOTONIC) + length_ns;
	int64_t next_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + 2000000;

	while (clock_ns(CLOCK_MONOTONIC) < end_ns) {
		compute_a_little();
		if (sleep && clock_ns(CLOCK_THREAD_CPUTIME_ID) >= next_ns) {
			sleep_ns(sleep);
			next_ns += 2000000;
		}
	}
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: neighbours MILLISECONDS SLEEP_MICROSECONDS\n");
		return 2;
	}
	buffer_output();
	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (common == MAP_FAILED)
		die("mmap");
	stay_on_one_cpu();
	pid_t other = fork();
	if (other < 0)
		die("fork");
	if (other == 0) {
		compute((void *)OTHER);
		_exit(0);
	}
	pthread_t own = start_thread(compute, (void *)OWN);
	while (common->ready < 2)
		sleep_ns(1000000);
	common->tid[VICTIM] = getpid();
	clocks[VICTIM] = CLOCK_THREAD_CPUTIME_ID;
	if (pthread_getcpuclockid(own, &clocks[OWN]) || clock_getcpuclockid(other, &clocks[OTHER]))
		die("cpu clock");

	struct account from = take_account();
	suffer(atol(argv[1]) * 1000000, atol(argv[2]) * 1000);
	struct account to = take_account();
	common->done = 1;
	pthread_join(own, NULL);
	waitpid(other, NULL, 0);

	const char *names[COUNT] = { "victim", "own", "other" };
	printf("{\"cpu\": %d, \"from_ns\": %lld, \"to_ns\": %lld, \"run_delay_ns\": %lld, \"steal_ns\": %lld, "
	       "\"voluntary\": %ld, \"involuntary\": %ld",
	       cpu, (long long)from.at_ns, (long long)to.at_ns,
	       (long long)(to.run_delay_ns - from.run_delay_ns), (long long)(to.steal_ns - from.steal_ns),
	       to.voluntary - from.voluntary, to.involuntary - from.involuntary);
	for (int i = 0; i < COUNT; i++)
		printf(", \"%s\": {\"tid\": %d, \"cpu_ns\": %lld}", names[i], common->tid[i],
		       (long long)(to.cpu_ns[i] - from.cpu_ns[i]));
	printf("}\n");
	return 0;
}
