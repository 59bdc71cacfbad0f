/// One request of a client to the stream server, and what it was told.
struct StreamAction: Sendable {
    struct Claim: Hashable, Sendable {
        var id: String
        var epoch: Int
        var seq: Int
    }

    enum Request: Sendable {
        case create(body: [Int], closes: Bool = false, fork: String? = nil)
        case append([Int], claim: Claim? = nil, sequence: String? = nil, closes: Bool = false)
        case delete
        case read
        /// The server was killed and started again.
        case restart
    }

    var request: Request
    var stream = ""
    /// Nil when no answer came, or one that says neither yes nor no.
    var status: Int?
    /// What a read found.
    var found: [Int] = []
    var isClosed = false
}

/// What one client has done to streams that nobody else writes to, and what readers saw, against the rules of streams.
///
/// A request without an answer may have happened or not, so the checker follows every world that fits what was told
/// since. When none is left, something acknowledged is missing, there twice or in part, or has come back.
struct StreamHistoryChecker {
    struct Violation: Error, CustomStringConvertible {
        var description: String
    }

    struct Stream: Equatable {
        var content: [Int] = []
        var isClosed = false
        var closing: StreamAction.Claim?
        var producers: [String: StreamAction.Claim] = [:]
        var sequence: String?
        var source: String?
        var forkCount = 0
        var isSoftDeleted = false
    }

    struct World: Equatable {
        var streams: [String: Stream] = [:]
        /// Every entry that was ever stored.
        var stored: Set<Int> = []
    }

    /// Whether what was acknowledged has to be there after a kill; if not, nothing may be.
    let survivesKill: Bool
    private(set) var worlds = [World()]
    private(set) var count = 0

    init(survivesKill: Bool) {
        self.survivesKill = survivesKill
    }

    mutating func check(_ actions: [StreamAction]) throws(Violation) {
        for action in actions { try self.add(action) }
    }

    mutating func add(_ action: StreamAction) throws(Violation) {
        self.count += 1
        var next: [World] = []
        for world in self.worlds {
            let (after, statuses) = self.applying(action, to: world)
            switch action.status {
            case nil where self.isRestart(action): Self.insert(after, &next)
            case nil:
                Self.insert(world, &next)
                Self.insert(after, &next)
            case let status?:
                guard statuses.contains(status), Self.agrees(action, world) else { continue }
                Self.insert(after, &next)
            }
        }
        guard !next.isEmpty else {
            let expected = self.worlds.map { world in
                "\(self.applying(action, to: world).statuses) with \(String(describing: world.streams[action.stream]))"
            }
            throw Violation(
                description: "action \(self.count): \(action) fits none of: " + expected.joined(separator: " or "))
        }
        self.worlds = next
    }

    /// Entries that readers saw have to have been stored in some world that is left.
    mutating func seen(_ entries: Set<Int>) throws(Violation) {
        let left = self.worlds.filter { entries.isSubset(of: $0.stored) }
        guard !left.isEmpty else {
            let missing = self.worlds.map { entries.subtracting($0.stored).sorted().prefix(5) }
            throw Violation(description: "readers saw \(missing), which went away")
        }
        self.worlds = left
    }

    /// What one reading of a stream may look like: in order, nothing twice.
    static func checkReading(_ found: [Int]) throws(Violation) {
        for (before, after) in zip(found, found.dropFirst()) where before >= after {
            throw Violation(description: "\(after) stands behind \(before)")
        }
    }

    private func isRestart(_ action: StreamAction) -> Bool {
        if case .restart = action.request { return true }
        return false
    }

    private static func insert(_ world: World, _ worlds: inout [World]) {
        if !worlds.contains(world) { worlds.append(world) }
    }

    /// Whether a read found what the world holds.
    private static func agrees(_ action: StreamAction, _ world: World) -> Bool {
        guard case .read = action.request, action.status == 200, let stream = world.streams[action.stream] else {
            return true
        }
        return stream.content == action.found && stream.isClosed == action.isClosed
    }

    // MARK: - Rules

    private func applying(_ action: StreamAction, to world: World) -> (world: World, statuses: Set<Int>) {
        let stream = world.streams[action.stream]
        var next = world
        switch action.request {
        case .restart: return (self.survivesKill ? world : World(stored: world.stored), [])
        case .read:
            guard let stream else { return (world, [404]) }
            return (world, [stream.isSoftDeleted ? 410 : 200])
        case .delete:
            guard let stream else { return (world, [404]) }
            if stream.isSoftDeleted { return (world, [410]) }
            next.delete(action.stream)
            return (next, [204])
        case .create(let body, let closes, let fork):
            if let stream {
                if stream.isSoftDeleted { return (world, [409]) }
                // Whether a fork is a repeat depends on where its source ended then.
                if fork != nil { return (world, stream.source == fork ? [200, 409] : [409]) }
                return (world, [stream.source == nil && stream.isClosed == closes ? 200 : 409])
            }
            var made = Stream(isClosed: closes)
            if let fork {
                guard let source = world.streams[fork] else { return (world, [404]) }
                if source.isSoftDeleted { return (world, [409]) }
                made.content = source.content
                made.source = fork
                next.streams[fork]?.forkCount += 1
            }
            made.content += body
            next.streams[action.stream] = made
            next.stored.formUnion(body)
            return (next, [201])
        case .append(let body, let claim, let sequence, let closes):
            guard var stream else { return (world, [404]) }
            if let status = Self.refusal(body, claim, sequence, stream) { return (world, [status]) }
            stream.content += body
            if let claim { stream.producers[claim.id] = claim }
            if let sequence { stream.sequence = sequence }
            if closes {
                stream.isClosed = true
                stream.closing = claim
            }
            next.streams[action.stream] = stream
            next.stored.formUnion(body)
            return (next, [claim != nil && !body.isEmpty ? 200 : 204])
        }
    }

    /// The answer to an append that changes nothing; nil for one that is accepted.
    private static func refusal(
        _ body: [Int], _ claim: StreamAction.Claim?, _ sequence: String?, _ stream: Stream
    ) -> Int? {
        if stream.isSoftDeleted { return 410 }
        let known = claim.flatMap { stream.producers[$0.id] }
        if let claim, let known {
            if claim.epoch < known.epoch { return 403 }
            if claim.epoch == known.epoch, claim.seq <= known.seq, !stream.isClosed || claim == stream.closing {
                return 204
            }
        }
        if stream.isClosed { return body.isEmpty && claim == nil ? 204 : 409 }
        if let claim {
            if let known, claim.epoch == known.epoch {
                if claim.seq != known.seq + 1 { return 409 }
            } else if claim.seq != 0 {
                return known == nil ? 409 : 400
            }
        }
        if let sequence, let last = stream.sequence, sequence <= last { return 409 }
        return nil
    }
}

extension StreamHistoryChecker.World {
    mutating func delete(_ name: String) {
        guard let stream = self.streams[name] else { return }
        if stream.forkCount > 0 {
            self.streams[name]?.isSoftDeleted = true
            return
        }
        self.streams[name] = nil
        guard let source = stream.source else { return }
        self.streams[source]?.forkCount -= 1
        if let left = self.streams[source], left.isSoftDeleted, left.forkCount == 0 { self.delete(source) }
    }
}
