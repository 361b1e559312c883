"""grpcio through the router, in clear and with TLS: every kind of call, and what ends one.

    python grpc_client.py CLEAR_PORT TLS_PORT HOST CERTIFICATE
"""

import hashlib
import sys
import threading
import time

import grpc

from checks import check, run

clear, tls, host, certificate = sys.argv[1:]
LARGE = 8 * 1024 * 1024


def channel(secure):
    options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
    if not secure:
        return grpc.insecure_channel(f"127.0.0.1:{clear}", [*options, ("grpc.default_authority", host)])
    with open(certificate, "rb") as file:
        trusting = grpc.ssl_channel_credentials(file.read())
    return grpc.secure_channel(f"127.0.0.1:{tls}", trusting, [*options, ("grpc.ssl_target_name_override", host)])


def blob(size):
    return hashlib.shake_128(b"gridrouter").digest(size)


def error_of(call):
    """The error that a call ends with; reads all of it where it is a stream."""
    try:
        answer = call()
        got = list(answer) if hasattr(answer, "__iter__") and not isinstance(answer, bytes) else answer
        return None, got
    except grpc.RpcError as error:
        return error, None


def each_way(part):
    """The part over both ways, with a word for it."""

    def both():
        for secure, way in ((False, "in clear"), (True, "with TLS")):
            with channel(secure) as open_channel:
                part(open_channel, way)

    both.__name__ = part.__name__
    return both


@each_way
def unary_calls(on, way):
    echo = on.unary_unary("/drill.Calls/Echo")
    for size in (0, 5, 70_000, LARGE):
        got = echo(blob(size), timeout=20)
        check(f"a message of {size} bytes comes back, {way}", got == blob(size), len(got))
    packed = echo(b"a" * 100_000, timeout=10, compression=grpc.Compression.Gzip)
    check(f"a compressed message comes back, {way}", packed == b"a" * 100_000, len(packed))
    calls = [echo.future(str(number).encode(), timeout=20) for number in range(300)]
    wrong = [number for number, call in enumerate(calls) if call.result() != str(number).encode()]
    check(f"300 calls at a time are answered, {way}", not wrong, f"wrong: {wrong}")


@each_way
def streams(on, way):
    wanted = [str(number).encode() for number in range(2_000)]
    got = list(on.unary_stream("/drill.Calls/Count")(b"2000", timeout=20))
    check(f"a server's stream of 2000 messages is whole, {way}", got == wanted, len(got))
    got = on.stream_unary("/drill.Calls/Digest")((blob(10_000) for _ in range(1_000)), timeout=20)
    digest = hashlib.sha256(blob(10_000) * 1_000).hexdigest().encode()
    check(f"a client's stream of 1000 messages of 10 kB is whole, {way}", got == digest, got)
    got = list(on.stream_stream("/drill.Calls/Chat")(iter(wanted), timeout=20))
    check(f"2000 messages go both ways at once, {way}", got == wanted, len(got))
    # In turns: each message is sent only when the last has come back.
    turn, rounds, got = threading.Semaphore(1), 200, 0

    def in_turns():
        for number in range(rounds):
            turn.acquire(timeout=10)
            yield str(number).encode()

    for number, message in enumerate(on.stream_stream("/drill.Calls/Chat")(in_turns(), timeout=20)):
        got += message == str(number).encode()
        turn.release()
    check(f"{rounds} messages go there and back in turns, {way}", got == rounds, got)


@each_way
def metadata_and_trailers(on, way):
    there = (("x-there", "text"), ("x-there-bin", b"\x00\xff"))
    answer, call = on.unary_unary("/drill.Calls/Metadata").with_call(b"", metadata=there, timeout=10)
    initial, trailing = dict(call.initial_metadata()), dict(call.trailing_metadata())
    check(f"metadata goes there and back, {way}", initial.get("x-back") == "text", initial)
    check(f"bytes go there and back in trailers, {way}", trailing.get("x-back-bin") == b"\x00\xff", trailing)
    check(f"the server sees the client's name, {way}", answer.startswith(b"grpc-python/"), answer)


@each_way
def errors(on, way):
    fail = on.unary_unary("/drill.Calls/Fail")
    for number, code in enumerate(grpc.StatusCode):
        if code is grpc.StatusCode.OK:
            continue
        error, _ = error_of(lambda number=number: fail(str(number).encode(), timeout=10))
        details = error and dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        seen = error and (error.code(), error.details(), details)
        wanted = (code, "it is \u00fcber, 100 %", b"\x00details\xff")
        check(f"{code.name} arrives with its message and details, {way}", seen == wanted, seen)
    error, _ = error_of(lambda: on.unary_unary("/drill.Calls/Nothing")(b"", timeout=10))
    code = error and error.code()
    check(f"a method that is not there is UNIMPLEMENTED, {way}", code is grpc.StatusCode.UNIMPLEMENTED, code)
    got, call = [], on.unary_stream("/drill.Calls/FailLate")(b"50", timeout=10)
    try:
        for message in call:
            got.append(message)
    except grpc.RpcError:
        pass
    seen, wanted = (len(got), call.code(), call.details()), (50, grpc.StatusCode.DATA_LOSS, "the rest is gone")
    check(f"an error behind 50 messages arrives, {way}", seen == wanted, seen)


@each_way
def deadlines_and_cancellation(on, way):
    begun = time.monotonic()
    error, _ = error_of(lambda: on.unary_unary("/drill.Calls/Sleep")(b"3", timeout=0.3))
    took = time.monotonic() - begun
    good = error and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and took < 2.5
    check(f"a deadline ends a call, {way}", good, f"{error and error.code()} after {took:.2f} s")
    call = on.unary_stream("/drill.Calls/Endless")(b"", timeout=20)
    first = [next(call), next(call)]
    call.cancel()
    cancelled = on.unary_unary("/drill.Calls/Cancelled")(b"", timeout=10)
    good = (first, cancelled) == ([b"more"] * 2, b"yes")
    check(f"the server hears of a call that is cancelled, {way}", good, cancelled)
    got = on.unary_unary("/drill.Calls/Echo")(b"still", timeout=10)
    check(f"the connection goes on after that, {way}", got == b"still", got)


@each_way
def health(on, way):
    # HealthCheckRequest{}, and HealthCheckResponse{status: SERVING}.
    got = on.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10)
    check(f"the server's health is seen through the router, {way}", got == b"\x08\x01", got)


@each_way
def what_the_router_says(on, way):
    limited = on.unary_unary("/drill.Limited/Echo")
    errors = [error_of(lambda: limited(b"", timeout=10))[0] for _ in range(5)]
    codes = [error.code().name if error else "OK" for error in errors]
    check(f"a limit refuses with RESOURCE_EXHAUSTED, {way}", set(codes[1:]) == {"RESOURCE_EXHAUSTED"}, codes)
    error, _ = error_of(lambda: on.unary_unary("/nobody.Knows/This")(b"", timeout=10))
    code = error and error.code()
    check(f"no route is UNIMPLEMENTED, {way}", code is grpc.StatusCode.UNIMPLEMENTED, code)


run(unary_calls, streams, metadata_and_trailers, errors, deadlines_and_cancellation, health, what_the_router_says)
