import Foundation
import Identity
import Synchronization

/// A key set in a file of this machine. The file is read again when its size, its time or its inode has changed.
package final class FileKeySetFetcher: KeySetFetcher {
    private struct Version: Equatable {
        var size: UInt64
        var modified: Date
        var inode: UInt64
    }

    private let path: String
    private let last = Mutex<(version: Version, bytes: [UInt8])?>(nil)

    package init(path: String) {
        self.path = path
    }

    package var name: String { self.path }

    package func fetch() async throws(KeySetFetchError) -> FetchedKeySet {
        let version = try self.version()
        guard version.size <= UInt64(KeySet.maximumBytes) else {
            throw KeySetFetchError(.tooLarge, "the file is larger than \(KeySet.maximumBytes) bytes")
        }
        if let last = self.last.withLock({ $0 }), last.version == version {
            return FetchedKeySet(bytes: last.bytes, lifetime: nil)
        }
        guard let data = FileManager.default.contents(atPath: self.path) else {
            throw KeySetFetchError(.unreadable, "the file cannot be read")
        }
        let bytes = [UInt8](data)
        self.last.withLock { $0 = (version, bytes) }
        return FetchedKeySet(bytes: bytes, lifetime: nil)
    }

    private func version() throws(KeySetFetchError) -> Version {
        let resolved = URL(fileURLWithPath: self.path).resolvingSymlinksInPath().path
        guard let attributes = try? FileManager.default.attributesOfItem(atPath: resolved),
            attributes[.type] as? FileAttributeType == .typeRegular
        else { throw KeySetFetchError(.unreadable, "there is no such file") }
        return Version(
            size: (attributes[.size] as? NSNumber)?.uint64Value ?? 0,
            modified: attributes[.modificationDate] as? Date ?? .distantPast,
            inode: (attributes[.systemFileNumber] as? NSNumber)?.uint64Value ?? 0)
    }
}
