/// A set of texts that are told apart by their bytes.
package struct ExactSet: Hashable, Sendable {
    private var members: Set<ExactText>

    package init() {
        self.members = []
    }

    package init(_ texts: some Sequence<String>) {
        self.members = Set(texts.lazy.map { ExactText($0) })
    }

    package var count: Int { self.members.count }
    package var isEmpty: Bool { self.members.isEmpty }

    package func contains(_ text: String) -> Bool { self.members.contains(ExactText(text)) }

    @discardableResult
    package mutating func insert(_ text: String) -> (inserted: Bool, memberAfterInsert: String) {
        let result = self.members.insert(ExactText(text))
        return (result.inserted, result.memberAfterInsert.wrappedValue)
    }

    @discardableResult
    package mutating func remove(_ text: String) -> String? {
        self.members.remove(ExactText(text))?.wrappedValue
    }

    package mutating func formUnion(_ texts: some Sequence<String>) {
        self.members.formUnion(texts.lazy.map { ExactText($0) })
    }

    package mutating func subtract(_ texts: some Sequence<String>) {
        for text in texts { self.members.remove(ExactText(text)) }
    }

    package func union(_ texts: some Sequence<String>) -> Self {
        var all = self
        all.formUnion(texts)
        return all
    }

    package func intersection(_ other: Self) -> Self {
        var both = Self()
        both.members = self.members.intersection(other.members)
        return both
    }

    package func subtracting(_ other: Self) -> Self {
        var rest = Self()
        rest.members = self.members.subtracting(other.members)
        return rest
    }

    package func isDisjoint(with texts: some Sequence<String>) -> Bool {
        !texts.contains { self.contains($0) }
    }

    package func isSubset(of other: Self) -> Bool { self.members.isSubset(of: other.members) }

    /// The first in the order of bytes.
    package func min() -> String? { self.members.min()?.wrappedValue }

    /// In the order of bytes.
    package func sorted() -> [String] { self.members.sorted().map(\.wrappedValue) }
}

extension ExactSet: Sequence {
    package struct Iterator: IteratorProtocol {
        private var members: Set<ExactText>.Iterator

        fileprivate init(_ members: Set<ExactText>.Iterator) {
            self.members = members
        }

        package mutating func next() -> String? { self.members.next()?.wrappedValue }
    }

    package func makeIterator() -> Iterator { Iterator(self.members.makeIterator()) }
}

extension ExactSet: ExpressibleByArrayLiteral {
    package init(arrayLiteral texts: String...) {
        self.init(texts)
    }
}
