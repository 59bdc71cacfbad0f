/// Texts as JSON has them, for logs and health.
enum JSONText {
    /// A string of JSON.
    static func write(_ text: String, to line: inout String) {
        line += "\""
        let isPlain = text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }
        if isPlain {
            line += text
        } else {
            for scalar in text.unicodeScalars {
                switch scalar {
                case "\"": line += "\\\""
                case "\\": line += "\\\\"
                case "\n": line += "\\n"
                case "\r": line += "\\r"
                case "\t": line += "\\t"
                case _ where Redaction.isControl(scalar):
                    for unit in String(scalar).utf16 {
                        let digits = String(unit, radix: 16)
                        line += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
                    }
                default: line.unicodeScalars.append(scalar)
                }
            }
        }
        line += "\""
    }
}
