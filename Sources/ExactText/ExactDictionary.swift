/// A dictionary by texts that are told apart by their bytes.
package struct ExactDictionary<Value> {
    private var pairs: [ExactText: Value]

    package init() {
        self.pairs = [:]
    }

    /// Of two pairs with the same text the first stays.
    package init(firstOf pairs: some Sequence<(String, Value)>) {
        self.pairs = Dictionary(pairs.map { (ExactText($0.0), $0.1) }) { first, _ in first }
    }

    private init(values: [ExactText: Value]) {
        self.pairs = values
    }

    package var count: Int { self.pairs.count }
    package var isEmpty: Bool { self.pairs.isEmpty }
    package var keys: some Collection<String> { self.pairs.keys.lazy.map(\.wrappedValue) }
    package var values: Dictionary<ExactText, Value>.Values { self.pairs.values }

    package subscript(_ text: String) -> Value? {
        get { self.pairs[ExactText(text)] }
        _modify { yield &self.pairs[ExactText(text)] }
    }

    package subscript(_ text: String, default value: @autoclosure () -> Value) -> Value {
        get { self.pairs[ExactText(text)] ?? value() }
        _modify { yield &self.pairs[ExactText(text), default: value()] }
    }

    @discardableResult
    package mutating func removeValue(forKey text: String) -> Value? {
        self.pairs.removeValue(forKey: ExactText(text))
    }

    @discardableResult
    package mutating func updateValue(_ value: Value, forKey text: String) -> Value? {
        self.pairs.updateValue(value, forKey: ExactText(text))
    }

    package mutating func reserveCapacity(_ count: Int) {
        self.pairs.reserveCapacity(count)
    }

    package func mapValues<Other>(_ transform: (Value) throws -> Other) rethrows -> ExactDictionary<Other> {
        ExactDictionary<Other>(values: try self.pairs.mapValues(transform))
    }

    package func filter(_ isIncluded: ((key: String, value: Value)) throws -> Bool) rethrows -> Self {
        Self(values: try self.pairs.filter { try isIncluded(($0.key.wrappedValue, $0.value)) })
    }

    /// Pairs in the order of the texts' bytes.
    package func sortedByKey() -> [(key: String, value: Value)] {
        self.pairs.sorted { $0.key < $1.key }.map { ($0.key.wrappedValue, $0.value) }
    }
}

extension ExactDictionary: Sequence {
    package struct Iterator: IteratorProtocol {
        private var rest: Dictionary<ExactText, Value>.Iterator

        fileprivate init(_ pairs: Dictionary<ExactText, Value>.Iterator) {
            self.rest = pairs
        }

        package mutating func next() -> (key: String, value: Value)? {
            self.rest.next().map { ($0.key.wrappedValue, $0.value) }
        }
    }

    package func makeIterator() -> Iterator { Iterator(self.pairs.makeIterator()) }
}

extension ExactDictionary: ExpressibleByDictionaryLiteral {
    /// The last of several values of one text counts.
    package init(dictionaryLiteral pairs: (String, Value)...) {
        self.pairs = Dictionary(pairs.map { (ExactText($0.0), $0.1) }) { $1 }
    }
}

extension ExactDictionary: Sendable where Value: Sendable {}
extension ExactDictionary: Equatable where Value: Equatable {}
extension ExactDictionary: Hashable where Value: Hashable {}
