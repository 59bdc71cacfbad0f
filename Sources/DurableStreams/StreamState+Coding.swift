import ExactText
import NIOCore

/// The form in which a stream's state lies in checkpoints. The first byte is the version of the form.
extension StreamState {
    private static let version: UInt8 = 1

    private struct Flags: OptionSet {
        var rawValue: UInt8
        static let isClosed = Flags(rawValue: 1)
        static let closingClaim = Flags(rawValue: 2)
        static let lastSequence = Flags(rawValue: 4)
        static let isSoftDeleted = Flags(rawValue: 8)
        static let keepsProducersApart = Flags(rawValue: 16)
        /// Since there are retentions.
        static let retained = Flags(rawValue: 32)
        static let all: Flags = [
            .isClosed, .closingClaim, .lastSequence, .isSoftDeleted, .keepsProducersApart, .retained,
        ]
    }

    package func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(Self.version)
        var flags: Flags = []
        if self.isClosed { flags.insert(.isClosed) }
        if self.closingClaim != nil { flags.insert(.closingClaim) }
        if self.lastSequence != nil { flags.insert(.lastSequence) }
        if self.isSoftDeleted { flags.insert(.isSoftDeleted) }
        if self.retained != nil { flags.insert(.retained) }
        // Why a flag and not just none: a version that does not know of it must not take the producers for unknown.
        if self.keepsProducersApart { flags.insert(.keepsProducersApart) }
        buffer.writeInteger(flags.rawValue)
        buffer.writeCompact(self.identity.rawValue)
        buffer.writeText(self.name)
        self.configuration.encode(into: &buffer)
        for number in [self.tail, self.messageCount, self.createdAt, self.updatedAt, self.lastTouched] {
            buffer.writeCompact(number)
        }
        buffer.writeCompact(UInt64(self.forkCount))
        if let claim = self.closingClaim { buffer.writeClaim(claim) }
        if let sequence = self.lastSequence { buffer.writeText(sequence) }
        self.retained?.encode(into: &buffer)
        if self.keepsProducersApart { return buffer.writeCompact(0) }
        buffer.writeCompact(UInt64(self.producers.count))
        for (id, producer) in self.producers {
            buffer.writeText(id)
            buffer.writeCompact(producer.epoch)
            buffer.writeCompact(producer.lastSeq)
            buffer.writeCompact(producer.updatedAt)
        }
    }

    /// Reads a state; nil when the bytes are none, or come from a newer version.
    package init?(decoding buffer: inout ByteBuffer) {
        guard buffer.readInteger(as: UInt8.self) == Self.version,
            let flags = buffer.readInteger(as: UInt8.self).map(Flags.init(rawValue:)), flags.isSubset(of: .all),
            let identity = buffer.readCompact(), let name = buffer.readText(),
            let configuration = StreamConfiguration(decoding: &buffer), let tail = buffer.readCompact(),
            let messageCount = buffer.readCompact(), let createdAt = buffer.readCompact(),
            let updatedAt = buffer.readCompact(), let lastTouched = buffer.readCompact(),
            let forkCount = buffer.readCompact().flatMap(UInt32.init(exactly:))
        else { return nil }
        self.init(
            identity: StreamIdentity(rawValue: identity), name: name, configuration: configuration, at: createdAt)
        self.tail = tail
        self.messageCount = messageCount
        self.updatedAt = updatedAt
        self.lastTouched = lastTouched
        self.forkCount = forkCount
        self.isClosed = flags.contains(.isClosed)
        self.isSoftDeleted = flags.contains(.isSoftDeleted)
        self.keepsProducersApart = flags.contains(.keepsProducersApart)
        if flags.contains(.closingClaim) {
            guard let claim = buffer.readClaim() else { return nil }
            self.closingClaim = claim
        }
        if flags.contains(.lastSequence) {
            guard let sequence = buffer.readText() else { return nil }
            self.lastSequence = sequence
        }
        // Also where there is none in the bytes: what was not asked for is not there.
        self.retained = nil
        if flags.contains(.retained) {
            guard let retained = RetainedRange(decoding: &buffer), retained.earliest <= tail else { return nil }
            self.retained = retained
        }
        guard let count = buffer.readCompact().flatMap(Int.init(exactly:)), count <= buffer.readableBytes else {
            return nil
        }
        for _ in 0..<count {
            guard let id = buffer.readText(), let epoch = buffer.readCompact(), let lastSeq = buffer.readCompact(),
                let updatedAt = buffer.readCompact()
            else { return nil }
            self.setProducer(id, ProducerState(epoch: epoch, lastSeq: lastSeq, updatedAt: updatedAt))
        }
    }
}

extension StreamConfiguration {
    private static let version: UInt8 = 1
    /// With a retention behind this byte. Without one the older version is written.
    private static let retainedVersion: UInt8 = 2

    /// Also for the log record of a creation.
    package func encode(into buffer: inout ByteBuffer) {
        buffer.writeInteger(self.retention == nil ? Self.version : Self.retainedVersion)
        self.retention?.encode(into: &buffer)
        buffer.writeText(self.contentType.text)
        switch self.lifetime {
        case .none:
            buffer.writeInteger(UInt8(0))
        case .ttl(let seconds):
            buffer.writeInteger(UInt8(1))
            buffer.writeCompact(seconds)
        case .deadline(let milliseconds, let text):
            buffer.writeInteger(UInt8(2))
            buffer.writeCompact(milliseconds)
            buffer.writeText(text)
        }
        guard let fork = self.fork else {
            buffer.writeInteger(UInt8(0))
            return
        }
        buffer.writeInteger(UInt8(fork.inheritsLifetime ? 2 : 1))
        buffer.writeText(fork.sourceName)
        buffer.writeCompact(fork.source.rawValue)
        buffer.writeCompact(fork.offset.position)
        buffer.writeCompact(fork.subOffset)
        buffer.writeCompact(fork.position)
    }

    package init?(decoding buffer: inout ByteBuffer) {
        let version = buffer.readInteger(as: UInt8.self)
        var retention: StreamRetention?
        if version == Self.retainedVersion {
            guard let found = StreamRetention(decoding: &buffer) else { return nil }
            retention = found
        }
        guard version == Self.version || retention != nil, let text = buffer.readText(),
            let contentType = ContentType(text)
        else { return nil }
        let lifetime: Lifetime
        switch buffer.readInteger(as: UInt8.self) {
        case 0:
            lifetime = .none
        case 1:
            guard let seconds = buffer.readCompact() else { return nil }
            lifetime = .ttl(seconds: seconds)
        case 2:
            guard let milliseconds = buffer.readCompact(), let text = buffer.readText() else { return nil }
            lifetime = .deadline(milliseconds: milliseconds, text: text)
        default:
            return nil
        }
        let mark = buffer.readInteger(as: UInt8.self)
        if mark == 0 {
            self.init(contentType: contentType, lifetime: lifetime, retention: retention)
            return
        }
        guard mark == 1 || mark == 2, let sourceName = buffer.readText(), let source = buffer.readCompact(),
            let offset = buffer.readCompact(), let subOffset = buffer.readCompact(),
            let position = buffer.readCompact()
        else { return nil }
        self.init(
            contentType: contentType, lifetime: lifetime,
            fork: ForkOrigin(
                sourceName: sourceName, source: StreamIdentity(rawValue: source),
                offset: StreamOffset(position: offset), subOffset: subOffset, position: position,
                inheritsLifetime: mark == 2),
            retention: retention)
    }
}

extension StreamRetention {
    private struct Flags: OptionSet {
        var rawValue: UInt8
        static let bytes = Flags(rawValue: 1)
        static let age = Flags(rawValue: 2)
        static let isOwn = Flags(rawValue: 4)
        static let all: Flags = [.bytes, .age, .isOwn]
    }

    func encode(into buffer: inout ByteBuffer) {
        var flags: Flags = self.isOwn ? .isOwn : []
        if self.maximumBytes != nil { flags.insert(.bytes) }
        if self.maximumAgeSeconds != nil { flags.insert(.age) }
        buffer.writeInteger(flags.rawValue)
        if let bytes = self.maximumBytes { buffer.writeCompact(bytes) }
        if let seconds = self.maximumAgeSeconds { buffer.writeCompact(seconds) }
    }

    init?(decoding buffer: inout ByteBuffer) {
        guard let flags = buffer.readInteger(as: UInt8.self).map(Flags.init(rawValue:)), flags.isSubset(of: .all) else {
            return nil
        }
        var numbers: [UInt64?] = [nil, nil]
        for (index, flag) in [Flags.bytes, .age].enumerated() where flags.contains(flag) {
            guard let number = buffer.readCompact(), (1...Self.maximumNumber).contains(number) else { return nil }
            numbers[index] = number
        }
        self.init(maximumBytes: numbers[0], maximumAgeSeconds: numbers[1], isOwn: flags.contains(.isOwn))
    }
}

extension RetainedRange {
    func encode(into buffer: inout ByteBuffer) {
        buffer.writeCompact(self.earliest)
        buffer.writeCompact(self.lastStart)
        buffer.writeCompact(UInt64(self.ages.count))
        for age in self.ages {
            buffer.writeCompact(age.end)
            buffer.writeCompact(age.time)
        }
    }

    init?(decoding buffer: inout ByteBuffer) {
        guard let earliest = buffer.readCompact(), let lastStart = buffer.readCompact(),
            let count = buffer.readCompact(), count <= Self.maximumAges
        else { return nil }
        self.init(earliest: earliest, lastStart: lastStart)
        for _ in 0..<count {
            guard let end = buffer.readCompact(), let time = buffer.readCompact() else { return nil }
            self.ages.append(Age(end: end, time: time))
        }
    }
}
