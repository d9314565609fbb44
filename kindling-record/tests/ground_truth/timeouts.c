// Waits with a time each: an odd number of nanoseconds for each call, so that no two are alike.
//
//   timeouts
//
// Prints, by call, what it gave: seconds and the fraction in the call's own unit, and as which argument. Calls
// are made by number, so that no library changes them. `ready` does not wait, `wake` is no wait.

#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/time.h>

#include "truth.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

static void told(const char *call, int arg, long seconds, long fraction)
{
	printf("\"%s\": {\"arg\": %d, \"seconds\": %ld, \"fraction\": %ld}, ", call, arg, seconds, fraction);
}

int main(void)
{
	static uint32_t word = 7;
	int fds[2];
	int epoll = epoll_create1(0);
	int sem = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf take = { .sem_op = -1 };
	struct timespec time = { 0, 3000001 };
	struct timespec until;
	sigset_t usr1;

	if (pipe(fds) || epoll < 0 || sem < 0)
		die("pipe, epoll_create1 or semget");
	buffer_output();
	printf("{");
	syscall(SYS_nanosleep, &time, NULL);
	told("nanosleep", 0, 0, 3000001);

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += 4000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	told("clock_nanosleep", 2, until.tv_sec, until.tv_nsec);

	// These write what is left to where the time was.
	struct pollfd one = { .fd = fds[0], .events = POLLIN };
	time = (struct timespec){ 0, 5000003 };
	syscall(SYS_ppoll, &one, 1, &time, NULL, 0);
	told("ppoll", 2, 0, 5000003);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(fds[0], &set);
	struct timeval short_time = { 0, 6001 };
	syscall(SYS_select, fds[0] + 1, &set, NULL, NULL, &short_time);
	told("select", 4, 0, 6001);
	FD_SET(fds[0], &set);
	time = (struct timespec){ 0, 7000005 };
	syscall(SYS_pselect6, fds[0] + 1, &set, NULL, NULL, &time, NULL);
	told("pselect6", 4, 0, 7000005);

	struct epoll_event event;
	time = (struct timespec){ 0, 8000007 };
	syscall(SYS_epoll_pwait2, epoll, &event, 1, &time, NULL, 0);
	told("epoll_pwait2", 3, 0, 8000007);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	time = (struct timespec){ 0, 9000009 };
	syscall(SYS_rt_sigtimedwait, &usr1, NULL, &time, 8);
	told("rt_sigtimedwait", 2, 0, 9000009);
	time = (struct timespec){ 0, 10000011 };
	syscall(SYS_semtimedop, sem, &take, 1, &time);
	told("semtimedop", 3, 0, 10000011);
	semctl(sem, 0, IPC_RMID);

	time = (struct timespec){ 0, 11000013 };
	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 7, &time, NULL, 0);
	told("futex", 3, 0, 11000013);
	// Found at once, and an operation whose fourth argument is a number.
	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 8, &time, NULL, 0);
	syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE_PRIVATE, 1, &time, &word, 7);
	if (write(fds[1], "x", 1) != 1)
		die("write");
	time = (struct timespec){ 1, 15 };
	syscall(SYS_ppoll, &one, 1, &time, NULL, 0);
	printf("\"calls\": 9}\n");
	return 0;
}
