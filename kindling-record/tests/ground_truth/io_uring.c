// Operations through an io_uring, by raw syscalls.
//
//   io_uring NOPS READS LATER
//
// NOPS operations that do nothing, each with its number as user_data, then READS reads of 512 bytes
// of a file that has only 100, whose user_data has bit 32 set, then LATER such reads that the kernel
// leaves to a thread of its own, whose user_data has bit 33 set; in batches of 32.

#include "truth.h"
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/mman.h>

enum { ENTRIES = 64, BATCH = 32, FILE_BYTES = 100, READ_BYTES = 512 };

static struct io_uring_params params;
static int ring_fd;
static struct io_uring_sqe *sqes;
static char *sq, *cq;

static _Atomic unsigned *at(char *base, unsigned offset)
{
	return (_Atomic unsigned *)(base + offset);
}

static void *map(size_t size, off_t offset)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_fd,
			    offset);

	if (memory == MAP_FAILED)
		die("mmap of the ring");
	return memory;
}

static void set_up(void)
{
	ring_fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &params);
	if (ring_fd < 0)
		die("io_uring_setup");
	sq = map(params.sq_off.array + params.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	cq = map(params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
		 IORING_OFF_CQ_RING);
	sqes = map(params.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
}

static void prepare(const struct io_uring_sqe *sqe)
{
	unsigned mask = *at(sq, params.sq_off.ring_mask), tail = *at(sq, params.sq_off.tail);
	unsigned *array = (unsigned *)(sq + params.sq_off.array);

	sqes[tail & mask] = *sqe;
	array[tail & mask] = tail & mask;
	*at(sq, params.sq_off.tail) = tail + 1;
}

// Submits and waits for `count`; returns the sum of their results.
static long submit(unsigned count)
{
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	unsigned mask = *at(cq, params.cq_off.ring_mask);
	long sum = 0;

	if (syscall(SYS_io_uring_enter, ring_fd, count, count, IORING_ENTER_GETEVENTS, NULL, 0) !=
	    (long)count)
		die("io_uring_enter");
	for (unsigned i = 0; i < count; i++) {
		unsigned head = *at(cq, params.cq_off.head);

		sum += cqes[head & mask].res;
		*at(cq, params.cq_off.head) = head + 1;
	}
	return sum;
}

static long run(const struct io_uring_sqe *like, long count)
{
	struct io_uring_sqe sqe = *like;
	long sum = 0;

	for (long done = 0; done < count;) {
		unsigned batch = 0;

		for (; batch < BATCH && done < count; batch++, done++) {
			sqe.user_data = like->user_data + (unsigned long)done;
			prepare(&sqe);
		}
		sum += submit(batch);
	}
	return sum;
}

int main(int argc, char **argv)
{
	static char content[FILE_BYTES], buffer[READ_BYTES];
	char path[] = "/tmp/kindling-uring-XXXXXX";

	if (argc != 4) {
		fprintf(stderr, "usage: io_uring NOPS READS LATER\n");
		return 2;
	}
	buffer_output();
	long nops = atol(argv[1]), reads = atol(argv[2]);
	int fd = mkstemp(path);
	if (fd < 0 || unlink(path) < 0 || write(fd, content, FILE_BYTES) != FILE_BYTES)
		die("a file");
	set_up();

	struct io_uring_sqe nop = { .opcode = IORING_OP_NOP, .fd = -1 };
	struct io_uring_sqe read = {
		.opcode = IORING_OP_READ,
		.fd = fd,
		.addr = (uintptr_t)buffer,
		.len = READ_BYTES,
		.user_data = 1UL << 32,
	};
	if (run(&nop, nops) != 0)
		die("a nop failed");
	if (run(&read, reads) != reads * FILE_BYTES)
		die("a read failed");
	read.flags = IOSQE_ASYNC;
	read.user_data = 1UL << 33;
	if (run(&read, atol(argv[3])) != atol(argv[3]) * FILE_BYTES)
		die("a later read failed");
	printf("{\"pid\": %d, \"nops\": %ld, \"reads\": %ld, \"read_bytes\": %d}\n", getpid(), nops,
	       reads, FILE_BYTES);
	return 0;
}
