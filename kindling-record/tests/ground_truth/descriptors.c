// Comes to descriptors in each way that there is, and moves a number of bytes through each that nothing else moves.
//
//   descriptors DIRECTORY
//
// Prints {"ways": [{"way", "pid", "bytes", "path", "same"}]}: `path` is how the file's ends, where it has one, and `same`
// the way by which the same open file was come to first. The program executes itself once in between.

#include "truth.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

static char said[8192];
static int bytes = 1001;

static int must(int result, const char *what)
{
	if (result < 0)
		die(what);
	return result;
}

// One more byte than the way before, in one write.
static void through(int fd, const char *way, const char *path, const char *same)
{
	static const char room[2000];
	size_t len = strlen(said);

	if (syscall(SYS_write, fd, room, bytes) != bytes)
		die(way);
	snprintf(said + len, sizeof(said) - len,
		 "%s{\"way\": \"%s\", \"pid\": %d, \"bytes\": %d, \"path\": \"%s\", \"same\": \"%s\"}",
		 len ? ", " : "", way, getpid(), bytes, path, same);
	bytes++;
}

static int open_file(const char *name)
{
	return must(open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), name);
}

// Sends a descriptor to itself.
static int by_message(int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(fd))] = { 0 };
	struct iovec piece = { &byte, 1 };
	struct msghdr message = { .msg_iov = &piece,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	int ends[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	must(sendmsg(ends[0], &message, 0), "sendmsg");
	must(recvmsg(ends[1], &message, 0), "recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

// Both ends of a connection, if there is IPv6 here; `path` is the server's port.
static void over_ipv6(void)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char port[8];

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) || listen(listener, 1)) {
		close(listener);
		return;
	}
	must(getsockname(listener, (struct sockaddr *)&address, &len), "getsockname");
	snprintf(port, sizeof(port), "%d", ntohs(address.sin6_port));
	int client = must(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	must(connect(client, (struct sockaddr *)&address, len), "connect");
	through(client, "connect", port, "");
	through(must(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept4"), "accept4", port, "");
}

static void first_program(char *self)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = { O_WRONLY | O_CREAT, 0600, 0 };
	char so_far[16];
	int ends[2], fd, other, status;

	fd = open_file("opened");
	through(fd, "open", "/opened", "");
	through(must(syscall(SYS_openat2, AT_FDCWD, "opened2", &how, sizeof(how)), "openat2"), "openat2", "/opened2", "");
	through(must(dup(fd), "dup"), "dup", "/opened", "open");
	through(must(dup2(fd, 90), "dup2"), "dup2", "/opened", "open");
	through(must(dup3(fd, 91, O_CLOEXEC), "dup3"), "dup3", "/opened", "open");
	through(must(fcntl(fd, F_DUPFD_CLOEXEC, 92), "fcntl"), "fcntl", "/opened", "open");
	through(by_message(fd), "SCM_RIGHTS", "/opened", "open");
	other = must(syscall(SYS_pidfd_open, getpid(), 0), "pidfd_open");
	through(must(syscall(SYS_pidfd_getfd, other, fd, 0), "pidfd_getfd"), "pidfd_getfd", "/opened", "open");

	// Descriptors that were closed without anybody saying so, and now are others.
	other = open_file("replaced");
	through(other, "open another", "/replaced", "");
	must(dup2(fd, other), "dup2");
	through(other, "dup2 over it", "/opened", "open");
	must(syscall(SYS_close_range, other, other, 0), "close_range");
	through(must(dup2(open_file("after"), other), "dup2"), "after close_range", "/after", "");

	must(pipe2(ends, O_CLOEXEC), "pipe2");
	through(ends[1], "pipe2", "", "");
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
	through(ends[1], "socketpair", "", "");
	through(ends[0], "its other end", "", "");
	over_ipv6();
	through(must(memfd_create("in-memory", MFD_CLOEXEC), "memfd_create"), "memfd_create", "in-memory", "");

	// A child has what its parent has.
	pid_t child = must(fork(), "fork");
	size_t len = strlen(said);
	if (child == 0) {
		through(fd, "fork", "/opened", "open");
		must(open("said", O_WRONLY | O_CREAT | O_TRUNC, 0600), "said");
		FILE *file = fopen("said", "w");
		fputs(said + len, file);
		exit(fclose(file));
	}
	must(waitpid(child, &status, 0), "waitpid");
	FILE *file = fopen("said", "r");
	if (!file || !fgets(said + len, sizeof(said) - len, file))
		die("said");
	fclose(file);
	bytes++;

	// What is not closed by exec is the same afterwards.
	must(dup2(fd, 80), "dup2");
	snprintf(so_far, sizeof(so_far), "%d", bytes);
	execl(self, self, ".", so_far, said, (char *)NULL);
	die("execl");
}

int main(int argc, char **argv)
{
	if (argc < 2)
		die("usage");
	must(chdir(argv[1]), "chdir");
	if (argc < 4)
		first_program("/proc/self/exe");
	bytes = atoi(argv[2]);
	strcpy(said, argv[3]);
	through(80, "exec", "/opened", "open");
	// It has the number of one that exec closed.
	through(open_file("opened-later"), "open after exec", "/opened-later", "");
	printf("{\"ways\": [%s]}\n", said);
	return 0;
}
