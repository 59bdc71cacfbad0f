package import Logging
package import PostgresClient

/// Installs the `electric` schema, or brings the present one up to this version; also one of the legacy service, in
/// place.
package enum Installer {
    /// What an installation found and left.
    package struct Outcome: Sendable, Hashable {
        /// Nothing of the schema was there before.
        package var isNew: Bool
        /// The schema is one that the legacy service made.
        package var isTakenOver: Bool
    }

    /// Runs all parts in one transaction; two services that start together do it one after the other.
    ///
    /// - Parameter lockTimeout: how long to wait for the locks of tables that the application uses; after that the
    /// attempt fails with   55P03 and may be made again, rather than queueing the application's statements behind ours.
    package static func install(
        on connection: PostgresConnection, logger: Logger, lockTimeout: Duration = .seconds(10)
    ) async throws -> Outcome {
        let milliseconds = max(1, Int(lockTimeout / .milliseconds(1)))
        do {
            try await connection.execute("BEGIN; SET LOCAL lock_timeout = '\(milliseconds)ms'")
            let wasThere =
                try await connection.query("SELECT to_regclass('electric.installation') IS NOT NULL").scalar == "t"
            for file in SQLFiles.electric {
                do {
                    try await connection.execute(file.text)
                } catch var error as PostgresError where !error.connectionLost {
                    error.message = "\(error.message) (in \(file.name))"
                    throw error
                }
            }
            let takenOver = try await connection.query(
                "SELECT taken_over FROM electric.installation WHERE component = 'schema'"
            ).boolean(0, 0)
            try await connection.execute("COMMIT")
            let outcome = Outcome(isNew: !wasThere, isTakenOver: takenOver ?? false)
            logger.info(
                "The electric schema is in place",
                metadata: ["new": "\(outcome.isNew)", "taken_over": "\(outcome.isTakenOver)"])
            return outcome
        } catch {
            _ = try? await connection.execute("ROLLBACK")
            throw error
        }
    }
}
