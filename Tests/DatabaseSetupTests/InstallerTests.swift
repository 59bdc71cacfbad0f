import DatabaseSetup
import Foundation
import Logging
import PostgresClient
import Testing
import TestSupport

@Suite("The installer of the electric schema", .timeLimit(.minutes(2)))
struct InstallerTests {
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test func theProgramCarriesEveryFileOfTheFolder() throws {
        let folder = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().appending(path: "sql")
        for (path, embedded) in [("electric", SQLFiles.electric), (".", SQLFiles.scripts)] {
            let names = try FileManager.default.contentsOfDirectory(atPath: folder.appending(path: path).path)
            #expect(names.filter { $0.hasSuffix(".sql") }.sorted() == embedded.map(\.name))
            for file in embedded {
                #expect(
                    try String(contentsOf: folder.appending(path: path).appending(path: file.name), encoding: .utf8)
                        == file.text)
            }
        }
    }

    @Test(arguments: PostgresVersion.installed)
    func installsAnyNumberOfTimes(version: PostgresVersion) async throws {
        let cluster = try await TestCluster.shared(version: version)
        let connection = try await cluster.connect(database: try await cluster.createDatabase())
        let first = try await Installer.install(on: connection, logger: self.logger)
        #expect(first.isNew && !first.isTakenOver)
        try await connection.execute(
            "CREATE TABLE public.items (id int PRIMARY KEY, content text); CALL electric.electrify('public.items')")
        let second = try await Installer.install(on: connection, logger: self.logger)
        #expect(!second.isNew && !second.isTakenOver)
        #expect(try await connection.query("SELECT count(*) FROM electric.electrified").scalar == "1")
        #expect(await !connection.isInTransaction)
    }

    @Test func twoServicesThatStartTogetherInstallOneAfterTheOther() async throws {
        let cluster = try await TestCluster.shared()
        let database = try await cluster.createDatabase()
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    let connection = try await cluster.connect(database: database)
                    return try await Installer.install(on: connection, logger: self.logger).isNew
                }
            }
            for try await _ in group {}
        }
        let connection = try await cluster.connect(database: database)
        #expect(try await connection.query("SELECT count(*) FROM electric.installation").scalar == "1")
    }

    @Test func aFailedInstallationLeavesNothingBehindAndNamesThePart() async throws {
        let cluster = try await TestCluster.shared()
        let connection = try await cluster.connect(database: try await cluster.createDatabase())
        try await connection.execute(
            "CREATE SCHEMA electric; CREATE TABLE electric.electrified (something int); INSERT INTO electric.electrified VALUES (1)"
        )
        let error = await #expect(throws: PostgresError.self) {
            try await Installer.install(on: connection, logger: self.logger)
        }
        #expect(error?.message.contains(".sql)") == true)
        #expect(await !connection.isInTransaction)
        #expect(try await connection.query("SELECT to_regclass('electric.schema_migrations') IS NULL").scalar == "t")
    }

    @Test func rolesAreMadeWithQuotedNames() async throws {
        let cluster = try await TestCluster.shared()
        let database = try await cluster.createDatabase()
        let text = try #require(
            SQLFiles.roles("roles-direct-writes", role: "odd \"name\"", database: database, password: "it's"))
        #expect(!text.contains("{{"))
        try await cluster.psql(text, database: database)
        #expect(try await cluster.psql("SELECT rolreplication FROM pg_roles WHERE rolname = 'odd \"name\"'") == "t")
        #expect(SQLFiles.script("nothing") == nil)
    }

    /// As the setup's steps have it: the script as a superuser, then the service as its role.
    @Test func theRolesScriptSeesToCaptureAndKeepsThePassword() async throws {
        let cluster = try await TestCluster.shared()
        let database = try await cluster.createDatabase()
        let role = "service_of_\(database)"
        func script(_ password: String?) throws -> String {
            try #require(SQLFiles.roles("roles-direct-writes", role: role, database: database, password: password))
        }
        try await cluster.psql(try script("se\ncret"), database: database)
        let secret = "SELECT rolpassword FROM pg_authid WHERE rolname = '\(role)'"
        let before = try await cluster.psql(secret)
        try await cluster.psql(try script(nil), database: database)
        #expect(try await cluster.psql(secret) == before)
        #expect(!before.isEmpty)

        let connection = try await cluster.connect(database: database, user: role)
        let outcome = try await Installer.install(on: connection, logger: self.logger)
        #expect(outcome.isNew && !outcome.isTakenOver)
        let missing = try await connection.query(
            "SELECT check_name FROM electric.check_setup() WHERE check_name = 'migration_capture' AND NOT ok")
        #expect(missing.rowCount == 0)
        try await connection.execute("CREATE TABLE public.ev (id int PRIMARY KEY, a text); CALL electric.electrify('public.ev')")
        await connection.close()
        await #expect(throws: (any Error).self) {
            try await cluster.psql("ALTER TABLE ev DROP COLUMN a", database: database)
        }
        try await cluster.psql("ALTER TABLE ev ADD COLUMN b int", database: database)
        let captured = try await cluster.psql(
            "SELECT query FROM electric.ddl_commands ORDER BY id DESC LIMIT 1", database: database)
        #expect(captured.contains("ADD COLUMN"))
    }
}
