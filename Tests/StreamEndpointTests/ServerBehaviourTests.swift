import DurableStreams
import HTTPServer
import NIOHTTP1
import StreamDirectory
import StreamEndpoint
import StreamStoreTestSupport
import Testing

/// What a server does beside the protocol's own behaviours.
@Suite(.timeLimit(.minutes(1)))
struct ServerBehaviourTests {
    @Test func pagesOfOtherOriginsMayReadEverything() async throws {
        try await EndpointServer.with(.memory) { server in
            let stream = server.client.stream()
            let preflight = try await stream.request(
                .OPTIONS,
                query: "", ["origin": "https://a.example", "access-control-request-method": "PUT"])
            #expect(preflight.status == 204)
            #expect(preflight["access-control-allow-origin"] == "*")
            for method in ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
                #expect(preflight["access-control-allow-methods"]?.contains(method) == true)
            }
            let allowed = preflight["access-control-allow-headers"]?.lowercased() ?? ""
            for name in [
                "content-type", "authorization", "if-none-match", "stream-ttl", "stream-closed", "stream-seq",
                "producer-id", "producer-epoch", "producer-seq", "stream-forked-from", "stream-fork-offset",
            ] {
                #expect(allowed.contains(name), "\(name)")
            }
            try await stream.create(body: "x")
            for answer in [try await stream.read(), try await stream.head(), try await stream.append("")] {
                #expect(answer["access-control-allow-origin"] == "*")
                let exposed = answer["access-control-expose-headers"]?.lowercased() ?? ""
                for name in [
                    "stream-next-offset", "stream-up-to-date", "stream-closed", "stream-cursor", "etag",
                    "location", "retry-after", "producer-expected-seq", "stream-sse-data-encoding",
                ] {
                    #expect(exposed.contains(name), "\(name)")
                }
            }
            let events = try await stream.events()
            #expect(events["access-control-allow-origin"] == "*")
            await events.close()
            let plain = try await stream.request(.OPTIONS)
            #expect(plain.status == 204)
            #expect(plain["allow"]?.contains("PUT") == true)
        }
    }

    @Test func aListOfOriginsIsExact() async throws {
        try await EndpointServer.with(
            .memory, { $0.services = { $0.cors = StreamServices.cors(.list(["https://a.example"])) } }
        ) { server in
            let stream = server.client.stream()
            try await stream.create(body: "x")
            let good = try await stream.read(nil, ["origin": "https://a.example"])
            #expect(good["access-control-allow-origin"] == "https://a.example")
            #expect(good["vary"]?.lowercased().contains("origin") == true)
            let bad = try await stream.read(nil, ["origin": "https://b.example"])
            #expect(bad["access-control-allow-origin"] == nil)
        }
    }

    @Test(arguments: TestMode.onDisk) func everythingSurvivesARestart(_ mode: TestMode) async throws {
        let folder = try TestFolder()
        let first = try await EndpointServer.start(mode, folder: folder)
        func stream(_ name: String, _ type: String = "text/plain", on server: EndpointServer) -> RemoteStream {
            server.client.stream(named: name, type)
        }
        let plain = stream("plain", on: first)
        try await plain.create(["stream-ttl": "3600"], body: "one")
        try await plain.append("two", ["stream-seq": "5"])
        let json = stream("json", "application/json", on: first)
        try await json.create()
        #expect(try await json.produce("[1,2]", epoch: "2", seq: "0").status == 200)
        #expect(try await json.produce("3", epoch: "2", seq: "1").status == 200)
        let closed = stream("closed", on: first)
        try await closed.create(body: "x")
        try await closed.close()
        let source = stream("source", on: first)
        try await source.create(body: "base")
        let fork = stream("fork", on: first)
        #expect(try await fork.put(["stream-forked-from": source.path], body: "own").status == 201)
        try await source.delete()
        let gone = stream("gone", on: first)
        try await gone.create(body: "x")
        try await gone.delete()
        let large = stream("large", "application/octet-stream", on: first)
        try await large.create()
        let piece = [UInt8](repeating: 9, count: 300_000)
        for _ in 0..<3 { try await large.append(bytes: piece) }
        let tag = try await plain.read()["etag"]
        await first.stop()

        let second = try await EndpointServer.start(mode, folder: folder)
        let plainAgain = stream("plain", on: second)
        let read = try await plainAgain.read()
        #expect(read.text == "onetwo")
        #expect(read["etag"] == tag)
        #expect(try await plainAgain.head()["stream-ttl"] == "3600")
        #expect(try await plainAgain.append("x", ["stream-seq": "5"]).status == 409)
        #expect(try await plainAgain.append("three", ["stream-seq": "6"]).status == 204)
        #expect(try await plainAgain.read().text == "onetwothree")
        let jsonAgain = stream("json", "application/json", on: second)
        let duplicate = try await jsonAgain.produce("3", epoch: "2", seq: "1")
        #expect(duplicate.status == 204)
        #expect(try await jsonAgain.produce("4", epoch: "2", seq: "2").status == 200)
        #expect(try await jsonAgain.read().text == "[1,2,3,4]")
        let closedAgain = stream("closed", on: second)
        #expect(try await closedAgain.read().isClosed)
        #expect(try await closedAgain.append("y").status == 409)
        let forkAgain = stream("fork", on: second)
        #expect(try await forkAgain.read().text == "baseown")
        #expect(try await stream("source", on: second).read().status == 410)
        #expect(try await stream("gone", on: second).read().status == 404)
        let all = try await stream("large", on: second).readAll()
        #expect(all.bytes == piece + piece + piece)
        try await forkAgain.delete()
        #expect(try await stream("source", on: second).read().status == 404)
        await second.stop()
    }

    @Test(arguments: TestMode.allCases) func streamsHaveABoundOfBytes(_ mode: TestMode) async throws {
        try await EndpointServer.with(mode, { $0.directory = { $0.limits.streamBytes = 10 } }) { server in
            let stream = server.client.stream()
            try await stream.create(body: "12345678")
            let over = try await stream.append("abc")
            #expect(over.status == 413)
            #expect(over.code == "PAYLOAD_TOO_LARGE")
            #expect(try await stream.append("ab").status == 204)
            #expect(try await stream.append("c").status == 413)
            #expect(try await stream.read().text == "12345678ab")
            let other = server.client.stream()
            #expect(try await other.create(["stream-closed": "true"], body: "12345678901").status == 413)
            #expect(try await other.head().status == 404)
        }
    }

    @Test func allStreamsTogetherHaveABound() async throws {
        try await EndpointServer.with(.memory, { $0.directory = { $0.limits.totalBytes = 10 } }) { server in
            let one = server.client.stream()
            try await one.create(body: "12345678")
            let other = server.client.stream()
            try await other.create()
            #expect(try await other.append("abc").status == 413)
            try await one.delete()
            #expect(try await other.append("abc").status == 204)
        }
    }

    @Test(arguments: [true, false]) func requestsHaveABound(_ isChunked: Bool) async throws {
        try await EndpointServer.with(.memory, { $0.services = { $0.requestBytes = 1000 } }) { server in
            let stream = server.client.stream()
            try await stream.create()
            let type = ["content-type": "text/plain"]
            let over = try await stream.request(
                .POST, type, bytes: [UInt8](repeating: 65, count: 1001), isChunked: isChunked)
            #expect(over.status == 413)
            #expect(over.code == "PAYLOAD_TOO_LARGE")
            #expect(over["x-content-type-options"] == "nosniff")
            #expect(over["access-control-allow-origin"] == "*")
            let fits = try await stream.request(
                .POST, type, bytes: [UInt8](repeating: 65, count: 1000), isChunked: isChunked)
            #expect(fits.status == 204)
        }
    }

    @Test(arguments: TestMode.allCases) func whatCannotBeAdmittedIsToldToComeAgain(_ mode: TestMode) async throws {
        try await EndpointServer.with(mode, { $0.directory = { $0.limits.waitingChanges = 0 } }) { server in
            let stream = server.client.stream()
            let answer = try await stream.create()
            #expect(answer.status == 503)
            #expect(answer.code == "UNAVAILABLE")
            #expect(answer["retry-after"] == "1")
        }
    }

    @Test func bodiesBeyondTheBudgetAreToldToComeAgain() async throws {
        try await EndpointServer.with(.memory, { $0.options = { $0.bodyBudget = HTTPBodyBudget(limit: 100) } }) {
            server in
            let stream = server.client.stream()
            try await stream.create()
            let answer = try await stream.append(String(repeating: "x", count: 200))
            #expect(answer.status == 503)
            #expect(answer["retry-after"] == "1")
            #expect(answer.code == "UNAVAILABLE")
            #expect(try await stream.append("x").status == 204)
        }
    }

    @Test(arguments: [TestMode.fileFast, .fileDurable]) func aFullDiskIsSaid(_ mode: TestMode) async throws {
        let disk = FaultyFileSystem(seed: 3)
        try await EndpointServer.with(
            mode,
            {
                $0.fileSystem = disk
                // Room written ahead would take what comes.
                $0.directory = { $0.logRoomBytes = 0 }
            }
        ) { server in
            let stream = server.client.stream()
            try await stream.create(body: "before")
            disk.faults.quota = disk.files.values.reduce(0, +)
            // What was accepted before anyone knew is told as well, and waits for room.
            let waiting = try await stream.append(String(repeating: "x", count: 100_000))
            #expect(waiting.status == 507)
            #expect(waiting.code == "INSUFFICIENT_STORAGE")
            let answer = try await stream.append("more")
            #expect(answer.status == 507)
            #expect(answer.code == "INSUFFICIENT_STORAGE")
            #expect(try await stream.read().text == "before")
            disk.faults.quota = nil
            try await eventually("there is room") { server.directory.condition == .healthy }
            let again = try await stream.append("after")
            #expect(again.status == 204)
            #expect(try await stream.read().text.hasSuffix("xafter"))
        }
    }

    @Test(arguments: [
        "", "a/", "a//b", "./a", "a/../b", "%2e%2e/a", "__ds", "__ds/x", "%5F%5Fds/x", "a%", "a%zz", "a%00b", "%ff",
        "1/2/3/4/5/6/7/8/9", String(repeating: "n", count: 1025),
    ])
    func badNamesAreRefused(_ name: String) async throws {
        try await EndpointServer.with(.memory) { server in
            let answer = try await server.client.request(.PUT, StreamClient.root + "/" + name, [:], "")
            #expect(answer.status == 400)
            #expect(answer.code == "INVALID_STREAM_NAME")
        }
    }

    @Test(arguments: ["v1.2", "..foo", "a/b/c/d/e/f/g/h", "%C3%A9t%C3%A9", "a%20b", "x__ds", "a/__ds", "a:b@c"])
    func goodNamesAreTaken(_ name: String) async throws {
        try await EndpointServer.with(.memory) { server in
            let stream = server.client.stream(named: name)
            let created = try await stream.create(body: "x")
            #expect(created.status == 201)
            let location = try #require(created["location"])
            #expect(location.hasPrefix("http://streams.example:4437/v1/stream/"))
            let path = String(location.dropFirst("http://streams.example:4437".count))
            #expect(try await server.client.request(.GET, path).text == "x")
        }
    }

    @Test(arguments: TestMode.allCases) func deletionEndsLiveReaders(_ mode: TestMode) async throws {
        try await EndpointServer.with(mode, { $0.services = { $0.live.longPollTimeout = 20_000 } }) { server in
            let stream = server.client.stream()
            try await stream.create(body: "old")
            let reader = try await stream.events()
            try await reader.waitForData("old")
            async let poll = stream.longPoll("now")
            try await waitForReaders(of: stream, on: server, count: 2)
            try await stream.delete()
            try await stream.create(body: "new")
            let answer = try await poll
            #expect(answer.status == 404)
            let events = try await reader.untilEnd()
            #expect(events.filter { $0.name == "data" }.map(\.data) == ["old"])
            #expect(events.filter(\.isClosed).isEmpty)
        }
    }

    @Test(arguments: TestMode.allCases) func deletionOfASourceEndsItsReadersOnly(_ mode: TestMode) async throws {
        try await EndpointServer.with(mode, { $0.services = { $0.live.longPollTimeout = 20_000 } }) { server in
            let stream = server.client.stream()
            try await stream.create(body: "old")
            let (fork, _) = try await stream.fork()
            async let source = stream.longPoll("now")
            try await waitForReaders(of: stream, on: server)
            try await stream.delete()
            #expect(try await source.status == 410)
            async let poll = fork.longPoll("now")
            try await waitForReaders(of: fork, on: server)
            try await fork.append("own")
            #expect(try await poll.text == "own")
        }
    }

    @Test func quietEventStreamsAreKeptAliveAndThenEnded() async throws {
        try await EndpointServer.with(
            .memory,
            {
                $0.services = {
                    $0.live.keepAlive = 300
                    $0.live.idleClose = 1500
                }
            }
        ) { server in
            let stream = server.client.stream()
            try await stream.create(body: "x")
            let reader = try await stream.events()
            let events = try await reader.untilEnd()
            #expect(reader.text.contains("\n: "))
            #expect(events.map(\.name) == ["data", "control"])
            #expect(events.filter(\.isClosed).isEmpty)
        }
    }

    @Test func connectionsServeManyRequests() async throws {
        try await EndpointServer.with(.memory) { server in
            let path = StreamClient.root + "/kept"
            let connection = try await ClientConnection.open(port: server.client.port)
            let type = ["content-type": "text/plain"]
            #expect(try await StreamClient.exchange(connection, .PUT, path, type).status == 201)
            #expect(try await StreamClient.exchange(connection, .POST, path, type, bytes: [65]).status == 204)
            #expect(try await StreamClient.exchange(connection, .GET, path).text == "A")
            #expect(try await StreamClient.exchange(connection, .GET, path + "?offset=bad").status == 400)
            let poll = try await StreamClient.exchange(connection, .GET, path + "?offset=now&live=long-poll")
            #expect(poll.status == 204)
            let closed = try await StreamClient.exchange(connection, .POST, path, ["stream-closed": "true"])
            #expect(closed.status == 204)
            // A response of events that ends leaves the connection usable.
            let events = try await StreamClient.exchange(connection, .GET, path + "?offset=-1&live=sse")
            #expect(events.text.contains("streamClosed"))
            #expect(try await StreamClient.exchange(connection, .HEAD, path).isClosed)
            await connection.close()
        }
    }

    @Test(arguments: TestMode.allCases) func aServerThatStopsLetsReadersGo(_ mode: TestMode) async throws {
        let server = try await EndpointServer.start(mode) { $0.services = { $0.live.longPollTimeout = 60_000 } }
        let stream = server.client.stream()
        let tail = try await stream.create(body: "x").offset
        let reader = try await stream.events()
        try await reader.waitForData("x")
        async let poll = stream.longPoll(tail)
        try await waitForReaders(of: stream, on: server, count: 2)
        let begun = ContinuousClock.now
        await server.listener.drain(grace: .seconds(10))
        let answer = try await poll
        #expect(answer.status == 204)
        #expect(answer.offset == tail)
        _ = try await reader.untilEnd()
        #expect(ContinuousClock.now - begun < .seconds(5))
        await server.stop()
    }

    @Test func permissionsAreAskedForAndEndInTime() async throws {
        try await EndpointServer.with(
            .memory,
            { settings in
                let clock = settings.clock
                settings.services = {
                    $0.live.longPollTimeout = 30_000
                    $0.authorizer = { request, operation, name, decided in
                        switch request.head.headers.first(name: "authorization") {
                        case nil:
                            decided(.refused(.error(StreamError(.unauthorized, "A token is needed."), instance: nil)))
                        case "Bearer \(operation.rawValue)": decided(.granted(until: clock.now() + 700))
                        default: decided(.refused(.error(StreamError(.forbidden), instance: nil)))
                        }
                    }
                }
            }
        ) { server in
            let stream = server.client.stream()
            #expect(try await stream.create().status == 401)
            #expect(try await stream.create()["www-authenticate"] == "Bearer")
            #expect(try await stream.create(["authorization": "Bearer read"]).status == 403)
            #expect(try await stream.create(["authorization": "Bearer create"], body: "x").status == 201)
            #expect(try await stream.append("y", ["authorization": "Bearer append"]).status == 204)
            let token = ["authorization": "Bearer read"]
            #expect(try await stream.read(nil, token).text == "xy")
            let begun = ContinuousClock.now
            let poll = try await stream.longPoll("now", token)
            #expect(poll.status == 204)
            let reader = try await stream.events("-1", token)
            let events = try await reader.untilEnd()
            #expect(events.map(\.name) == ["data", "control"])
            #expect(ContinuousClock.now - begun < .seconds(6))
            #expect(try await stream.request(.DELETE, ["authorization": "Bearer delete"]).status == 204)
        }
    }

    @Test(arguments: TestMode.allCases) func readersThatLeaveLeaveNothingBehind(_ mode: TestMode) async throws {
        try await EndpointServer.with(mode, { $0.services = { $0.live.longPollTimeout = 60_000 } }) { server in
            let stream = server.client.stream()
            try await stream.create(["stream-ttl": "30"], body: "x")
            var connections: [ClientConnection] = []
            for index in 0..<6 {
                let connection = try await ClientConnection.open(port: server.client.port)
                let live = index % 2 == 0 ? "sse" : "long-poll"
                connection.send(
                    StreamClient.head(.GET, stream.path + "?offset=now&live=\(live)", [:], count: 0), body: [])
                connections.append(connection)
            }
            try await waitForReaders(of: stream, on: server, count: 6)
            for connection in connections { await connection.close() }
            let deadline = ContinuousClock.now + .seconds(10)
            while server.services.liveReaders > 0, ContinuousClock.now < deadline {
                try await Task.sleep(for: .milliseconds(5))
            }
            #expect(server.services.liveReaders == 0)
            #expect(try await stream.append("y").status == 204)
            // Nobody holds the stream any more.
            server.clock.advance(seconds: 60)
            #expect(try await stream.head().status == 404)
        }
    }

    @Test(arguments: TestMode.allCases) func manyReadersShareTheWork(_ mode: TestMode) async throws {
        try await EndpointServer.with(mode) { server in
            let stream = server.client.stream()
            try await stream.create(body: "old")
            var readers: [EventReader] = []
            for _ in 0..<120 { readers.append(try await stream.events("now")) }
            for reader in readers { _ = try await reader.wait { !$0.isEmpty } }
            let before = server.services.encodedBatches
            try await stream.append("to all")
            for reader in readers { try await reader.waitForData("to all") }
            // One for each event loop at most, and one round of cursors may have ended meanwhile.
            #expect(server.services.encodedBatches - before <= 32)
            for reader in readers {
                #expect(reader.data.map(\.data) == ["to all"])
                await reader.close()
            }
        }
    }

    @Test(arguments: TestMode.allCases) func aSlowReaderGetsEverythingInTheEnd(_ mode: TestMode) async throws {
        try await EndpointServer.with(mode) { server in
            let stream = server.client.stream()
            try await stream.create()
            let connection = try await ClientConnection.open(
                port: server.client.port, reads: false, receiveBuffer: 8192)
            connection.send(StreamClient.head(.GET, stream.path + "?offset=-1&live=sse", [:], count: 0), body: [])
            try await waitForReaders(of: stream, on: server)
            let piece = String(repeating: "0123456789abcdef", count: 16_384)
            for _ in 0..<60 { try await stream.append(piece) }
            let encoded = server.services.encodedBatches
            // 15 MiB were written; a reader that takes nothing is sent a part of it.
            #expect(encoded < 45)
            try await stream.close()
            connection.startReading()
            #expect(await connection.collector.wait(seconds: 20) { $0.isWhole })
            let events = ServerEvent.parse(String(decoding: connection.collector.state.body, as: UTF8.self))
            let count = events.filter { $0.name == "data" }.reduce(0) { $0 + $1.data.utf8.count }
            #expect(count == 60 * piece.utf8.count)
            #expect(events.last?.isClosed == true)
            await connection.close()
        }
    }

    @Test(arguments: [true, false]) func theMainPathsWorkBehindTLS(_ isHTTP2: Bool) async throws {
        let certificate = try TestCertificate()
        try await EndpointServer.with(
            .fileFast,
            {
                $0.options = {
                    $0.security = certificate.security
                    $0.versions = [.http2, .http1]
                }
                $0.services = { $0.live.longPollTimeout = 500 }
            }
        ) { server in
            let port = server.listener.port
            let client = try await SecureClient.connect(port: port, certificate, isHTTP2: isHTTP2)
            let path = StreamClient.root + "/secure/stream"
            let type = ["content-type": "text/plain"]
            let created = try await client.request(.PUT, path, type, "hello")
            #expect(created.status == 201)
            #expect(created["location"] == "https://streams.example:4437" + path)
            #expect(try await client.request(.POST, path, type, " world").status == 204)
            let read = try await client.request(.GET, path)
            #expect(read.text == "hello world")
            #expect(read["x-content-type-options"] == "nosniff")
            #expect(try await client.request(.HEAD, path).body.isEmpty)
            #expect(try await client.request(.GET, path, ["if-none-match": read["etag"] ?? ""]).status == 304)
            #expect(try await client.request(.GET, path + "?live=long-poll&offset=now").status == 204)
            #expect(try await client.request(.GET, path + "?offset=bad").code == "INVALID_OFFSET")
            let live = try await SecureClient.connect(port: port, certificate, isHTTP2: isHTTP2)
            let reader = EventReader(connection: try await live.begin(.GET, path + "?live=sse&offset=-1"))
            try await reader.waitForData("hello world")
            #expect(try await client.request(.POST, path, type, "!").status == 204)
            try await reader.waitForData("hello world!")
            #expect(try await client.request(.POST, path, ["stream-closed": "true"]).status == 204)
            _ = try await reader.wait { $0.last?.isClosed == true }
            #expect(try await client.request(.DELETE, path).status == 204)
            await live.close()
            await client.close()
        }
    }
}
