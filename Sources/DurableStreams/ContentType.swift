import ExactText

/// The media type of a stream, fixed at its creation.
package struct ContentType: Hashable, Sendable, CustomStringConvertible {
    /// How bodies of this type are stored and framed.
    package enum Kind: UInt8, Sendable {
        /// `application/json`: a sequence of messages.
        case json
        /// `text/*`: bytes that live readers get as text.
        case text
        /// Everything else: bytes that live readers get in base64.
        case binary
    }

    /// The value as it was given, echoed in every response.
    package let text: String
    /// Type and subtype in lower case, without parameters.
    package let essence: String
    /// What stands behind the first semicolon, in lower case and without white space; empty when there is nothing.
    package let parameters: String
    package let kind: Kind

    package var isJSON: Bool { self.kind == .json }
    package var isText: Bool { self.kind == .text }

    /// What a stream gets whose creator names no type.
    package static let octetStream = ContentType(
        text: "application/octet-stream", essence: "application/octet-stream", parameters: "", kind: .binary)
    package static let json = ContentType(
        text: "application/json", essence: "application/json", parameters: "", kind: .json)

    private init(text: String, essence: String, parameters: String, kind: Kind) {
        self.text = text
        self.essence = essence
        self.parameters = parameters
        self.kind = kind
    }

    /// Longest accepted value.
    package static let maximumLength = 512

    /// Takes a header value apart; nil when it is not `type/subtype` with optional parameters.
    package init?(_ value: String) {
        let bytes = Array(value.utf8)
        guard bytes.count <= Self.maximumLength else { return nil }
        let semicolon = bytes.firstIndex(of: UInt8(ascii: ";")) ?? bytes.count
        let essence = Self.trimmed(bytes[..<semicolon]).map(Self.lowered)
        guard let slash = essence.firstIndex(of: UInt8(ascii: "/")), slash > 0, slash < essence.count - 1 else {
            return nil
        }
        for (index, byte) in essence.enumerated() where index != slash {
            guard HeaderText.isTokenByte(byte) else { return nil }
        }
        let rest = semicolon < bytes.count ? bytes[(semicolon + 1)...] : []
        var parameters: [UInt8] = []
        for byte in rest where byte != UInt8(ascii: " ") && byte != UInt8(ascii: "\t") {
            guard byte > 0x20, byte != 0x7F else { return nil }
            parameters.append(Self.lowered(byte))
        }
        self.text = String(decoding: Self.trimmed(bytes[...]), as: UTF8.self)
        self.essence = String(decoding: essence, as: UTF8.self)
        self.parameters = String(decoding: parameters, as: UTF8.self)
        self.kind =
            self.essence == "application/json" ? .json : self.essence.hasPrefix("text/") ? .text : .binary
    }

    /// Whether data of `other` may be appended to a stream of this type.
    ///
    /// Compared without regard to case. A side without parameters agrees with any parameters of the other, so that a
    /// writer need not repeat the `charset` that the creator named; two different lists of parameters do not agree.
    package func matches(_ other: ContentType) -> Bool {
        self.essence == other.essence
            && (self.parameters.isExactly(other.parameters) || self.parameters.isEmpty || other.parameters.isEmpty)
    }

    /// The same for a header value; the usual case, equal text, costs one comparison.
    package func matches(text: String) -> Bool {
        if self.text.isExactly(text) { return true }
        guard let other = ContentType(text) else { return false }
        return self.matches(other)
    }

    package var description: String { self.text }

    package static func == (lhs: ContentType, rhs: ContentType) -> Bool {
        lhs.essence == rhs.essence && lhs.parameters.isExactly(rhs.parameters)
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(self.essence)
        self.parameters.hashExactly(into: &hasher)
    }

    private static func lowered(_ byte: UInt8) -> UInt8 {
        byte &- UInt8(ascii: "A") < 26 ? byte | 0x20 : byte
    }

    private static func trimmed(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var slice = bytes
        while let first = slice.first, first == UInt8(ascii: " ") || first == UInt8(ascii: "\t") { slice.removeFirst() }
        while let last = slice.last, last == UInt8(ascii: " ") || last == UInt8(ascii: "\t") { slice.removeLast() }
        return slice
    }
}
