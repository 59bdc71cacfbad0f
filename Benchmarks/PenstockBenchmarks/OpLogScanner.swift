/// Counts what is in an op log without decoding it: the client must not be what limits a measurement.
struct OpLogScanner {
    /// Row operations seen: inserts, updates, deletes and the like.
    private(set) var rows = 0
    /// Transactions whose end was seen.
    private(set) var transactions = 0
    /// Of them, those that began with the given origin.
    private(set) var ownTransactions = 0
    /// Position and id of the last transaction that is complete.
    private(set) var lastLSN: [UInt8] = []
    private(set) var lastTransactionID: UInt64 = 0
    private let origin: [UInt8]
    private var isOwn = false

    init(origin: String) {
        self.origin = Array(origin.utf8)
    }

    /// - Parameter body: the encoded `SatOpLog`.
    mutating func scan(_ body: UnsafeRawBufferPointer) throws {
        var log = WireReader(body)
        while let (field, entry) = try log.nextField() {
            guard field == 1 else { continue }
            var operation = WireReader(entry.bytes)
            while let (kind, content) = try operation.nextField() {
                switch kind {
                case 1: try self.begin(content.bytes)
                case 2:
                    self.transactions += 1
                    if self.isOwn { self.ownTransactions += 1 }
                case 3, 4, 5, 7, 8: self.rows += 1
                default: break
                }
            }
        }
    }

    private mutating func begin(_ bytes: UnsafeRawBufferPointer) throws {
        var reader = WireReader(bytes)
        self.isOwn = false
        while let (field, content) = try reader.nextField() {
            switch field {
            case 3: self.lastLSN = Array(content.bytes)
            case 4: self.isOwn = content.bytes.elementsEqual(self.origin)
            case 7: self.lastTransactionID = content.number
            default: break
            }
        }
    }
}

/// Fields of a protobuf message, one after the other.
private struct WireReader {
    struct Content {
        var number: UInt64 = 0
        var bytes = UnsafeRawBufferPointer(start: nil, count: 0)
    }

    private let bytes: UnsafeRawBufferPointer
    private var index = 0

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    private mutating func varint() throws -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while self.index < self.bytes.count, shift < 64 {
            let byte = self.bytes[self.index]
            self.index += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw BenchmarkError("a malformed protobuf message")
    }

    mutating func nextField() throws -> (field: Int, content: Content)? {
        guard self.index < self.bytes.count else { return nil }
        let key = try self.varint()
        var content = Content()
        switch key & 7 {
        case 0: content.number = try self.varint()
        case 2:
            let length = Int(truncatingIfNeeded: try self.varint())
            guard length >= 0, length <= self.bytes.count - self.index else {
                throw BenchmarkError("a malformed protobuf message")
            }
            content.bytes = UnsafeRawBufferPointer(rebasing: self.bytes[self.index..<self.index + length])
            self.index += length
        default: throw BenchmarkError("an unexpected protobuf field")
        }
        return (Int(key >> 3), content)
    }
}
