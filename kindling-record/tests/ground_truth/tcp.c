// TCP connections whose fate is known, over loopback.
//
//   tcp GOOD REFUSED RESET MILLISECONDS
//
// GOOD connections carry 1000 bytes to the server, which answers 10, and are closed by the client
// first; REFUSED go to a port where nobody listens, without blocking; RESET are closed by the client
// with bytes that it has not read. One connection lasts MILLISECONDS, if that is not 0: every five of them the
// client sends a byte, which nobody reads. Then one is tried for 1.5 s at a listener whose queue is full, so that
// its SYN is sent again.

#include "truth.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

enum { REQUEST_BYTES = 1000, ANSWER_BYTES = 10 };

static struct sockaddr_in local(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				     .sin_port = htons((uint16_t)port) };
}

static int port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t length = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		die("getsockname");
	return ntohs(address.sin_port);
}

static unsigned long long cookie_of(int fd)
{
	unsigned long long cookie = 0;
	socklen_t length = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0)
		die("SO_COOKIE");
	return cookie;
}

static int new_socket(int flags)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

static int listener(int backlog)
{
	struct sockaddr_in address = local(0);
	int fd = new_socket(0);

	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, backlog) < 0)
		die("listen");
	return fd;
}

static void expect(long found, long wanted, const char *what)
{
	if (found != wanted)
		die(what);
}

static int connect_to(int server, int *accepted)
{
	struct sockaddr_in address = local(port_of(server));
	int fd = new_socket(0);

	expect(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0, "connect");
	*accepted = accept(server, NULL, NULL);
	if (*accepted < 0)
		die("accept");
	return fd;
}

static void good(int server)
{
	static char bytes[REQUEST_BYTES];
	int accepted, fd = connect_to(server, &accepted);

	expect(send(fd, bytes, REQUEST_BYTES, 0), REQUEST_BYTES, "send");
	expect(recv(accepted, bytes, REQUEST_BYTES, MSG_WAITALL), REQUEST_BYTES, "recv");
	expect(send(accepted, bytes, ANSWER_BYTES, 0), ANSWER_BYTES, "send");
	expect(recv(fd, bytes, ANSWER_BYTES, MSG_WAITALL), ANSWER_BYTES, "recv");
	printf("%llu, ", cookie_of(fd));
	close(fd);
	expect(recv(accepted, bytes, 1, 0), 0, "the end");
	close(accepted);
}

static void refused(void)
{
	int free_port = listener(1);
	struct sockaddr_in address = local(port_of(free_port));
	int fd = new_socket(SOCK_NONBLOCK), error = 0;
	socklen_t length = sizeof(error);
	struct pollfd ready = { .fd = fd, .events = POLLOUT };

	close(free_port);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		die("a connection that should be refused");
	expect(poll(&ready, 1, 1000), 1, "poll");
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	expect(error, ECONNREFUSED, "the error");
	printf("%llu, ", cookie_of(fd));
	close(fd);
}

static void reset(int server)
{
	char byte = 0;
	int accepted, fd = connect_to(server, &accepted);

	expect(send(accepted, &byte, 1, 0), 1, "send");
	expect(recv(fd, &byte, 1, MSG_PEEK), 1, "peek");
	printf("%llu, ", cookie_of(fd));
	// It has not read everything: it resets instead of closing.
	close(fd);
	expect(recv(accepted, &byte, 1, 0), -1, "recv after a reset");
	expect(errno, ECONNRESET, "the error");
	close(accepted);
}

static void lasting(int server, long ms)
{
	char byte = 0;
	int accepted, fd;
	long sent = 0;

	if (!ms) {
		printf("{}");
		return;
	}
	fd = connect_to(server, &accepted);
	for (; sent < ms / 5; sent++) {
		expect(send(fd, &byte, 1, 0), 1, "send");
		poll(NULL, 0, 5);
	}
	printf("{\"client\": %llu, \"server\": %llu, \"sent\": %ld}", cookie_of(fd), cookie_of(accepted), sent);
	close(accepted);
	close(fd);
}

static void unanswered(void)
{
	int full = listener(0), fds[8];
	struct sockaddr_in address = local(port_of(full));
	struct tcp_info info = { 0 };
	socklen_t length = sizeof(info);

	for (int i = 0; i < 8; i++) {
		fds[i] = new_socket(SOCK_NONBLOCK);
		connect(fds[i], (struct sockaddr *)&address, sizeof(address));
	}
	poll(NULL, 0, 1500);
	if (getsockopt(fds[7], IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
		die("TCP_INFO");
	printf("{\"cookie\": %llu, \"retransmits\": %u}", cookie_of(fds[7]),
	       info.tcpi_total_retrans);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	close(full);
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: tcp GOOD REFUSED RESET MILLISECONDS\n");
		return 2;
	}
	buffer_output();
	int server = listener(16);
	printf("{\"port\": %d, \"good\": [", port_of(server));
	for (int i = 0; i < atoi(argv[1]); i++)
		good(server);
	printf("0], \"refused\": [");
	for (int i = 0; i < atoi(argv[2]); i++)
		refused();
	printf("0], \"reset\": [");
	for (int i = 0; i < atoi(argv[3]); i++)
		reset(server);
	printf("0], \"lasting\": ");
	lasting(server, atol(argv[4]));
	printf(", \"unanswered\": ");
	unanswered();
	printf("}\n");
	return 0;
}
