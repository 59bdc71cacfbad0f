import PostgresWire

/// What stands in `Stream-Seq` of each append to a target: where the stream is in the change feed. It is stored in one record with the
/// data, so after a crash the stream itself says where to go on.
///
/// Four hexadecimal fields of fixed width, so that bytewise order is the order of what they mean.
struct MirrorSequence: Hashable, Sendable {
    /// How often the table has been read into this stream; rises with every new beginning.
    var generation: UInt32
    /// Where in the stream the latest description (``SourceDescription``) begins; zero while a snapshot is being written.
    var anchor: UInt64
    /// End of the transaction; zero before the first.
    var position: LSN
    /// Messages of the transaction so far; the greatest number when it is whole.
    var part: UInt64

    static let whole = UInt64.max

    var text: String {
        [
            Self.hex(UInt64(self.generation), 8), Self.hex(self.anchor, 16), Self.hex(self.position.rawValue, 16),
            Self.hex(self.part, 16),
        ].joined(separator: "-")
    }

    private static func hex(_ value: UInt64, _ width: Int) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }

    init(generation: UInt32, anchor: UInt64, position: LSN, part: UInt64) {
        self.generation = generation
        self.anchor = anchor
        self.position = position
        self.part = part
    }

    /// Nil when the text is of somebody else.
    init?(_ text: String) {
        let fields = text.split(separator: "-", omittingEmptySubsequences: false)
        guard fields.count == 4, fields.map(\.utf8.count) == [8, 16, 16, 16],
            let generation = UInt32(fields[0], radix: 16), let anchor = UInt64(fields[1], radix: 16),
            let position = UInt64(fields[2], radix: 16), let part = UInt64(fields[3], radix: 16)
        else { return nil }
        self.init(generation: generation, anchor: anchor, position: LSN(rawValue: position), part: part)
        guard self.text == text else { return nil }
    }

    var isWhole: Bool { self.part == Self.whole }
}
