/// The header fields of a request that matter to streams, picked out in one walk over all of them.
package struct RequestFields: Sendable {
    package private(set) var contentType: String?
    package private(set) var ifNoneMatch: String?
    /// All values of `Accept-Encoding`.
    package private(set) var acceptEncoding: String?
    package private(set) var lastEventID: String?
    private(set) var ttl: String?
    private(set) var expiresAt: String?
    private(set) var closed: String?
    private(set) var sequence: String?
    private(set) var producerID: String?
    private(set) var producerEpoch: String?
    private(set) var producerSeq: String?
    private(set) var forkedFrom: String?
    private(set) var forkOffset: String?
    private(set) var forkSubOffset: String?
    private(set) var ifMatch: String?
    private(set) var retentionBytes: String?
    private(set) var retentionSeconds: String?
    /// The first field that came twice although it may come only once.
    private(set) var repeated: String?

    package init() {}

    package init(_ fields: some Sequence<(name: String, value: String)>) {
        for (name, value) in fields { self.add(name: name, value: value) }
    }

    /// Takes one field; those of no interest are passed over by length and first letter.
    package mutating func add(name: String, value: String) {
        guard let first = name.utf8.first else { return }
        switch first | 0x20 {
        case UInt8(ascii: "a"):
            if HeaderText.equalIgnoringCase(name, "accept-encoding") {
                self.acceptEncoding = self.acceptEncoding.map { $0 + "," + value } ?? value
            }
        case UInt8(ascii: "c"):
            Self.set(&self.contentType, &self.repeated, name, "content-type", value)
        case UInt8(ascii: "i"):
            if HeaderText.equalIgnoringCase(name, "if-none-match") {
                self.ifNoneMatch = self.ifNoneMatch.map { $0 + "," + value } ?? value
            } else {
                Self.set(&self.ifMatch, &self.repeated, name, "if-match", value)
            }
        case UInt8(ascii: "l"):
            Self.set(&self.lastEventID, &self.repeated, name, "last-event-id", value)
        case UInt8(ascii: "p"):
            switch name.utf8.count {
            case 11: Self.set(&self.producerID, &self.repeated, name, "producer-id", value)
            case 12: Self.set(&self.producerSeq, &self.repeated, name, "producer-seq", value)
            case 14: Self.set(&self.producerEpoch, &self.repeated, name, "producer-epoch", value)
            default: break
            }
        case UInt8(ascii: "s"):
            switch name.utf8.count {
            case 10:
                Self.set(&self.ttl, &self.repeated, name, "stream-ttl", value)
                Self.set(&self.sequence, &self.repeated, name, "stream-seq", value)
            case 13: Self.set(&self.closed, &self.repeated, name, "stream-closed", value)
            case 17: Self.set(&self.expiresAt, &self.repeated, name, "stream-expires-at", value)
            case 18:
                Self.set(&self.forkedFrom, &self.repeated, name, "stream-forked-from", value)
                Self.set(&self.forkOffset, &self.repeated, name, "stream-fork-offset", value)
            case 22:
                Self.set(&self.forkSubOffset, &self.repeated, name, "stream-fork-sub-offset", value)
                Self.set(&self.retentionBytes, &self.repeated, name, "stream-retention-bytes", value)
            case 24: Self.set(&self.retentionSeconds, &self.repeated, name, "stream-retention-seconds", value)
            default: break
            }
        default:
            break
        }
    }

    private static func set(
        _ slot: inout String?, _ repeated: inout String?, _ name: String, _ expected: StaticString, _ value: String
    ) {
        guard HeaderText.equalIgnoringCase(name, expected) else { return }
        if slot != nil, repeated == nil { repeated = name }
        slot = value
    }

    /// Whether `Stream-Closed` says true, in any case; every other value counts as absent.
    package var closes: Bool {
        self.closed.map { HeaderText.equalIgnoringCase(HeaderText.trimmed($0), "true") } ?? false
    }
}
