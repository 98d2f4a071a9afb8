"""A real Ray cluster of two workers on loopback, and an S3 server whose network and disk tests can spoil."""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.cli.conftest import folder, key, photo, png  # noqa: F401 (fixtures)
from tests.cli.run import ROOT, Result, child_environment, command, psic_process

MODELS = Path(__file__).parents[1] / "vectors" / "models"
BUCKET = "album"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Store:
    """moto's S3 server. `refuse` answers what a request (method, path) should get instead, None lets it through."""

    def __init__(self) -> None:
        self.port = free_port()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.refuse = lambda method, path: None
        self.start()
        self.system().create_dir(BUCKET)

    def start(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()
        application = self._server._server.app

        def gate(environ, respond):
            refused = self.refuse(environ["REQUEST_METHOD"], environ["PATH_INFO"])
            if refused is None:
                return application(environ, respond)
            status, code = refused
            respond(status, [("Content-Type", "application/xml")])
            return [f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()]

        self._server._server.app = gate

    def stop(self) -> None:
        """Off the network; what it holds stays in this process."""
        self._server.stop()

    def system(self):
        from pyarrow import fs

        return fs.S3FileSystem(
            access_key="testing",
            secret_key="testing",
            region="us-east-1",
            endpoint_override=f"127.0.0.1:{self.port}",
            scheme="http",
            allow_bucket_creation=True,
        )

    def read(self, path: str) -> bytes:
        with self.system().open_input_file(f"{BUCKET}/{path}") as file:
            return file.read()

    def write(self, path: str, data: bytes) -> None:
        with self.system().open_output_stream(f"{BUCKET}/{path}") as file:
            file.write(data)

    def names(self, below: str) -> set[str]:
        """Of all files below a folder."""
        from pyarrow import fs

        found = self.system().get_file_info(fs.FileSelector(f"{BUCKET}/{below}", recursive=True, allow_not_found=True))
        return {info.path.removeprefix(f"{BUCKET}/{below}/") for info in found if info.type is fs.FileType.File}


@pytest.fixture(scope="session")
def store():
    for name in ("ray", "pyarrow", "moto"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    made = Store()
    yield made
    made.stop()


class Cluster:
    """`ray start` in a folder of its own, with a token of its own; `environment` leads to it."""

    def __init__(self, place: Path, environment: dict[str, str]) -> None:
        self.folder, self.mark = place, secrets.token_hex(32)
        port, self.client_port = free_port(), free_port()
        self.environment = environment | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.mark,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "RAY_ADDRESS": f"127.0.0.1:{port}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "PSIC_MODELS": str(MODELS),
        }
        options = {
            "--node-ip-address": "127.0.0.1",
            "--port": port,
            "--ray-client-server-port": self.client_port,
            "--min-worker-port": 0,
            "--max-worker-port": 0,
            "--num-cpus": 2,
            "--object-store-memory": 150_000_000,
            "--temp-dir": place,
            "--include-dashboard": "false",
        }
        words = [f"{name}={value}" for name, value in options.items()]
        self._log = place / "start.log"
        with self._log.open("wb") as log:
            ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *words]
            environment = os.environ | self.environment
            self._process = subprocess.Popen(ray, stdout=log, stderr=log, start_new_session=True, env=environment)
        end = time.monotonic() + 300
        while "Ray runtime started" not in self._log.read_text("utf-8"):
            assert self._process.poll() is None, self._log.read_text("utf-8")
            assert time.monotonic() < end, self._log.read_text("utf-8")
            time.sleep(0.2)

    def psic(self, *arguments: str | Path, **environment: str) -> Result:
        """A command line of a user of the cluster, in the current folder."""
        return psic_process(*arguments, stdin=None, cwd=None, **(self.environment | environment))

    def start_psic(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """The same, to be interrupted: as in a terminal, where Ctrl-C goes to all that it has started."""
        words, environment = command(*arguments), child_environment(**self.environment)
        return subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, start_new_session=True
        )

    def processes(self, title: str = "") -> list[int]:
        """Those of the cluster, and of clusters that its users have started, whose command line has this in it."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                ours = self.mark.encode() in (process / "environ").read_bytes() and int(process.name) != os.getpid()
                if ours and title.encode() in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
            except (OSError, ValueError):
                continue
        return found

    def workers(self) -> list[int]:
        """Process ids of the actors that hold a model."""
        return self.processes("ray::MapWorker")

    def client_address(self) -> str:
        """For ray://, which does not listen on loopback, whatever `ray start` was told."""
        (server,) = self.processes("--mode=proxy")
        words = Path(f"/proc/{server}/cmdline").read_bytes().decode().split("\0")
        (host,) = (word.partition("=")[2] for word in words if word.startswith("--host="))
        return f"ray://{host}:{self.client_port}"

    def stored(self) -> bytes:
        """All that the object store has in memory, freed objects too. Nobody sees it by a name, the raylet has it."""
        (raylet,) = self.processes("/raylet/raylet")
        opened = Path(f"/proc/{raylet}/fd").iterdir()
        return b"".join(Path(file).read_bytes() for file in opened if "plasma" in os.readlink(file))

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, number)
            time.sleep(1)
        self._process.wait()


@pytest.fixture(scope="session")
def cluster(store):
    if not Path("/proc/self/environ").exists():
        pytest.skip("finds the cluster's processes in /proc")
    place = Path(tempfile.mkdtemp(prefix="ray"))  # short: names of sockets are
    made = Cluster(place, store.environment)
    yield made
    made.stop()
    shutil.rmtree(place, ignore_errors=True)
