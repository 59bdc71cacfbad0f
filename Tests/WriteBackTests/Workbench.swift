import DatabaseSetup
import Logging
import PostgresClient
import TestSupport
import WriteBack

/// A database with electrified tables, and a writer to it.
struct Workbench: Sendable {
    let cluster: TestCluster
    let database: String
    let sql: PostgresConnection

    init(version: PostgresVersion = .v15) async throws {
        self.cluster = try await TestCluster.shared(version: version)
        self.database = try await self.cluster.createDatabase()
        self.sql = try await self.cluster.connect(database: self.database)
        _ = try await Installer.install(on: self.sql, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try await self.sql.execute(
            """
            CREATE TABLE public.plain (id int PRIMARY KEY);
            CREATE TABLE public.items (id int PRIMARY KEY, content text NOT NULL, data bytea, note text);
            CREATE TABLE public.children (id int PRIMARY KEY, item_id int NOT NULL REFERENCES public.items (id));
            CALL electric.electrify('public.items');
            CALL electric.electrify('public.children')
            """)
    }

    func writer(connections: Int = 4, settings: [String: String] = [:]) -> DirectWriter {
        var parameters = self.cluster.parameters(database: self.database).adding(settings: settings)
        parameters.applicationName = "writer"
        return DirectWriter(
            parameters, connections: connections, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    /// Runs a writer while `body` runs.
    @discardableResult
    func run<R: Sendable>(
        connections: Int = 4, settings: [String: String] = [:], _ body: (DirectWriter) async throws -> R
    ) async throws -> R {
        let writer = self.writer(connections: connections, settings: settings)
        async let running: Void = writer.run()
        do {
            let result = try await body(writer)
            await writer.drain(within: .seconds(10))
            await running
            return result
        } catch {
            await writer.drain(within: .zero)
            await running
            throw error
        }
    }

    func transaction(
        client: String = "alice", lsn: UInt8, at time: Int64, _ changes: [WriteChange]
    ) -> WriteTransaction {
        WriteTransaction(clientID: client, clientLSN: [lsn], commitTimestampMilliseconds: time, changes: changes)
    }

    func insert(id: Int, content: String, lsn: UInt8, at time: Int64) -> WriteTransaction {
        self.transaction(
            lsn: lsn, at: time,
            [
                .init(
                    kind: .insert, table: "items",
                    columns: [.init("id", text: "\(id)"), .init("content", text: content)])
            ])
    }

    func scalar(_ sql: String) async throws -> String? {
        try await self.sql.query(sql).scalar
    }

    func rows() async throws -> String? {
        try await self.scalar(
            "SELECT coalesce(string_agg(concat_ws('|', id, content, coalesce(data::text, '')), ',' ORDER BY id), '') FROM public.items"
        )
    }

    func lsn() async throws -> String? {
        try await self.scalar("SELECT lsn FROM electric.acknowledged_client_lsns WHERE client_id = 'alice'")
    }

    /// The server's clock.
    func milliseconds() async throws -> Int64 {
        try await self.sql.query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").integer(0, 0) ?? 0
    }

    func waitUntil(_ sql: String) async throws {
        while try await self.scalar(sql) != "t" { try await Task.sleep(for: .milliseconds(2)) }
    }
}

extension WriteOutcome {
    var rejection: WriteRejection? {
        if case .rejected(let rejection) = self { rejection } else { nil }
    }
}
