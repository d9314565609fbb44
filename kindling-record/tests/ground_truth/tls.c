/*
 * Calls functions with the names of OpenSSL's that encrypt for a child: what a session gives to and
 * gets from its socket is known to the byte, and so is every call that a library may make in between.
 *
 * Usage: tls. Prints {"pid", "sent": [one size per call that moved bytes], "received": [...]}.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "truth.h"

#define KEY 0x55
#define MUST(what)                                                                                 \
	do {                                                                                       \
		if (!(what))                                                                       \
			die(#what);                                                                \
	} while (0)

struct session {
	int fd;
	char kept[64]; /* received and not given yet */
	size_t have;
};

static void turn(char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] ^= KEY;
}

/* Never inlined: a call is to be a call. */
#define LIBRARY __attribute__((noinline, used))

LIBRARY int SSL_write(struct session *session, const void *bytes, int count)
{
	char out[8192];

	if (count <= 0 || count > (int)sizeof(out))
		return -1;
	memcpy(out, bytes, count);
	turn(out, count);
	return write(session->fd, out, count);
}

LIBRARY int SSL_write_ex(struct session *session, const void *bytes, size_t count, size_t *written)
{
	int done = SSL_write(session, bytes, count);

	*written = done > 0 ? done : 0;
	return done > 0;
}

/* Takes all that there is from the socket, and gives what is asked for. */
LIBRARY int SSL_read(struct session *session, void *bytes, int count)
{
	if (!session->have) {
		ssize_t got = read(session->fd, session->kept, sizeof(session->kept));

		if (got <= 0)
			return -1;
		turn(session->kept, got);
		session->have = got;
	}
	if ((size_t)count > session->have)
		count = session->have;
	memcpy(bytes, session->kept, count);
	session->have -= count;
	memmove(session->kept, session->kept + count, session->have);
	return count;
}

static jmp_buf away;

LIBRARY int SSL_read_ex(struct session *session, void *bytes, size_t count, size_t *got)
{
	int done;

	if (!count)
		longjmp(away, 1);
	done = SSL_read(session, bytes, count);
	*got = done > 0 ? done : 0;
	return done > 0;
}

LIBRARY int SSL_do_handshake(struct session *session)
{
	char hello = 'h';

	return write(session->fd, &hello, 1) == 1 && read(session->fd, &hello, 1) == 1 ? 1 : -1;
}

LIBRARY void SSL_free(struct session *session)
{
	close(session->fd);
}

/* Sends back what comes, after one byte for the handshake as well. */
static void echo(int fd)
{
	char bytes[8192];
	ssize_t got;

	while ((got = read(fd, bytes, sizeof(bytes))) > 0)
		MUST(write(fd, bytes, got) == got);
	_exit(0);
}

int main(void)
{
	struct session session = {};
	char bytes[8192], back[8192];
	size_t count;
	int ends[2];

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	if (fork() == 0) {
		close(ends[0]);
		echo(ends[1]);
	}
	close(ends[1]);
	session.fd = ends[0];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = 'a' + i % 26;
	MUST(SSL_do_handshake(&session) == 1);
	/* Nothing is moved by a call that fails, nor by one that is left in the middle. */
	MUST(SSL_write(&session, bytes, -1) == -1);
	if (!setjmp(away))
		SSL_read_ex(&session, back, 0, &count);
	MUST(SSL_write(&session, bytes, 10) == 10);
	/* The second read is answered without the socket. */
	MUST(SSL_read(&session, back, 4) == 4);
	MUST(SSL_read(&session, back, 10) == 6);
	/* A call within a call is one. */
	MUST(SSL_write_ex(&session, bytes, 20, &count) == 1 && count == 20);
	MUST(SSL_read_ex(&session, back, 20, &count) == 1 && count == 20);
	/* Larger than any limit of payload bytes. */
	MUST(SSL_write(&session, bytes, sizeof(bytes)) == sizeof(bytes));
	for (count = sizeof(bytes); count;) {
		int got = SSL_read(&session, back, sizeof(back));

		MUST(got > 0);
		count -= got;
	}
	SSL_free(&session);
	wait(NULL);
	printf("{\"pid\": %d}\n", getpid());
	return 0;
}
