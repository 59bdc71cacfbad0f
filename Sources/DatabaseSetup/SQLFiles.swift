import CSQLText
internal import PostgresClient

/// One of the SQL files that the program carries inside.
package struct SQLFile: Sendable, Hashable {
    package var name: String
    package var text: String
}

/// The SQL files that the program carries inside.
package enum SQLFiles {
    /// The parts of the `electric` schema, in the order in which they run.
    package static let electric: [SQLFile] = Self.list(penstock_sql_electric())

    /// Scripts that an administrator runs: roles for each write mode, uninstall.
    package static let scripts: [SQLFile] = Self.list(penstock_sql_scripts())

    /// The text of a script, by its name without `.sql`.
    package static func script(_ name: String) -> String? {
        Self.scripts.first { $0.name == "\(name).sql" }?.text
    }

    /// The script that makes the service's role, with the names in place.
    ///
    /// - Parameters:
    ///   - script: `roles-direct-writes` or `roles-logical-replication`.
    ///   - password: nil leaves the role the password that it has.
    package static func roles(_ script: String, role: String, database: String, password: String?) -> String? {
        // Without the lines that explain the placeholders: a value with a line break must not end a comment.
        self.script(script)?
            .split(separator: "\n", omittingEmptySubsequences: false)
            .filter { !($0.hasPrefix("--") && $0.contains("{{")) }.joined(separator: "\n")
            .replacing("{{role}}", with: SQLText.identifier(role))
            .replacing("{{database}}", with: SQLText.identifier(database))
            .replacing(" {{password}};", with: password.map { " PASSWORD \(SQLText.literal($0));" } ?? ";")
            .replacing("{{event_triggers}}", with: Self.electric.first { $0.name == "085-event-triggers.sql" }?.text ?? "")
    }

    private static func list(_ first: UnsafePointer<penstock_sql_file>?) -> [SQLFile] {
        guard var entry = first else { return [] }
        var files: [SQLFile] = []
        while let name = entry.pointee.name, let text = entry.pointee.text {
            files.append(SQLFile(name: String(cString: name), text: String(cString: text)))
            entry += 1
        }
        return files
    }
}
