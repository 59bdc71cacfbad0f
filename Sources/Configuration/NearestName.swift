/// Helps somebody who wrote a name that is not known.
enum NearestName {
    /// The name that was probably meant, if there is one with few changed letters: a third of those of the last part of the name.
    /// Otherwise the names of the same section, or the sections. A sentence with a space before it, or nothing.
    ///
    /// - Parameters:
    ///   - known: what may be meant.
    ///   - offered: what is listed when nothing is near; without it what is known.
    static func hint(
        for name: String, in known: some Collection<String>, offered: [String]? = nil, separator: String
    ) -> String {
        let lastLength = name[(Self.sectionEnd(of: name, separator) ?? name.startIndex)...].utf8.count
        if let (distance, nearest) = Self.nearest(to: name, in: known), distance <= max(1, lastLength / 3) {
            return " Did you mean \(nearest)?"
        }
        let offered = offered ?? Array(known)
        var section = name
        while let end = Self.sectionEnd(of: section, separator) {
            section = String(section[..<end])
            let members = offered.filter { $0.hasPrefix(section) }
            if !members.isEmpty { return " Known are \(members.sorted().joined(separator: ", "))" }
            section.removeLast(separator.count)
        }
        let sections = Set(
            offered.map { name in name.firstRange(of: separator).map { name[..<$0.upperBound] + "…" } ?? name })
        return sections.isEmpty ? "" : " Known are \(sections.sorted().joined(separator: ", "))"
    }

    /// Behind the last separator.
    private static func sectionEnd(of name: String, _ separator: String) -> String.Index? {
        name.ranges(of: separator).last?.upperBound
    }

    private static func nearest(to name: String, in names: some Collection<String>) -> (distance: Int, name: String)? {
        let wanted = Array(name.utf8.prefix(200))
        return names.map { (Self.distance(wanted, Array($0.utf8)), $0) }.min { $0 < $1 }
    }

    private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var row = Array(0...right.count)
        for (i, a) in left.enumerated() {
            var diagonal = row[0]
            row[0] = i + 1
            for (j, b) in right.enumerated() {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a == b ? 0 : 1))
                diagonal = above
            }
        }
        return row[right.count]
    }
}
