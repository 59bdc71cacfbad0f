"""The `durable-streams` client from PyPI against the server, also while the server is killed and restarted."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
from durable_streams import (
    DurableStream,
    DurableStreamError,
    SeqConflictError,
    StreamExistsError,
    StreamNotFoundError,
    stream,
)

from support import ClientTestCase, PATIENCE, token, token_settings, wait_until

JSON = "application/json"


def close_stream(url, **headers):
    """This version of the client does not know of closing."""
    answer = httpx.post(url, headers={"stream-closed": "true", **headers})
    assert answer.status_code == 204 and answer.headers["stream-closed"] == "true", answer
    return answer


def try_again(failure):
    """Whether this is what a server that goes away or comes back causes; raises what is not."""
    if isinstance(failure, DurableStreamError) and failure.status != 503:
        raise failure
    time.sleep(0.02)  # between two attempts; there is no event to wait for


class Following(threading.Thread):
    """Reads one stream live and comes back from its last offset, however a connection ends."""

    def __init__(self, url, mode, goal):
        super().__init__(daemon=True)
        self.url, self.mode, self.goal = url, mode, goal
        self.items, self.offset, self.connections, self.failure = [], "-1", 0, None

    def run(self):
        try:
            while len(self.items) < self.goal:
                self.connections += 1
                try:
                    with stream(self.url, offset=self.offset, live=self.mode, timeout=20) as response:
                        for event in response.iter_events("json"):
                            self.items += event.data
                            self.offset = event.next_offset
                            if len(self.items) >= self.goal:
                                break
                except (httpx.TransportError, DurableStreamError) as failure:
                    try_again(failure)
        except Exception as failure:  # shown by the test, for a thread's exception would be lost
            self.failure = failure


class Writing(threading.Thread):
    """One idempotent producer, a message a request; tries each until it is acknowledged."""

    def __init__(self, url, count):
        super().__init__(daemon=True)
        self.url, self.count = url, count
        self.acknowledged, self.retries, self.failure = 0, 0, None

    def run(self):
        headers = {"producer-id": "writer", "producer-epoch": "0", "producer-seq": lambda: str(self.acknowledged)}
        try:
            with DurableStream(self.url, headers=headers, content_type=JSON, batching=False) as handle:
                while self.acknowledged < self.count:
                    try:
                        handle.append({"number": self.acknowledged})
                        self.acknowledged += 1
                    except (httpx.TransportError, DurableStreamError) as failure:
                        self.retries += 1
                        try_again(failure)
        except Exception as failure:
            self.failure = failure


class PythonClientTests(ClientTestCase):
    def test_the_life_of_a_stream(self):
        server = self.serve()
        url = server.url("life/json")
        with DurableStream.create(url, content_type=JSON, body=b'[{"n": 0}]') as handle:
            with self.assertRaises(StreamExistsError):
                DurableStream.create(url, content_type="text/plain")
            offsets = [handle.append({"n": n}).next_offset for n in (1, 2)]
            offsets.append(handle.append([3, "ä€😀", None]).next_offset)
            self.assertEqual(offsets, sorted(set(offsets)))
            expected = [{"n": 0}, {"n": 1}, {"n": 2}, [3, "ä€😀", None]]
            self.assertEqual(handle.head().offset, offsets[-1])
            self.assertEqual(handle.head().content_type, JSON)
            with DurableStream.connect(url) as another:
                self.assertEqual(another.content_type, JSON)
            with handle.stream(live=False) as response:
                self.assertEqual(response.read_json(), expected)
                self.assertTrue(response.up_to_date)
                self.assertEqual(response.offset, offsets[-1])
            with handle.stream(offset=offsets[0], live=False) as response:
                self.assertEqual(response.read_json(), expected[2:])
            with handle.stream(offset=offsets[-1], live=False) as response:
                self.assertEqual(response.read_json(), [])
            handle.append({"n": 4}, seq="b")
            with self.assertRaises(SeqConflictError):
                handle.append({"n": 5}, seq="a")
            handle.delete()
            with self.assertRaises(StreamNotFoundError):
                handle.head()
            with self.assertRaises(StreamNotFoundError):
                stream(url, live=False)

    def test_bytes_and_text(self):
        server = self.serve()
        data = bytes(range(256)) * 9000
        with DurableStream.create(server.url("bytes"), content_type="application/octet-stream") as handle:
            for start in range(0, len(data), 100_000):
                handle.append(data[start:start + 100_000])
            with handle.stream(live=False) as response:
                self.assertEqual(response.read_bytes(), data)
        text = "eins\nzwei\r\n\n: drei\nevent: data\n😀"
        with DurableStream.create(server.url("text"), content_type="text/plain; charset=utf-8") as handle:
            handle.append(text)
            with handle.stream(live=False) as response:
                self.assertEqual(response.read_text(), text)
            close_stream(handle.url)
            with handle.stream(offset="-1", live="sse") as response:
                # Line ends come over events as line feeds.
                self.assertEqual("".join(response.iter_text()), text.replace("\r\n", "\n"))

    def test_appends_at_once_are_batched_and_each_is_there_once(self):
        server = self.serve()
        with DurableStream.create(server.url("batches"), content_type=JSON) as handle:
            with ThreadPoolExecutor(16) as threads:
                results = list(threads.map(lambda n: handle.append({"n": n}).next_offset, range(400)))
            with handle.stream(live=False) as response:
                found = response.read_json()
        self.assertEqual(sorted(message["n"] for message in found), list(range(400)))
        self.assertLess(len(set(results)), 400, "no two appends shared a request")

    def test_an_idempotent_producer(self):
        server = self.serve()
        url = server.url("producer")
        sequence = 0
        headers = {"producer-id": "p", "producer-epoch": "1", "producer-seq": lambda: str(sequence)}
        with DurableStream.create(url, content_type=JSON) as plain, \
                DurableStream(url, headers=headers, content_type=JSON) as producer:
            first = producer.append("first").next_offset
            self.assertEqual(producer.append("first again").next_offset, first)
            sequence = 1
            producer.append("second")
            sequence = 7
            with self.assertRaises(SeqConflictError):  # a gap; this client has one name for all that is answered with 409
                producer.append("too early")
            plain.append("from another writer")
            with plain.stream(live=False) as response:
                self.assertEqual(response.read_json(), ["first", "second", "from another writer"])

    def test_live_reads_see_what_comes_and_the_end(self):
        server = self.serve()
        url = server.url("live")
        with DurableStream.create(url, content_type=JSON) as handle:
            handle.append({"n": 0})
            for mode in ("long-poll", "sse", "auto"):
                with self.subTest(mode), stream(url, offset="now", live=mode) as response:
                    events = response.iter_json()
                    with ThreadPoolExecutor(1) as thread:
                        answer = thread.submit(next, events)
                        # What comes before the reader waits is not lost either: its offset is known.
                        handle.append({"mode": mode})
                        self.assertEqual(answer.result(PATIENCE), {"mode": mode})
            with stream(url, offset="-1", live="sse") as response, ThreadPoolExecutor(1) as thread:
                whole = thread.submit(list, response.iter_json())
                handle.append({"n": "last"})
                close_stream(url)
                self.assertEqual(len(whole.result(PATIENCE)), 5)
            with self.assertRaises(SeqConflictError):
                handle.append({"n": "too late"})

    def test_readers_continue_over_kills_and_restarts(self):
        server = self.serve()
        url = server.url("restarts")
        count = 600
        DurableStream.create(url, content_type=JSON).close()
        readers = [Following(url, mode, count) for mode in ("long-poll", "sse", "auto")]
        writer = Writing(url, count)
        for thread in (*readers, writer):
            thread.start()

        def reached(share):
            def condition():
                for thread in (*readers, writer):
                    if thread.failure:
                        raise thread.failure
                return all(len(reader.items) >= count * share for reader in readers)
            wait_until(condition, f"{share:.0%} read")

        reached(0.2)
        server.kill()
        server.start()
        reached(0.5)
        server.drain()
        server.start()
        reached(0.7)
        server.kill()
        server.start()
        for thread in (*readers, writer):
            thread.join(PATIENCE)
            self.assertFalse(thread.is_alive(), "a reader or the writer did not finish")
        reached(1)
        expected = [{"number": number} for number in range(count)]
        for reader in readers:
            self.assertMessages(reader.items, expected, reader.mode)
            self.assertGreaterEqual(reader.connections, 3, f"{reader.mode} was not interrupted")
            with stream(url, offset=reader.offset, live=False) as rest:
                self.assertEqual(rest.read_json(), [])
        self.assertGreater(writer.retries, 0)
        with stream(url, live=False) as response:
            self.assertMessages(response.read_json(), expected, "the stream")

    def test_tokens(self):
        server = self.serve(**token_settings())
        url = server.url("guarded")
        with self.assertRaises(DurableStreamError) as refusal:
            DurableStream.create(url, content_type=JSON)
        self.assertEqual(refusal.exception.status, 401)
        headers = {"authorization": lambda: f"Bearer {token()}"}
        with DurableStream.create(url, content_type=JSON, headers=headers) as handle:
            handle.append({"n": 1})
            for mode in ("long-poll", "sse"):
                with handle.stream(offset="-1", live=mode) as response:
                    self.assertEqual(next(response.iter_json()), {"n": 1})
