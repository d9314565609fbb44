"""A TLS server that sends back what it gets, and clients of it.

    tls.py serve DIR        prints its port; DIR has key.pem and cert.pem
    tls.py client PORT      sends blocks of known bytes, gets each back, in one connection
    tls.py memory PORT      the same by asyncio, which carries the encrypted bytes itself
    tls.py later PORT       connects and uses TLS when it gets a line
    tls.py between PORT     connects at once, and sends one block for each line

Block number i is made of the bytes (i + j) % 251.
"""

import socket
import sys
import threading

SIZES = [1, 100, 5000, 8000]


def block(number):
    return bytes((number + at) % 251 for at in range(SIZES[number % len(SIZES)]))


def serve(place):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{place}/cert.pem", f"{place}/key.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def echo(raw):
        with context.wrap_socket(raw, server_side=True) as connection:
            while data := connection.recv(8000):
                connection.sendall(data)

    while True:
        raw, _ = listener.accept()
        threading.Thread(target=echo, args=(raw,), daemon=True).start()


def context():
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(port):
    return context().wrap_socket(socket.create_connection(("127.0.0.1", port)))


def exchange(connection, number):
    data = block(number)
    connection.sendall(data)
    back = b""
    while len(back) < len(data):
        back += connection.recv(8000)
    assert back == data


def client(port):
    with connect(port) as connection:
        for number in range(len(SIZES)):
            exchange(connection, number)


def memory(port):
    import asyncio

    async def exchange_all():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context())
        for number in range(len(SIZES)):
            writer.write(block(number))
            assert await reader.readexactly(len(block(number))) == block(number)
        writer.close()

    asyncio.run(exchange_all())


def later(port):
    print("ready", flush=True)
    sys.stdin.readline()
    client(port)


def between(port):
    with connect(port) as connection:
        exchange(connection, 0)
        print("ready", flush=True)
        for number, _ in enumerate(sys.stdin, start=1):
            exchange(connection, number)
            print("done", flush=True)


what, argument = sys.argv[1:]
if what == "serve":
    serve(argument)
else:
    clients = {"client": client, "memory": memory, "later": later, "between": between}
    clients[what](int(argument))
