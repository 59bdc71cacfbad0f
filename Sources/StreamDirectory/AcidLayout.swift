import NIOCore
import StreamStore

/// What an acid store was made as: `layout.json`. Another number of environments would look for streams in the wrong
/// place.
enum AcidLayout {
    static let formatVersion = 1
    static let hashPolicy = "fnv1a64-v1"

    static func text(shardCount: Int) -> String {
        """
        {
          "format_version": \(self.formatVersion),
          "shard_count": \(shardCount),
          "hash_policy": "\(self.hashPolicy)"
        }

        """
    }

    /// Checks the layout. False when there is none: the store is new, or its making was cut off.
    static func check(
        _ directory: String, shardCount: Int, _ fileSystem: any FileSystem
    ) throws(StoreError) -> Bool {
        guard (1...256).contains(shardCount), shardCount & (shardCount - 1) == 0 else {
            throw StoreError(.invalidState, "the shard count must be a power of two from 1 to 256, not \(shardCount)")
        }
        let path = directory + "/layout.json"
        do throws(FileError) {
            let names = try fileSystem.list(directory)
            if names.contains("layout.json") {
                let found = try Self.read(path, fileSystem)
                guard found != Self.text(shardCount: shardCount) else { return true }
                throw FileError(.open, found, number: SystemError.exists)
            }
            return false
        } catch {
            guard error.number == SystemError.exists, error.operation == .open else { throw StoreError(error) }
            let count = Self.number("shard_count", in: error.path)
            let reason =
                if Self.number("format_version", in: error.path) != Self.formatVersion {
                    "the store has another format version than \(Self.formatVersion)"
                } else if let count, count != shardCount {
                    "the store was made with \(count) shards, and \(shardCount) are configured; the count is fixed"
                } else {
                    "the layout of the store is not known here"
                }
            throw StoreError(.unsupportedFormat, reason, file: path)
        }
    }

    struct StoredCount {
        var count: Int?
    }

    /// Nil when there is no layout; a count of nil when it cannot be read.
    static func storedShardCount(_ directory: String, _ fileSystem: any FileSystem) -> StoredCount? {
        guard let names = try? fileSystem.list(directory), names.contains("layout.json") else { return nil }
        let text = try? Self.read(directory + "/layout.json", fileSystem)
        return StoredCount(count: text.flatMap { Self.number("shard_count", in: $0) })
    }

    /// Writes the layout: from then on the store is made, and each environment has to be there.
    static func write(_ directory: String, shardCount: Int, _ fileSystem: any FileSystem) throws(StoreError) {
        let path = directory + "/layout.json"
        do throws(FileError) {
            let names = try fileSystem.list(directory)
            if names.contains("layout.json.tmp") { try fileSystem.unlink(path + ".tmp") }
            let file = try fileSystem.open(path + ".tmp", .createNew)
            let text = Array(Self.text(shardCount: shardCount).utf8)
            let failure = text.withUnsafeBytes { bytes -> FileError? in
                do throws(FileError) {
                    try file.writeAll(bytes, at: 0)
                    return nil
                } catch {
                    return error
                }
            }
            if let failure { throw failure }
            try file.sync()
            try fileSystem.rename(path + ".tmp", to: path, replacing: true)
            try fileSystem.syncDirectory(directory)
        } catch {
            throw StoreError(error)
        }
    }

    private static func read(_ path: String, _ fileSystem: any FileSystem) throws(FileError) -> String {
        let file = try fileSystem.open(path, .readOnly)
        var bytes = [UInt8](repeating: 0, count: 4096)
        let result = bytes.withUnsafeMutableBytes { target -> Result<Int, FileError> in
            do throws(FileError) {
                return .success(try file.readAll(into: target, at: 0))
            } catch {
                return .failure(error)
            }
        }
        return String(decoding: bytes.prefix(try result.get()), as: UTF8.self)
    }

    private static func number(_ key: String, in text: String) -> Int? {
        for line in text.split(separator: "\n") where line.contains("\"\(key)\"") {
            return Int(String(line.filter { $0.isNumber }))
        }
        return nil
    }
}
