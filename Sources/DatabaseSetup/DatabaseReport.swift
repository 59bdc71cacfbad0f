package import PostgresWire

/// What Postgres says about itself, as far as the service depends on it.
package struct DatabaseReport: Sendable, Hashable {
    package struct Server: Sendable, Hashable {
        /// For example 150020.
        package var version: Int
        /// For example `15.20 (Debian 15.20-0+deb12u1)`.
        package var versionText: String
        /// Differs between clusters; physical copies of a cluster share it.
        package var systemIdentifier: String
        /// Rises with each promotion and each recovery to a point in time.
        package var timeline: Int
        package var isStandby: Bool
        package var walLevel: String
        package var replicationSlots: (used: Int, limit: Int) { (self.slotsUsed, self.slotLimit) }
        package var walSenders: (used: Int, limit: Int) { (self.sendersUsed, self.senderLimit) }
        var slotsUsed: Int
        var slotLimit: Int
        var sendersUsed: Int
        var senderLimit: Int
    }

    package struct Role: Sendable, Hashable {
        package var name: String
        package var isSuperuser: Bool
        /// By its own attribute, as superuser, or through the role that a provider has in place of the attribute.
        package var canReplicate: Bool
        package var canCreateInDatabase: Bool
        package var canCreateInPublic: Bool
        /// May make a subscription without being superuser (Postgres 16).
        package var canSubscribe: Bool
    }

    package struct Extension: Sendable, Hashable {
        /// Version whose files are on the server; nil when there are none.
        package var availableVersion: String?
        /// Version installed in this database.
        package var installedVersion: String?
        /// The library has been loaded by `shared_preload_libraries`.
        package var isPreloaded: Bool
        /// This database is in `penstock.databases`: it has a worker.
        package var hasWorker: Bool
        /// `penstock.slot_prefix`.
        package var slotPrefix: String?

        /// Whether the worker can bring the changes.
        package var isUsable: Bool { self.isPreloaded && self.hasWorker }
    }

    package struct Slot: Sendable, Hashable {
        package var name: String
        package var plugin: String?
        package var database: String?
        package var isTemporary: Bool
        /// The process that uses the slot.
        package var activeProcess: Int32?
        /// `reserved`, `extended`, `unreserved` or `lost`.
        package var walStatus: String?
        package var confirmedFlush: LSN?
        package var restart: LSN?
        /// Why the slot is of no more use: from 17 the server's own reason; before, `conflict` (16) or `wal_removed`.
        package var invalidationReason: String?
        /// Bytes of WAL the server keeps for the slot.
        package var retainedBytes: UInt64

        /// A slot that cannot be read from any more. It has to be made anew, and clients start over.
        package var isLost: Bool { self.walStatus == "lost" || self.invalidationReason != nil }
    }

    /// The `electric` schema.
    package struct Schema: Sendable, Hashable {
        package var owner: String
        /// Whether the role has the rights of the owner.
        package var isOurs: Bool
        /// Layout that our installer has left; nil for a schema it has not touched.
        package var layout: Int?
        /// Internal migrations of the legacy service.
        package var legacyMigrations: Int
    }

    package var server: Server
    package var role: Role
    package var database: String
    package var encoding: String
    package var `extension`: Extension
    /// Nil when the slot does not exist.
    package var slot: Slot?
    package var schema: Schema?
    /// End of the WAL as written (on a standby: as replayed).
    package var walPosition: LSN
    /// End of the WAL as safe on disk.
    package var flushPosition: LSN
    /// `pg_current_snapshot()`.
    package var snapshot: String
}

/// Names of the replication slots.
package enum SlotName {
    /// The slot of a database: its name in lower case, other characters as underscores, cut to the length of an
    /// identifier.
    package static func main(database: String) -> String {
        var text = ""
        for scalar in database.unicodeScalars {
            switch scalar {
            case "a"..."z", "0"..."9", "_": text.unicodeScalars.append(scalar)
            case "A"..."Z": text += String(scalar).lowercased()
            default: text.append("_")
            }
        }
        let trimmed = text.drop { $0 == "_" }.reversed().drop { $0 == "_" }.reversed()
        return "electric_replication_out_\(String(trimmed.prefix(38)))"
    }

    /// The temporary slot that the legacy service copied from the main one.
    package static func temporary(database: String) -> String {
        "\(Self.main(database: database).prefix(60))_rc"
    }
}
