import NIOCore

/// One column of a tuple in the replication stream.
package enum ColumnValue: Hashable, Sendable {
    case null
    /// A TOASTed value that the UPDATE did not touch and that was therefore not sent.
    case unchanged
    /// The text form of the value.
    case text(ByteBuffer)
    /// The binary form (only when asked for).
    case binary(ByteBuffer)

    package var isNull: Bool {
        if case .null = self { return true }
        return false
    }

    /// The text as a string; nil for everything that is not text.
    package var string: String? {
        guard case .text(let bytes) = self else { return nil }
        return String(buffer: bytes)
    }
}

/// A row image as it stands in a received buffer: slices, no copies.
package struct Tuple: Hashable, Sendable {
    package var columns: [ColumnValue]

    package init(columns: [ColumnValue]) {
        self.columns = columns
    }

    package subscript(index: Int) -> ColumnValue { self.columns[index] }
    package var count: Int { self.columns.count }

    /// Replaces what the server did not send (unchanged TOAST) by the value of the old row image.
    ///
    /// - Returns: false if a value is missing and the old image does not hold it either (no REPLICA IDENTITY FULL).
    package mutating func resolveUnchanged(from old: Tuple?) -> Bool {
        var complete = true
        for index in self.columns.indices {
            guard case .unchanged = self.columns[index] else { continue }
            if let old, index < old.columns.count, old.columns[index] != .unchanged {
                self.columns[index] = old.columns[index]
            } else {
                complete = false
            }
        }
        return complete
    }
}
