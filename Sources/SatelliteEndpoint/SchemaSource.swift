import Satellite

/// Where the electrified tables and their migrations come from.
package protocol SchemaSource: Sendable {
    /// Reads everything as it is now.
    ///
    /// - Parameter xid: a transaction whose migration must be visible. A commit reaches the stream a moment before other sessions
    ///   see it, so this waits for it.
    func load(including xid: UInt64?) async throws -> LoadedSchema
}

package struct LoadedSchema: Sendable {
    package var schema: SatelliteSchema
    /// In the order in which they were applied.
    package var migrations: [SatelliteMigration]

    package init(schema: SatelliteSchema, migrations: [SatelliteMigration]) {
        self.schema = schema
        self.migrations = migrations
    }
}
