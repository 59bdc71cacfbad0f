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
}
