/// A way in which the body of an answer can be packed, by its name in HTTP.
package enum ContentCoding: String, CaseIterable, Sendable {
    // The first is taken where a client likes several equally.
    case gzip, deflate
}

/// What a client says about codings in `Accept-Encoding` (RFC 9110, section 12.5.3).
package struct AcceptedCodings: Hashable, Sendable {
    /// The coding to use; nil leaves the body as it is.
    package private(set) var best: ContentCoding?
    /// The client would rather have nothing than a body as it is.
    package private(set) var refusesPlain = false

    /// - Parameter field: all values of the field with commas between them; nil when there is none.
    package init(_ field: String?) {
        guard let field else { return }
        var weights: [ContentCoding: Int] = [:]
        var plain: Int?
        var others: Int?
        for element in field.split(separator: ",") {
            let parts = element.split(separator: ";", maxSplits: 1, omittingEmptySubsequences: false)
            let weight = parts.count > 1 ? Self.weight(HeaderText.trimmed(parts[1])) : 1000
            switch HeaderText.trimmed(parts[0]).lowercased() {
            case "gzip", "x-gzip": weights[.gzip] = weight
            case "deflate": weights[.deflate] = weight
            case "identity": plain = weight
            case "*": others = weight
            default: break
            }
        }
        self.refusesPlain = (plain ?? others) == 0
        var bestWeight = 0
        for coding in ContentCoding.allCases {
            let weight = weights[coding] ?? others ?? 0
            guard weight > bestWeight else { continue }
            (self.best, bestWeight) = (coding, weight)
        }
        if let plain, plain > bestWeight { self.best = nil }
    }

    /// Thousandths; what is malformed accepts nothing.
    private static func weight(_ parameter: String) -> Int {
        let bytes = Array(parameter.utf8)
        guard (3...7).contains(bytes.count), bytes[0] | 0x20 == UInt8(ascii: "q"), bytes[1] == UInt8(ascii: "="),
            bytes[2] == UInt8(ascii: "0") || bytes[2] == UInt8(ascii: "1"),
            bytes.count < 4 || bytes[3] == UInt8(ascii: ".")
        else { return 0 }
        var weight = 0
        for index in [2, 4, 5, 6] {
            let digit = index < bytes.count ? bytes[index] &- UInt8(ascii: "0") : 0
            guard digit < 10 else { return 0 }
            weight = weight * 10 + Int(digit)
        }
        return min(weight, 1000)
    }
}

extension ContentType {
    /// Whether packing pays: text of every kind. Images, archives and bytes of an unknown kind are mostly packed already.
    package var isCompressible: Bool {
        guard self.kind == .binary else { return true }
        let subtype = self.essence.dropFirst("application/".count)
        switch self.essence {
        case _ where self.essence.hasSuffix("+json") || self.essence.hasSuffix("+xml"): return true
        case _ where !self.essence.hasPrefix("application/"): return false
        default:
            return [
                "graphql", "javascript", "json-seq", "jsonl", "ndjson", "sql", "toml", "x-javascript", "x-jsonlines", "x-ndjson",
                "x-www-form-urlencoded", "x-yaml", "xml", "yaml",
            ].contains(subtype)
        }
    }
}
