"""curl against the server as docs/streams.md has it: plain and over TLS with HTTP/2, with and without a token."""

import json
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

from support import ClientTestCase, PATIENCE, ROOT, token, token_settings

JSON = ("-H", "content-type: application/json")


class Answer:
    """What `curl -i` printed: status, version, headers with names in small letters, body."""

    def __init__(self, printed):
        head, _, self.body = printed.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.version, status = first.split()[:2]
        self.status = int(status)
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.offset = self.headers.get("stream-next-offset")


class CurlTests:
    """The tests; the classes below say how to reach the server."""

    tls = False
    guarded = False

    def setUp(self):
        super().setUp()
        # Only who asks for it gets packed answers.
        self.server = self.serve(tls=self.tls, DS_HTTP__COMPRESSION="true", **(token_settings() if self.guarded else {}))
        self.flags = ["-sS", "--max-time", f"{PATIENCE:.0f}"]
        if self.tls:
            self.flags += ["--cacert", str(self.server.certificate), "--http2"]
        if self.guarded:
            self.flags += ["-H", f"authorization: Bearer {token(scope='orders')}"]

    def command(self, *arguments):
        return ["curl", *self.flags, *arguments]

    def curl(self, *arguments, status):
        result = subprocess.run(self.command("-i", *arguments), capture_output=True)
        self.assertEqual(result.returncode, 0, result.stderr.decode())
        answer = Answer(result.stdout)
        self.assertEqual(answer.status, status, result.stdout.decode(errors="replace"))
        self.assertEqual(answer.version, "HTTP/2" if self.tls else "HTTP/1.1")
        return answer

    def test_requests_one_after_the_other(self):
        url = self.server.url("orders/today")
        created = self.curl("-X", "PUT", url, *JSON, status=201)
        self.assertEqual(created.headers["location"], url)
        self.curl("-X", "PUT", url, *JSON, status=200)
        self.curl("-X", "PUT", url, "-H", "content-type: text/plain", status=409)
        one = self.curl(url, *JSON, "-d", '{"n": 1}', status=204)
        two = self.curl(url, *JSON, "-d", '[{"n": 2}, {"n": 3}]', status=204)
        self.assertLess(created.offset, one.offset)
        self.assertLess(one.offset, two.offset)
        self.assertEqual(self.curl("-I", url, status=200).offset, two.offset)
        self.curl(url, *JSON, "-d", '{"n": ', status=400)
        self.curl(url, *JSON, "-d", "4", "-H", f"if-match: {one.offset}", status=412)

        whole = self.curl(url, status=200)
        self.assertEqual(json.loads(whole.body), [{"n": 1}, {"n": 2}, {"n": 3}])
        self.assertEqual(whole.offset, two.offset)
        self.assertEqual(whole.headers["stream-up-to-date"], "true")
        known = ("-H", f"if-none-match: {whole.headers['etag']}")
        self.assertEqual(self.curl(url, *known, status=304).body, b"")
        rest = self.curl(f"{url}?offset={one.offset}", status=200)
        self.assertEqual(json.loads(rest.body), [{"n": 2}, {"n": 3}])
        self.curl(url, *JSON, "-d", "4", status=204)
        self.assertEqual(json.loads(self.curl(url, *known, status=200).body)[-1], 4)

        end = self.curl("-X", "POST", url, "-H", "stream-closed: true", status=204)
        self.assertEqual(end.headers["stream-closed"], "true")
        self.assertEqual(self.curl(url, *JSON, "-d", "5", status=409).headers["stream-closed"], "true")
        closed = self.curl(f"{url}?offset={end.offset}&live=long-poll", status=204)
        self.assertEqual(closed.headers["stream-closed"], "true")
        self.curl("-X", "DELETE", url, status=204)
        self.curl(url, status=404)

    def test_packed_answers_hold_the_same(self):
        url = self.server.url("orders/packed")
        messages = [{"number": number, "text": "what is said again and again"} for number in range(20_000)]
        self.curl("-X", "PUT", url, *JSON, status=201)
        # By standard input: it is too long for an argument.
        sent = subprocess.run(
            self.command(url, *JSON, "--data-binary", "@-", "-o", "/dev/null", "-w", "%{http_code}"),
            input=json.dumps(messages).encode(), capture_output=True)
        self.assertEqual(sent.stdout, b"204", sent.stderr.decode())
        for asked in ("gzip", "deflate"):
            packed = self.curl(url, "--compressed", "-H", f"accept-encoding: {asked}", status=200)
            self.assertEqual(packed.headers["content-encoding"], asked)
            self.assertIn("Accept-Encoding", packed.headers["vary"])
            self.assertEqual(json.loads(packed.body), messages)
            known = ("-H", f"if-none-match: {packed.headers['etag']}")
            self.assertEqual(self.curl(url, "--compressed", *known, status=304).body, b"")
        plain = self.curl(url, status=200)
        self.assertNotIn("content-encoding", plain.headers)
        self.assertEqual(json.loads(plain.body), messages)

    def test_a_long_poll_is_answered_by_an_append(self):
        url = self.server.url("orders/polled")
        tail = self.curl("-X", "PUT", url, *JSON, status=201).offset
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(self.curl, f"{url}?offset={tail}&live=long-poll", status=200)
            appended = self.curl(url, *JSON, "-d", '"news"', status=204)
            self.assertEqual(json.loads(waiting.result().body), ["news"])
            self.assertEqual(waiting.result().offset, appended.offset)

    def test_events_come_as_they_are_appended_and_end_with_the_stream(self):
        url = self.server.url("orders/events")
        self.curl("-X", "PUT", url, *JSON, "-d", "[0]", status=201)
        reader = subprocess.Popen(self.command("-N", f"{url}?offset=-1&live=sse"), stdout=subprocess.PIPE, text=True)
        self.addCleanup(reader.kill)
        self.addCleanup(reader.stdout.close)

        def event():
            fields = {}
            for line in iter(reader.stdout.readline, ""):
                if line == "\n" and fields:
                    return fields
                if not line.startswith(":"):
                    name, _, value = line.rstrip("\n").partition(":")
                    fields[name] = value.removeprefix(" ")
            self.fail("the events ended")

        for number in range(5):
            data = event()
            # The first says how soon to come back after the end.
            self.assertEqual("retry" in data, number == 0)
            self.assertEqual({**data, "retry": ""}, {"event": "data", "data": f"[{number}]", "retry": ""})
            control = event()
            self.assertEqual(json.loads(control["data"])["streamNextOffset"], control["id"])
            # Only now is the next one sent: it comes live.
            tail = self.curl(url, *JSON, "-d", str(number + 1), status=204).offset
        self.assertEqual(event()["data"], "[5]")
        self.assertEqual(event()["id"], tail)
        self.curl("-X", "POST", url, "-H", "stream-closed: true", status=204)
        self.assertIs(json.loads(event()["data"])["streamClosed"], True)
        self.assertEqual(reader.stdout.read(), "")
        self.assertEqual(reader.wait(PATIENCE), 0)


class PlainCurlTests(CurlTests, ClientTestCase):
    pass


class TLSCurlTests(CurlTests, ClientTestCase):
    tls = True


class TokenCurlTests(CurlTests, ClientTestCase):
    guarded = True


class TLSTokenCurlTests(CurlTests, ClientTestCase):
    tls = True
    guarded = True

    def test_who_shows_no_token_or_another_gets_nothing(self):
        url = self.server.url("orders/guarded")
        self.curl("-X", "PUT", url, *JSON, "-d", "[1]", status=201)
        with_token, self.flags = self.flags, self.flags[:-2]
        for arguments in ([], ["-X", "DELETE"], ["-X", "PUT"], [*JSON, "-d", "2"], ["-I"]):
            refused = self.curl(url, *arguments, status=401)
            self.assertIn("Bearer", refused.headers["www-authenticate"])
        self.curl(url, "-H", f"authorization: Bearer {token(exp=1)}", status=401)
        self.curl(url, "-H", f"authorization: Bearer {token()[:-4]}AAAA", status=401)
        self.flags = with_token
        self.assertEqual(json.loads(self.curl(url, status=200).body), [1])


class DocumentedCommandTests(ClientTestCase):
    """The block "By hand" of docs/streams.md, command by command, gives what its comments say."""

    def test_the_commands_of_the_documentation(self):
        text = (ROOT / "docs/streams.md").read_text()
        block = re.search(r"## By hand\n\n```sh\n(.*?)```", text, re.DOTALL).group(1)
        variable, *lines = block.splitlines()
        self.assertEqual(variable, "url=http://127.0.0.1:4437/v1/stream/orders")
        server = self.serve(DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS="1")
        url = server.url("orders")
        tag, statuses = None, []
        reader = None
        for line in lines:
            command, _, comment = line.partition(" #")
            arguments = shlex.split(command.replace("$url", url).replace('"…"', tag or ""))
            self.assertEqual(arguments[0], "curl")
            arguments[1:1] = ["-sS", "--max-time", f"{PATIENCE:.0f}"]
            if "-N" in arguments:
                reader = subprocess.Popen(arguments, stdout=subprocess.PIPE)
                self.addCleanup(reader.kill)
                continue
            answer = Answer(subprocess.run(arguments, capture_output=True, check=True).stdout)
            promised = [int(number) for number in re.findall(r"\b\d{3}\b", comment)]
            self.assertIn(answer.status, promised, line)
            tag = answer.headers.get("etag", tag)
            statuses.append(answer.status)
            if "stream-closed: true" in arguments:
                events = reader.communicate(timeout=PATIENCE)[0].decode()
                self.assertIn('data:[{"n": 1},{"n": 2},{"n": 3}]', events)
                self.assertIn('"streamClosed":true', events)
        self.assertEqual(statuses, [201, 204, 204, 200, 200, 304, 204, 204, 204])


