// The demo's client: threads that call an HTTP server and a Redis server in turn, compute, contend
// for a lock, sleep and log. The number of requests is fixed by the arguments, and printed at the
// end as JSON on stdout.
//
//   client HTTP_PORT REDIS_PORT THREADS ROUNDS
//
// In each round a thread sends one GET over its own HTTP/1.1 keep-alive connection (every 8th round
// for the big file) and one Redis command over its own connection: SET, GET and INCR in turn, and in
// every 16th round a Lua script that keeps Redis on the CPU, so that the other clients queue behind.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

enum { BIG_EVERY = 8, SCRIPT_EVERY = 16, LOCK_EVERY = 4, LOG_EVERY = 4 };

struct totals {
	long http_requests;
	long http_failures;
	long http_body_bytes;
	long redis_requests;
	long redis_failures;
};

struct connection {
	int fd;
	char buffer[64 * 1024];
	size_t start;
	size_t end;
};

struct worker {
	pthread_t thread;
	int number;
	struct connection http;
	struct connection redis;
	struct totals totals;
};

static int http_port, redis_port, rounds;
static pthread_mutex_t catalogue_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t catalogue[64];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

// ---- connections -------------------------------------------------------------------------------

static void open_connection(struct connection *c, int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("client: socket");
	if (connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("client: connect");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->start = c->end = 0;
}

static void send_request(struct connection *c, const char *format, ...)
{
	char request[1024];
	va_list args;

	va_start(args, format);
	int length = vsnprintf(request, sizeof(request), format, args);
	va_end(args);
	if (send(c->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
		die("client: send");
}

static void receive_more(struct connection *c)
{
	if (c->start == c->end)
		c->start = c->end = 0;
	if (c->end == sizeof(c->buffer)) {
		memmove(c->buffer, c->buffer + c->start, c->end - c->start);
		c->end -= c->start;
		c->start = 0;
	}
	ssize_t got = recv(c->fd, c->buffer + c->end, sizeof(c->buffer) - c->end, 0);
	if (got <= 0)
		die("client: recv");
	c->end += (size_t)got;
}

// The next line without its CRLF, terminated by a zero; valid until the next call.
static char *read_line(struct connection *c)
{
	for (;;) {
		char *line = c->buffer + c->start;
		char *crlf = memmem(line, c->end - c->start, "\r\n", 2);
		if (crlf) {
			*crlf = 0;
			c->start = (size_t)(crlf + 2 - c->buffer);
			return line;
		}
		receive_more(c);
	}
}

static void skip_bytes(struct connection *c, size_t count)
{
	while (count) {
		if (c->start == c->end)
			receive_more(c);
		size_t here = c->end - c->start < count ? c->end - c->start : count;
		c->start += here;
		count -= here;
	}
}

// ---- protocols ---------------------------------------------------------------------------------

static NOINLINE void fetch_page(struct worker *w, const char *path)
{
	struct connection *c = &w->http;
	size_t body_bytes = 0;

	send_request(c, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: kindling-demo\r\n\r\n",
		     path, http_port);
	w->totals.http_requests++;
	if (!strstr(read_line(c), " 200 "))
		w->totals.http_failures++;
	for (char *line = read_line(c); *line; line = read_line(c)) {
		if (!strncasecmp(line, "content-length:", 15))
			body_bytes = strtoul(line + 15, NULL, 10);
	}
	skip_bytes(c, body_bytes);
	w->totals.http_body_bytes += (long)body_bytes;
}

static void read_reply(struct worker *w)
{
	char *line = read_line(&w->redis);

	w->totals.redis_requests++;
	if (line[0] == '-')
		w->totals.redis_failures++;
	if (line[0] == '$' && line[1] != '-')
		skip_bytes(&w->redis, strtoul(line + 1, NULL, 10) + 2);
}

static NOINLINE void use_cache(struct worker *w, int round)
{
	struct connection *c = &w->redis;
	char key[32], value[32];

	int key_length = snprintf(key, sizeof(key), "item:%d:%d", w->number, round / 3);
	int value_length = snprintf(value, sizeof(value), "value of round %d", round);
	if (round % 3 == 0)
		send_request(c, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", key_length, key,
			     value_length, value);
	else if (round % 3 == 1)
		send_request(c, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", key_length, key);
	else
		send_request(c, "*2\r\n$4\r\nINCR\r\n$6\r\nvisits\r\n");
	read_reply(w);
}

// A few milliseconds of Redis's one thread.
static NOINLINE void run_script(struct worker *w)
{
	static const char script[] =
		"local s = 0 for i = 1, tonumber(ARGV[1]) do s = s + i % 7 end return s";

	send_request(&w->redis, "*4\r\n$4\r\nEVAL\r\n$%zu\r\n%s\r\n$1\r\n0\r\n$6\r\n300000\r\n",
		     sizeof(script) - 1, script);
	read_reply(w);
}

// ---- work --------------------------------------------------------------------------------------

static NOINLINE uint64_t mix(uint64_t value, int steps)
{
	for (int i = 0; i < steps; i++) {
		value ^= value >> 33;
		value *= 0xff51afd7ed558ccdULL;
	}
	return value;
}

static NOINLINE uint64_t price_basket(uint64_t seed)
{
	return mix(seed, 300000);
}

static NOINLINE uint64_t render_page(uint64_t seed)
{
	return mix(seed, 600000);
}

// Holds the lock over work and a sleep, so that the other threads wait for it.
static NOINLINE void update_catalogue(struct worker *w, uint64_t value)
{
	struct timespec pause = { .tv_nsec = 500 * 1000 };

	pthread_mutex_lock(&catalogue_lock);
	catalogue[(unsigned)w->number % 64] += price_basket(value);
	nanosleep(&pause, NULL);
	pthread_mutex_unlock(&catalogue_lock);
}

static void *serve_customers(void *argument)
{
	struct worker *w = argument;
	struct timespec pause = { .tv_nsec = 1000 * 1000 };
	uint64_t value = (uint64_t)w->number;
	char name[16];

	snprintf(name, sizeof(name), "customer-%d", w->number);
	pthread_setname_np(pthread_self(), name);
	open_connection(&w->http, http_port);
	open_connection(&w->redis, redis_port);
	for (int round = 0; round < rounds; round++) {
		// Threads take turns with the slow kinds of round.
		int turn = round + w->number;
		fetch_page(w, turn % BIG_EVERY == BIG_EVERY - 1 ? "/report.txt" : "/index.txt");
		value = render_page(value);
		if (turn % SCRIPT_EVERY == SCRIPT_EVERY - 1)
			run_script(w);
		else
			use_cache(w, round);
		if (turn % LOCK_EVERY == 0)
			update_catalogue(w, value);
		if (turn % LOG_EVERY == 1)
			dprintf(STDERR_FILENO, "%s: round %d served, %ld bytes so far\n", name,
				round, w->totals.http_body_bytes);
		nanosleep(&pause, NULL);
	}
	close(w->http.fd);
	close(w->redis.fd);
	return NULL;
}

int main(int argc, char **argv)
{
	struct totals sum = { 0 };

	if (argc != 5) {
		fprintf(stderr, "usage: client HTTP_PORT REDIS_PORT THREADS ROUNDS\n");
		return 2;
	}
	http_port = atoi(argv[1]);
	redis_port = atoi(argv[2]);
	int threads = atoi(argv[3]);
	rounds = atoi(argv[4]);
	if (threads < 1 || rounds < 0) {
		fprintf(stderr, "client: at least one thread and no negative rounds\n");
		return 2;
	}

	struct worker *workers = calloc((size_t)threads, sizeof(*workers));
	if (!workers)
		die("client: calloc");
	for (int i = 0; i < threads; i++) {
		workers[i].number = i;
		if (pthread_create(&workers[i].thread, NULL, serve_customers, &workers[i]))
			die("client: pthread_create");
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		sum.http_requests += workers[i].totals.http_requests;
		sum.http_failures += workers[i].totals.http_failures;
		sum.http_body_bytes += workers[i].totals.http_body_bytes;
		sum.redis_requests += workers[i].totals.redis_requests;
		sum.redis_failures += workers[i].totals.redis_failures;
	}
	printf("{\"http_requests\": %ld, \"http_failures\": %ld, \"http_body_bytes\": %ld, "
	       "\"redis_requests\": %ld, \"redis_failures\": %ld}\n",
	       sum.http_requests, sum.http_failures, sum.http_body_bytes, sum.redis_requests,
	       sum.redis_failures);
	free(workers);
	return sum.http_failures || sum.redis_failures;
}
