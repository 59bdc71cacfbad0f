/// The grammar of the `Forwarded` field (RFC 7239, section 4).
enum ForwardedElement {
    /// Parameters of the first element, names in lower case; nil if it is malformed or names one twice.
    static func first(of field: String) -> [String: String]? {
        var pairs: [String: String] = [:]
        var bytes = Array(field.utf8)[...]
        while true {
            self.skipSpace(&bytes)
            guard let end = bytes.first, end != UInt8(ascii: ",") else { break }
            if end == UInt8(ascii: ";") {
                bytes.removeFirst()
                continue
            }
            let name = self.token(&bytes)
            guard !name.isEmpty, bytes.popFirst() == UInt8(ascii: "=") else { return nil }
            guard let value = bytes.first == UInt8(ascii: "\"") ? self.quoted(&bytes) : self.token(&bytes),
                !value.isEmpty
            else { return nil }
            guard pairs.updateValue(value, forKey: name.lowercased()) == nil else { return nil }
            self.skipSpace(&bytes)
            guard bytes.isEmpty || bytes.first == UInt8(ascii: ";") || bytes.first == UInt8(ascii: ",") else {
                return nil
            }
        }
        return pairs
    }

    private static func skipSpace(_ bytes: inout ArraySlice<UInt8>) {
        while let byte = bytes.first, byte == 0x20 || byte == 0x09 { bytes.removeFirst() }
    }

    private static func token(_ bytes: inout ArraySlice<UInt8>) -> String {
        let token = bytes.prefix { byte in
            byte > 0x20 && byte < 0x7F && !"\"(),/;<=>?@[\\]{}".utf8.contains(byte)
        }
        bytes = bytes.dropFirst(token.count)
        return String(decoding: token, as: UTF8.self)
    }

    private static func quoted(_ bytes: inout ArraySlice<UInt8>) -> String? {
        var text: [UInt8] = []
        bytes.removeFirst()
        while let byte = bytes.popFirst() {
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"):
                guard let escaped = bytes.popFirst() else { return nil }
                text.append(escaped)
            default: text.append(byte)
            }
        }
        return nil
    }
}
