/// The label of a migration.
///
/// Clients compare labels as strings and take the greatest they have applied as their schema version, and the client
/// generator sorts folders by them. So labels have to rise in the order of the commits: see ``following(_:)``.
package struct MigrationVersion: Hashable, Sendable, Comparable, CustomStringConvertible {
    package static let maximumLength = 255
    private static let counterDigits = 6

    package let label: String

    /// - Throws: ``CatalogError/Code/invalidVersion`` unless it is 1 to 255 of `A-Z a-z 0-9 _ . -`.
    package init(_ label: String) throws(CatalogError) {
        guard !label.isEmpty, label.utf8.count <= Self.maximumLength, label.utf8.allSatisfy({ Self.isAllowed($0) })
        else {
            throw CatalogError(
                .invalidVersion, "A migration version has 1 to 255 letters, digits, underscores, dots and hyphens")
        }
        // Why: it becomes the name of a folder.
        guard label.utf8.contains(where: { $0 != UInt8(ascii: ".") }) else {
            throw CatalogError(.invalidVersion, "A migration version cannot consist of dots alone")
        }
        self.label = label
    }

    private init(unchecked label: String) { self.label = label }

    private static func isAllowed(_ byte: UInt8) -> Bool {
        (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || (byte >= 0x30 && byte <= 0x39)
            || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
    }

    /// Whether clients take it: they demand a digit or an underscore at the beginning.
    package var isAcceptedByClients: Bool {
        self.label.utf8.first.map { ($0 >= 0x30 && $0 <= 0x39) || $0 == UInt8(ascii: "_") } ?? false
    }

    package var description: String { self.label }

    /// By bytes, as clients do.
    package static func < (left: Self, right: Self) -> Bool {
        left.label.utf8.lexicographicallyPrecedes(right.label.utf8)
    }

    /// The label to give to clients for this migration when `previous` is the last one they were given: itself where
    /// clients accept it and it sorts behind, else the previous label with a counter behind it.
    ///
    /// Counters have a fixed width, so any number of such migrations in a row sorts well. When a label of the greatest
    /// length leaves no room for a counter, its end gives way.
    package func following(_ previous: MigrationVersion?) -> MigrationVersion {
        let own = self.isAcceptedByClients ? self.label : String("0_\(self.label)".prefix(Self.maximumLength))
        let candidate = MigrationVersion(unchecked: own)
        guard let previous else { return candidate }
        if previous < candidate { return candidate }
        return previous.counted()
    }

    private func counted() -> MigrationVersion {
        let suffixLength = Self.counterDigits + 1
        let bytes = Array(self.label.utf8)
        if bytes.count > suffixLength, bytes[bytes.count - suffixLength] == UInt8(ascii: "."),
            let count = Int(String(decoding: bytes.suffix(Self.counterDigits), as: UTF8.self)), count >= 0,
            count < 999_999
        {
            let base = String(decoding: bytes.dropLast(suffixLength), as: UTF8.self)
            return MigrationVersion(unchecked: base + Self.suffix(count + 1))
        }
        if bytes.count + suffixLength <= Self.maximumLength {
            return MigrationVersion(unchecked: self.label + Self.suffix(1))
        }
        // The greatest shorter label: its last byte that can rise does so.
        var shorter = Array(bytes.prefix(Self.maximumLength - suffixLength))
        while shorter.count > 1, shorter[shorter.count - 1] == UInt8(ascii: "z") { shorter.removeLast() }
        // The first byte stays one that clients accept.
        shorter[shorter.count - 1] = shorter.count > 1 ? UInt8(ascii: "z") : UInt8(ascii: "_")
        return MigrationVersion(unchecked: String(decoding: shorter, as: UTF8.self))
    }

    private static func suffix(_ count: Int) -> String {
        let digits = String(count)
        return "." + String(repeating: "0", count: max(0, Self.counterDigits - digits.count)) + digits
    }
}
