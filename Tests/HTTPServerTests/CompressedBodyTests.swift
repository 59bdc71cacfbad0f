import HTTPServer
import NIOCore
import NIOHTTP1
import Testing

@Suite(.timeLimit(.minutes(1)))
struct CompressedBodyTests {
    @Test func aLongBodyComesInPiecesOfBoundedSize() throws {
        // Noise does not become smaller, so that all of it comes out.
        var generator = SystemRandomNumberGenerator()
        let noise = (0..<(1 << 20)).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let temporary = try TemporaryFile(noise)
        let file = try HTTPFile(path: temporary.path)
        let limit = HTTPCompressedBody.Limit(1)
        let parts: [HTTPBodyPart] = [
            .bytes(ByteBuffer(bytes: noise)), .bytes(ByteBuffer()), .file(HTTPFileSlice(file, offset: 0, count: 1 << 20)),
        ]
        let body = try #require(HTTPCompressedBody(parts, .gzip, limit: limit))
        #expect(body.byteCount == 2 << 20)
        #expect(HTTPCompressedBody(parts, .gzip, limit: limit) == nil)
        var pieces = 0
        var total = 0
        var isLast = false
        while !isLast {
            let piece = try body.next()
            isLast = piece.isLast
            #expect(piece.bytes.readableBytes <= 256 << 10)
            #expect(piece.bytes.readableBytes > 0)
            pieces += 1
            total += piece.bytes.readableBytes
        }
        #expect(pieces > 8)
        #expect(total > 2 << 20)
        let after = try body.next()
        #expect(after.bytes.readableBytes == 0 && after.isLast)
    }

    @Test func placesAreGivenBack() throws {
        let limit = HTTPCompressedBody.Limit(1)
        for _ in 0..<3 {
            let body = try #require(HTTPCompressedBody([.bytes(ByteBuffer(string: "x"))], .zlib, limit: limit))
            #expect(limit.inUse == 1)
            #expect(try body.whole().readableBytes > 0)
        }
        #expect(limit.inUse == 0)
    }

    @Test func aFileThatBecameShorterIsToldOf() throws {
        let temporary = try TemporaryFile(TemporaryFile.pattern(1000))
        let file = try HTTPFile(path: temporary.path)
        let part = HTTPBodyPart.file(HTTPFileSlice(file, offset: 500, count: 501))
        let body = try #require(HTTPCompressedBody([part], .gzip, limit: HTTPCompressedBody.Limit(1)))
        #expect(throws: HTTPCompressedBody.Failure.self) { try body.whole() }
    }

    @Test func theClientSeesThatABodyIsNotWhole() async throws {
        let temporary = try TemporaryFile(TemporaryFile.pattern(1000))
        let file = try HTTPFile(path: temporary.path)
        var generator = SystemRandomNumberGenerator()
        let noise = ByteBuffer(bytes: (0..<300_000).map { _ in UInt8.random(in: 0...255, using: &generator) })
        let server = try await DirectServer.start { _, responder in
            let parts: [HTTPBodyPart] = [
                .bytes(noise), .file(HTTPFileSlice(file, offset: 0, count: 2000)),
            ]
            guard let body = HTTPCompressedBody(parts, .gzip, limit: HTTPCompressedBody.Limit(1)) else { return }
            responder.compressed(.ok, ["content-encoding": "gzip"], body)
        }
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(await client.waitForEnd())
        let bytes = client.bytes
        #expect(String(decoding: bytes.prefix(500), as: UTF8.self).contains("transfer-encoding: chunked"))
        #expect(bytes.count > 64 << 10)
        #expect(!bytes.suffix(5).elementsEqual(Array("0\r\n\r\n".utf8)))
        await client.close()
        await server.stop()
    }
}
