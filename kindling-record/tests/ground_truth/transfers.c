// Bytes that move in other ways than by read and write.
//
//   transfers DIRECTORY
//
// In the DIRECTORY it makes `in` (300 bytes), `out`, `app.log` and `app.txt`. 3 datagrams of 10, 20
// and 30 bytes go by sendmmsg and come by recvmmsg; 100 bytes go from `in` to a socket by sendfile,
// 100 to a pipe by splice, are doubled by tee, and 100 go from `in` to `out` by copy_file_range. A line
// goes to `app.log`, the same to `app.txt`.

#define _GNU_SOURCE
#include "truth.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { MESSAGES = 3, PART = 100 };

static void expect(long found, long wanted, const char *what)
{
	if (found != wanted)
		die(what);
}

static int udp(struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (fd < 0 || bind(fd, (struct sockaddr *)address, length) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, &length) < 0)
		die("a UDP socket");
	return fd;
}

static void fill(struct mmsghdr *headers, struct iovec *parts, char bytes[MESSAGES][64])
{
	memset(headers, 0, MESSAGES * sizeof(*headers));
	for (int i = 0; i < MESSAGES; i++) {
		parts[i] = (struct iovec){ .iov_base = bytes[i], .iov_len = 10 * (size_t)(i + 1) };
		headers[i].msg_hdr.msg_iov = &parts[i];
		headers[i].msg_hdr.msg_iovlen = 1;
	}
}

static void datagrams(void)
{
	char bytes[MESSAGES][64], back[MESSAGES][64];
	struct mmsghdr headers[MESSAGES];
	struct iovec parts[MESSAGES];
	struct sockaddr_in to, from;
	int server = udp(&to), client = udp(&from);

	for (int i = 0; i < MESSAGES; i++)
		memset(bytes[i], 'a' + i, sizeof(bytes[i]));
	expect(connect(client, (struct sockaddr *)&to, sizeof(to)), 0, "connect");
	fill(headers, parts, bytes);
	expect(sendmmsg(client, headers, MESSAGES, 0), MESSAGES, "sendmmsg");
	fill(headers, parts, back);
	expect(recvmmsg(server, headers, MESSAGES, MSG_WAITALL, NULL), MESSAGES, "recvmmsg");
}

static int file(const char *directory, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	return fd;
}

static void moves(const char *directory)
{
	char bytes[3 * PART] = { 0 };
	int in = file(directory, "in"), out = file(directory, "out");
	int sockets[2], pipes[2], others[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0 ||
	    pipe2(pipes, O_CLOEXEC) < 0 || pipe2(others, O_CLOEXEC) < 0)
		die("sockets and pipes");
	expect(write(in, bytes, sizeof(bytes)), sizeof(bytes), "write");
	expect(lseek(in, 0, SEEK_SET), 0, "lseek");
	expect(sendfile(sockets[0], in, NULL, PART), PART, "sendfile");
	expect(splice(in, NULL, pipes[1], NULL, PART, 0), PART, "splice");
	expect(tee(pipes[0], others[1], PART, 0), PART, "tee");
	expect(copy_file_range(in, NULL, out, NULL, PART, 0), PART, "copy_file_range");
}

int main(int argc, char **argv)
{
	const char line[] = "something happened\n";
	const long length = sizeof(line) - 1;

	if (argc != 2) {
		fprintf(stderr, "usage: transfers DIRECTORY\n");
		return 2;
	}
	buffer_output();
	datagrams();
	moves(argv[1]);
	expect(write(file(argv[1], "app.log"), line, (size_t)length), length, "the log");
	expect(write(file(argv[1], "app.txt"), line, (size_t)length), length, "the text");
	printf("{\"pid\": %d}\n", getpid());
	return 0;
}
