/// The seam to wherever a key set is published. The one place of this target behind which something happens.
package protocol KeySetFetcher: Sendable {
    /// What the source is called in the log: no credentials.
    var name: String { get }
    /// Gets the document. Bounded in time and size.
    func fetch() async throws(KeySetFetchError) -> FetchedKeySet
}

/// A document as it came.
package struct FetchedKeySet: Sendable {
    package var bytes: [UInt8]
    /// How long the source says that it may be kept; nil when it says nothing.
    package var lifetime: Duration?

    package init(bytes: [UInt8], lifetime: Duration?) {
        self.bytes = bytes
        self.lifetime = lifetime
    }
}

/// Why a key set could not be had. Texts are for the log.
package struct KeySetFetchError: Error, Hashable, Sendable, CustomStringConvertible {
    package enum Code: String, Hashable, Sendable, CaseIterable {
        case insecureURL, redirected, status, tooLarge, timeout, unreachable, unreadable, malformed
    }

    package let code: Code
    package let description: String

    package init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    package static func == (left: Self, right: Self) -> Bool { left.code == right.code }
    package func hash(into hasher: inout Hasher) { hasher.combine(self.code) }
}

/// The lifetime in a `Cache-Control` header.
package enum CacheLifetime {
    /// `max-age`, 0 for `no-store` and `no-cache`, nil when the header says nothing about it. Digits that do not fit
    /// count as the largest time.
    package static func seconds(inCacheControl header: String) -> Int64? {
        var seconds: Int64?
        for directive in header.lowercased().split(separator: ",") {
            let halves = directive.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(
                Self.trimmed)
            switch halves[0] {
            case "no-store", "no-cache": return 0
            case "max-age" where halves.count == 2:
                let digits = halves[1].filter { $0 != "\"" }
                guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { continue }
                seconds = Int64(digits) ?? .max
            default: continue
            }
        }
        return seconds
    }

    private static func trimmed(_ text: Substring) -> String {
        String(text.drop { $0 == " " || $0 == "\t" }.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
    }
}
