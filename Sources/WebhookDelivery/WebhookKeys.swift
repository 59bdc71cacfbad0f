import Crypto
import DurableStreams
import NIOCore
import StreamEndpoint
import StreamStore
import Synchronization

/// The keys that webhook requests are signed with: one in use, and those before it while a receiver may still meet
/// their signatures.
package final class WebhookKeys: WebhookSigning {
    private struct Key {
        var secret: Curve25519.Signing.PrivateKey
        var id: String
        var publicKey: [UInt8]
        /// When another took its place, in milliseconds since 1970.
        var retiredAt: UInt64?

        init(_ secret: Curve25519.Signing.PrivateKey, retiredAt: UInt64? = nil) {
            self.secret = secret
            self.publicKey = Array(secret.publicKey.rawRepresentation)
            self.id = WebhookSignature.keyID(publicKey: self.publicKey) { Array(SHA256.hash(data: $0)) }
            self.retiredAt = retiredAt
        }
    }

    /// How long a key is published after its last use.
    package static let publishedAfterUse: UInt64 = 300_000
    private static let version: UInt64 = 1

    /// The newest is in use.
    private let keys: Mutex<[Key]>
    private let file: PrivateFile?

    /// Takes the keys from their file, or makes the first one. Blocks.
    ///
    /// - Parameter directory: nil keeps them in memory: each start has new ones then.
    package init(directory: String?, fileSystem: any FileSystem = PosixFileSystem()) throws {
        if let directory { try fileSystem.makeDirectoryPath(directory) }
        let file = directory.map { PrivateFile(directory: $0, name: "webhook-keys.json", fileSystem: fileSystem) }
        self.file = file
        if let bytes = try file?.read() {
            guard let keys = Self.decode(bytes) else {
                throw StoreError(.corrupt, "the webhook keys cannot be read", file: file?.path ?? "")
            }
            self.keys = Mutex(keys)
        } else {
            let keys = [Key(Curve25519.Signing.PrivateKey())]
            try file?.replace(with: Self.encode(keys))
            self.keys = Mutex(keys)
        }
    }

    /// Identifier of the key in use.
    package var currentID: String { self.keys.withLock { $0.last?.id ?? "" } }

    /// A new key takes over. The old one stays published for a while. Blocks.
    package func rotate(at now: UInt64) throws {
        try self.keys.withLock { keys in
            var next = keys.filter { Self.isPublished($0, at: now) }
            if let last = next.indices.last { next[last].retiredAt = now }
            next.append(Key(Curve25519.Signing.PrivateKey()))
            try self.file?.replace(with: Self.encode(next))
            keys = next
        }
    }

    private static func isPublished(_ key: Key, at now: UInt64) -> Bool {
        key.retiredAt.map { now < $0 + Self.publishedAfterUse } ?? true
    }

    /// The public keys, the one in use first.
    package func keySet(at now: UInt64) -> StreamResponse {
        let published = self.keys.withLock { keys in
            keys.reversed().filter { Self.isPublished($0, at: now) }.map { (id: $0.id, publicKey: $0.publicKey) }
        }
        return WebhookSignature.keySet(published)
    }

    /// The value of `Webhook-Signature` for a body that is sent now; nil if it cannot be made.
    package func signature(of body: ByteBuffer, at now: UInt64) -> String? {
        let key = self.keys.withLock { $0.last }
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
            return "{\"secret\":\"\(secret)\"" + (key.retiredAt.map { ",\"retired_at\":\($0)" } ?? "") + "}"
        }
        return ByteBuffer(string: "{\"version\":\(Self.version),\"keys\":[\(list.joined(separator: ","))]}")
    }

    private static func decode(_ bytes: ByteBuffer) -> [Key]? {
        guard let document = JSONValue(bytes), document["version"]?.unsignedValue == Self.version,
            let values = document["keys"]?.arrayValue, !values.isEmpty
        else { return nil }
        var keys: [Key] = []
        for value in values {
            guard let text = value["secret"]?.stringValue, let raw = Self.bytes(hex: text),
                let secret = try? Curve25519.Signing.PrivateKey(rawRepresentation: raw)
            else { return nil }
            keys.append(Key(secret, retiredAt: value["retired_at"]?.unsignedValue))
        }
        return keys.last?.retiredAt == nil ? keys : nil
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
