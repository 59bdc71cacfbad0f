/// Who wrote a version of a row, and when: one entry of a row's tag set.
package struct Tag: Hashable, Sendable {
    /// The name under which clients see writes made in Postgres.
    package static let postgresOrigin = "postgres_1"
    /// The tag of rows that are older than their table's electrification.
    package static let epoch = Tag(milliseconds: 0, source: nil)

    /// Since the Unix epoch.
    package var milliseconds: Int64
    /// The client's id; nil for Postgres.
    package var source: String?

    package init(milliseconds: Int64, source: String?) {
        self.milliseconds = milliseconds
        self.source = source
    }

    /// Parses the wire form `<origin>@<milliseconds>`. The origin may itself contain `@`.
    package init?(wire text: String) {
        guard let at = text.lastIndex(of: "@") else { return nil }
        let digits = text[text.index(after: at)...]
        let origin = text[..<at]
        guard !origin.isEmpty, (1...18).contains(digits.utf8.count),
            digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let milliseconds = Int64(digits)
        else { return nil }
        self.init(milliseconds: milliseconds, source: origin == Self.postgresOrigin ? nil : String(origin))
    }

    package var wireText: String {
        "\(self.source ?? Self.postgresOrigin)@\(self.milliseconds)"
    }

    /// Parses a `tag` as Postgres prints it: `("2023-06-15 11:18:05.372+00",source)`. A missing source is null.
    package init?(postgres text: some Collection<UInt8>) {
        var reader = CompositeReader(text)
        guard reader.skip(UInt8(ascii: "(")), let time = reader.field(), reader.skip(UInt8(ascii: ",")),
            let timeText = time, let milliseconds = PostgresTimestamp.milliseconds(timeText),
            let source = reader.field(), reader.skip(UInt8(ascii: ")")), reader.isAtEnd
        else { return nil }
        self.init(milliseconds: milliseconds, source: source.map { String(decoding: $0, as: UTF8.self) })
    }

    /// Parses a `tag[]` as Postgres prints it.
    package static func parseArray(_ text: some Collection<UInt8>) -> [Tag]? {
        var reader = ArrayReader(text)
        guard reader.skip(UInt8(ascii: "{")) else { return nil }
        var tags: [Tag] = []
        if reader.skip(UInt8(ascii: "}")) { return reader.isAtEnd ? tags : nil }
        repeat {
            guard let element = reader.element(), let tag = Tag(postgres: element) else { return nil }
            tags.append(tag)
        } while reader.skip(UInt8(ascii: ","))
        return reader.skip(UInt8(ascii: "}")) && reader.isAtEnd ? tags : nil
    }
}

/// The fields of a composite value's text form.
private struct CompositeReader {
    private let bytes: [UInt8]
    private var index = 0

    init(_ text: some Collection<UInt8>) { self.bytes = Array(text) }

    var isAtEnd: Bool { self.index == self.bytes.count }

    mutating func skip(_ byte: UInt8) -> Bool {
        guard self.index < self.bytes.count, self.bytes[self.index] == byte else { return false }
        self.index += 1
        return true
    }

    /// Nil: malformed; `.some(nil)`: the field is null.
    mutating func field() -> [UInt8]?? {
        guard self.index < self.bytes.count else { return nil }
        var value: [UInt8] = []
        var wasQuoted = false
        var isQuoted = false
        while self.index < self.bytes.count {
            let byte = self.bytes[self.index]
            if byte == UInt8(ascii: "\\") {
                guard self.index + 1 < self.bytes.count else { return nil }
                value.append(self.bytes[self.index + 1])
                self.index += 2
            } else if byte == UInt8(ascii: "\"") {
                self.index += 1
                if isQuoted, self.index < self.bytes.count, self.bytes[self.index] == byte {
                    value.append(byte)
                    self.index += 1
                } else {
                    isQuoted.toggle()
                    wasQuoted = true
                }
            } else if !isQuoted, byte == UInt8(ascii: ",") || byte == UInt8(ascii: ")") {
                break
            } else {
                value.append(byte)
                self.index += 1
            }
        }
        if isQuoted { return nil }
        return .some(value.isEmpty && !wasQuoted ? nil : value)
    }
}

/// The elements of an array value's text form.
private struct ArrayReader {
    private let bytes: [UInt8]
    private var index = 0

    init(_ text: some Collection<UInt8>) { self.bytes = Array(text) }

    var isAtEnd: Bool { self.index == self.bytes.count }

    mutating func skip(_ byte: UInt8) -> Bool {
        guard self.index < self.bytes.count, self.bytes[self.index] == byte else { return false }
        self.index += 1
        return true
    }

    mutating func element() -> [UInt8]? {
        var value: [UInt8] = []
        guard self.skip(UInt8(ascii: "\"")) else {
            while self.index < self.bytes.count {
                let byte = self.bytes[self.index]
                // A composite needs quotes as an element only when it holds a comma, and it always does.
                if byte == UInt8(ascii: ",") || byte == UInt8(ascii: "}") { break }
                value.append(byte)
                self.index += 1
            }
            return value.isEmpty ? nil : value
        }
        while self.index < self.bytes.count {
            let byte = self.bytes[self.index]
            self.index += 1
            if byte == UInt8(ascii: "\"") { return value }
            if byte == UInt8(ascii: "\\") {
                guard self.index < self.bytes.count else { return nil }
                value.append(self.bytes[self.index])
                self.index += 1
            } else {
                value.append(byte)
            }
        }
        return nil
    }
}
