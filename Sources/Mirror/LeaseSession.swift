import ExactText
import Logging
import NIOCore
import PostgresClient
import Synchronization

/// The session whose advisory locks say which streams this process writes. Locks end with the session, so when a process dies
/// another takes over as soon as the server has noticed.
///
/// The locks only keep workers out of each other's way. That nothing is written twice is for the checkpoints to see to, also in the
/// moments when two sessions believe that they hold a lock.
actor LeaseSession {
    private let parameters: ConnectionParameters
    private let logger: Logger
    private var connection: PostgresConnection?
    private var held: ExactSet = []

    init(_ parameters: ConnectionParameters, logger: Logger) {
        self.parameters = parameters
        self.logger = logger
    }

    /// Asks for the leases that are not held yet. Returns all that are held now.
    func acquire(flow: String, _ streams: [String]) async throws -> ExactSet {
        do {
            let connection = try await self.session()
            let wanted = streams.filter { !self.held.contains($0) }
            for start in stride(from: 0, to: wanted.count, by: 1000) {
                let part = wanted[start..<min(start + 1000, wanted.count)]
                var list = ByteBuffer()
                list.writeInteger(UInt8(ascii: "["))
                for (number, name) in part.enumerated() {
                    if number > 0 { list.writeInteger(UInt8(ascii: ",")) }
                    list.writeJSONString(name)
                }
                list.writeInteger(UInt8(ascii: "]"))
                let result = try await connection.query(
                    """
                    SELECT name FROM pg_catalog.json_array_elements_text($1::pg_catalog.json) AS name
                    WHERE pg_catalog.pg_try_advisory_lock(
                        pg_catalog.hashtextextended('penstock mirror ' || $2::text || ' ' || name, 0))
                    """, [.text(buffer: list), .text(flow)])
                for row in result.rows { if let name = row[0] { self.held.insert(name) } }
            }
            return self.held
        } catch {
            await self.close()
            throw error
        }
    }

    /// The session, made anew when it is lost: all leases are gone then.
    private func session() async throws -> PostgresConnection {
        if let connection = self.connection, (try? await connection.query("SELECT 1")) != nil { return connection }
        self.held = []
        self.connection = nil
        let connection = try await PostgresConnection.connect(self.parameters, logger: self.logger)
        self.connection = connection
        return connection
    }

    func release(flow: String, _ stream: String) async {
        guard self.held.remove(stream) != nil, let connection = self.connection else { return }
        _ = try? await connection.query(
            "SELECT pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended('penstock mirror ' || $1::text || ' ' || $2::text, 0))",
            [.text(flow), .text(stream)])
    }

    func close() async {
        self.held = []
        let connection = self.connection
        self.connection = nil
        await connection?.close()
    }
}
