import Foundation
import NIOCore
import NIOHTTP1
import Synchronization
import TestSupport
import Testing

/// Kills of the stream server under load: what was acknowledged is there once, and what was read stays.
@Suite(.serialized, .timeLimit(.minutes(12))) struct StreamCrashTests {
    private struct Entry: Codable, Equatable {
        var writer: Int
        var number: Int
    }

    /// What one reader has seen, joined from its reads.
    private actor History {
        private(set) var entries: [Entry] = []
        var offset = "-1"

        func add(_ body: ByteBuffer, next: String) throws {
            self.entries += try JSONDecoder().decode([Entry].self, from: Data(body.readableBytesView))
            self.offset = next
        }
    }

    private final class Counter: Sendable {
        private let count = Mutex(0)
        var value: Int { self.count.withLock { $0 } }
        func increment() { self.count.withLock { $0 += 1 } }
    }

    private static let json = [("content-type", "application/json")]

    /// Tries until the server says that the entry is in.
    private static func append(_ entry: Entry, to stream: String, _ server: StreamProcess, last: Bool) async throws {
        let body = String(decoding: try JSONEncoder().encode(entry), as: UTF8.self)
        var headers =
            Self.json + [
                ("producer-id", "writer-\(entry.writer)"), ("producer-epoch", "0"), ("producer-seq", "\(entry.number)"),
            ]
        if last { headers.append(("stream-closed", "true")) }
        while true {
            if let answer = try? await server.request(.POST, stream, headers: headers, body: body) {
                if answer.status == 200 || answer.status == 204 { return }
                guard answer.status == 503 else {
                    throw TestSupportError("append answered \(answer.status): \(String(buffer: answer.body))")
                }
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    private static func follow(_ stream: String, _ server: StreamProcess, _ history: History) async throws {
        while !Task.isCancelled {
            let offset = await history.offset
            guard
                let answer = try? await server.request(.GET, "\(stream)?offset=\(offset)&live=long-poll"),
                let next = answer.headers.first(name: "stream-next-offset")
            else {
                try? await Task.sleep(for: .milliseconds(20))
                continue
            }
            if answer.status == 200 { try await history.add(answer.body, next: next) }
            if answer.headers.first(name: "stream-closed") == "true" { return }
        }
    }

    @Test(arguments: ["file-durable", "file-fast", "acid"])
    func killsUnderLoadLoseNothingAndDoubleNothing(_ mode: String) async throws {
        let server = try StreamProcess(mode: mode)
        try server.launch()
        try await server.waitUntilReady()
        let isThorough = ProcessInfo.processInfo.environment["PENSTOCK_CRASH_TESTS"] != nil
        let writers = 8
        let each = isThorough ? 2_000 : 250
        for writer in 0..<writers {
            #expect(try await server.request(.PUT, "load/\(writer)", headers: Self.json).status == 201)
        }
        #expect(try await server.request(.PUT, "shared", headers: Self.json).status == 201)
        let acknowledged = Counter()
        let histories = (0...writers).map { _ in History() }
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for writer in 0..<writers {
                tasks.addTask {
                    for number in 0..<each {
                        let entry = Entry(writer: writer, number: number)
                        // Closing is part of the last append: both or neither.
                        try await Self.append(entry, to: "load/\(writer)", server, last: number == each - 1)
                        try await Self.append(entry, to: "shared", server, last: false)
                        acknowledged.increment()
                    }
                }
                tasks.addTask { try await Self.follow("load/\(writer)", server, histories[writer]) }
            }
            let follower = Task { try await Self.follow("shared", server, histories[writers]) }
            defer { follower.cancel() }
            tasks.addTask {
                for part in 1...(isThorough ? 8 : 3) {
                    let goal = writers * each * part / (isThorough ? 9 : 4)
                    try await eventually("\(goal) appends are in", within: .seconds(120)) {
                        acknowledged.value >= goal
                    }
                    // Created and deleted, both acknowledged: it must not come back.
                    _ = try await server.request(.PUT, "gone/\(part)", headers: Self.json, body: "[1]")
                    let deletion = try await server.request(.DELETE, "gone/\(part)")
                    #expect(deletion.status == 204)
                    server.end(SIGKILL)
                    try server.launch()
                    try await server.waitUntilReady()
                    #expect(try await server.request(.GET, "gone/\(part)").status == 404)
                }
            }
            try await tasks.waitForAll()
            follower.cancel()
            _ = try? await follower.value
        }
        for writer in 0..<writers {
            let answer = try await server.request(.GET, "load/\(writer)")
            #expect(answer.headers.first(name: "stream-closed") == "true")
            let entries = try JSONDecoder().decode([Entry].self, from: Data(answer.body.readableBytesView))
            #expect(entries == (0..<each).map { Entry(writer: writer, number: $0) })
            #expect(await histories[writer].entries == entries)
        }
        let shared = try await server.request(.GET, "shared")
        let entries = try JSONDecoder().decode([Entry].self, from: Data(shared.body.readableBytesView))
        #expect(entries.count == writers * each)
        for writer in 0..<writers {
            #expect(entries.filter { $0.writer == writer }.map(\.number) == Array(0..<each))
        }
        let seen = await histories[writers].entries
        #expect(seen == Array(entries.prefix(seen.count)))
        server.end(SIGTERM)
    }

    @Test func memoryModeBeginsAnew() async throws {
        let server = try StreamProcess(mode: "memory")
        try server.launch()
        try await server.waitUntilReady()
        #expect(try await server.request(.PUT, "a", headers: Self.json, body: "[1]").status == 201)
        server.end(SIGKILL)
        try server.launch()
        try await server.waitUntilReady()
        #expect(try await server.request(.GET, "a").status == 404)
        server.end(SIGTERM)
    }
}
