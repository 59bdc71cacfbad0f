import Configuration
import StreamDirectory
import StreamStore

/// From the settings of a stream server to its storage.
enum StreamStorage {
    /// Opens the storage and finishes an import that was cut off. Blocks.
    ///
    /// - Parameters:
    ///   - appliesRetention: False for commands that only look.
    ///   - notice: Gets what the operator has to know of the import.
    static func open(
        _ settings: StreamServerSettings, _ clock: @escaping @Sendable () -> UInt64, appliesRetention: Bool = true,
        notice: (String) -> Void
    ) throws -> StreamDirectory {
        let place = "\(settings.storage.dataDirectory) (mode \(settings.storage.mode.name))"
        let directory: StreamDirectory
        do {
            var configuration = self.configuration(settings)
            configuration.appliesRetention = appliesRetention
            directory = try StreamDirectory.open(configuration, clock: clock)
        } catch {
            throw Sidecar.StartError(
                .initialisation, "cannot open the streams in \(place): \(error)",
                hint: self.remedy(for: error as? StoreError, settings.storage))
        }
        guard settings.storage.mode.usesDisk else { return directory }
        let pending = PendingImport(settings.storage.dataDirectory)
        do {
            for sentence in try pending.finish(in: directory) { notice(sentence) }
            return directory
        } catch {
            try? directory.close()
            throw Sidecar.StartError(
                .initialisation, "cannot open the streams in \(place): \(error)",
                hint: """
                    Mend this, by making room where the disk is full, and start again. Or move \(pending.path) away: \
                    what is not imported by now is given up then
                    """)
        }
    }

    private static func configuration(_ settings: StreamServerSettings) -> StreamDirectoryConfiguration {
        let mode: StorageMode =
            switch settings.storage.mode {
            case .memory: .memory
            case .fileFast: .fileFast
            case .fileDurable: .fileDurable
            case .acid(.file, let shards): .acid(shards: shards)
            case .acid(.memory, _): .acidInMemory
            }
        var configuration = StreamDirectoryConfiguration(mode: mode, directory: settings.storage.dataDirectory)
        let bounds = settings.limits.payload(in: settings.storage.mode)
        configuration.limits.totalBytes = bounds.total.map { UInt64($0.bytes) }
        configuration.limits.streamBytes = bounds.stream.map { UInt64($0.bytes) }
        configuration.limits.producers = settings.limits.maximumProducers
        // Why not the default: it counts jobs of a thread each. Here all that waits shares a sync, so far more may wait
        // at no cost; who asks for another number gets just that.
        if settings.limits.maximumStorageJobs != StreamServerSettings.Limits().maximumStorageJobs {
            configuration.limits.waitingChanges = settings.limits.maximumStorageJobs
        }
        return configuration
    }

    /// What the operator can do about a storage that does not open.
    private static func remedy(for error: StoreError?, _ storage: StreamServerSettings.Storage) -> String {
        let directory = storage.dataDirectory
        switch error?.code {
        case .some(.locked):
            return "Stop the process that uses it, or set DS_STORAGE__DATA_DIR to another directory"
        case .some(.diskFull):
            return "Make room on the disk of \(directory) and start again"
        case .some(.newerFormat):
            return "Run the version of penstock that wrote it, or a later one"
        case .some(.corrupt):
            return "Restore \(directory) from a copy, or set DS_STORAGE__DATA_DIR to another directory"
        case .some(.unsupportedFormat):
            return self.remedy(forLayout: StoredLayout(of: directory), storage)
        default:
            return "Set DS_STORAGE__DATA_DIR to a directory that this user may write to and no other process uses"
        }
    }

    private static func remedy(forLayout found: StoredLayout?, _ storage: StreamServerSettings.Storage) -> String {
        let other = "or DS_STORAGE__DATA_DIR to another directory"
        switch (found, storage.mode) {
        case (.files, .acid): return "Set DS_STORAGE__MODE to file-durable or file-fast, \(other)"
        case (.acid(let shards), .fileFast), (.acid(let shards), .fileDurable):
            let count = shards.map { " and DS_STORAGE__ACID_SHARD_COUNT to \($0)" } ?? ""
            return "Set DS_STORAGE__MODE to acid\(count), \(other)"
        case (.acid(let shards?), .acid(_, let configured)) where shards != configured:
            return "Set DS_STORAGE__ACID_SHARD_COUNT to \(shards), \(other)"
        default: return "Run the version of penstock that made it, or set DS_STORAGE__DATA_DIR to another directory"
        }
    }

    /// Refuses a directory without streams: for commands that would make them there by looking.
    static func checkPresence(_ settings: StreamServerSettings) throws {
        let directory = settings.storage.dataDirectory
        guard settings.storage.mode.usesDisk, StoredLayout(of: directory) == nil else { return }
        throw StreamArchive.Failure(
            description: """
                There are no streams in \(directory). Set DS_STORAGE__DATA_DIR to the directory of the server; \
                nothing was made there.
                """)
    }
}
