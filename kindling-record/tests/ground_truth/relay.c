// A process that waits for another one, which computes, sleeps, and waits for a third one, each for a known
// time.
//
//   relay pipe|futex|child|tcp MILLISECONDS
//
// The worker computes for so long, sleeps for so long, and asks the helper, which computes for so long. Who
// asks waits for the answer in the named way: for bytes of a pipe or of a loopback connection, for a word of
// shared memory, or for a child to end. `state` is the word that kindling-replay has for a phase.

#include "truth.h"
#include "loopback.h"
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum kind { PIPE, FUTEX, CHILD, TCP };
static const char *const kinds[] = { "pipe", "futex", "child", "tcp" };

struct phase {
	const char *state;
	int tid;
	int64_t began_ns;
	int64_t ended_ns;
};

// One per peer, shared by all processes.
struct shared {
	pid_t pid;
	_Atomic uint32_t asked, answered;
	struct phase phases[2];
};

struct peer {
	void (*work)(struct shared *);
	// Where the question goes to and the answer comes from, and the same at the other end.
	int ask[2], serve[2];
	struct shared *shared;
};

static enum kind kind;
static int64_t phase_ns;
static struct peer worker, helper;

static void compute(struct phase *phase)
{
	volatile uint64_t value = 1;

	phase->state = "running";
	phase->tid = getpid();
	phase->began_ns = clock_ns(CLOCK_MONOTONIC);
	int64_t end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + phase_ns;
	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns) {
		for (int i = 0; i < 50000; i++)
			value = value * 6364136223846793005u + 1;
	}
	phase->ended_ns = clock_ns(CLOCK_MONOTONIC);
}

static void sleep_once(struct phase *phase)
{
	phase->state = "timer";
	phase->tid = getpid();
	phase->began_ns = clock_ns(CLOCK_MONOTONIC);
	sleep_ns(phase_ns);
	phase->ended_ns = clock_ns(CLOCK_MONOTONIC);
}

static void signal_word(_Atomic uint32_t *word)
{
	*word = 1;
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void wait_for_word(_Atomic uint32_t *word)
{
	while (!*word)
		syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static void put(int fd)
{
	if (write(fd, "!", 1) != 1)
		die("write");
}

static void get(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		die("read");
}

static void start(struct peer *peer, void (*run)(struct peer *))
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		run(peer);
		_exit(0);
	}
	peer->shared->pid = pid;
}

static void work(struct peer *peer)
{
	peer->work(peer->shared);
}

// Has the peer do its work, and waits until it is done.
static void ask(struct peer *peer)
{
	if (kind == CHILD) {
		start(peer, work);
		if (waitpid(peer->shared->pid, NULL, 0) < 0)
			die("waitpid");
	} else if (kind == FUTEX) {
		signal_word(&peer->shared->asked);
		wait_for_word(&peer->shared->answered);
	} else {
		put(peer->ask[1]);
		get(peer->ask[0]);
	}
}

static void serve(struct peer *peer)
{
	if (kind == FUTEX)
		wait_for_word(&peer->shared->asked);
	else
		get(peer->serve[0]);
	peer->work(peer->shared);
	if (kind == FUTEX)
		signal_word(&peer->shared->answered);
	else
		put(peer->serve[1]);
}

static void prepare(struct peer *peer, void (*work)(struct shared *), struct shared *shared)
{
	int there[2], back[2];

	peer->work = work;
	peer->shared = shared;
	if (kind == PIPE) {
		if (pipe(there) < 0 || pipe(back) < 0)
			die("pipe");
		peer->ask[0] = back[0], peer->ask[1] = there[1];
		peer->serve[0] = there[0], peer->serve[1] = back[1];
	} else if (kind == TCP) {
		struct loopback tcp = connect_loopback();

		peer->ask[0] = peer->ask[1] = tcp.client;
		peer->serve[0] = peer->serve[1] = tcp.server;
	}
}

static void work_and_ask(struct shared *shared)
{
	compute(&shared->phases[0]);
	sleep_once(&shared->phases[1]);
	ask(&helper);
}

static void help(struct shared *shared)
{
	compute(&shared->phases[0]);
}

static void print_phase(const struct phase *phase, const char *end)
{
	printf("{\"tid\": %d, \"state\": \"%s\", \"began_ns\": %lld, \"ended_ns\": %lld}%s", phase->tid,
	       phase->state, (long long)phase->began_ns, (long long)phase->ended_ns, end);
}

int main(int argc, char **argv)
{
	while (argc == 3 && kind <= TCP && strcmp(argv[1], kinds[kind]))
		kind++;
	if (argc != 3 || kind > TCP) {
		fprintf(stderr, "usage: relay pipe|futex|child|tcp MILLISECONDS\n");
		return 2;
	}
	buffer_output();
	phase_ns = atol(argv[2]) * 1000000;
	struct shared *shared = mmap(NULL, 2 * sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	prepare(&worker, work_and_ask, &shared[0]);
	prepare(&helper, help, &shared[1]);
	if (kind != CHILD) {
		start(&helper, serve);
		start(&worker, serve);
		// They are where they wait for questions by then.
		sleep_ns(20000000);
	}

	int64_t from_ns = clock_ns(CLOCK_MONOTONIC);
	ask(&worker);
	int64_t to_ns = clock_ns(CLOCK_MONOTONIC);

	printf("{\"pid\": %d, \"phase_ns\": %lld, \"from_ns\": %lld, \"to_ns\": %lld, \"phases\": [", getpid(),
	       (long long)phase_ns, (long long)from_ns, (long long)to_ns);
	print_phase(&shared[0].phases[0], ", ");
	print_phase(&shared[0].phases[1], ", ");
	print_phase(&shared[1].phases[0], "]}\n");
	return 0;
}
