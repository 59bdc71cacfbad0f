import ExactText

/// Which streams a flow reads.
package enum StreamSelector: Hashable, Sendable {
    case names([String])
    /// Every stream whose name begins so and goes on.
    case prefix(String)
    /// `*` stands for any letters of one segment, `**` for any letters, `?` for one letter of a segment.
    case pattern(String)

    /// Names below this segment belong to the service itself.
    static let reserved = "__ds/"

    /// Whether a stream is one of the flow's.
    package func matches(_ name: String) -> Bool {
        guard !name.hasExactPrefix(Self.reserved) else { return false }
        switch self {
        case .names(let names): return names.containsExactly(name)
        case .prefix(let prefix): return name.hasExactPrefix(prefix) && name.utf8.count > prefix.utf8.count
        case .pattern(let pattern): return Self.matches(Array(pattern.utf8), Array(name.utf8))
        }
    }

    /// A row of the table of (parts of the pattern, letters of the name), one part after the other: no pattern takes long.
    private static func matches(_ pattern: [UInt8], _ name: [UInt8]) -> Bool {
        let star = UInt8(ascii: "*")
        let slash = UInt8(ascii: "/")
        // reached[i]: the pattern so far matches the first i letters.
        var reached = [Bool](repeating: false, count: name.count + 1)
        reached[0] = true
        var index = 0
        while index < pattern.count {
            var next = [Bool](repeating: false, count: name.count + 1)
            if pattern[index] == star {
                let isDeep = index + 1 < pattern.count && pattern[index + 1] == star
                index += isDeep ? 2 : 1
                var isOpen = false
                for place in 0...name.count {
                    if place > 0, !isDeep, name[place - 1] == slash { isOpen = false }
                    isOpen = isOpen || reached[place]
                    next[place] = isOpen
                }
            } else {
                for place in name.indices where reached[place] {
                    let isMatch =
                        pattern[index] == UInt8(ascii: "?") ? name[place] != slash : name[place] == pattern[index]
                    if isMatch { next[place + 1] = true }
                }
                index += 1
            }
            reached = next
        }
        return reached[name.count]
    }
}
