import StreamStore

/// The files under the change log: which file system, and the thread that writes. One a process.
package struct LogStore: Sendable {
    package var fileSystem: any FileSystem
    package var flusher: StoreFlusher
    package var configuration: LogConfiguration

    package init(fileSystem: any FileSystem, flusher: StoreFlusher, configuration: LogConfiguration = .init()) {
        self.fileSystem = fileSystem
        self.flusher = flusher
        self.configuration = configuration
    }
}
