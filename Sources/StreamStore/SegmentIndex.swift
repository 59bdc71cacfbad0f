/// What is known in memory about the records of one segment: a point for about every so many bytes, and the largest
/// key.
///
/// A point holds the largest key before it in its segment. That makes a search for the first record with at least some
/// key exact whatever the order of keys is.
struct SegmentIndex {
    struct Point: Equatable {
        var offset: UInt64
        /// Largest key of the segment's records before `offset`; nil when there are none.
        var largestKeyBefore: UInt64?
    }

    private(set) var points: [Point] = []
    private(set) var largestKey: UInt64?

    /// Takes in the next record. `spacing` is the least number of bytes between two points.
    mutating func add(offset: UInt64, key: UInt64, spacing: UInt64) {
        if self.points.last.map({ offset - $0.offset >= spacing }) ?? true {
            self.points.append(Point(offset: offset, largestKeyBefore: self.largestKey))
        }
        self.largestKey = max(self.largestKey ?? key, key)
    }

    /// A record offset from which a scan finds the first record with at least this key, if the segment has one.
    func scanStart(keyAtLeast key: UInt64) -> UInt64? {
        guard let largestKey = self.largestKey, largestKey >= key else { return nil }
        var low = 0
        var high = self.points.count
        while low < high {
            let middle = (low + high) / 2
            if let before = self.points[middle].largestKeyBefore, before >= key {
                high = middle
            } else {
                low = middle + 1
            }
        }
        return self.points[low - 1].offset
    }
}
