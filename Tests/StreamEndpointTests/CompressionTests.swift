import CZlib
import DurableStreams
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamEndpoint
import Testing

@Suite("Compression of answers", .timeLimit(.minutes(2)))
struct CompressionTests {
    /// What zlib makes of a packed body; the format is found by its header.
    static func unpacked(_ bytes: [UInt8]) throws -> [UInt8] {
        var input = bytes
        var output: [UInt8] = []
        var stream = z_stream()
        let version = zlibVersion()
        // 32: gzip or zlib.
        guard inflateInit2_(&stream, 15 + 32, version, CInt(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw TestFailure("zlib does not begin")
        }
        defer { inflateEnd(&stream) }
        try input.withUnsafeMutableBufferPointer { input in
            stream.next_in = input.baseAddress
            stream.avail_in = UInt32(input.count)
            var result = Z_OK
            while result == Z_OK {
                var piece = [UInt8](repeating: 0, count: 64 << 10)
                let count = piece.withUnsafeMutableBufferPointer { room in
                    stream.next_out = room.baseAddress
                    stream.avail_out = UInt32(room.count)
                    result = inflate(&stream, Z_NO_FLUSH)
                    return room.count - Int(stream.avail_out)
                }
                output += piece[..<count]
            }
            guard result == Z_STREAM_END, stream.avail_in == 0 else { throw TestFailure("not whole: \(result)") }
        }
        return output
    }

    /// Text of about so many bytes that packs as text does.
    static func text(_ count: Int) -> String {
        var lines = ""
        var number = 7
        while lines.utf8.count < count {
            number = (number &* 1_103_515_245 &+ 12345) & 0x7FFF_FFFF
            lines += "the number \(number) and what follows it\n"
        }
        return lines
    }

    private func with(
        _ mode: TestMode = .memory, _ change: @escaping @Sendable (inout StreamServices) -> Void = { _ in },
        _ body: (EndpointServer) async throws -> Void
    ) async throws {
        try await EndpointServer.with(
            mode,
            {
                $0.services = {
                    $0.compression = CompressionPolicy()
                    change(&$0)
                }
            }, body)
    }

    @Test(arguments: TestMode.allCases, ["gzip", "deflate"])
    func whatIsPackedIsTheSame(mode: TestMode, coding: String) async throws {
        try await self.with(mode) { server in
            // Small and at once; large and by pieces, out of memory and out of files.
            for (type, size) in [("text/plain", 2000), ("application/json", 2000), ("text/plain", 900_000)] {
                let stream = server.client.stream(type)
                let text = type == "text/plain" ? Self.text(size) : "{\"text\":\"\(String(repeating: "x", count: size))\"}"
                try await stream.create()
                try await stream.append(text)
                try await stream.append(type == "text/plain" ? "the end" : "[1,2]")
                var offset = RemoteStream.start
                var all: [UInt8] = []
                repeat {
                    let plain = try await stream.read(offset)
                    let packed = try await stream.read(offset, ["accept-encoding": coding])
                    #expect(plain["content-encoding"] == nil)
                    #expect(plain.offset == packed.offset)
                    #expect(plain["vary"] == "Accept-Encoding")
                    #expect(packed["vary"] == "Accept-Encoding")
                    guard plain.body.count >= 1024 else { break }
                    #expect(packed["content-encoding"] == coding)
                    #expect(packed["content-type"] == plain["content-type"])
                    #expect(packed.body.count < plain.body.count)
                    let tag = try #require(plain["etag"])
                    #expect(packed["etag"] == tag.dropLast() + "-\(coding)\"")
                    let unpacked = try Self.unpacked(packed.body)
                    #expect(unpacked == plain.body)
                    all += unpacked
                    offset = packed.offset
                } while true
                #expect(all.count >= size)
            }
        }
    }

    @Test func nothingIsPackedUnlessItIsTurnedOn() async throws {
        try await EndpointServer.with(.memory) { server in
            let stream = server.client.stream()
            try await stream.create(body: Self.text(3000))
            let answer = try await stream.read(nil, ["accept-encoding": "gzip"])
            #expect(answer["content-encoding"] == nil)
            #expect(answer["vary"] == nil)
            #expect(answer.text == Self.text(3000))
        }
    }

    @Test func whatIsSmallOrPackedAlreadyStaysAsItIs() async throws {
        try await self.with { server in
            let small = server.client.stream()
            try await small.create(body: "small")
            let answer = try await small.read(nil, ["accept-encoding": "gzip"])
            #expect(answer.text == "small")
            #expect(answer["content-encoding"] == nil)
            #expect(answer["vary"] == "Accept-Encoding")
            // Who takes nothing else gets even this packed, but no body that is not there.
            let refusing = ["accept-encoding": "gzip, identity;q=0"]
            let packed = try await small.read(nil, refusing)
            #expect(packed["content-encoding"] == "gzip")
            #expect(try Self.unpacked(packed.body) == Array("small".utf8))
            let nothing = try await small.read(answer.offset, refusing)
            #expect(nothing["content-encoding"] == nil)
            #expect(nothing.body.isEmpty)

            let image = server.client.stream("image/png")
            try await image.create(body: Self.text(5000))
            let bytes = try await image.read(nil, ["accept-encoding": "gzip"])
            #expect(bytes["content-encoding"] == nil)
            #expect(bytes["vary"] == nil)
            #expect(bytes.text == Self.text(5000))
        }
    }

    @Test func whoHasThePackedFormGetsItNoSecondTime() async throws {
        try await self.with { server in
            let stream = server.client.stream()
            try await stream.create(body: Self.text(3000))
            let packed = try await stream.read(nil, ["accept-encoding": "gzip"])
            let tag = try #require(packed["etag"])
            let again = try await stream.read(nil, ["accept-encoding": "gzip", "if-none-match": tag])
            #expect(again.status == 304)
            #expect(again["etag"] == tag)
            #expect(again["vary"] == "Accept-Encoding")
            #expect(again["content-encoding"] == nil)
            #expect(again.body.isEmpty)
            try await stream.append("more")
            let new = try await stream.read(nil, ["accept-encoding": "gzip", "if-none-match": tag])
            #expect(new.status == 200)
            #expect(new["etag"] != tag)
        }
    }

    @Test func longPollsArePackedAndEventStreamsAreNot() async throws {
        try await self.with { server in
            let stream = server.client.stream()
            try await stream.create()
            async let waiting = stream.request(.GET, query: "offset=now&live=long-poll", ["accept-encoding": "gzip"])
            try await waitForReaders(of: stream, on: server)
            try await stream.append(Self.text(2000))
            let answer = try await waiting
            #expect(answer["content-encoding"] == "gzip")
            #expect(try Self.unpacked(answer.body) == Array(Self.text(2000).utf8))
            let reader = try await EventReader.open(
                server.client, stream.path + "?offset=-1&live=sse", ["accept-encoding": "gzip"])
            #expect(reader["content-encoding"] == nil)
            #expect(try await reader.untilUpToDate().first?.data.hasPrefix("the number") == true)
        }
    }

    @Test func beyondTheLimitAnswersGoAsTheyAre() async throws {
        try await self.with(.memory, { $0.compression?.limit = HTTPCompressedBody.Limit(0) }) { server in
            let stream = server.client.stream()
            try await stream.create(body: Self.text(100_000))
            let answer = try await stream.read(nil, ["accept-encoding": "gzip"])
            #expect(answer["content-encoding"] == nil)
            #expect(answer["vary"] == "Accept-Encoding")
            #expect(answer["etag"]?.hasSuffix("-gzip\"") == false)
            #expect(answer.text == Self.text(100_000))
        }
    }

    @Test func aClientThatDoesNotReadHoldsOnePieceAndLeavesNothing() async throws {
        try await self.with(.memory, { $0.catchUpBytes = 16 << 20 }) { server in
            let stream = server.client.stream()
            // Noise that repeats at a distance that zlib does not look back to: more than the sockets hold is left after packing.
            var generator = SystemRandomNumberGenerator()
            let noise = (0..<100_000).map { _ in UInt8.random(in: 32...126, using: &generator) }
            let bytes = Array(repeatElement(noise, count: 90).joined())
            try await stream.create()
            try await stream.append(bytes: bytes)
            let limit = try #require(server.services.compression?.limit)
            let connection = try await ClientConnection.open(
                port: server.client.port, reads: false, receiveBuffer: 4096)
            connection.send(StreamClient.head(.GET, stream.path, ["accept-encoding": "gzip"], count: 0), body: [])
            try await eventually("the answer is being packed") { limit.inUse == 1 }
            // Others are served meanwhile.
            let other = try await stream.read(nil, ["accept-encoding": "deflate"])
            #expect(try Self.unpacked(other.body) == bytes)
            #expect(limit.inUse == 1)
            await connection.close()
            try await eventually("the memory is given back") { limit.inUse == 0 }
        }
    }

    @Test(arguments: [true, false]) func anHTTP2ClientGetsTheSame(isHTTP2: Bool) async throws {
        let certificate = try TestCertificate()
        let security = certificate.security
        try await EndpointServer.with(
            .fileDurable,
            {
                $0.services = { $0.compression = CompressionPolicy() }
                $0.options = {
                    $0.security = security
                    $0.versions = [.http2, .http1]
                }
            }
        ) { server in
            let client = try await SecureClient.connect(port: server.client.port, certificate, isHTTP2: isHTTP2)
            let path = StreamClient.root + "/packed"
            let type = ["content-type": "text/plain"]
            #expect(try await client.request(.PUT, path, type, Self.text(200_000)).status == 201)
            for _ in 0..<2 {
                let answer = try await client.request(.GET, path, ["accept-encoding": "gzip"])
                #expect(answer["content-encoding"] == "gzip")
                #expect(answer["content-length"] == nil)
                #expect(try Self.unpacked(answer.body) == Array(Self.text(200_000).utf8))
            }
            await client.close()
        }
    }
}
