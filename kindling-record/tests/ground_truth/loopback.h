// A TCP connection of a program with itself.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct loopback {
	int listener, client, server;
};

static inline struct loopback connect_loopback(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	struct loopback tcp = {
		.listener = socket(AF_INET, SOCK_STREAM, 0),
		.client = socket(AF_INET, SOCK_STREAM, 0),
	};

	if (bind(tcp.listener, (struct sockaddr *)&address, length) < 0 || listen(tcp.listener, 1) < 0 ||
	    getsockname(tcp.listener, (struct sockaddr *)&address, &length) < 0 ||
	    connect(tcp.client, (struct sockaddr *)&address, length) < 0)
		die("tcp");
	tcp.server = accept(tcp.listener, NULL, NULL);
	if (tcp.server < 0)
		die("accept");
	return tcp;
}
