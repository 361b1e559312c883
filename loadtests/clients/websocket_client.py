"""The library `websockets` through the router, in clear and with TLS.

    python websocket_client.py CLEAR_PORT TLS_PORT HOST CERTIFICATE
"""

import hashlib
import socket
import ssl
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from checks import check, run

clear, tls, host, certificate = sys.argv[1:]
trusting = ssl.create_default_context(cafile=certificate)


def opened(secure, path="/sockets/drill", **more):
    sock = socket.create_connection(("127.0.0.1", int(tls if secure else clear)), timeout=10)
    more |= {"ssl": trusting} if secure else {}
    scheme = "wss" if secure else "ws"
    return connect(f"{scheme}://{host}{path}", sock=sock, proxy=None, max_size=None, **more)


def messages():
    blob = hashlib.shake_128(b"gridrouter").digest(1024 * 1024)
    for secure in (False, True):
        way = "with TLS" if secure else "in clear"
        for compression in ("deflate", None):
            packed = "compressed" if compression else "as they are"
            with opened(secure, compression=compression) as connection:
                for what, message in {
                    "a text": "h\u00e9llo",
                    "no bytes at all": b"",
                    "1 MiB": blob,
                    "a text of 300 kB": "\u00e9" * 150_000,
                }.items():
                    connection.send(message)
                    got = connection.recv(timeout=10)
                    check(f"{what} comes back, {packed}, {way}", got == message, f"{len(got)} of {len(message)}")
                connection.send([b"in ", b"three ", b"pieces"])
                got = connection.recv(timeout=10)
                check(f"a message in pieces comes back, {packed}, {way}", got == b"in three pieces", got)
                for number in range(500):
                    connection.send(str(number))
                got = [connection.recv(timeout=10) for _ in range(500)]
                wanted = list(map(str, range(500)))
                check(f"500 messages come back in order, {packed}, {way}", got == wanted, len(got))


def pings():
    for secure in (False, True):
        with opened(secure) as connection:
            answered = connection.ping(b"here?").wait(10)
            check(f"a ping is answered, {'with TLS' if secure else 'in clear'}", answered, answered)


def closing():
    for code, reason in ((1000, "done"), (1001, "bye"), (3042, "own code")):
        with opened(False) as connection:
            connection.send(f"close {code} {reason}")
            try:
                seen = connection.recv(timeout=10)
            except ConnectionClosed as closed:
                seen = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else "closed without a code"
            check(f"the endpoint's close with {code} reaches the client", seen == (code, reason), seen)
    with opened(True) as connection:
        connection.close(4001, "mine")
        seen = (connection.close_code, connection.close_reason)
        check("the client's close with 4001 is answered", seen == (4001, "mine"), seen)


def fields():
    with opened(True, additional_headers={"x-own": "kept"}, subprotocols=None) as connection:
        for name, wanted in (("x-own", "kept"), ("host", host), ("x-forwarded-proto", "https")):
            connection.send(f"field {name}")
            got = connection.recv(timeout=10)
            check(f"the endpoint sees {name}", got == wanted, got)


def refused():
    try:
        opened(False, "/nowhere").close()
        check("an opening on no route is refused", False, "opened")
    except InvalidStatus as error:
        check("an opening on no route is refused", error.response.status_code == 404, error.response.status_code)


run(messages, pings, closing, fields, refused)
