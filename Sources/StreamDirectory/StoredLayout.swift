import StreamStore

/// What a directory on a disk was made as, found out without opening it.
package enum StoredLayout: Hashable, Sendable {
    /// Both file modes: they read each other's streams.
    case files
    /// Nil where the layout cannot be read.
    case acid(shards: Int?)

    /// Nil when no streams are kept there.
    package init?(of directory: String, fileSystem: any FileSystem = PosixFileSystem()) {
        let names = (try? fileSystem.list(directory)) ?? []
        if names.contains("layout") || names.contains("wal") {
            self = .files
        } else if names.contains("acid"), let made = AcidLayout.storedShardCount(directory + "/acid", fileSystem) {
            self = .acid(shards: made.count)
        } else {
            return nil
        }
    }
}
