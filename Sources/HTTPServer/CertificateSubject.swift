/// The subject of an X.509 certificate as text (RFC 4514), such as `CN=alice,O=Example`.
enum CertificateSubject {
    private static let names: [[UInt8]: String] = [
        [0x55, 4, 3]: "CN", [0x55, 4, 6]: "C", [0x55, 4, 7]: "L", [0x55, 4, 8]: "ST", [0x55, 4, 9]: "STREET",
        [0x55, 4, 10]: "O", [0x55, 4, 11]: "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 0x01, 0x19]: "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 0x01, 0x01]: "UID",
    ]

    /// Nil if the certificate cannot be understood.
    static func text(der: [UInt8]) -> String? {
        var outer = der[...]
        guard var certificate = self.element(0x30, &outer), var body = self.element(0x30, &certificate) else {
            return nil
        }
        // Version (explicit, optional), serial number, signature algorithm, issuer, validity.
        if body.first == 0xA0 { _ = self.element(0xA0, &body) }
        for tag: UInt8 in [0x02, 0x30, 0x30, 0x30] {
            guard self.element(tag, &body) != nil else { return nil }
        }
        guard var subject = self.element(0x30, &body) else { return nil }
        var relative: [String] = []
        while !subject.isEmpty {
            guard var set = self.element(0x31, &subject) else { return nil }
            var pairs: [String] = []
            while !set.isEmpty {
                guard var pair = self.element(0x30, &set), let type = self.element(0x06, &pair), let tag = pair.first,
                    let value = self.element(tag, &pair)
                else { return nil }
                pairs.append(self.pair(Array(type), tag, Array(value)))
            }
            relative.append(pairs.joined(separator: "+"))
        }
        return relative.reversed().joined(separator: ",")
    }

    /// Takes one element of a tag and returns its contents.
    private static func element(_ tag: UInt8, _ bytes: inout ArraySlice<UInt8>) -> ArraySlice<UInt8>? {
        guard bytes.popFirst() == tag, let first = bytes.popFirst() else { return nil }
        var length = Int(first)
        if first >= 0x80 {
            let count = Int(first & 0x7F)
            guard (1...4).contains(count), bytes.count >= count else { return nil }
            length = bytes.prefix(count).reduce(0) { $0 << 8 | Int($1) }
            bytes = bytes.dropFirst(count)
        }
        guard bytes.count >= length else { return nil }
        defer { bytes = bytes.dropFirst(length) }
        return bytes.prefix(length)
    }

    private static func pair(_ type: [UInt8], _ tag: UInt8, _ value: [UInt8]) -> String {
        // UTF8String, PrintableString, IA5String: text as it is. Everything else goes by its bytes.
        if let name = self.names[type], [0x0C, 0x13, 0x16].contains(tag),
            let text = String(validating: value, as: UTF8.self)
        {
            return "\(name)=\(self.escaped(text))"
        }
        let hexadecimal = ([tag] + self.length(value.count) + value).map { byte in
            let digits = String(byte, radix: 16)
            return digits.utf8.count == 1 ? "0" + digits : digits
        }
        return "\(self.names[type] ?? self.dotted(type))=#\(hexadecimal.joined())"
    }

    private static func length(_ count: Int) -> [UInt8] {
        if count < 0x80 { return [UInt8(count)] }
        if count < 0x100 { return [0x81, UInt8(count)] }
        return [0x82, UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count)]
    }

    private static func dotted(_ type: [UInt8]) -> String {
        var numbers: [UInt64] = []
        var number: UInt64 = 0
        for byte in type {
            number = number << 7 | UInt64(byte & 0x7F)
            if byte & 0x80 == 0 {
                numbers += numbers.isEmpty ? [min(number / 40, 2), number - min(number / 40, 2) * 40] : [number]
                number = 0
            }
        }
        return numbers.map(String.init).joined(separator: ".")
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        let scalars = Array(text.unicodeScalars)
        for (index, scalar) in scalars.enumerated() {
            switch scalar {
            case ",", "+", "\"", "\\", "<", ">", ";", "=":
                result += "\\"
                result.unicodeScalars.append(scalar)
            case " " where index == 0 || index == scalars.count - 1, "#" where index == 0:
                result += "\\"
                result.unicodeScalars.append(scalar)
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                result += scalar.value < 0x10 ? "\\0" : "\\"
                result += String(scalar.value, radix: 16)
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
