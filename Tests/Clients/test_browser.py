"""Pages in headless Chromium, of another origin than the streams: event sources, polls by fetch and a writer, over restarts."""

import httpx

from browser import Page
from support import ClientTestCase, token, token_settings


class BrowserTests(ClientTestCase):
    COUNT = 400

    def read_over_restarts(self, server, page, sources, query=None, headers=None, credentials=False, refusal=False):
        """The page writes and reads; the server is killed in the first half and drained in the second."""
        page.open(
            stream=server.url("page"), count=self.COUNT, step=20, sources=sources, query=query or {},
            headers=headers or {}, credentials=credentials, refusal=refusal)
        readers = sources + 1
        page.wait_for_readers(readers, self.COUNT // 10)
        server.kill()
        server.start()
        page.wait_for_readers(readers, self.COUNT * 6 // 10)
        server.drain()
        server.start()
        result = page.result()

        everything = list(range(self.COUNT))
        self.assertEqual(len(result["readers"]), readers)
        for reader in result["readers"]:
            self.assertMessages(reader["messages"], everything, reader["name"])
            self.assertGreaterEqual(reader["interruptions"], 2, f"{reader['name']} was not interrupted")
        self.assertEqual(len({reader["offset"] for reader in result["readers"]}), 1)
        self.assertGreater(result["retries"], 0, "the writer was not interrupted")
        answer = httpx.get(server.url("page"), headers=headers, verify=server.trust())
        self.assertEqual([message["number"] for message in answer.json()], everything)
        self.assertEqual(answer.headers["stream-closed"], "true")
        self.assertEqual(answer.headers["stream-next-offset"], result["readers"][0]["offset"])
        return result

    def test_readers_and_a_writer_over_restarts(self):
        page = self.enterContext(Page())
        self.read_over_restarts(
            self.serve(DS_HTTP__COMPRESSION="true", DS_HTTP__COMPRESSION_MIN_BYTES="1"), page, sources=2)

    def test_many_event_sources_over_http2(self):
        # Over HTTP/1.1 a browser opens six connections to a server and lets the seventh event source wait.
        page = self.enterContext(Page())
        self.read_over_restarts(self.serve(tls=True), page, sources=12)

    def test_an_event_source_comes_back_as_soon_as_the_server_says(self):
        # Both end their streams after a second; one leaves it to the browser when to come back, which is three seconds.
        late, soon = [
            self.serve(DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS="1", **more)
            for more in ({"DS_TRANSPORT__CONNECTION__SSE_RETRY_MILLIS": "0"}, {})]
        for server in (late, soon):
            self.assertEqual(httpx.put(server.url("quiet"), headers={"content-type": "text/plain"}).status_code, 201)
        page = self.enterContext(Page())
        page.open(race=[server.url("quiet") for server in (late, soon)])
        self.assertEqual(page.result(), soon.url("quiet"))

    def test_a_token_in_the_query(self):
        page = self.enterContext(Page())
        server = self.serve(**token_settings(DS_AUTH__TOKEN_QUERY="access", DS_HTTP__CORS_ORIGINS=page.origin))
        shown = token()
        result = self.read_over_restarts(
            server, page, sources=1, query={"access": shown}, headers={"authorization": f"Bearer {shown}"}, refusal=True)
        self.assertIs(result["refused"], True)
        self.assertNotIn(shown, server.log())

    def test_a_token_in_a_cookie(self):
        shown = token()
        page = self.enterContext(Page(cookie=f"penstock={shown}"))
        server = self.serve(**token_settings(DS_AUTH__TOKEN_COOKIE="penstock", DS_HTTP__CORS_ORIGINS=page.origin))
        result = self.read_over_restarts(
            server, page, sources=1, credentials=True, headers={"authorization": f"Bearer {shown}"}, refusal=True)
        self.assertIs(result["refused"], True)
