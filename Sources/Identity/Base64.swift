/// Base64 as tokens need it: the standard library has none, and general decoders are too forgiving for signatures.
enum Base64 {
    private static let urlAlphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    /// Which letters and which endings a decoder takes.
    private struct Rules {
        var urlLetters: Bool
        var standardLetters: Bool
        var padding: Bool
        var canonicalOnly: Bool
    }

    /// base64url exactly as a conforming encoder writes it: no padding, no other letters, unused bits zero.
    static func decodeCanonicalURL(_ text: some Sequence<UInt8>) -> [UInt8]? {
        self.decode(
            text, rules: Rules(urlLetters: true, standardLetters: false, padding: false, canonicalOnly: true))
    }

    /// Either alphabet, even mixed, padded or not: for unsigned tokens, whose makers are not careful.
    static func decodeTolerant(_ text: some Sequence<UInt8>) -> [UInt8]? {
        self.decode(text, rules: Rules(urlLetters: true, standardLetters: true, padding: true, canonicalOnly: false))
    }

    /// The standard alphabet with optional padding; surrounding white space is ignored.
    static func decodeStandard(_ text: String) -> [UInt8]? {
        var bytes = Substring(text)
        while let first = bytes.first, first.isWhitespace { bytes.removeFirst() }
        while let last = bytes.last, last.isWhitespace { bytes.removeLast() }
        return self.decode(
            bytes.utf8, rules: Rules(urlLetters: false, standardLetters: true, padding: true, canonicalOnly: false))
    }

    /// base64url without padding.
    static func encodeURL(_ bytes: some Sequence<UInt8>) -> String {
        var encoded: [UInt8] = []
        var accumulator: UInt32 = 0
        var bits = 0
        for byte in bytes {
            accumulator = (accumulator << 8) | UInt32(byte)
            bits += 8
            while bits >= 6 {
                bits -= 6
                encoded.append(self.urlAlphabet[Int((accumulator >> UInt32(bits)) & 0x3f)])
            }
        }
        if bits > 0 {
            encoded.append(self.urlAlphabet[Int((accumulator << UInt32(6 - bits)) & 0x3f)])
        }
        return String(decoding: encoded, as: UTF8.self)
    }

    private static func decode(_ text: some Sequence<UInt8>, rules: Rules) -> [UInt8]? {
        var decoded: [UInt8] = []
        var accumulator: UInt32 = 0
        var bits = 0
        var letters = 0
        var padding = 0
        for byte in text {
            if byte == UInt8(ascii: "=") {
                guard rules.padding, padding < 2 else { return nil }
                padding += 1
                continue
            }
            guard padding == 0, let value = self.value(of: byte, rules: rules) else { return nil }
            letters += 1
            accumulator = ((accumulator << 6) | value) & 0xffff
            bits += 6
            if bits >= 8 {
                bits -= 8
                decoded.append(UInt8(truncatingIfNeeded: accumulator >> UInt32(bits)))
            }
        }
        guard letters % 4 != 1 else { return nil }
        if padding > 0, (letters + padding) % 4 != 0 { return nil }
        if rules.canonicalOnly, bits > 0, accumulator & ((1 << UInt32(bits)) - 1) != 0 { return nil }
        return decoded
    }

    private static func value(of byte: UInt8, rules: Rules) -> UInt32? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0")) + 52
        case UInt8(ascii: "-"): rules.urlLetters ? 62 : nil
        case UInt8(ascii: "_"): rules.urlLetters ? 63 : nil
        case UInt8(ascii: "+"): rules.standardLetters ? 62 : nil
        case UInt8(ascii: "/"): rules.standardLetters ? 63 : nil
        default: nil
        }
    }
}
