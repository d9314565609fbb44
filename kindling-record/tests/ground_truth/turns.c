// Threads whose calls take a turn: in a child of vfork, killed within a call, begun anew after a signal, and with another
// program that a thread beside the first one executes.
//
//   turns
//
// Prints {"pid", "vforked", "killed", "restarted", "thread", "bytes"}: processes, the thread that executed the last program,
// and how many bytes the call that was begun anew read.

#include "truth.h"
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { BYTES = 77, BEFORE = 5, AFTER = 7, LAST = 3 };

static char vforked[16], killed[16], restarted[16];

static int must(int result, const char *what)
{
	if (result < 0)
		die(what);
	return result;
}

static void call(int count)
{
	while (count--)
		syscall(SYS_getppid);
}

// The child has its parent's memory, and its parent waits until it is another program.
static void in_a_vforked_child(void)
{
	pid_t child = vfork();

	if (child == 0) {
		call(BEFORE);
		execl("/proc/self/exe", "turns", "vforked", (char *)NULL);
		_exit(1);
	}
	must(waitpid(child, NULL, 0), "waitpid");
	snprintf(vforked, sizeof(vforked), "%d", child);
}

static void killed_within_a_call(void)
{
	int ends[2], byte;

	must(pipe(ends), "pipe");
	pid_t child = must(fork(), "fork");
	if (child == 0) {
		syscall(SYS_read, ends[0], &byte, 1);
		_exit(1);
	}
	sleep_ns(50000000);
	must(kill(child, SIGKILL), "kill");
	must(waitpid(child, NULL, 0), "waitpid");
	snprintf(killed, sizeof(killed), "%d", child);
}

static void ignore(int number)
{
	(void)number;
}

static void begun_anew_after_a_signal(void)
{
	struct sigaction action = { .sa_handler = ignore, .sa_flags = SA_RESTART };
	static char room[BYTES];
	int ends[2];

	must(pipe(ends), "pipe");
	pid_t child = must(fork(), "fork");
	if (child == 0) {
		must(sigaction(SIGUSR1, &action, NULL), "sigaction");
		_exit(syscall(SYS_read, ends[0], room, BYTES) == BYTES ? 0 : 1);
	}
	sleep_ns(50000000);
	must(kill(child, SIGUSR1), "kill");
	sleep_ns(50000000);
	if (write(ends[1], room, BYTES) != BYTES)
		die("write");
	int status;
	must(waitpid(child, &status, 0), "waitpid");
	if (status)
		die("the child");
	snprintf(restarted, sizeof(restarted), "%d", child);
}

static void *execute(void *unused)
{
	char thread[16];

	(void)unused;
	sleep_ns(20000000);
	snprintf(thread, sizeof(thread), "%ld", syscall(SYS_gettid));
	execl("/proc/self/exe", "turns", "last", vforked, killed, restarted, thread, (char *)NULL);
	die("execl");
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc == 2) {
		call(AFTER);
		return 0;
	}
	if (argc == 6) {
		call(LAST);
		printf("{\"pid\": %d, \"vforked\": %s, \"killed\": %s, \"restarted\": %s, \"thread\": %s, \"bytes\": %d}\n",
		       getpid(), argv[2], argv[3], argv[4], argv[5], BYTES);
		return 0;
	}
	in_a_vforked_child();
	killed_within_a_call();
	begun_anew_after_a_signal();
	start_thread(execute, NULL);
	for (;;)
		pause();
}
