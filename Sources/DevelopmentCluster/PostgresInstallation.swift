import Foundation

/// An installed Postgres that has the extension.
enum PostgresInstallation {
    /// The directory of its programs: `PENSTOCK_PG_BIN`, else the newest of the system's that has the extension.
    static func find() throws -> String {
        if let named = ProcessInfo.processInfo.environment["PENSTOCK_PG_BIN"], !named.isEmpty {
            guard FileManager.default.isExecutableFile(atPath: "\(named)/initdb") else {
                throw DevelopmentCluster.Failure("PENSTOCK_PG_BIN=\(named) holds no Postgres server")
            }
            return named
        }
        let root = "/usr/lib/postgresql"
        let versions = ((try? FileManager.default.contentsOfDirectory(atPath: root)) ?? [])
            .filter { Int($0) != nil }.sorted { (Int($0) ?? 0) > (Int($1) ?? 0) }
        let installed = versions.filter {
            FileManager.default.isExecutableFile(atPath: "\(root)/\($0)/bin/initdb")
        }
        guard !installed.isEmpty else {
            throw DevelopmentCluster.Failure(
                "no Postgres server is installed below \(root); run `make run`, or set PENSTOCK_PG_BIN")
        }
        guard
            let version = installed.first(where: {
                FileManager.default.fileExists(atPath: "\(root)/\($0)/lib/penstock.so")
            })
        else {
            throw DevelopmentCluster.Failure(
                "Postgres \(installed.joined(separator: ", ")) is installed without the extension; run `make install-ext`"
            )
        }
        return "\(root)/\(version)/bin"
    }

    /// The major version, such as `15`.
    static func major(_ binaries: String) throws -> String {
        let output = try ServerAccount.output(["\(binaries)/postgres", "--version"])
        guard let version = output.split(separator: " ").first(where: { $0.first?.isNumber == true }) else {
            throw DevelopmentCluster.Failure("cannot tell the version of \(binaries)/postgres")
        }
        return String(version.prefix { $0.isNumber })
    }
}
