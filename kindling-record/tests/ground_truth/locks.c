// Locks of each kind that a C program has, each with a known pattern of waits.
//
//   locks MILLISECONDS ROUNDS
//
// In every round one thread makes the others wait: it takes the lock (or has yet to give the signal),
// looks on until all of them sleep in futex(2), sleeps for so long itself, and lets go. So the number
// of waits is known, and each thread measures its own. Between rounds threads sleep on timers only.

#include "truth.h"
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { MOST_WAITERS = 3, MOST_ROUNDS = 64 };

struct lock {
	const char *kind;
	int waiters;
	void (*take)(struct lock *); // by the holder, before the others wait
	void (*let_go)(struct lock *);
	void (*wait)(struct lock *); // by the others
	void (*leave)(struct lock *);
	void *address; // of the word that is waited on
	pthread_t threads[MOST_WAITERS];
	int tids[MOST_WAITERS];
	int holder;
	atomic_int round;
	atomic_int ready;
	atomic_int done;
	int64_t began_ns[MOST_WAITERS][MOST_ROUNDS];
	int64_t ended_ns[MOST_WAITERS][MOST_ROUNDS];
};

static int64_t asked_ns;
static int rounds;

static void nothing(struct lock *lock)
{
	(void)lock;
}

// ---- mutex -------------------------------------------------------------------------------------

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void take_mutex(struct lock *lock)
{
	(void)lock;
	pthread_mutex_lock(&mutex);
}

static void leave_mutex(struct lock *lock)
{
	(void)lock;
	pthread_mutex_unlock(&mutex);
}

// ---- mutex with priority inheritance -----------------------------------------------------------

static pthread_mutex_t pi_mutex;

static void take_pi_mutex(struct lock *lock)
{
	(void)lock;
	pthread_mutex_lock(&pi_mutex);
}

static void leave_pi_mutex(struct lock *lock)
{
	(void)lock;
	pthread_mutex_unlock(&pi_mutex);
}

// ---- condition variable ------------------------------------------------------------------------

static pthread_mutex_t condition_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static int signalled; // the round that was

static void signal_condition(struct lock *lock)
{
	pthread_mutex_lock(&condition_mutex);
	signalled = lock->round;
	pthread_mutex_unlock(&condition_mutex);
	pthread_cond_broadcast(&condition);
}

static void wait_condition(struct lock *lock)
{
	pthread_mutex_lock(&condition_mutex);
	while (signalled != lock->round)
		pthread_cond_wait(&condition, &condition_mutex);
	pthread_mutex_unlock(&condition_mutex);
}

// ---- semaphore ---------------------------------------------------------------------------------

static sem_t semaphore;

static void post_semaphore(struct lock *lock)
{
	for (int i = 0; i < lock->waiters; i++)
		sem_post(&semaphore);
}

static void wait_semaphore(struct lock *lock)
{
	(void)lock;
	sem_wait(&semaphore);
}

// ---- readers and a writer ----------------------------------------------------------------------

static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;

static void take_writing(struct lock *lock)
{
	(void)lock;
	pthread_rwlock_wrlock(&rwlock);
}

static void take_reading(struct lock *lock)
{
	(void)lock;
	pthread_rwlock_rdlock(&rwlock);
}

static void leave_rwlock(struct lock *lock)
{
	(void)lock;
	pthread_rwlock_unlock(&rwlock);
}

// ---- the rounds --------------------------------------------------------------------------------

// Whether the thread sleeps in futex(2): the kernel says so by the syscall's number.
static int sleeps_in_futex(int tid)
{
	char path[64], text[16] = "";
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		die(path);
	if (read(file, text, sizeof(text) - 1) < 0)
		die("read");
	close(file);
	return atoi(text) == SYS_futex;
}

static void *run_waiter(void *argument)
{
	struct lock *lock = argument;
	int me = atomic_fetch_add(&lock->ready, 1);
	char name[16];

	snprintf(name, sizeof(name), "%s-%d", lock->kind, me);
	pthread_setname_np(pthread_self(), name);
	lock->tids[me] = (int)syscall(SYS_gettid);
	for (int round = 1; round <= rounds; round++) {
		while (lock->round != round)
			sleep_ns(1000000);
		lock->began_ns[me][round - 1] = clock_ns(CLOCK_MONOTONIC);
		lock->wait(lock);
		lock->ended_ns[me][round - 1] = clock_ns(CLOCK_MONOTONIC);
		lock->leave(lock);
		lock->done++;
	}
	return NULL;
}

static void *run_holder(void *argument)
{
	struct lock *lock = argument;

	pthread_setname_np(pthread_self(), "holder");
	lock->holder = (int)syscall(SYS_gettid);
	for (int i = 0; i < lock->waiters; i++)
		lock->threads[i] = start_thread(run_waiter, lock);
	while (lock->ready != lock->waiters)
		sleep_ns(1000000);
	for (int round = 1; round <= rounds; round++) {
		lock->take(lock);
		lock->done = 0;
		lock->round = round;
		for (int i = 0; i < lock->waiters; i++)
			while (!lock->tids[i] || !sleeps_in_futex(lock->tids[i]))
				sleep_ns(1000000);
		sleep_ns(asked_ns);
		lock->let_go(lock);
		while (lock->done != lock->waiters)
			sleep_ns(1000000);
	}
	return NULL;
}

static struct lock locks[] = {
	{ .kind = "mutex", .waiters = 3, .take = take_mutex, .let_go = leave_mutex,
	  .wait = take_mutex, .leave = leave_mutex, .address = &mutex.__data.__lock },
	{ .kind = "pi_mutex", .waiters = 2, .take = take_pi_mutex, .let_go = leave_pi_mutex,
	  .wait = take_pi_mutex, .leave = leave_pi_mutex, .address = &pi_mutex.__data.__lock },
	{ .kind = "condvar", .waiters = 1, .take = nothing, .let_go = signal_condition,
	  .wait = wait_condition, .leave = nothing, .address = condition.__data.__g_signals },
	{ .kind = "semaphore", .waiters = 2, .take = nothing, .let_go = post_semaphore,
	  .wait = wait_semaphore, .leave = nothing, .address = &semaphore },
	{ .kind = "rwlock", .waiters = 2, .take = take_writing, .let_go = leave_rwlock,
	  .wait = take_reading, .leave = leave_rwlock, .address = &rwlock.__data.__wrphase_futex },
};
enum { COUNT = sizeof(locks) / sizeof(*locks) };

// ---- a mutex that two processes map at different addresses -------------------------------------

struct shared {
	pthread_mutex_t mutex;
	atomic_int held;
	atomic_int waiter;
};

static struct shared *map_shared(int file)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (shared == MAP_FAILED)
		die("mmap");
	return shared;
}

static void hold_shared(int file)
{
	// The first mapping is inherited, so this one has another address.
	struct shared *shared = map_shared(file);
	char path[64], text[16] = "";

	pthread_mutex_lock(&shared->mutex);
	shared->held = 1;
	snprintf(path, sizeof(path), "/proc/%d/syscall", shared->waiter);
	while (atoi(text) != SYS_futex) {
		sleep_ns(1000000);
		int status = open(path, O_RDONLY | O_CLOEXEC);
		if (status < 0 || read(status, text, sizeof(text) - 1) < 0)
			die(path);
		close(status);
	}
	sleep_ns(asked_ns);
	pthread_mutex_unlock(&shared->mutex);
	_exit(0);
}

static void print_shared(void)
{
	int file = memfd_create("shared", MFD_CLOEXEC);
	pthread_mutexattr_t attributes;

	if (file < 0 || ftruncate(file, sizeof(struct shared)) < 0)
		die("memfd");
	struct shared *shared = map_shared(file);
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&shared->mutex, &attributes);
	shared->waiter = getpid();
	pid_t holder = fork();
	if (holder < 0)
		die("fork");
	if (holder == 0)
		hold_shared(file);
	while (!shared->held)
		sleep_ns(1000000);
	int64_t began_ns = clock_ns(CLOCK_MONOTONIC);
	pthread_mutex_lock(&shared->mutex);
	int64_t ended_ns = clock_ns(CLOCK_MONOTONIC);
	pthread_mutex_unlock(&shared->mutex);
	if (waitpid(holder, NULL, 0) != holder)
		die("waitpid");
	printf(", \"shared\": {\"address\": %lld, \"waiter\": %d, \"holder\": %d, "
	       "\"wait_ns\": %lld}",
	       (long long)(intptr_t)&shared->mutex.__data.__lock, getpid(), holder,
	       (long long)(ended_ns - began_ns));
}

// ---- all of them -------------------------------------------------------------------------------

static void print_lock(const struct lock *lock)
{
	printf("{\"kind\": \"%s\", \"address\": %lld, \"holder\": %d, \"waiters\": [", lock->kind,
	       (long long)(intptr_t)lock->address, lock->holder);
	for (int i = 0; i < lock->waiters; i++) {
		int64_t wait_ns = 0;

		for (int round = 0; round < rounds; round++)
			wait_ns += lock->ended_ns[i][round] - lock->began_ns[i][round];
		printf("%s{\"tid\": %d, \"waits\": %d, \"wait_ns\": %lld}", i ? ", " : "", lock->tids[i],
		       rounds, (long long)wait_ns);
	}
	printf("]}");
}

int main(int argc, char **argv)
{
	pthread_mutexattr_t attributes;

	if (argc != 3 || atoi(argv[2]) > MOST_ROUNDS) {
		fprintf(stderr, "usage: locks MILLISECONDS ROUNDS\n");
		return 2;
	}
	buffer_output();
	asked_ns = atol(argv[1]) * 1000000;
	rounds = atoi(argv[2]);
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&pi_mutex, &attributes);
	sem_init(&semaphore, 0, 0);

	printf("{\"pid\": %d, \"asked_ns\": %lld, \"rounds\": %d, \"locks\": [", getpid(),
	       (long long)asked_ns, rounds);
	for (int i = 0; i < COUNT; i++) {
		pthread_join(start_thread(run_holder, &locks[i]), NULL);
		for (int waiter = 0; waiter < locks[i].waiters; waiter++)
			pthread_join(locks[i].threads[waiter], NULL);
		printf("%s", i ? ", " : "");
		print_lock(&locks[i]);
	}
	printf("]");
	print_shared();
	printf("}\n");
	return 0;
}
