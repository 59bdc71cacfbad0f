import DatabaseSetup
import Logging
import PostgresClient
import PostgresWire
import Testing
import TestSupport

@Suite("The database inspector and the setup check", .timeLimit(.minutes(2)))
struct DatabaseInspectorTests {
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test(arguments: PostgresVersion.installed)
    func reportsWhatTheServerSays(version: PostgresVersion) async throws {
        let cluster = try await TestCluster.shared(version: version)
        let database = try await cluster.createDatabase()
        let connection = try await cluster.connect(database: database)
        let before = try await DatabaseInspector.inspect(connection)
        #expect(before.server.version / 10_000 == version.major)
        #expect(before.server.timeline == 1)
        #expect(before.server.walLevel == "logical")
        #expect(
            before.server.systemIdentifier
                == (try await connection.query("SELECT system_identifier FROM pg_control_system()").scalar))
        #expect(before.database == database)
        #expect(before.role.isSuperuser && before.role.canReplicate)
        #expect(before.slot == nil && before.schema == nil)
        #expect(!before.extension.isPreloaded && !before.extension.hasWorker)
        #expect(before.flushPosition > .zero && before.walPosition >= before.flushPosition)

        _ = try await Installer.install(on: connection, logger: self.logger)
        let slot = SlotName.main(database: database)
        try await connection.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [.text(slot)])
        let after = try await DatabaseInspector.inspect(connection)
        #expect(after.slot?.plugin == "pgoutput")
        #expect(after.slot?.walStatus == "reserved")
        #expect(after.slot?.isLost == false)
        #expect(after.slot?.activeProcess == nil)
        #expect((after.slot?.confirmedFlush ?? .zero) > .zero)
        #expect(after.schema?.layout == 1 && after.schema?.isOurs == true)
        #expect(try await connection.query("SELECT electric.main_slot_name()").scalar == slot)
        try await connection.query("SELECT pg_drop_replication_slot($1)", [.text(slot)])
    }

    @Test func aSlotThatLostItsWALIsRecognised() async throws {
        let cluster = try await TestCluster.start(settings: [
            "max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB",
        ])
        let connection = try await cluster.connect()
        let slot = SlotName.main(database: "postgres")
        try await connection.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [.text(slot)])
        for _ in 0..<4 {
            try await connection.execute("SELECT pg_logical_emit_message(false, 'x', 'x')")
            try await connection.execute("SELECT pg_switch_wal()")
            try await connection.execute("CHECKPOINT")
        }
        let report = try await DatabaseInspector.inspect(connection)
        #expect(report.slot?.isLost == true)
        #expect(report.slot?.invalidationReason == "wal_removed")
        let lines = await SetupCheck.run(cluster.parameters(), writeMode: .direct, logger: self.logger)
        #expect(lines.first { $0.title == "replication slot" }?.ok == false)
        #expect(!lines.contains { $0.isFatal })
        await cluster.destroy()
    }

    @Test(arguments: [
        ("MyApp-DB", "electric_replication_out_myapp_db"),
        ("__odd__", "electric_replication_out_odd"),
        ("größe", "electric_replication_out_gr__e"),
        (String(repeating: "x", count: 60), "electric_replication_out_" + String(repeating: "x", count: 38)),
    ])
    func slotNamesAreMadeFromTheDatabase(database: String, slot: String) {
        #expect(SlotName.main(database: database) == slot)
        #expect(SlotName.temporary(database: database).utf8.count <= 63)
    }

    @Test(arguments: PostgresVersion.installed, [SetupCheck.WriteMode.direct, .logical])
    func aGoodSetupHasNoFatalLine(version: PostgresVersion, mode: SetupCheck.WriteMode) async throws {
        let cluster = try await TestCluster.shared(version: version)
        let database = try await cluster.createDatabase()
        let fresh = await SetupCheck.run(cluster.parameters(database: database), writeMode: mode, logger: self.logger)
        #expect(!fresh.contains { $0.isFatal })
        let connection = try await cluster.connect(database: database)
        _ = try await Installer.install(on: connection, logger: self.logger)
        try await connection.execute(
            "CREATE TABLE public.items (id int PRIMARY KEY); CALL electric.electrify('public.items')")
        let installed = await SetupCheck.run(
            cluster.parameters(database: database), writeMode: mode, logger: self.logger)
        #expect(!installed.contains { $0.isFatal })
        #expect(installed.contains { $0.title == "publication tables" && $0.ok })
        #expect(installed.count > fresh.count)
    }

    @Test func aPoorRoleIsToldWhatItLacks() async throws {
        let cluster = try await TestCluster.shared()
        let database = try await cluster.createDatabase()
        try await cluster.psql("CREATE ROLE \"poor role\" LOGIN; REVOKE CREATE ON DATABASE \(database) FROM PUBLIC")
        let lines = await SetupCheck.run(
            cluster.parameters(database: database, user: "poor role"), writeMode: .logical, logger: self.logger)
        let failed = lines.filter(\.isFatal)
        #expect(
            failed.map(\.title) == [
                "role may replicate", "role may create schemas", "role may subscribe", "replication connection",
            ])
        #expect(failed.first?.remedy?.contains("ALTER ROLE \"poor role\" REPLICATION;") == true)
        // The remedies are SQL that works.
        try await cluster.psql(
            "ALTER ROLE \"poor role\" REPLICATION; \(failed[1].remedy ?? "SELECT 1/0")")
        let direct = await SetupCheck.run(
            cluster.parameters(database: database, user: "poor role"), writeMode: .direct, logger: self.logger)
        #expect(!direct.contains { $0.isFatal })
    }

    @Test func anUnreachableServerIsOneClearLine() async throws {
        let lines = await SetupCheck.run(
            ConnectionParameters(
                host: "127.0.0.1", port: 1, user: "u", password: "hunter2", database: "d", tls: .require),
            writeMode: .direct, logger: self.logger)
        #expect(lines.count == 1 && lines[0].isFatal)
        #expect(lines[0].remedy?.contains("DATABASE_REQUIRE_SSL") == true)
        #expect(!lines[0].detail.contains("hunter2"))
    }
}
