import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing

@testable import HTTPServer

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

@Suite(.timeLimit(.minutes(1)))
struct HTTPDateTests {
    private var now: Int { time(nil) }

    /// Seconds since 1970 of an IMF-fixdate; nil if it is none, or names the wrong day of the week. Counts day by day, which is
    /// slow and plain.
    private static func seconds(_ text: String) -> Int? {
        let parts = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        guard text.utf8.count == 29, parts.count == 6, parts[5] == "GMT", parts[1].utf8.count == 2,
            let day = Int(parts[1]), let month = months.firstIndex(of: parts[2]), let year = Int(parts[3])
        else { return nil }
        let clock = parts[4].split(separator: ":").compactMap { $0.utf8.count == 2 ? Int($0) : nil }
        guard clock.count == 3, clock[0] < 24, clock[1] < 60, clock[2] < 60, year >= 1970 else { return nil }
        func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }
        func length(_ month: Int) -> Int {
            month == 1 ? (isLeap(year) ? 29 : 28) : [3, 5, 8, 10].contains(month) ? 30 : 31
        }
        guard (1...length(month)).contains(day) else { return nil }
        let days =
            (1970..<year).reduce(0) { $0 + (isLeap($1) ? 366 : 365) } + (0..<month).reduce(0) { $0 + length($1) }
            + day - 1
        // The first of January 1970 was a Thursday.
        guard parts[0] == ["Thu,", "Fri,", "Sat,", "Sun,", "Mon,", "Tue,", "Wed,"][days % 7] else { return nil }
        return ((days * 24 + clock[0]) * 60 + clock[1]) * 60 + clock[2]
    }

    @Test(
        arguments: [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"), (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"), (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (-1, "Wed, 31 Dec 1969 23:59:59 GMT"), (-2_208_988_801, "Sun, 31 Dec 1899 23:59:59 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"), (.max, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (.min, "Sat, 01 Jan 0000 00:00:00 GMT"),
        ] as [(Int64, String)])
    func knownTimes(_ seconds: Int64, _ text: String) {
        #expect(HTTPDate.text(seconds) == text)
    }

    @Test func daysOfFourCenturiesAreThemselves() {
        // A step that comes by every day of the week and of the month.
        for day in stride(from: 0, to: 150_000, by: 13) {
            let seconds = day * 86_400 + day % 86_400
            #expect(Self.seconds(HTTPDate.text(Int64(seconds))) == seconds)
        }
    }

    /// The values of a field, from the head of the last response in a text.
    private func values(_ name: String, _ text: String) -> [String] {
        text.split(separator: "\r\n").filter { $0.lowercased().hasPrefix(name + ": ") }
            .map { String($0.dropFirst(name.utf8.count + 2)) }
    }

    private func expectNow(_ dates: [String], since begun: Int, _ title: String) {
        guard dates.count == 1, let seconds = Self.seconds(dates[0]) else {
            Issue.record("\(title): \(dates)")
            return
        }
        #expect((begun - 2...self.now + 1).contains(seconds), "\(title): \(dates)")
    }

    private static let statuses: [String: HTTPResponseStatus] = [
        "200": .ok, "204": .noContent, "304": .notModified, "404": .notFound, "503": .serviceUnavailable,
    ]

    private static func handle(_ request: HTTPRequest, _ responder: HTTPResponder) {
        if request.query == "own" {
            responder.reply(
                HTTPReply(status: .ok, headers: ["Date": "Sun, 06 Nov 1994 08:49:37 GMT", "ETag": "\"d\""]))
        } else if request.query == "events" {
            responder.stream(.ok, ["content-type": "text/event-stream"]) {
                ProbeSession(StreamProbe(), $0, first: "data: x\n\n")
            }
        } else {
            responder.reply(HTTPReply(status: Self.statuses[request.query] ?? .ok))
        }
    }

    @Test func allFinalResponsesCarryTheTime() async throws {
        let server = try await DirectServer.start { Self.handle($0, $1) }
        let begun = self.now
        for status in Self.statuses.keys.sorted() {
            let text = try await server.exchange("GET /s?\(status) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            #expect(text.hasPrefix("HTTP/1.1 \(status) "))
            self.expectNow(self.values("date", text), since: begun, status)
        }
        let others = [
            "nowhere": "GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "malformed": "nonsense\r\n\r\n",
            "no host": "GET /s HTTP/1.1\r\n\r\n", "old": "GET /s HTTP/1.0\r\n\r\n",
            "head": "HEAD /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "refused upgrade": "GET /s HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        ]
        for (title, request) in others {
            self.expectNow(self.values("date", try await server.exchange(request)), since: begun, title)
        }
        let own = try await server.exchange("GET /s?own HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(self.values("date", own) == ["Sun, 06 Nov 1994 08:49:37 GMT"])

        let events = try await RawConnection.connect(port: server.port)
        events.send("GET /s?events HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(await events.waitForText("data: x"))
        self.expectNow(self.values("date", events.text), since: begun, "events")
        await events.close()

        // The interim response has none, the final one does.
        let upload = try await RawConnection.connect(port: server.port)
        upload.send("POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
        #expect(await upload.waitForText("HTTP/1.1 100 Continue\r\n\r\n"))
        #expect(self.values("date", upload.text).isEmpty)
        upload.send("x")
        #expect(await upload.waitForText("HTTP/1.1 200 OK"))
        self.expectNow(self.values("date", upload.text), since: begun, "upload")
        await upload.close()
        await server.stop()
    }

    @Test func theTimeGoesOnWhileAConnectionIsOpenAndAfterAPause() async throws {
        // A loop of its own, whose clock stands still once the connection is gone.
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let server = try await DirectServer.start(group: group) { Self.handle($0, $1) }
        func date(_ client: RawConnection) async throws -> String {
            let before = client.bytes.count
            client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.wait { received, _ in received.readableBytes > before })
            return try #require(self.values("date", client.text).last)
        }
        let client = try await RawConnection.connect(port: server.port)
        let first = try await date(client)
        var next = first
        while next == first { next = try await date(client) }
        #expect(try #require(Self.seconds(next)) > (try #require(Self.seconds(first))))
        await client.close()
        try await eventually { server.listener.connectionCount == 0 }
        let pause = self.now
        try await eventually { self.now > pause + 1 }
        let begun = self.now
        let later = try await RawConnection.connect(port: server.port)
        #expect(try #require(Self.seconds(try await date(later))) >= begun)
        await later.close()
        await server.stop()
        try await group.shutdownGracefully()
    }

    @Test func overHTTP2AsWell() async throws {
        let certificates = try TestCertificates()
        var options = HTTPListenerOptions()
        options.versions = [.http2]
        options.security = HTTPTransportSecurity(
            certificateChainPath: certificates.path("server.pem"), privateKeyPath: certificates.path("server.key"))
        let server = try await DirectServer.start(options: options) { Self.handle($0, $1) }
        let begun = self.now
        let client = try await HTTP2Client.connect(server, authority: certificates.path("authority.pem"))
        for path in ["/s", "/s?204", "/s?304", "/nowhere", "/s?events", "/s?own"] {
            let request = try await client.request(.GET, path)
            await request.response.began.wait()
            let dates = request.response.state.withLock { $0.head?.headers["date"] } ?? []
            if path == "/s?own" {
                #expect(dates == ["Sun, 06 Nov 1994 08:49:37 GMT"])
            } else {
                self.expectNow(dates, since: begun, path)
            }
        }
        try await client.channel.close()
        await server.stop()
    }
}
