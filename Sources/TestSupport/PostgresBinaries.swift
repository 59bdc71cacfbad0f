import Foundation

/// A major version of Postgres that tests can run against.
package struct PostgresVersion: Hashable, Sendable, CustomStringConvertible {
    package let major: Int

    package init(major: Int) {
        self.major = major
    }

    package static let v14 = PostgresVersion(major: 14)
    package static let v15 = PostgresVersion(major: 15)
    package static let v16 = PostgresVersion(major: 16)
    package static let v17 = PostgresVersion(major: 17)
    package static let v18 = PostgresVersion(major: 18)

    package var description: String { "Postgres \(self.major)" }

    /// Where the server's programs are: `PENSTOCK_PG<major>_BIN`, else `.build/postgres-<major>/bin` in the package,
    /// else where Debian and Homebrew put them.
    package var binaryDirectory: String? {
        var candidates: [String] = []
        if let named = ProcessInfo.processInfo.environment["PENSTOCK_PG\(self.major)_BIN"], !named.isEmpty {
            candidates.append(named)
        }
        candidates.append("\(Self.packageDirectory)/.build/postgres-\(self.major)/bin")
        candidates.append("/usr/lib/postgresql/\(self.major)/bin")
        candidates.append("/opt/homebrew/opt/postgresql@\(self.major)/bin")
        return candidates.first { FileManager.default.isExecutableFile(atPath: "\($0)/postgres") }
    }

    /// Whether this machine has the version; tests of others are disabled with it.
    package var isInstalled: Bool { self.binaryDirectory != nil }

    /// The versions of the test matrix that this machine has.
    package static var installed: [PostgresVersion] { [.v15, .v18].filter(\.isInstalled) }

    /// Whether the extension has been installed for this version.
    package var hasExtension: Bool {
        guard let binaries = self.binaryDirectory,
            let outcome = try? ChildProcess.runBlocking(["\(binaries)/pg_config", "--sharedir"]), outcome.status == 0
        else { return false }
        let share = outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
        return FileManager.default.fileExists(atPath: "\(share)/extension/penstock.control")
    }

    private static var packageDirectory: String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().path
    }
}
