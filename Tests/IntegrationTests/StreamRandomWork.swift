import Foundation
import NIOCore
import NIOHTTP1
import StreamStoreTestSupport
import Synchronization
import TestSupport

/// Random requests of several clients to one server that is killed meanwhile, and what came of them.
///
/// Each client writes to streams of its own, so that its requests have one order; readers look at all of them.
final class StreamRandomWork: Sendable {
    struct Result: Sendable {
        var histories: [[StreamAction]]
        /// For each client what readers saw of its streams.
        var seen: [Set<Int>]
        var readings: [[Int]]
    }

    private let server: StreamProcess
    private let seed: UInt64
    private let clients: Int
    private let each: Int
    private let survivesKill: Bool
    private let progress = Mutex(0)
    /// Even while the server runs, odd from just before a kill until it runs again.
    private let phase = Mutex(0)
    private let isDone = Mutex(false)

    private static let json = [("content-type", "application/json")]
    /// Entries of one client lie together.
    private static let idSpan = 1_000_000

    init(_ server: StreamProcess, seed: UInt64, clients: Int, each: Int, survivesKill: Bool) {
        self.survivesKill = survivesKill
        self.server = server
        self.seed = seed
        self.clients = clients
        self.each = each
    }

    func run(kills: Int) async throws -> Result {
        var result = Result(histories: [], seen: [Set<Int>](repeating: [], count: self.clients), readings: [])
        try await withThrowingTaskGroup(of: [[Int]].self) { readers in
            for reader in 0..<2 { readers.addTask { await self.read(reader) } }
            result.histories = try await withThrowingTaskGroup(of: (Int, [StreamAction]).self) { tasks in
                for client in 0..<self.clients { tasks.addTask { (client, try await self.work(client)) } }
                tasks.addTask {
                    for kill in 1...kills {
                        let goal = self.clients * self.each * kill / (kills + 1)
                        try await eventually("\(goal) requests are answered", within: .seconds(120)) {
                            self.progress.withLock { $0 } >= goal
                        }
                        self.phase.withLock { $0 += 1 }
                        self.server.end(SIGKILL)
                        try self.server.launch()
                        try await self.server.waitUntilReady()
                        self.phase.withLock { $0 += 1 }
                    }
                    return (-1, [])
                }
                var histories = [[StreamAction]](repeating: [], count: self.clients)
                for try await (client, history) in tasks where client >= 0 { histories[client] = history }
                return histories
            }
            self.isDone.withLock { $0 = true }
            for try await readings in readers { result.readings += readings }
        }
        for reading in result.readings {
            for entry in reading { result.seen[entry / Self.idSpan].insert(entry) }
        }
        return result
    }

    private func names(_ client: Int) -> [String] { (0..<4).map { "work/\(client)/\($0)" } }

    // MARK: - Readers

    private func read(_ reader: Int) async -> [[Int]] {
        var random = SplitMix(seed: self.seed &* 31 &+ UInt64(reader))
        var readings: [[Int]] = []
        while !self.isDone.withLock({ $0 }) {
            let name = self.names(Int.random(in: 0..<self.clients, using: &random)).randomElement(using: &random) ?? ""
            guard let answer = try? await self.server.request(.GET, name), answer.status == 200,
                let found = try? JSONDecoder().decode([Int].self, from: Data(answer.body.readableBytesView))
            else { continue }
            if !found.isEmpty { readings.append(found) }
        }
        return readings
    }

    // MARK: - Clients

    private func work(_ client: Int) async throws -> [StreamAction] {
        var random = SplitMix(seed: self.seed &* 1000 &+ UInt64(client))
        var draft = Draft(names: self.names(client), next: client * Self.idSpan + 1)
        var history: [StreamAction] = []
        var phase = self.phase.withLock { $0 }
        for _ in 0..<self.each {
            let action = draft.next(using: &random)
            try await self.perform(action, &history, &phase, &draft)
            self.progress.withLock { $0 += 1 }
        }
        // All that is there at last, once more after any request that had no answer.
        for name in self.names(client) {
            try await self.perform(StreamAction(request: .read, stream: name), &history, &phase, &draft)
        }
        return history
    }

    private func perform(
        _ action: StreamAction, _ history: inout [StreamAction], _ phase: inout Int, _ draft: inout Draft
    ) async throws {
        var action = action
        let before = self.phase.withLock { $0 }
        if before != phase { history.append(StreamAction(request: .restart)) }
        phase = before
        let answer = try? await self.send(action)
        let after = self.phase.withLock { $0 }
        if let answer, after == before, before % 2 == 0, answer.status < 500 {
            action.status = answer.status
            if case .read = action.request, answer.status == 200 {
                action.found = try JSONDecoder().decode([Int].self, from: Data(answer.body.readableBytesView))
                action.isClosed = answer.headers.first(name: "stream-closed") == "true"
            }
            history.append(action)
            draft.learned(action, expected: answer.headers.first(name: "producer-expected-seq").flatMap { Int($0) })
            return
        }
        // Before the kill, after it, or not at all; the answer may have been lost.
        history.append(action)
        try await eventually("the server runs again", within: .seconds(60)) { self.phase.withLock { $0 } % 2 == 0 }
        let now = self.phase.withLock { $0 }
        if now != phase {
            history.append(StreamAction(request: .restart))
            // Where all is lost with the process it matters on which side of the kill it happened.
            if !self.survivesKill { history.append(action) }
        }
        phase = now
    }

    private func send(_ action: StreamAction) async throws -> StreamProcess.Answer {
        var headers = Self.json
        func text(_ body: [Int]) -> String? {
            body.isEmpty ? nil : "[" + body.map(String.init).joined(separator: ",") + "]"
        }
        switch action.request {
        case .create(let body, let closes, let fork):
            if closes { headers.append(("stream-closed", "true")) }
            if let fork { headers.append(("stream-forked-from", "/v1/stream/\(fork)")) }
            return try await self.server.request(.PUT, action.stream, headers: headers, body: text(body))
        case .append(let body, let claim, let sequence, let closes):
            if closes { headers.append(("stream-closed", "true")) }
            if let sequence { headers.append(("stream-seq", sequence)) }
            if let claim {
                headers += [
                    ("producer-id", claim.id), ("producer-epoch", "\(claim.epoch)"), ("producer-seq", "\(claim.seq)"),
                ]
            }
            return try await self.server.request(.POST, action.stream, headers: headers, body: text(body))
        case .delete: return try await self.server.request(.DELETE, action.stream)
        case .read, .restart: return try await self.server.request(.GET, action.stream)
        }
    }

    /// What a client does next, with a rough idea of what is there.
    private struct Draft {
        let names: [String]
        var next: Int
        private var claims: [String: StreamAction.Claim] = [:]
        private var sequence = 1000

        init(names: [String], next: Int) {
            self.names = names
            self.next = next
        }

        private mutating func entries(_ count: Int) -> [Int] {
            defer { self.next += count }
            return Array(self.next..<self.next + count)
        }

        mutating func next(using random: inout SplitMix) -> StreamAction {
            let name = self.names.randomElement(using: &random) ?? ""
            let closes = Int.random(in: 0..<12, using: &random) == 0
            switch Int.random(in: 0..<20, using: &random) {
            case 0, 1:
                let body = self.entries(Int.random(in: 0...2, using: &random))
                return StreamAction(request: .create(body: body, closes: closes), stream: name)
            case 2:
                let source = self.names.randomElement(using: &random) ?? ""
                return StreamAction(
                    request: .create(body: self.entries(Int.random(in: 0...1, using: &random)), fork: source),
                    stream: name)
            case 3: return StreamAction(request: .delete, stream: name)
            case 4, 5: return StreamAction(request: .read, stream: name)
            case 6: return StreamAction(request: .append([], closes: true), stream: name)
            case 7..<10:
                // Sometimes the last one once more, which is refused.
                if Int.random(in: 0..<6, using: &random) > 0 { self.sequence += 1 }
                return StreamAction(
                    request: .append(self.entries(1), sequence: String(self.sequence), closes: closes), stream: name)
            case 10..<12: return StreamAction(request: .append(self.entries(2), closes: closes), stream: name)
            default:
                var claim = self.claims[name] ?? StreamAction.Claim(id: "p", epoch: 0, seq: -1)
                switch Int.random(in: 0..<10, using: &random) {
                case 0: claim.seq = max(claim.seq, 0)
                case 1: claim = StreamAction.Claim(id: "p", epoch: claim.epoch + 1, seq: 0)
                case 2: claim.seq += 3
                default: claim.seq += 1
                }
                return StreamAction(
                    request: .append(self.entries(1), claim: claim, closes: closes), stream: name)
            }
        }

        mutating func learned(_ action: StreamAction, expected: Int?) {
            switch action.request {
            case .create where action.status == 201: self.claims[action.stream] = nil
            case .append(_, let claim?, _, _):
                if action.status == 200 || action.status == 204 { self.claims[action.stream] = claim }
                if let expected { self.claims[action.stream]?.seq = expected - 1 }
                if action.status == 404 { self.claims[action.stream] = nil }
            default: break
            }
        }
    }
}
