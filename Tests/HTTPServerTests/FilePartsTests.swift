import Foundation
import HTTPServer
import NIOCore
import NIOHTTP1
import Synchronization
import Testing

/// A file of the test's own, removed at the end.
final class TemporaryFile: Sendable {
    let path: String
    init(_ bytes: [UInt8]) throws {
        self.path = NSTemporaryDirectory() + "penstock-http-\(UUID().uuidString)"
        try Data(bytes).write(to: URL(fileURLWithPath: self.path))
    }
    deinit { unlink(self.path) }

    /// A file of zeros that takes no room.
    init(zeros count: Int) throws {
        self.path = NSTemporaryDirectory() + "penstock-http-\(UUID().uuidString)"
        try Data().write(to: URL(fileURLWithPath: self.path))
        guard truncate(self.path, count) == 0 else { throw POSIXError(.EIO) }
    }

    /// Bytes that do not repeat at any power of two; made by doubling, because tests run unoptimised.
    static func pattern(_ count: Int) -> [UInt8] {
        var state: UInt32 = 7
        var bytes: [UInt8] = (0..<9_973).map { _ in
            state = state &* 1_664_525 &+ 1_013_904_223
            return UInt8(truncatingIfNeeded: state >> 24)
        }
        while bytes.count < count { bytes += bytes }
        return Array(bytes.prefix(count))
    }
}

@Suite(.timeLimit(.minutes(1)))
struct FilePartsTests {
    static func body(of response: [UInt8]) -> [UInt8] {
        guard let end = response.firstRange(of: Array("\r\n\r\n".utf8)) else { return [] }
        return Array(response[end.upperBound...])
    }

    @Test func piecesOfFilesAndBytesJoinExactly() async throws {
        let pattern = TemporaryFile.pattern(5 << 20)
        let temporary = try TemporaryFile(pattern)
        let file = try HTTPFile(path: temporary.path)
        let parts: [HTTPBodyPart] = [
            .bytes(ByteBuffer(string: "[")), .file(HTTPFileSlice(file, offset: 3, count: 5)),
            .file(HTTPFileSlice(file, offset: 0, count: 0)), .bytes(ByteBuffer(string: ",")),
            .file(HTTPFileSlice(file, offset: 100, count: (5 << 20) - 100)), .bytes(ByteBuffer()),
            .file(HTTPFileSlice(file, offset: 0, count: 2 << 20)), .bytes(ByteBuffer(string: "]")),
        ]
        let server = try await DirectServer.start { request, responder in
            responder.parts(.ok, ["etag": "\"1\""], request.query == "none" ? [] : parts)
        }
        let expected =
            [UInt8(ascii: "[")] + pattern[3..<8] + [UInt8(ascii: ",")] + pattern[100...] + pattern[..<(2 << 20)]
            + [UInt8(ascii: "]")]
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\nGET /s?none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        #expect(await client.waitForEnd())
        let body = Self.body(of: client.bytes)
        let head = String(decoding: client.bytes.prefix(200), as: UTF8.self)
        #expect(head.contains("content-length: \(expected.count)\r\n"))
        #expect(Array(body.prefix(expected.count)) == expected)
        let second = String(decoding: body.dropFirst(expected.count), as: UTF8.self)
        #expect(second.hasPrefix("HTTP/1.1 200 OK\r\n") && second.contains("content-length: 0\r\n"))
        await client.close()
        await server.stop()
    }

    @Test func manyReadersShareOneDescriptor() async throws {
        let pattern = TemporaryFile.pattern(3 << 20)
        let temporary = try TemporaryFile(pattern)
        let file = try HTTPFile(path: temporary.path)
        let server = try await DirectServer.start { _, responder in
            responder.parts(.ok, [:], [.file(HTTPFileSlice(file, offset: 0, count: 3 << 20))])
        }
        try await withThrowingTaskGroup(of: Bool.self) { tasks in
            for _ in 0..<12 {
                tasks.addTask {
                    let client = try await RawConnection.connect(port: server.port)
                    client.send("GET /s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    _ = await client.waitForEnd()
                    await client.close()
                    return Self.body(of: client.bytes) == pattern
                }
            }
            for try await isWhole in tasks { #expect(isWhole) }
        }
        await server.stop()
    }

    @Test func fileThatIsTooShortEndsTheConnection() async throws {
        let temporary = try TemporaryFile(TemporaryFile.pattern(1_000))
        let file = try HTTPFile(path: temporary.path)
        let server = try await DirectServer.start { _, responder in
            responder.parts(.ok, [:], [.file(HTTPFileSlice(file, offset: 0, count: 2_000))])
        }
        let text = try await server.exchange("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(text.utf8.count < 2_000)
        await server.stop()
    }

    @Test func fileThatShrinksUnderASlowReaderEndsTheConnection() async throws {
        let temporary = try TemporaryFile(zeros: 32 << 20)
        let file = try HTTPFile(path: temporary.path)
        let options = HTTPListenerOptions()
        let server = try await DirectServer.start(options: options) { _, responder in
            responder.parts(.ok, [:], [.file(HTTPFileSlice(file, offset: 0, count: 32 << 20))])
        }
        let client = try await RawConnection.connect(port: server.port, reads: false)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        // The first pieces are with the kernel; all of it cannot be, for nobody reads.
        try await eventually { options.counters.sentBytes > 1 << 20 }
        #expect(options.counters.sentBytes < 32 << 20)
        #expect(truncate(temporary.path, 1_000) == 0)
        try await eventually { server.listener.connectionCount == 0 }
        await client.close()
        await server.stop()
    }

    @Test func fileIsClosedOnceNobodySendsIt() async throws {
        let temporary = try TemporaryFile([1, 2, 3])
        let held = Mutex<HTTPFile?>(try HTTPFile(path: temporary.path))
        weak let watched = held.withLock { $0 }
        let server = try await DirectServer.start { _, responder in
            guard let file = held.withLock({ $0.take() }) else { return }
            responder.parts(.ok, [:], [.file(HTTPFileSlice(file, offset: 0, count: 3))])
        }
        let client = try await RawConnection.connect(port: server.port)
        client.send("GET /s HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(await client.waitForText("\u{1}\u{2}\u{3}"))
        try await eventually { watched == nil }
        await client.close()
        await server.stop()
    }
}
