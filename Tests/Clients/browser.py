"""A page in headless Chromium, and the web server that it comes from and reports to."""

import http.server
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

from support import PATIENCE, free_port

FOLDER = Path(__file__).parent


class Page:
    """The web server of the page. Its origin is known before the browser begins, for the streams' list of origins."""

    def __init__(self, cookie=None):
        self.cookie = cookie
        self.reports = queue.Queue()
        self.progress = {}
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = FOLDER / urllib.parse.urlsplit(self.path).path.lstrip("/")
                if path.name not in ("page.html", "page.js"):
                    self.answer(404)
                else:
                    self.answer(200, path.read_bytes(), "text/html" if path.suffix == ".html" else "text/javascript")

            def do_POST(self):
                page.reports.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.answer(204)

            def answer(self, status, body=b"", kind="text/plain"):
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                if page.cookie:
                    self.send_header("set-cookie", f"{page.cookie}; HttpOnly; SameSite=Strict; Path=/")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        port = free_port()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.origin = f"http://127.0.0.1:{port}"
        self.browser = None
        self.directory = None

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *failure):
        if self.browser is not None:
            os.killpg(self.browser.pid, signal.SIGKILL)
            self.browser.wait()
        if failure[0] is not None and self.directory is not None:
            print(f"\n--- the browser's log\n{(self.directory / 'log').read_text(errors='replace')[-2000:]}---", flush=True)
        self.server.shutdown()
        self.server.server_close()
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def open(self, **plan):
        self.directory = Path(tempfile.mkdtemp(prefix="pkc-"))
        address = f"{self.origin}/page.html?plan={urllib.parse.quote(json.dumps(plan))}"
        with open(self.directory / "log", "wb") as log:
            self.browser = subprocess.Popen(
                ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--disable-extensions", "--disable-background-networking", "--disable-component-update",
                 "--disable-sync", "--no-proxy-server", "--ignore-certificate-errors", "--enable-logging=stderr",
                 # Keeps the program alive while the page works.
                 "--remote-debugging-port=0", f"--user-data-dir={self.directory / 'profile'}", address],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "HOME": str(self.directory), "TMPDIR": str(self.directory)})

    def _next(self, deadline):
        try:
            report = self.reports.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"the page said nothing new; it is at {self.progress}") from None
        if "failed" in report:
            raise AssertionError(f"the page failed: {report['failed']}")
        self.progress |= report.get("progress", {})
        return report

    def wait_for_readers(self, readers, count):
        """Until so many readers have said that they have so many messages."""
        deadline = time.monotonic() + PATIENCE
        while sum(have >= count for have in self.progress.values()) < readers:
            self._next(deadline)

    def result(self):
        deadline = time.monotonic() + PATIENCE
        while True:
            report = self._next(deadline)
            if "done" in report:
                return report["done"]
