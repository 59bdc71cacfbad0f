import ExactText

/// Names of the statements a connection has prepared, by their text; the oldest makes room for a new one.
struct StatementCache {
    enum Lookup: Equatable {
        case known(String)
        /// To be prepared under this name, after the evicted one has been deallocated.
        case new(String, evicting: String?)
    }

    private let capacity: Int
    private var names: ExactDictionary<String> = [:]
    private var order: [String] = []
    private var counter = 0

    init(capacity: Int = 256) {
        self.capacity = capacity
    }

    mutating func lookUp(_ sql: String) -> Lookup {
        if let name = self.names[sql] { return .known(name) }
        var evicted: String?
        if self.order.count >= self.capacity {
            evicted = self.names.removeValue(forKey: self.order.removeFirst())
        }
        self.counter += 1
        let name = "penstock_\(self.counter)"
        self.names[sql] = name
        self.order.append(sql)
        return .new(name, evicting: evicted)
    }

    /// The statement could not be prepared.
    mutating func forget(_ sql: String) {
        if self.names.removeValue(forKey: sql) != nil { self.order.removeAll { $0.isExactly(sql) } }
    }
}
