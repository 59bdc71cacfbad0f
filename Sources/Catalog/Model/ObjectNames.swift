import ExactText

/// The names that Postgres gives to what was left unnamed, and its limit on the length of names.
enum ObjectNames {
    /// NAMEDATALEN - 1.
    static let limit = 63

    /// At most `limit` bytes, never half a character.
    static func clipped(_ name: String, to limit: Int = ObjectNames.limit) -> String {
        guard name.utf8.count > limit else { return name }
        let bytes = Array(name.utf8.prefix(limit + 1))
        var end = max(0, limit)
        while end > 0, bytes[end] & 0xC0 == 0x80 { end -= 1 }
        return String(decoding: bytes[..<end], as: UTF8.self)
    }

    /// `<first>_<second>_<label>`, the longer of the two cut first until it fits.
    static func make(_ first: String, _ second: String?, label: String) -> String {
        var firstCount = first.utf8.count
        var secondCount = second?.utf8.count ?? 0
        let available = Self.limit - (label.utf8.count + 1) - (second == nil ? 0 : 1)
        while firstCount + secondCount > available, firstCount + secondCount > 0 {
            if firstCount > secondCount { firstCount -= 1 } else { secondCount -= 1 }
        }
        var name = Self.clipped(first, to: firstCount)
        if let second { name += "_" + Self.clipped(second, to: secondCount) }
        return name + "_" + label
    }

    /// As ``make(_:_:label:)``, with a number behind the label where the name is taken.
    static func choose(_ first: String, _ second: String?, label: String, taken: ExactSet) -> String {
        var name = Self.make(first, second, label: label)
        var pass = 0
        while taken.contains(name) {
            pass += 1
            name = Self.make(first, second, label: label + String(pass))
        }
        return name
    }

    /// The columns joined by underscores, up to the length that can matter.
    static func addition(_ columns: [String]) -> String {
        var text = ""
        for column in columns {
            if !text.isEmpty { text += "_" }
            text += column
            if text.utf8.count > Self.limit { break }
        }
        return text
    }
}
