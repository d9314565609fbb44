// Waits that a stop breaks off, and that go on with it: in the kernel's hands by restart_syscall(2).
//
//   restarts MILLISECONDS
//
// Three processes wait so long, for nothing else: one sleeps, one polls, one waits for a futex. Each is stopped
// after a fifth of the time and goes on after another one. Prints who is who.

#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "truth.h"

static void wait_for(const char *reason, int64_t ns)
{
	static uint32_t word = 1;
	struct timespec time = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	struct pollfd none = { .fd = -1 };

	prctl(PR_SET_NAME, reason);
	if (strcmp(reason, "timer") == 0)
		syscall(SYS_nanosleep, &time, NULL);
	else if (strcmp(reason, "poll") == 0)
		syscall(SYS_poll, &none, 1, (int)(ns / 1000000));
	else
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 1, &time, NULL, 0);
}

int main(int argc, char **argv)
{
	const char *reasons[] = { "timer", "poll", "lock" };
	pid_t pids[3];

	if (argc != 2) {
		fprintf(stderr, "usage: restarts MILLISECONDS\n");
		return 2;
	}
	int64_t ns = atol(argv[1]) * 1000000;
	for (int n = 0; n < 3; n++) {
		pids[n] = fork();
		if (pids[n] < 0)
			die("fork");
		if (!pids[n]) {
			wait_for(reasons[n], ns);
			_exit(0);
		}
	}
	sleep_ns(ns / 5);
	for (int n = 0; n < 3; n++)
		kill(pids[n], SIGSTOP);
	sleep_ns(ns / 5);
	for (int n = 0; n < 3; n++)
		kill(pids[n], SIGCONT);
	while (wait(NULL) > 0)
		;
	printf("{\"ns\": %ld, \"timer\": %d, \"poll\": %d, \"lock\": %d}\n", (long)ns, pids[0], pids[1], pids[2]);
	return 0;
}
