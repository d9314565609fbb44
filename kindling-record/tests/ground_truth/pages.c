// Memory and blocks that are touched one by one.
//
//   pages PAGES BLOCKS
//
// PAGES fresh pages are written once each, then read again, which faults no more. BLOCKS blocks of 4 KiB
// are written around the cache to a file in the current directory and read back, if its file system
// can do so.

#define _GNU_SOURCE
#include "truth.h"
#include <fcntl.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

static volatile char *touch(long pages)
{
	size_t size = (size_t)pages * PAGE;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	// A kernel without huge pages refuses: then there is nothing to turn off.
	madvise(memory, size, MADV_NOHUGEPAGE);
	for (long page = 0; page < pages; page++)
		((volatile char *)memory)[page * PAGE] = 1;
	for (long page = 0; page < pages; page++)
		if (((volatile char *)memory)[page * PAGE] != 1)
			die("memory");
	return memory;
}

static long direct(long blocks)
{
	char path[] = "kindling-pages-XXXXXX";
	char *block = aligned_alloc(PAGE, PAGE);
	int fd = mkostemp(path, O_DIRECT | O_CLOEXEC);

	if (!block)
		die("memory");
	if (fd < 0)
		return 0;
	unlink(path);
	memset(block, 1, PAGE);
	for (long at = 0; at < blocks; at++)
		if (pwrite(fd, block, PAGE, at * PAGE) != PAGE)
			return 0;
	if (fsync(fd) < 0)
		return 0;
	for (long at = 0; at < blocks; at++)
		if (pread(fd, block, PAGE, at * PAGE) != PAGE)
			return 0;
	return blocks;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: pages PAGES BLOCKS\n");
		return 2;
	}
	buffer_output();
	long pages = atol(argv[1]);
	volatile char *memory = touch(pages);
	long blocks = direct(atol(argv[2]));

	printf("{\"pid\": %d, \"first_page\": %llu, \"pages\": %ld, \"blocks\": %ld}\n", getpid(),
	       (unsigned long long)(uintptr_t)memory, pages, blocks);
	return 0;
}
