"""curl, nghttp and h2load through the router: every version of HTTP that it speaks, both ways.

    python http_clients.py CLEAR_PORT TLS_PORT HOST CERTIFICATE DIRECTORY
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

from checks import check, run

clear, tls, host, certificate, directory = sys.argv[1:]
directory = Path(directory)
SIZE = 6 * 1024 * 1024


def blob(size):
    return hashlib.shake_128(b"gridrouter").digest(size)


def sha(data):
    return hashlib.sha256(data).hexdigest()


# How each way is asked for, and which version the answer then has.
WAYS = {
    "HTTP/1.1 in clear": (["--http1.1"], "http", clear, "1.1"),
    "HTTP/2 in clear by prior knowledge": (["--http2-prior-knowledge"], "http", clear, "2"),
    "HTTP/1.1 with TLS": (["--http1.1"], "https", tls, "1.1"),
    "HTTP/2 with TLS by ALPN": (["--http2"], "https", tls, "2"),
}


def command(way, path, *more):
    flags, scheme, port, _ = WAYS[way]
    fixed = ["curl", "--silent", "--show-error", "--max-time", "30", "--cacert", certificate, "--noproxy", "*"]
    return [*fixed, *flags, "--resolve", f"{host}:{port}:127.0.0.1", *more, f"{scheme}://{host}:{port}{path}"]


def curl(way, path, *more, **options):
    return subprocess.run(command(way, path, *more), capture_output=True, timeout=60, **options)


def each_way_of_curl():
    for way, (_, _, _, version) in WAYS.items():
        seen = curl(way, "/files/10", "--output", "/dev/null", "--write-out", "%{http_code} %{http_version}")
        check(f"curl gets a 200 by {way}", seen.stdout.decode() == f"200 {version}", seen.stdout + seen.stderr)


def downloads():
    for way in WAYS:
        seen = curl(way, f"/files/{SIZE}")
        check(f"curl downloads {SIZE} bytes by {way}", sha(seen.stdout) == sha(blob(SIZE)), f"{len(seen.stdout)} bytes")


def uploads():
    body = directory / "upload"
    body.write_bytes(blob(SIZE))
    for way in WAYS:
        for how, flags in {"with a length": [], "without one": ["--header", "transfer-encoding: chunked"]}.items():
            # Over HTTP/2 curl says no length of what it reads from its input.
            source = ["--upload-file", "-"] if how == "without one" else ["--data-binary", f"@{body}"]
            flags = flags if WAYS[way][3] == "1.1" else []
            with open(body, "rb") as stdin:
                seen = curl(way, "/files/digest", "--header", "expect:", *flags, *source, stdin=stdin)
            digest, said = seen.stdout.decode(), seen.stdout[:80] + seen.stderr
            check(f"curl uploads {SIZE} bytes {how} by {way}", digest == sha(blob(SIZE)), said)


def several_on_one_connection():
    for way in WAYS:
        if "prior knowledge" in way:
            continue  # curl 7.88 sends the preface again on a connection that it uses again, to every server
        seen = curl(way, "/files/[1-20]", "--output", "/dev/null", "--write-out", "%{num_connects} %{size_download} ")
        numbers = list(map(int, seen.stdout.split()))
        said = f"{numbers} {seen.stderr.decode()}"
        good = (sum(numbers[0::2]), numbers[1::2]) == (1, list(range(1, 21)))
        check(f"curl gets twenty answers over one connection by {way}", good, said)


def nghttp():
    command = ["nghttp", "--no-verify-peer", "--stat", "--null-out", "--header", f":authority: {host}"]
    command += [f"https://127.0.0.1:{tls}/files/{size}" for size in (1, 1000, 100_000, 1_000_000)]
    seen = subprocess.run(command, capture_output=True, timeout=60)
    rows = re.findall(rb"\s200\s+(\S+)\s+/files/", seen.stdout)
    check("nghttp gets four answers of different sizes", seen.returncode == 0 and len(rows) == 4, rows or seen.stderr)


def h2load():
    requests = {"small answers": ("/files/100", 2_000, []), "answers of 256 KiB": ("/files/262144", 200, [])}
    body = directory / "post"
    body.write_bytes(blob(64 * 1024))
    requests["bodies of 64 KiB"] = ("/files/digest", 300, ["--data", str(body)])
    for scheme, port in {"http": clear, "https": tls}.items():
        for what, (path, count, more) in requests.items():
            flags = ["-n", str(count), "-c", "4", "-m", "50", "--connect-to", f"127.0.0.1:{port}"]
            url = f"{scheme}://{host}{path}"
            seen = subprocess.run(["h2load", *flags, *more, url], capture_output=True, timeout=60).stdout.decode()
            line = next((line for line in seen.splitlines() if line.startswith("requests:")), seen)
            good = f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in line
            check(f"h2load sends {count} requests with {what} by 200 streams over {scheme}, and none fails", good, line)


run(each_way_of_curl, downloads, uploads, several_on_one_connection, nghttp, h2load)
