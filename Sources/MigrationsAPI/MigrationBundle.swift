import NIOCore

/// The archive of migrations from which the client generator makes the code that applications carry.
package struct MigrationBundle: Sendable {
    /// A migration in one dialect.
    package struct Entry: Hashable, Sendable {
        /// The label, which names the folder.
        package let version: String
        /// All statements: each ended by a semicolon, a blank line between them.
        package let script: String
        /// The encoded `SatOpMigrate` messages, the same bytes as in the stream.
        package let operations: [[UInt8]]

        /// - Throws: ``MigrationsError/Code/invalidVersion`` unless the version is 1 to 255 of `A-Z a-z 0-9 _ . -`, and
        ///   not of dots alone: anything else could lead out of the folder that the archive is unpacked into.
        package init(version: String, script: String, operations: [[UInt8]]) throws(MigrationsError) {
            let bytes = version.utf8
            guard !bytes.isEmpty, bytes.count <= 255, bytes.allSatisfy({ Self.isAllowed($0) }),
                bytes.contains(where: { $0 != UInt8(ascii: ".") })
            else {
                throw MigrationsError(code: .invalidVersion, message: "A migration version is not fit to name a folder")
            }
            self.version = version
            self.script = script
            self.operations = operations
        }

        private static func isAllowed(_ byte: UInt8) -> Bool {
            (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || (byte >= 0x30 && byte <= 0x39)
                || byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-")
        }

        /// The members of `metadata.json` in their fixed order.
        var metadata: String {
            let operations = self.operations.map { "\"\(Base64.encode($0))\"" }.joined(separator: ",")
            return "{\"format\":\"SatOpMigrate\",\"ops\":[\(operations)],"
                + "\"protocol_version\":\"Electric.Satellite\",\"version\":\"\(self.version)\"}"
        }
    }

    /// A zip archive with a folder for each entry, in the order given.
    package static func archive(_ entries: [Entry]) throws(MigrationsError) -> ByteBuffer {
        var archive = ZipArchive()
        for entry in entries {
            try archive.add(name: "\(entry.version)/migration.sql", content: Array(entry.script.utf8))
            try archive.add(name: "\(entry.version)/metadata.json", content: Array(entry.metadata.utf8))
        }
        return try archive.finish()
    }
}
