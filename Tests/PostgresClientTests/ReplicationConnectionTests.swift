import NIOCore
import PostgresClient
import PostgresWire
import Testing
import TestSupport

@Suite("A replication connection", .timeLimit(.minutes(2)))
struct ReplicationConnectionTests {
    /// A database with a published table and a slot.
    private struct Source {
        var cluster: TestCluster
        var database: String
        var slot: String
        var sql: PostgresConnection

        init(version: PostgresVersion = .v15) async throws {
            self.cluster = try await TestCluster.shared(version: version)
            self.database = try await self.cluster.createDatabase()
            self.slot = "slot_\(self.database)"
            self.sql = try await self.cluster.connect(database: self.database)
            try await self.sql.execute(
                """
                CREATE TABLE public.items (id int PRIMARY KEY, content text);
                CREATE PUBLICATION all_items FOR TABLE public.items
                """)
            try await self.sql.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [.text(self.slot)])
        }

        func stream() throws -> ReplicationConnection {
            let connection = try ReplicationConnection(self.cluster.parameters(database: self.database))
            try connection.startReplication(
                slot: self.slot, from: .zero, options: [("proto_version", "1"), ("publication_names", "\"all_items\"")])
            return connection
        }
    }

    /// Blocking calls belong on a thread of their own.
    private func blocking<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await BlockingTestThread.run(body)
    }

    private static func kind(_ message: ByteBuffer) -> Character {
        message.getInteger(at: message.readerIndex, as: UInt8.self).map { Character(Unicode.Scalar($0)) } ?? "?"
    }

    @Test(arguments: PostgresVersion.installed)
    func streamsAcknowledgesStopsAndTakesCommandsAgain(version: PostgresVersion) async throws {
        let source = try await Source(version: version)
        try await source.sql.execute(
            "INSERT INTO public.items VALUES (1, 'one'); INSERT INTO public.items VALUES (2, 'two')")
        let (kinds, end) = try await self.blocking {
            let connection = try source.stream()
            var kinds = ""
            var end = LSN.zero
            while !kinds.hasSuffix("C") {
                if case .xlogData(_, let serverEnd, let message) = try connection.receive(timeoutMilliseconds: 10_000) {
                    kinds.append(Self.kind(message))
                    end = serverEnd
                }
            }
            try connection.sendStandbyStatus(written: end, flushed: end, applied: end)
            try connection.stop()
            #expect(try connection.execute("SELECT 1")?.scalar == "1")
            #expect(try connection.identifySystem().database == source.database)
            connection.close()
            return (kinds, end)
        }
        #expect(kinds == "BRIIC")
        try await source.sql.waitUntil(
            "SELECT confirmed_flush_lsn >= '\(end)' AND NOT active FROM pg_replication_slots WHERE slot_name = '\(source.slot)'"
        )
    }

    @Test func manyMessagesComeInFewBatches() async throws {
        let source = try await Source()
        try await source.sql.query(
            "INSERT INTO public.items SELECT i, 'content ' || i FROM generate_series(1, 20000) i")
        try await self.blocking {
            let connection = try source.stream()
            var batch = ReplicationBatch()
            var kinds: [Character: Int] = [:]
            var batches = 0
            while kinds["C"] == nil {
                try connection.receive(into: &batch, timeoutMilliseconds: 10_000)
                if !batch.messages.isEmpty { batches += 1 }
                var copy = batch.bytes
                for message in batch.messages {
                    let bytes = batch[message]
                    #expect(copy.readInteger(as: UInt32.self) == UInt32(bytes.readableBytes))
                    #expect(copy.readSlice(length: bytes.readableBytes) == bytes)
                    kinds[Self.kind(bytes), default: 0] += 1
                }
            }
            #expect(kinds["I"] == 20_000)
            #expect(batches < 2_000)
            connection.close()
        }
    }

    @Test func wakeReturnsFromAWaitAtOnce() async throws {
        let source = try await Source()
        let connection = try await self.blocking { try source.stream() }
        let waiting = Task {
            try await self.blocking {
                while true {
                    if case .idle = try connection.receive(timeoutMilliseconds: -1) { return true }
                }
            }
        }
        connection.wake()
        #expect(try await waiting.value)
        connection.close()
    }

    @Test func aServerThatStopsEndsTheStream() async throws {
        let source = try await Source()
        let connection = try await self.blocking { try source.stream() }
        let waiting = Task {
            try await self.blocking {
                while true {
                    if case .ended = try connection.receive(timeoutMilliseconds: -1) { return }
                }
            }
        }
        try await source.sql.waitUntil("SELECT active FROM pg_replication_slots WHERE slot_name = '\(source.slot)'")
        try await source.sql.query(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1",
            [.text(source.slot)])
        await #expect { try await waiting.value } throws: { ($0 as? PostgresError)?.connectionLost == true }
    }

    @Test func aSlotThatIsNotThereIsAnErrorAndTheConnectionLives() async throws {
        let cluster = try await TestCluster.shared()
        try await self.blocking {
            let connection = try ReplicationConnection(cluster.parameters())
            let error = #expect(throws: PostgresError.self) {
                try connection.startReplication(slot: "nowhere", from: .zero, options: [("proto_version", "1")])
            }
            #expect(error?.sqlState == "42704")
            #expect(try connection.identifySystem().timeline == 1)
            connection.close()
        }
    }
}
