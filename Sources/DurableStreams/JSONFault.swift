/// Why bytes are not JSON, and where.
package struct JSONFault: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Reason: UInt8, Sendable {
        case unexpectedEnd
        case unexpectedByte
        case invalidLiteral
        case invalidNumber
        case invalidEscape
        case controlCharacterInString
        case invalidUTF8
        case tooDeep
        case trailingBytes
    }

    package var reason: Reason
    /// Bytes of the body before the place.
    package var position: Int

    package init(_ reason: Reason, at position: Int) {
        self.reason = reason
        self.position = position
    }

    package var description: String {
        let text =
            switch self.reason {
            case .unexpectedEnd: "The body ends inside a value"
            case .unexpectedByte: "Unexpected character"
            case .invalidLiteral: "Unknown word"
            case .invalidNumber: "Malformed number"
            case .invalidEscape: "Malformed escape sequence"
            case .controlCharacterInString: "Control character inside a string"
            case .invalidUTF8: "Invalid UTF-8"
            case .tooDeep: "Nested too deeply"
            case .trailingBytes: "Text behind the value"
            }
        return "\(text) at byte \(self.position)."
    }
}
