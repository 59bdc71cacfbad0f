/// The tag of what a read returned: which stream, which range, and whether that is all there will ever be.
package struct EntityTag: Hashable, Sendable, CustomStringConvertible {
    package var identity: StreamIdentity
    package var start: UInt64
    package var end: UInt64
    /// The range ends at the tail of a closed stream.
    package var isFinal: Bool
    /// How the body is packed: other bytes, so another tag.
    package var coding: ContentCoding?

    package init(identity: StreamIdentity, start: UInt64, end: UInt64, isFinal: Bool, coding: ContentCoding? = nil) {
        self.identity = identity
        self.start = start
        self.end = end
        self.isFinal = isFinal
        self.coding = coding
    }

    /// The tag in its quotes.
    package var description: String {
        let stream = String(self.identity.rawValue, radix: 36)
        let coding = self.coding.map { "-" + $0.rawValue } ?? ""
        return "\"\(stream):\(self.start):\(self.end)\(self.isFinal ? ":c" : "")\(coding)\""
    }

    /// The tag of this range that a value of `If-None-Match` names, in whichever form the client has it; this one if it
    /// names several.
    package func named(by ifNoneMatch: String) -> EntityTag? {
        if self.matches(ifNoneMatch: ifNoneMatch) { return self }
        let others: [ContentCoding?] = [nil] + ContentCoding.allCases
        return others.lazy.filter { $0 != self.coding }.map { coding in
            var other = self
            other.coding = coding
            return other
        }.first { $0.matches(ifNoneMatch: ifNoneMatch) }
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
