/// The tag of what a read returned: which stream, which range, and whether that is all there will ever be.
package struct EntityTag: Hashable, Sendable, CustomStringConvertible {
    package var identity: StreamIdentity
    package var start: UInt64
    package var end: UInt64
    /// The range ends at the tail of a closed stream.
    package var isFinal: Bool

    package init(identity: StreamIdentity, start: UInt64, end: UInt64, isFinal: Bool) {
        self.identity = identity
        self.start = start
        self.end = end
        self.isFinal = isFinal
    }

    /// The tag in its quotes.
    package var description: String {
        "\"\(String(self.identity.rawValue, radix: 36)):\(self.start):\(self.end)\(self.isFinal ? ":c" : "")\""
    }

    /// Whether a value of `If-None-Match` names this tag: a list, weak or strong, or `*`.
    package func matches(ifNoneMatch value: String) -> Bool {
        let own = Array(self.description.utf8)
        let bytes = Array(value.utf8)
        var index = 0
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: ","):
                index += 1
            case UInt8(ascii: "*"):
                return true
            case UInt8(ascii: "W") where index + 1 < bytes.count && bytes[index + 1] == UInt8(ascii: "/"):
                index += 2
            case UInt8(ascii: "\""):
                guard let close = bytes[(index + 1)...].firstIndex(of: UInt8(ascii: "\"")) else { return false }
                if bytes[index...close].elementsEqual(own) { return true }
                index = close + 1
            default:
                // Not a tag: passed over up to the next comma.
                while index < bytes.count, bytes[index] != UInt8(ascii: ",") { index += 1 }
            }
        }
        return false
    }
}
