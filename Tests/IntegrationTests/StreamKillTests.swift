import Foundation
import NIOCore
import NIOHTTP1
import Synchronization
import TestSupport
import Testing

/// Kills of the stream server under random work: every answer, and everything that readers saw, is checked against what
/// is there afterwards.
@Suite(.serialized, .timeLimit(.minutes(6))) struct StreamKillTests {
    private static var isThorough: Bool { ProcessInfo.processInfo.environment["PENSTOCK_CRASH_TESTS"] != nil }
    private static let json = [("content-type", "application/json")]

    private static func work(_ mode: String, seed: UInt64) async throws -> StreamRandomWork.Result {
        let server = try StreamProcess(mode: mode)
        try server.launch()
        try await server.waitUntilReady()
        defer { server.end(SIGKILL) }
        return try await StreamRandomWork(
            server, seed: seed, clients: 6, each: Self.isThorough ? 1500 : 250, survivesKill: mode != "memory"
        ).run(kills: Self.isThorough ? 8 : 3)
    }

    private static func violations(
        _ result: StreamRandomWork.Result, survivesKill: Bool
    ) -> [StreamHistoryChecker.Violation] {
        var violations: [StreamHistoryChecker.Violation] = []
        for (history, seen) in zip(result.histories, result.seen) {
            var checker = StreamHistoryChecker(survivesKill: survivesKill)
            do throws(StreamHistoryChecker.Violation) {
                try checker.check(history)
                try checker.seen(seen)
            } catch {
                violations.append(error)
            }
        }
        for reading in result.readings {
            do throws(StreamHistoryChecker.Violation) {
                try StreamHistoryChecker.checkReading(reading)
            } catch {
                violations.append(error)
            }
        }
        return violations
    }

    /// Creations with a body, appends with and without producers and `Stream-Seq`, append-and-close, closes, forks,
    /// deletions and readings.
    @Test(arguments: ["file-durable", "file-fast", "acid"])
    func everyAnswerHoldsAfterKills(_ mode: String) async throws {
        for seed in 1...(Self.isThorough ? 4 : 1) as ClosedRange<UInt64> {
            let result = try await Self.work(mode, seed: seed)
            let violations = Self.violations(result, survivesKill: true)
            #expect(violations.isEmpty, "seed \(seed): \(violations.prefix(3))")
            // The work has to have met what it is about.
            let actions = result.histories.joined()
            let unanswered = actions.count { $0.status == nil }
            #expect(unanswered > 0 && actions.count > unanswered * 5)
            for status in [200, 201, 204, 404, 409, 410] {
                #expect(actions.contains { $0.status == status }, "nothing was answered with \(status)")
            }
            #expect(result.seen.contains { !$0.isEmpty })
        }
    }

    /// What is documented of it: all is lost, nothing is left. The same history convicts a storage that is to keep it.
    @Test func aStorageInMemoryLosesEverything() async throws {
        let result = try await Self.work("memory", seed: 1)
        let violations = Self.violations(result, survivesKill: false)
        #expect(violations.isEmpty, "\(violations.prefix(3))")
        #expect(!Self.violations(result, survivesKill: true).isEmpty)
    }

    // MARK: - Lives

    /// Acknowledged expiry is as final as a deletion, and a life that reads renewed goes on after a kill.
    @Test(arguments: ["file-durable", "file-fast", "acid"])
    func livesEndOnceAndGoOnAfterKills(_ mode: String) async throws {
        let server = try StreamProcess(mode: mode)
        try server.launch()
        try await server.waitUntilReady()
        defer { server.end(SIGKILL) }
        for name in ["kept", "short"] {
            let life = [("stream-ttl", name == "short" ? "1" : "3600")]
            #expect(try await server.request(.PUT, name, headers: Self.json + life, body: "[1]").status == 201)
        }
        try await eventually("the short life is over", within: .seconds(30)) {
            (try? await server.request(.HEAD, "short"))?.status == 404
        }
        // Its removal, which nobody is told of, is done when the name is free for another configuration.
        #expect(try await server.request(.PUT, "short", headers: Self.json, body: "[2]").status == 201)
        #expect(try await server.request(.DELETE, "short").status == 204)
        for _ in 0..<2 {
            server.end(SIGKILL)
            try server.launch()
            try await server.waitUntilReady()
            #expect(try await server.request(.GET, "short").status == 404)
            let kept = try await server.request(.GET, "kept")
            #expect(kept.status == 200 && String(buffer: kept.body) == "[1]")
            let head = try await server.request(.HEAD, "kept")
            #expect(head.headers.first(name: "stream-ttl") == "3600")
        }
    }

    // MARK: - Subscriptions

    private struct Claim: Decodable {
        var token: String
        var wake_id: String
        var generation: Int
    }

    private struct Subscription: Decodable {
        struct Link: Decodable {
            var path: String
            var acked_offset: String
        }
        var streams: [Link]
    }

    /// What a worker has acknowledged, and the subscription itself, are there after a kill.
    @Test(arguments: ["file-durable", "file-fast", "acid"])
    func acknowledgementsOfWorkersSurviveKills(_ mode: String) async throws {
        let server = try StreamProcess(mode: mode)
        try server.launch()
        try await server.waitUntilReady()
        defer { server.end(SIGKILL) }
        let path = "__ds/subscriptions/one"
        #expect(try await server.request(.PUT, "wakes", headers: Self.json).status == 201)
        #expect(try await server.request(.PUT, "tasks", headers: Self.json).status == 201)
        let configuration = #"{"type":"pull-wake","streams":["tasks"],"wake_stream":"wakes","lease_ttl_ms":1000}"#
        #expect(try await server.request(.PUT, path, headers: Self.json, body: configuration).status == 201)
        for number in 0..<(Self.isThorough ? 40 : 8) {
            let append = try await server.request(.POST, "tasks", headers: Self.json, body: "[\(number)]")
            let tail = try #require(append.headers.first(name: "stream-next-offset"))
            var claimed: Claim?
            // The lease of the worker before may still hold.
            try await eventually("a claim is granted", within: .seconds(30)) {
                let answer = try await server.request(
                    .POST, path + "/claim", headers: Self.json, body: #"{"worker":"w"}"#)
                guard answer.status == 200 else { return false }
                claimed = try JSONDecoder().decode(Claim.self, from: Data(answer.body.readableBytesView))
                return true
            }
            let claim = try #require(claimed)
            let body = """
                {"wake_id":"\(claim.wake_id)","generation":\(claim.generation),"done":true,\
                "acks":[{"stream":"tasks","offset":"\(tail)"}]}
                """
            let ack = try await server.request(
                .POST, path + "/ack", headers: Self.json + [("authorization", "Bearer \(claim.token)")], body: body)
            #expect(ack.status == 200)
            server.end(SIGKILL)
            try server.launch()
            try await server.waitUntilReady()
            let answer = try await server.request(.GET, path)
            let found = try JSONDecoder().decode(Subscription.self, from: Data(answer.body.readableBytesView))
            #expect(found.streams.map(\.path) == ["tasks"])
            #expect(found.streams.map(\.acked_offset) == [tail])
            #expect(try await server.request(.PUT, path, headers: Self.json, body: configuration).status == 200)
        }
    }
}
