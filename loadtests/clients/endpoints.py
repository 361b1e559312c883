"""The endpoints behind the router: HTTP/1.1 with files, WebSockets, and gRPC without a compiler of protocols.

    python endpoints.py HTTP_PORT WEBSOCKET_PORT GRPC_PORT
"""

import hashlib
import http.server
import sys
import threading
import time
from concurrent import futures

import grpc
from websockets.sync.server import serve


def blob(size):
    """Bytes that no compression makes small and everybody can make."""
    return hashlib.shake_128(b"gridrouter").digest(size)


class Files(http.server.BaseHTTPRequestHandler):
    """GET /files/N gives N bytes; anything sent to /files/digest is answered with its digest."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        self.answer(blob(int(self.path.rsplit("/", 1)[1])))

    def do_POST(self):
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        self.answer(digest.hexdigest().encode())

    do_PUT = do_POST

    def pieces(self):
        if self.headers.get("transfer-encoding") != "chunked":
            yield self.rfile.read(int(self.headers.get("content-length", 0)))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-spoken", self.request_version)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Takes as many connections at once as a proxy may open."""

    request_queue_size = 1024


def sockets(connection):
    """Sends everything back; `close CODE REASON` closes, and `headers NAME` tells a field of the opening request."""
    for message in connection:
        if isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            connection.close(int(code), reason)
        elif isinstance(message, str) and message.startswith("field "):
            connection.send(connection.request.headers.get(message.removeprefix("field "), ""))
        else:
            connection.send(message)


class Calls(grpc.GenericRpcHandler):
    """The service `drill.Calls`, whose messages are plain bytes, and the health service of gRPC."""

    def __init__(self):
        self.cancelled = threading.Semaphore(0)

    def service(self, details):
        service, method = details.method.lstrip("/").split("/")
        known = {
            "drill.Calls": {
                "Echo": grpc.unary_unary_rpc_method_handler(self.echo),
                "Metadata": grpc.unary_unary_rpc_method_handler(self.metadata),
                "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
                "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
                "Sleep": grpc.unary_unary_rpc_method_handler(self.sleep),
                "Count": grpc.unary_stream_rpc_method_handler(self.count),
                "Digest": grpc.stream_unary_rpc_method_handler(self.digest),
                "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
                "Endless": grpc.unary_stream_rpc_method_handler(self.endless),
                "Cancelled": grpc.unary_unary_rpc_method_handler(self.was_cancelled),
            },
            "drill.Limited": {"Echo": grpc.unary_unary_rpc_method_handler(self.echo)},
            # HealthCheckResponse{status: SERVING}
            "grpc.health.v1.Health": {"Check": grpc.unary_unary_rpc_method_handler(lambda _, __: b"\x08\x01")},
        }
        return known.get(service, {}).get(method)

    def echo(self, message, _):
        return message

    def metadata(self, _, context):
        """Sends back what it got: text as metadata ahead, bytes as trailing metadata."""
        got = dict(context.invocation_metadata())
        context.send_initial_metadata((("x-back", got.get("x-there", "")),))
        context.set_trailing_metadata((("x-back-bin", got.get("x-there-bin", b"")),))
        return got.get("user-agent", "").encode()

    def fail(self, message, context):
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x00details\xff"),))
        context.abort(list(grpc.StatusCode)[int(message)], "it is \u00fcber, 100 %")

    def fail_late(self, message, context):
        for number in range(int(message)):
            yield str(number).encode()
        context.abort(grpc.StatusCode.DATA_LOSS, "the rest is gone")

    def sleep(self, message, _):
        time.sleep(float(message))
        return b"awake"

    def count(self, message, _):
        for number in range(int(message)):
            yield str(number).encode()

    def digest(self, messages, _):
        digest = hashlib.sha256()
        for message in messages:
            digest.update(message)
        return digest.hexdigest().encode()

    def chat(self, messages, _):
        for message in messages:
            yield message

    def endless(self, _, context):
        context.add_callback(self.cancelled.release)
        while context.is_active():
            yield b"more"
            time.sleep(0.01)

    def was_cancelled(self, _, __):
        return b"yes" if self.cancelled.acquire(timeout=5) else b"no"


def main():
    http_port, websocket_port, grpc_port = map(int, sys.argv[1:])
    files = Server(("127.0.0.1", http_port), Files)
    threading.Thread(target=files.serve_forever, daemon=True).start()
    options = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    calls = grpc.server(futures.ThreadPoolExecutor(16), handlers=[Calls()], options=options)
    if not calls.add_insecure_port(f"127.0.0.1:{grpc_port}"):
        sys.exit("gRPC cannot listen")
    calls.start()
    with serve(sockets, "127.0.0.1", websocket_port, max_size=None) as server:
        print("ready", flush=True)
        server.serve_forever()


main()
