#!/usr/bin/env bash
# Seen with pyarrow 26.0.1 (25.0.1 does the same).
#
# One would have guessed: where AWS_ENDPOINT_URL, or AWS_ENDPOINT_URL_S3, names the S3 server to talk to, both ways to make
# an S3 file system talk to that server; or none of them does.
# What happens: FileSystem.from_uri("s3://bucket/key") talks to it (and shows it as its endpoint_override);
# S3FileSystem() with the same environment talks to AWS, with the credentials that were meant for the other server. A
# program that lists pictures by URI and writes them with a file system of its own reads from one store and writes to
# another.
#
# Nothing leaves the machine: the second is given a proxy on loopback, which notes whom it is asked for and refuses.
# Needs: bash, a Python 3 that pyarrow 26.0.1 supports, pip's usual source of packages. Exits 0 while it is so.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check install --quiet pyarrow==26.0.1
venv/bin/python -m pip --disable-pip-version-check freeze
cat >ask.py <<'PYTHON'
import os
import socket
import sys
import threading

server = socket.create_server(("127.0.0.1", 0))
host, port = server.getsockname()
asked = []


def answer():
    while True:
        client, _ = server.accept()
        with client:
            asked.append(client.recv(65536).decode("latin1").partition("\r\n")[0])
            client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


threading.Thread(target=answer, daemon=True).start()
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ |= {"AWS_ACCESS_KEY_ID": "of-the-other-server", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
os.environ |= {"AWS_EC2_METADATA_DISABLED": "true", sys.argv[1]: f"http://{host}:{port}"}

from pyarrow import fs  # noqa: E402  (it reads the environment)


def endpoint(system):
    """As its pickle has it: nothing else tells"""
    return system.__reduce__()[1][0]["endpoint_override"]


by_uri, path = fs.FileSystem.from_uri("s3://bucket/key")
by_uri.get_file_info(path)
of_uri = list(asked)
asked.clear()
once = fs.AwsStandardS3RetryStrategy(max_attempts=1)
made = fs.S3FileSystem(proxy_options={"scheme": "http", "host": host, "port": port}, retry_strategy=once)
try:
    made.get_file_info("bucket/key")
except OSError as error:
    print("  S3FileSystem():", str(error).rpartition("Details: ")[2])
print(f"  {sys.argv[1]}: from_uri asks it {of_uri[0]!r}; S3FileSystem() asks the proxy {asked[0]!r}")
same = endpoint(by_uri).startswith("http://127.0.0.1:") and of_uri[0] == "HEAD /bucket/key HTTP/1.1"
same &= endpoint(made) == "" and asked[0] == "CONNECT bucket.s3.us-east-1.amazonaws.com:443 HTTP/1.1"
print("  as described" if same else "  <-- CHANGED")
sys.exit(0 if same else 1)
PYTHON
for name in AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3; do
	timeout 120 venv/bin/python -I ask.py "$name"
done
