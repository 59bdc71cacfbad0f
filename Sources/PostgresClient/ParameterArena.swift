internal import NIOCore

/// Lays out parameters the way libpq wants them: one block of memory, and arrays of pointers, lengths and formats.
enum ParameterArena {
    /// The protocol counts parameters in 16 bits.
    static let maximumCount = 65_535

    /// A statement must not exceed what Postgres can allocate in one piece.
    static let maximumBytes = 1 << 30

    /// Refuses what cannot be sent faithfully: libpq takes C strings, in which a zero byte would silently cut a text
    /// short.
    static func check(_ statement: PostgresStatement) throws(PostgresError) {
        guard statement.parameters.count <= Self.maximumCount else {
            throw PostgresError(sqlState: "54023", message: "a statement has more than 65535 parameters")
        }
        guard statement.byteCount < Self.maximumBytes else {
            throw PostgresError(sqlState: "54000", message: "a statement with its parameters is larger than 1 GiB")
        }
        if statement.sql.utf8.contains(0) {
            throw PostgresError(sqlState: "22021", message: "the statement contains a zero byte")
        }
        for parameter in statement.parameters {
            let holdsZero =
                switch parameter.storage {
                case .null, .binary: false
                case .text(let text): text.utf8.contains(0)
                case .textBytes(let buffer): buffer.readableBytesView.contains(0)
                }
            if holdsZero {
                throw PostgresError(
                    sqlState: "22021", message: "a text value contains a zero byte, which Postgres cannot hold")
            }
        }
    }

    /// Calls `body` with count, values, lengths and formats. The parameters have passed ``check(_:)``.
    static func with(
        _ parameters: [PostgresParameter],
        _ body: (
            Int32, UnsafePointer<UnsafePointer<CChar>?>?, UnsafePointer<Int32>?, UnsafePointer<Int32>?
        ) -> Int32
    ) -> Int32 {
        if parameters.isEmpty { return body(0, nil, nil, nil) }
        // Each value is followed by a zero byte, which libpq expects behind text.
        var arena: [UInt8] = []
        arena.reserveCapacity(parameters.reduce(0) { $0 + $1.byteCount + 1 })
        var offsets: [Int] = []
        var lengths: [Int32] = []
        var formats: [Int32] = []
        offsets.reserveCapacity(parameters.count)
        lengths.reserveCapacity(parameters.count)
        formats.reserveCapacity(parameters.count)
        for parameter in parameters {
            let start = arena.count
            switch parameter.storage {
            case .null: break
            case .text(let text): arena.append(contentsOf: text.utf8)
            case .textBytes(let buffer), .binary(let buffer): arena.append(contentsOf: buffer.readableBytesView)
            }
            if case .null = parameter.storage {
                offsets.append(-1)
                lengths.append(0)
                formats.append(0)
                continue
            }
            offsets.append(start)
            lengths.append(Int32(arena.count - start))
            formats.append(parameter.isBinary ? 1 : 0)
            arena.append(0)
        }
        return arena.withUnsafeBytes { bytes in
            let base = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
            let values: [UnsafePointer<CChar>?] = offsets.map { offset in offset < 0 ? nil : base.map { $0 + offset } }
            return body(Int32(parameters.count), values, lengths, formats)
        }
    }
}
