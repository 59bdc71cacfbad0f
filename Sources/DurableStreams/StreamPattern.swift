/// A pattern over names of streams: `*` stands for one whole segment, `**` for any number of them, also none. Within a
/// segment a star stands for any characters.
package struct StreamPattern: Hashable, Sendable {
    package let text: String
    private let segments: [[UInt8]]

    /// Most segments of a pattern; bounds the work of a match.
    package static let maximumSegments = 32

    /// nil when the pattern is empty, too long, or has an empty segment.
    package init?(_ text: String) {
        let segments = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map(Array.init)
        guard !text.isEmpty, text.utf8.count <= 1024, segments.count <= Self.maximumSegments,
            segments.allSatisfy({ !$0.isEmpty })
        else { return nil }
        self.text = text
        self.segments = segments
    }

    package func matches(_ name: String) -> Bool {
        let parts = name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        // One row of a table: whether the pattern up to some segment matches the first `i` parts of the name.
        var row = [Bool](repeating: false, count: parts.count + 1)
        row[0] = true
        for segment in self.segments {
            var next = [Bool](repeating: false, count: parts.count + 1)
            let isDeep = segment == [UInt8(ascii: "*"), UInt8(ascii: "*")]
            if isDeep {
                var reached = false
                for index in 0...parts.count {
                    reached = reached || row[index]
                    next[index] = reached
                }
            } else {
                for index in 0..<parts.count where row[index] {
                    next[index + 1] = Self.matches(segment[...], Array(parts[index])[...])
                }
            }
            row = next
        }
        return row[parts.count]
    }

    /// A segment with stars against a part of a name, going back to the last star only.
    private static func matches(_ pattern: ArraySlice<UInt8>, _ text: ArraySlice<UInt8>) -> Bool {
        let star = UInt8(ascii: "*")
        var place = pattern.startIndex
        var index = text.startIndex
        var retry: (place: Int, index: Int)?
        while index < text.endIndex {
            if place < pattern.endIndex, pattern[place] == star {
                retry = (place, index)
                place += 1
            } else if place < pattern.endIndex, pattern[place] == text[index] {
                place += 1
                index += 1
            } else if let last = retry {
                retry = (last.place, last.index + 1)
                place = last.place + 1
                index = last.index + 1
            } else {
                return false
            }
        }
        while place < pattern.endIndex, pattern[place] == star { place += 1 }
        return place == pattern.endIndex
    }
}
