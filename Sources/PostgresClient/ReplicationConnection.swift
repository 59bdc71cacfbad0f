import CLibPQ
package import Logging
internal import NIOCore
package import PostgresWire

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// A connection that receives the WAL of one database through a logical slot.
///
/// All calls block and belong to one thread of the caller's, except ``wake()`` and ``abort()``, which any thread may
/// use.
// Why unchecked: everything but the two calls named is confined to one thread by contract.
package final class ReplicationConnection: @unchecked Sendable {
    private let handle: LibPQHandle
    let pipe: WakePipe
    private var isStreaming = false

    /// Opens a connection in replication mode; blocks up to the time limit of `parameters`.
    package init(
        _ parameters: ConnectionParameters, logger: Logger = Logger(label: "penstock.replication")
    ) throws(PostgresError) {
        self.pipe = try WakePipe()
        self.handle = try LibPQHandle(parameters: parameters, replication: true, logger: logger)
    }

    package var serverVersion: Int { self.handle.pointer.map { Int(PQserverVersion($0)) } ?? 0 }
    package var isUsable: Bool { self.handle.isUsable }

    // MARK: Commands

    /// Runs a replication command, or SQL, while the connection is not streaming.
    @discardableResult
    package func execute(_ command: String) throws(PostgresError) -> QueryResult? {
        guard !self.isStreaming else { throw .client("the replication connection is streaming") }
        guard self.handle.interrupt.begin(self.handle.interrupt.newNumber()) else { return nil }
        defer { self.handle.interrupt.end() }
        return try self.handle.runSimple(command)
    }

    package func identifySystem() throws(PostgresError) -> SystemIdentity {
        guard let result = try self.execute("IDENTIFY_SYSTEM"), result.rowCount == 1,
            let identifier = result[0, 0], let timeline = result.integer(0, 1),
            let position = result[0, 2].flatMap({ LSN($0) })
        else { throw .client("the server did not identify itself") }
        return SystemIdentity(
            systemIdentifier: identifier, timeline: Int(timeline), position: position, database: result[0, 3])
    }

    /// Begins to stream.
    ///
    /// - Parameters:
    ///   - lsn: where to begin; the slot's own position when it is earlier than that.
    ///   - options: of the output plugin, for example `("proto_version", "2")`.
    package func startReplication(
        slot: String, from lsn: LSN, options: [(name: String, value: String)]
    ) throws(PostgresError) {
        let connection = try self.handle.connection()
        let list = options.map { "\(SQLText.identifier($0.name)) \(SQLText.literal($0.value))" }.joined(separator: ", ")
        let command = "START_REPLICATION SLOT \(SQLText.identifier(slot)) LOGICAL \(lsn) (\(list))"
        guard !self.isStreaming else { throw .client("the replication connection is streaming already") }
        if PQsendQuery(connection, command) == 0 { throw self.handle.lost() }
        guard let raw = try self.handle.nextResult() else { throw self.handle.lost() }
        if PQresultStatus(raw) == PGRES_COPY_BOTH {
            PQclear(raw)
            self.isStreaming = true
            return
        }
        let outcome = LibPQHandle.classify(raw)
        _ = try self.handle.collectResults()
        if case .failure(let error) = outcome { throw self.handle.completed(error) }
        throw .client("the server did not begin to stream")
    }

    // MARK: Receiving

    /// The next frame. `.idle` comes after `timeoutMilliseconds` without one, or upon ``wake()``; a negative timeout
    /// waits for ever.
    package func receive(timeoutMilliseconds: Int32) throws(PostgresError) -> ReplicationFrame {
        var hasWaited = false
        while true {
            if let row = try self.nextRow() {
                defer { PQfreemem(row.start) }
                switch try Self.header(of: row) {
                case .data(let start, let end):
                    let body = UnsafeRawBufferPointer(
                        start: row.start + Self.dataHeaderLength, count: row.length - Self.dataHeaderLength)
                    return .xlogData(start: start, end: end, message: ByteBuffer(bytes: body))
                case .keepalive(let end, let replyRequested):
                    return .keepalive(end: end, replyRequested: replyRequested)
                case .unknown:
                    continue
                }
            }
            if !self.isStreaming { return .ended }
            if hasWaited { return .idle }
            hasWaited = try self.waitForInput(timeoutMilliseconds: timeoutMilliseconds)
        }
    }

    /// Takes everything that is at hand, up to about `maxBytes`, waiting up to `timeoutMilliseconds` for the first
    /// message. The batch stays empty after the timeout and upon ``wake()``.
    package func receive(
        into batch: inout ReplicationBatch, maxBytes: Int = 1 << 20, timeoutMilliseconds: Int32
    ) throws(PostgresError) {
        batch.removeAll()
        var hasWaited = false
        while true {
            while batch.bytes.readableBytes < maxBytes, let row = try self.nextRow() {
                defer { PQfreemem(row.start) }
                switch try Self.header(of: row) {
                case .data(let start, let end):
                    let length = row.length - Self.dataHeaderLength
                    if batch.bytes.capacity == 0 { batch.bytes.reserveCapacity(min(maxBytes, 64 * 1024)) }
                    batch.bytes.writeInteger(UInt32(length))
                    let offset = batch.bytes.writerIndex
                    batch.bytes.writeBytes(
                        UnsafeRawBufferPointer(start: row.start + Self.dataHeaderLength, count: length))
                    batch.messages.append(.init(start: start, end: end, offset: offset, length: length))
                case .keepalive(let end, let replyRequested):
                    batch.keepaliveEnd = end
                    batch.replyRequested = batch.replyRequested || replyRequested
                case .unknown:
                    continue
                }
            }
            batch.hasEnded = !self.isStreaming
            if !batch.isEmpty || hasWaited { return }
            hasWaited = try self.waitForInput(timeoutMilliseconds: timeoutMilliseconds)
        }
    }

    /// Waits for the socket. True when the caller has waited long enough, or was woken.
    private func waitForInput(timeoutMilliseconds: Int32) throws(PostgresError) -> Bool {
        switch try self.handle.waitReadable(timeoutMilliseconds: timeoutMilliseconds, wakeDescriptor: self.pipe.readEnd)
        {
        case .readable:
            try self.handle.consumeInput()
            return false
        case .woken:
            self.pipe.drain()
            return true
        case .timedOut:
            return true
        }
    }

    private struct Row {
        var start: UnsafeMutablePointer<CChar>
        var length: Int
    }

    /// A message that has arrived already; nil when there is none, or when the stream has ended.
    private func nextRow() throws(PostgresError) -> Row? {
        guard self.isStreaming else { return nil }
        let connection = try self.handle.connection()
        for attempt in 0..<2 {
            var start: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(connection, &start, 1)
            if length > 0, let start { return Row(start: start, length: Int(length)) }
            if length == 0 {
                // Why: what the kernel holds already is taken before anybody waits; one read brings many messages.
                if attempt == 0 { try self.handle.consumeInput() }
                continue
            }
            self.isStreaming = false
            if length == -2 { throw self.handle.lost() }
            try self.finishStream()
            return nil
        }
        return nil
    }

    private enum Header {
        case data(start: LSN, end: LSN)
        case keepalive(end: LSN, replyRequested: Bool)
        case unknown
    }

    private static let dataHeaderLength = 25
    private static let keepaliveLength = 18

    private static func header(of row: Row) throws(PostgresError) -> Header {
        let bytes = UnsafeRawBufferPointer(start: row.start, count: row.length)
        func lsn(at offset: Int) -> LSN {
            LSN(rawValue: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
        }
        switch bytes[0] {
        case UInt8(ascii: "w") where row.length >= Self.dataHeaderLength:
            return .data(start: lsn(at: 1), end: lsn(at: 9))
        case UInt8(ascii: "k") where row.length >= Self.keepaliveLength:
            return .keepalive(end: lsn(at: 1), replyRequested: bytes[17] != 0)
        case UInt8(ascii: "w"), UInt8(ascii: "k"):
            throw .client("a replication message is cut short", connectionLost: true)
        default:
            return .unknown
        }
    }

    // MARK: Sending

    /// Tells the server how far we are. `flushed` is what the slot may forget.
    package func sendStandbyStatus(
        written: LSN, flushed: LSN, applied: LSN, replyRequested: Bool = false
    ) throws(PostgresError) {
        guard self.isStreaming else { return }
        let connection = try self.handle.connection()
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        // Postgres counts microseconds from the beginning of the year 2000.
        let microseconds = Int64(now.tv_sec - 946_684_800) * 1_000_000 + Int64(now.tv_nsec) / 1000
        var message = ByteBuffer()
        message.writeInteger(UInt8(ascii: "r"))
        message.writeMultipleIntegers(written.rawValue, flushed.rawValue, applied.rawValue, microseconds)
        message.writeInteger(UInt8(replyRequested ? 1 : 0))
        let sent = message.withUnsafeReadableBytes { bytes in
            PQputCopyData(connection, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
        }
        if sent != 1 || PQflush(connection) < 0 { throw self.handle.lost() }
    }

    /// Makes the receiving thread return from `receive`. May be called from any thread.
    package func wake() {
        self.pipe.wake()
    }

    /// Cuts the connection; a blocked call fails with `connectionLost`. May be called from any thread.
    package func abort() {
        self.handle.interrupt.abort()
        self.pipe.wake()
    }

    /// Ends the stream politely: what is still under way is dropped (the slot keeps it), and the connection takes
    /// commands again.
    package func stop() throws(PostgresError) {
        guard self.isStreaming else { return }
        let connection = try self.handle.connection()
        if PQputCopyEnd(connection, nil) != 1 || PQflush(connection) < 0 { throw self.handle.lost() }
        while true {
            var start: UnsafeMutablePointer<CChar>?
            let length = PQgetCopyData(connection, &start, 0)
            if let start { PQfreemem(start) }
            if length < 0 { break }
        }
        self.isStreaming = false
        try self.finishStream()
    }

    private func finishStream() throws(PostgresError) {
        // After the server's CopyDone libpq still has our half of the stream open.
        var failure: PostgresError?
        while let raw = try self.handle.nextResult() {
            if PQresultStatus(raw) == PGRES_COPY_IN {
                PQclear(raw)
                let connection = try self.handle.connection()
                if PQputCopyEnd(connection, nil) != 1 || PQflush(connection) < 0 { throw self.handle.lost() }
                continue
            }
            if case .failure(let error) = LibPQHandle.classify(raw) {
                failure = failure ?? self.handle.completed(error)
            }
        }
        if let failure { throw failure }
        if !self.handle.isUsable { throw self.handle.lost("the server has closed the replication connection") }
    }

    package func close() {
        self.isStreaming = false
        self.handle.close()
    }
}

extension ReplicationConnection {
    /// Opens a replication connection, asks the server to identify itself, and closes it. Nil when that went well.
    package static func tryOut(
        _ parameters: ConnectionParameters, logger: Logger = Logger(label: "penstock.replication")
    ) async -> PostgresError? {
        await withCheckedContinuation { continuation in
            let hasStarted = BackgroundThread.start(name: "pg-try") {
                do throws(PostgresError) {
                    let connection = try ReplicationConnection(parameters, logger: logger)
                    _ = try connection.identifySystem()
                    connection.close()
                    continuation.resume(returning: nil)
                } catch {
                    continuation.resume(returning: error)
                }
            }
            if !hasStarted { continuation.resume(returning: .client("no thread is left")) }
        }
    }
}
