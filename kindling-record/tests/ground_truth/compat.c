/*
 * Makes syscalls the way of 32-bit programs, by int $0x80 from a 64-bit one: their numbers mean other
 * calls in the table of 64-bit programs.
 *
 * Usage: compat. Prints {"pid", "getppid": times, "native_getppid": times, "path": opened, "bytes":
 * written}. Dies of SIGSEGV where the kernel has no such calls (CONFIG_IA32_EMULATION).
 */
#include <sys/mman.h>

#include "truth.h"

/* <asm/unistd_32.h>, whose names are those of <asm/unistd_64.h>. */
enum { I386_WRITE = 4, I386_OPEN = 5, I386_CLOSE = 6, I386_PIPE = 42, I386_GETPPID = 64 };

/* A call of i386; pointers must fit 32 bits. */
static long compat(long nr, long a, long b, long c)
{
	long ret;

	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(nr), "b"(a), "c"(b), "d"(c)
			 : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

int main(void)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long place = (long)low, ends;
	const char *path = "/etc/hostname.compat";
	const char *text = "by int 0x80\n";
	int *pipe_ends = (int *)(low + 512);

	if (low == MAP_FAILED)
		die("mmap");
	for (int i = 0; i < 7; i++)
		compat(I386_GETPPID, 0, 0, 0);
	for (int i = 0; i < 5; i++)
		syscall(SYS_getppid);
	strcpy(low, path);
	compat(I386_OPEN, place, 0, 0);
	ends = place + 512;
	if (compat(I386_PIPE, ends, 0, 0))
		die("pipe");
	strcpy(low + 256, text);
	if (compat(I386_WRITE, pipe_ends[1], place + 256, strlen(text)) != (long)strlen(text))
		die("write");
	compat(I386_CLOSE, -1, 0, 0);
	printf("{\"pid\": %d, \"getppid\": 7, \"native_getppid\": 5, \"path\": \"%s\", \"bytes\": %zu}\n",
	       getpid(), path, strlen(text));
	return 0;
}
