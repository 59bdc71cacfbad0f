import ArgumentParser
import DatabaseSetup

/// `penstock sql`
struct SQLCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sql", abstract: "Print the SQL that sets a database up.")

    enum Script: String, ExpressibleByArgument, CaseIterable {
        /// Role and grants for ELECTRIC_WRITE_TO_PG_MODE=direct_writes.
        case directWrites = "direct-writes"
        /// Role for ELECTRIC_WRITE_TO_PG_MODE=logical_replication.
        case logicalReplication = "logical-replication"
        /// What the service installs by itself.
        case schema
        /// Removes everything again.
        case uninstall
    }

    @Argument(help: "direct-writes, logical-replication, schema or uninstall.")
    var script: Script

    @Option(help: "The service's role.")
    var role = "sync_service"

    @Option(help: "The role's password; without it the script sets none.")
    var password: String?

    @Option(help: "The database.")
    var database = "app"

    func run() throws {
        switch self.script {
        case .directWrites: try self.printRoles("roles-direct-writes")
        case .logicalReplication: try self.printRoles("roles-logical-replication")
        case .schema:
            for file in SQLFiles.electric { print(file.text) }
        case .uninstall:
            guard let text = SQLFiles.script("uninstall") else { throw ExitCode.failure }
            print(text)
        }
    }

    private func printRoles(_ name: String) throws {
        guard
            let text = SQLFiles.roles(
                name, role: self.role, database: self.database, password: self.password)
        else { throw ValidationError("the role, database or password has characters that the script cannot hold") }
        print(text)
    }
}
