/// A text that is what its bytes are: two are equal when their UTF-8 is, and they are ordered by it.
///
/// Why: `String` takes texts for equal that Unicode holds equivalent, such as `é` in one and in two scalars. Names that
/// come from outside are what the bytes say: to Postgres, to HTTP and to rules of access those are two.
///
/// Also a property wrapper, so that types with such names are compared by their bytes.
@propertyWrapper
package struct ExactText: Hashable, Comparable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    package var wrappedValue: String

    @inlinable
    package init(wrappedValue: String) {
        self.wrappedValue = wrappedValue
    }

    @inlinable
    package init(_ text: String) {
        self.wrappedValue = text
    }

    package init(stringLiteral text: String) {
        self.wrappedValue = text
    }

    package var string: String { self.wrappedValue }
    package var description: String { self.wrappedValue }

    package static func == (left: Self, right: Self) -> Bool {
        left.wrappedValue.isExactly(right.wrappedValue)
    }

    package static func < (left: Self, right: Self) -> Bool {
        left.wrappedValue.precedesExactly(right.wrappedValue)
    }

    package func hash(into hasher: inout Hasher) {
        self.wrappedValue.hashExactly(into: &hasher)
    }
}

extension String {
    /// Whether the bytes are the same.
    package func isExactly(_ other: String) -> Bool {
        let count = self.utf8.count
        guard count == other.utf8.count else { return false }
        let isSame = self.utf8.withContiguousStorageIfAvailable { left in
            other.utf8.withContiguousStorageIfAvailable { right in
                for index in 0..<count where left[index] != right[index] { return false }
                return true
            }
        }
        if case .some(.some(let isSame)) = isSame { return isSame }
        return self.utf8.elementsEqual(other.utf8)
    }

    /// Whether the bytes come before those of another text.
    package func precedesExactly(_ other: String) -> Bool {
        self.utf8.lexicographicallyPrecedes(other.utf8)
    }

    /// Feeds the bytes to a hasher. What follows must not be able to be taken for a part of the text.
    package func hashExactly(into hasher: inout Hasher) {
        let isDone: Void? = self.utf8.withContiguousStorageIfAvailable {
            hasher.combine(bytes: UnsafeRawBufferPointer($0))
        }
        if isDone == nil { for byte in self.utf8 { hasher.combine(byte) } }
        // No byte of UTF-8.
        hasher.combine(0xFF as UInt8)
    }
}

extension StringProtocol {
    /// Whether the bytes begin with those of another text.
    package func hasExactPrefix(_ prefix: String) -> Bool {
        self.utf8.starts(with: prefix.utf8)
    }
}

extension Sequence<String> {
    /// Whether one of the texts has these bytes.
    package func containsExactly(_ text: String) -> Bool {
        self.contains { $0.isExactly(text) }
    }

    /// In the order of their bytes.
    package func sortedExactly() -> [String] {
        self.sorted { $0.precedesExactly($1) }
    }
}

extension Collection<String> {
    /// Where the first text with these bytes is.
    package func firstIndexExactly(of text: String) -> Index? {
        self.firstIndex { $0.isExactly(text) }
    }
}

/// Whether two lists hold the same texts, byte by byte.
package func areExactly(_ left: some Sequence<String>, _ right: some Sequence<String>) -> Bool {
    left.elementsEqual(right) { $0.isExactly($1) }
}
