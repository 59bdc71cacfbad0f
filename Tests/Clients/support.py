"""What the tests of real clients share: the stream server as a process, its certificates and tokens, ports, and waiting."""

import base64
import hashlib
import hmac
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("PENSTOCK_BIN", ROOT / ".build/debug/penstock"))
SECRET = "the secret of the tests, longer than 32 bytes"

# Generous, because other work may share the machine: only a fault exhausts it.
PATIENCE = 60.0


def free_port():
    """A port below the range of outgoing connections: a client that tries again while the server is away could otherwise be
    given the server's own port, or even connect to itself on it. Browsers refuse none of this range."""
    while True:
        port = random.randint(20000, 31999)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(condition, what, patience=PATIENCE):
    """Looks again and again until the condition gives something true, and returns that."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {patience:.0f} s")
        time.sleep(0.01)


def token(**claims):
    """A bearer token of five minutes, signed with SECRET."""

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    now = int(time.time())
    claims = {"sub": "tester", "iat": now, "exp": now + 300, **claims}
    signed = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()) + "." + part(json.dumps(claims).encode())
    return signed + "." + part(hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest())


def token_settings(**more):
    return {"DS_AUTH__MODE": "jwt", "DS_AUTH__STATIC_KEY": SECRET, "DS_AUTH__ALGORITHMS": "HS256", **more}


class Server:
    """`penstock serve` on a directory that outlives the process, in the mode file-durable."""

    def __init__(self, tls=False, **settings):
        self.directory = Path(tempfile.mkdtemp(prefix="pkc-"))
        self.port = free_port()
        self.process = None
        self.scheme = "https" if tls else "http"
        self.origin = f"{self.scheme}://127.0.0.1:{self.port}"
        self.settings = {
            "PATH": os.environ["PATH"],
            "SWIFT_BACKTRACE": "enable=no",
            "DS_SERVER__BIND_ADDRESS": f"127.0.0.1:{self.port}",
            "DS_STORAGE__MODE": "file-durable",
            "DS_STORAGE__DATA_DIR": str(self.directory / "data"),
            "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "5",
            **settings,
        }
        self.certificate = self.directory / "certificate.pem"
        if tls:
            key = self.directory / "key.pem"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                 "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                 "-keyout", key, "-out", self.certificate],
                check=True, capture_output=True)
            self.settings |= {
                "DS_TRANSPORT__MODE": "tls",
                "DS_TRANSPORT__HTTP__VERSIONS": "http1,http2",
                "DS_TRANSPORT__TLS__CERT_PATH": str(self.certificate),
                "DS_TRANSPORT__TLS__KEY_PATH": str(key),
            }

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *failure):
        if failure[0] is not None:
            print(f"\n--- the server's log\n{self.log()[-4000:]}---", flush=True)
        if self.process is not None:
            self._end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def url(self, name):
        return f"{self.origin}/v1/stream/{name}"

    def trust(self):
        """Whom a client of this server has to trust."""
        return ssl.create_default_context(cafile=self.certificate if self.scheme == "https" else None)

    def log(self):
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve"], env=self.settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.directory)
        wait_until(self._is_ready, "the server is ready")

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with status {self.process.returncode}:\n{self.log()[-4000:]}")
        try:
            with urllib.request.urlopen(f"{self.origin}/readyz", timeout=5, context=self.trust()) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _end(self, by):
        self.process.send_signal(by)
        status = self.process.wait(PATIENCE)
        self.process = None
        return status

    def kill(self):
        """As a crash: no byte more, no connection closed in an orderly way."""
        self._end(signal.SIGKILL)

    def drain(self):
        """As an update: live reads end, what was accepted is finished."""
        status = self._end(signal.SIGTERM)
        assert status == 0, f"after SIGTERM the server ended with status {status}"


class ClientTestCase(unittest.TestCase):
    maxDiff = 2000

    def serve(self, **settings):
        return self.enterContext(Server(**settings))

    def assertMessages(self, found, expected, who):
        """Exactly these, in this order; says what is missing or twice rather than printing all of them."""
        if found == expected:
            return
        keys = [json.dumps(message) for message in found]
        missing = [message for message in expected if json.dumps(message) not in keys]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        self.fail(f"{who} has {len(found)} of {len(expected)} messages; missing {missing[:5]}, twice {twice[:5]}")
