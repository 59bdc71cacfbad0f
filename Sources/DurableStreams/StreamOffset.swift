/// A position in one stream, as clients see it: an opaque token that sorts bytewise.
///
/// The token has two decimal fields of sixteen digits joined by `_`. The first is always zero for offsets that this
/// service gives out; the second is the position in the stream's own count of stored bytes. Known clients and test suites
/// write the start of a stream as a token of zeros, and a token of nines for "behind every tail", so both parse.
package struct StreamOffset: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// Stored bytes before this position.
    package var position: UInt64

    package init(position: UInt64) {
        self.position = position
    }

    /// The start of every stream.
    package static let start = StreamOffset(position: 0)

    /// A position behind every tail: what tokens with a first field other than zero mean.
    package static let beyondEverything = StreamOffset(position: .max)

    /// Largest position that the token can spell.
    package static let maximumPosition: UInt64 = 9_999_999_999_999_999

    private static let fieldWidth = 16
    private static let tokenLength = 33

    /// Parses a token; nil unless it has exactly the form this service gives out.
    package init?(token: some StringProtocol) {
        var copy = String(token)
        let parsed = copy.withUTF8 { Self.parse(UnsafeRawBufferPointer($0)) }
        guard let parsed else { return nil }
        self = parsed
    }

    /// Parses a token from its bytes.
    package init?(tokenBytes: UnsafeRawBufferPointer) {
        guard let parsed = Self.parse(tokenBytes) else { return nil }
        self = parsed
    }

    private static func parse(_ bytes: UnsafeRawBufferPointer) -> StreamOffset? {
        guard bytes.count == Self.tokenLength, bytes[Self.fieldWidth] == UInt8(ascii: "_"),
            let sequence = Self.field(bytes, from: 0), let position = Self.field(bytes, from: Self.fieldWidth + 1)
        else { return nil }
        return sequence == 0 ? StreamOffset(position: position) : .beyondEverything
    }

    private static func field(_ bytes: UnsafeRawBufferPointer, from start: Int) -> UInt64? {
        var value: UInt64 = 0
        for index in start..<(start + Self.fieldWidth) {
            let digit = bytes[index] &- UInt8(ascii: "0")
            guard digit < 10 else { return nil }
            value = value &* 10 &+ UInt64(digit)
        }
        return value
    }

    /// The text that clients get and give back.
    package var token: String {
        String(unsafeUninitializedCapacity: Self.tokenLength) { buffer in
            if self.position > Self.maximumPosition {
                _ = buffer.initialize(fromContentsOf: repeatElement(UInt8(ascii: "9"), count: Self.tokenLength))
                buffer[Self.fieldWidth] = UInt8(ascii: "_")
                return Self.tokenLength
            }
            _ = buffer.initialize(fromContentsOf: repeatElement(UInt8(ascii: "0"), count: Self.tokenLength))
            buffer[Self.fieldWidth] = UInt8(ascii: "_")
            var rest = self.position
            var index = Self.tokenLength - 1
            while rest > 0 {
                buffer[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
                index -= 1
            }
            return Self.tokenLength
        }
    }

    package var description: String { self.token }

    package static func < (lhs: StreamOffset, rhs: StreamOffset) -> Bool {
        lhs.position < rhs.position
    }
}

/// Where a read begins.
package enum ReadStart: Hashable, Sendable {
    /// `-1`, or a catch-up read without an offset.
    case start
    /// `now`: the tail at the time of the request.
    case now
    case at(StreamOffset)

    /// Parses the value of the query parameter `offset`.
    package init?(parameter: String) {
        switch parameter {
        case "-1":
            self = .start
        case "now":
            self = .now
        default:
            guard let offset = StreamOffset(token: parameter) else { return nil }
            self = .at(offset)
        }
    }
}
