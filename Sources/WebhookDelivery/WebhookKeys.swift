import Crypto
import DurableStreams
import NIOCore
import StreamEndpoint
import StreamStore
import Synchronization

/// The keys that webhook requests are signed with: one in use, those before it while a receiver may still meet their
/// signatures, and perhaps the next, which is published before its first use so that no cache of a receiver lacks it.
package final class WebhookKeys: WebhookSigning {
    private struct Key {
        var secret: Curve25519.Signing.PrivateKey
        var id: String
        var publicKey: [UInt8]
        /// Times in milliseconds since 1970: when it was made, begins to be used, and another takes its place.
        var madeAt: UInt64
        var usedFrom: UInt64
        var retiredAt: UInt64?

        init(
            _ secret: Curve25519.Signing.PrivateKey, madeAt: UInt64, usedFrom: UInt64? = nil, retiredAt: UInt64? = nil
        ) {
            self.secret = secret
            self.madeAt = madeAt
            self.usedFrom = usedFrom ?? madeAt
            self.publicKey = Array(secret.publicKey.rawRepresentation)
            self.id = WebhookSignature.keyID(publicKey: self.publicKey) { Array(SHA256.hash(data: $0)) }
            self.retiredAt = retiredAt
        }
    }

    /// How long a key is published after its last use, and before its first: as long as a copy of the set may be kept.
    package static let publishedAfterUse: UInt64 = 300_000
    package static let publishedBeforeUse: UInt64 = 300_000
    private static let version: UInt64 = 1

    /// In the order of their use.
    private let keys: Mutex<[Key]>
    private let file: PrivateFile?
    /// Held while the file is replaced, against other processes.
    private let lockFile: @Sendable () throws(FileError) -> (any FileLock)?

    /// Takes the keys from their file, or makes the first one. Blocks.
    ///
    /// - Parameter directory: nil keeps them in memory: each start has new ones then.
    package init(directory: String?, fileSystem: any FileSystem = PosixFileSystem(), at now: UInt64) throws {
        if let directory { try fileSystem.makeDirectoryPath(directory) }
        let file = directory.map { PrivateFile(directory: $0, name: "webhook-keys.json", fileSystem: fileSystem) }
        self.file = file
        self.lockFile = { () throws(FileError) in
            try directory.map { (path) throws(FileError) in try fileSystem.lock(path + "/webhook-keys.lock") }
        }
        if let (keys, isWhole) = try Self.read(file, at: now) {
            // Why: the age of a key counts from the first time that somebody wrote it down.
            if !isWhole { try file?.replace(with: Self.encode(keys)) }
            self.keys = Mutex(keys)
        } else {
            let keys = [Key(Curve25519.Signing.PrivateKey(), madeAt: now)]
            try file?.replace(with: Self.encode(keys))
            self.keys = Mutex(keys)
        }
    }

    private static func read(_ file: PrivateFile?, at now: UInt64) throws -> (keys: [Key], isWhole: Bool)? {
        guard let bytes = try file?.read() else { return nil }
        guard let found = Self.decode(bytes, at: now) else {
            throw StoreError(.corrupt, "the webhook keys cannot be read", file: file?.path ?? "")
        }
        return found
    }

    /// Identifier of the key in use.
    package func currentID(at now: UInt64) -> String {
        self.keys.withLock { Self.current($0, at: now)?.id ?? "" }
    }

    private static func current(_ keys: [Key], at now: UInt64) -> Key? {
        keys.last { $0.usedFrom <= now } ?? keys.first
    }

    /// Makes a new key. It is published at once and takes over a little later; the old one stays published for a while
    /// after that. Blocks.
    ///
    /// - Parameter isUrgent: the new key takes over at once; receivers with a copy of the old set must look again.
    /// - Returns: the new key, and when it is used from.
    @discardableResult
    package func rotate(at now: UInt64, isUrgent: Bool = false) throws -> (id: String, usedFrom: UInt64) {
        let lock = try self.lockFile()
        defer { lock?.release() }
        return try self.keys.withLock { keys in
            // Another process may have been here.
            var next = try Self.read(self.file, at: now)?.keys ?? keys
            // One that was to come does not any more.
            next.removeAll { $0.usedFrom > now || !Self.isPublished($0, at: now) }
            let usedFrom = isUrgent ? now : now + Self.publishedBeforeUse
            if let last = next.indices.last { next[last].retiredAt = usedFrom }
            let key = Key(Curve25519.Signing.PrivateKey(), madeAt: now, usedFrom: usedFrom)
            next.append(key)
            try self.file?.replace(with: Self.encode(next))
            keys = next
            return (key.id, key.usedFrom)
        }
    }

    /// The same if the newest key was made as long ago; nil if not. Blocks.
    package func rotate(at now: UInt64, ifOlderThan age: UInt64) throws -> (id: String, usedFrom: UInt64)? {
        let madeAt = self.keys.withLock { $0.last?.madeAt ?? now }
        guard now >= madeAt, now - madeAt >= age else { return nil }
        return try self.rotate(at: now)
    }

    /// Takes the keys from their file again, where another process may have changed them. Blocks.
    package func reload(at now: UInt64) throws {
        try self.keys.withLock { keys in
            if let found = try Self.read(self.file, at: now)?.keys { keys = found }
        }
    }

    private static func isPublished(_ key: Key, at now: UInt64) -> Bool {
        key.retiredAt.map { now < $0 + Self.publishedAfterUse } ?? true
    }

    /// The public keys, the newest first.
    package func keySet(at now: UInt64) -> StreamResponse {
        let published = self.keys.withLock { keys in
            keys.reversed().filter { Self.isPublished($0, at: now) }.map { (id: $0.id, publicKey: $0.publicKey) }
        }
        return WebhookSignature.keySet(published)
    }

    /// The value of `Webhook-Signature` for a body that is sent now; nil if it cannot be made.
    package func signature(of body: ByteBuffer, at now: UInt64) -> String? {
        let key = self.keys.withLock { Self.current($0, at: now) }
        guard let key else { return nil }
        let payload = WebhookSignature.payload(timestampSeconds: now / 1000, body: body)
        guard let signature = try? key.secret.signature(for: Array(payload.readableBytesView)) else { return nil }
        return WebhookSignature.header(timestampSeconds: now / 1000, keyID: key.id, signature: Array(signature))
    }

    package static func digest(_ bytes: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: bytes)) }

    // MARK: The file

    private static func encode(_ keys: [Key]) -> ByteBuffer {
        let list = keys.map { key in
            let secret = Array(key.secret.rawRepresentation).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            return "{\"secret\":\"\(secret)\",\"made_at\":\(key.madeAt),\"used_from\":\(key.usedFrom)"
                + (key.retiredAt.map { ",\"retired_at\":\($0)" } ?? "") + "}"
        }
        return ByteBuffer(string: "{\"version\":\(Self.version),\"keys\":[\(list.joined(separator: ","))]}")
    }

    /// Keys of earlier versions have no age; it counts from now on, and `isWhole` is false.
    private static func decode(_ bytes: ByteBuffer, at now: UInt64) -> (keys: [Key], isWhole: Bool)? {
        guard let document = JSONValue(bytes), document["version"]?.unsignedValue == Self.version,
            let values = document["keys"]?.arrayValue, !values.isEmpty
        else { return nil }
        var keys: [Key] = []
        var isWhole = true
        for value in values {
            guard let text = value["secret"]?.stringValue, let raw = Self.bytes(hex: text),
                let secret = try? Curve25519.Signing.PrivateKey(rawRepresentation: raw)
            else { return nil }
            let madeAt = value["made_at"]?.unsignedValue
            isWhole = isWhole && madeAt != nil
            keys.append(
                Key(
                    secret, madeAt: madeAt ?? now, usedFrom: value["used_from"]?.unsignedValue ?? 0,
                    retiredAt: value["retired_at"]?.unsignedValue))
        }
        return keys.last?.retiredAt == nil ? (keys, isWhole) : nil
    }

    private static func bytes(hex text: String) -> [UInt8]? {
        let digits = Array(text)
        guard digits.count == 64 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(digits[index...(index + 1)]), radix: 16) else { return nil }
            bytes.append(byte)
        }
        return bytes
    }
}
