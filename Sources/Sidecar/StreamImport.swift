import DurableStreams
import Foundation
import NIOCore
import Observability
import StreamDirectory
import StreamStore

/// Brings the streams of an export into a directory.
enum StreamImport {
    struct Plan {
        var create: CreateRequest
        var payloads: [StreamPayload]
    }

    static func document(_ data: Data) throws -> StreamArchive.Document {
        let document: StreamArchive.Document
        do {
            document = try JSONDecoder().decode(StreamArchive.Document.self, from: data)
        } catch {
            throw StreamArchive.Failure(description: "The document is not an export: \(error)")
        }
        let known = StreamArchive.formatVersion
        guard document.format_version == known else {
            throw StreamArchive.Failure(
                description: "The document has format version \(document.format_version); this version reads \(known).")
        }
        return document
    }

    /// - Throws: `StreamError` where the stream cannot be made.
    static func plan(_ stream: StreamArchive.Document.Stream) throws -> Plan {
        Plan(create: try self.createRequest(stream), payloads: try self.payloads(stream))
    }

    /// Writes streams, each in the place of one that has its name; may be done again after it was cut off. Blocks.
    static func apply(_ document: StreamArchive.Document, to directory: StreamDirectory) throws {
        for stream in document.streams {
            let plan = try self.plan(stream)
            if case .success = directory.lookup(stream.name, now: SystemTime.milliseconds()) {
                try self.answer { directory.delete(stream.name, now: SystemTime.milliseconds(), reply: $0) }
            }
            _ = try self.answer { (reply: @escaping @Sendable (Result<CreateOutcome, StreamError>) -> Void) in
                directory.create(stream.name, plan.create, now: SystemTime.milliseconds(), reply: reply)
            }
            for (index, payload) in plan.payloads.enumerated() {
                let isLast = index == plan.payloads.count - 1
                try self.append(
                    AppendRequest(
                        contentType: stream.config.content_type, payload: .success(payload),
                        closes: stream.closed && isLast), to: stream.name, directory)
            }
            if stream.closed, plan.payloads.isEmpty {
                try self.append(
                    AppendRequest(contentType: nil, payload: nil, closes: true), to: stream.name, directory)
            }
        }
    }

    private static func append(_ request: AppendRequest, to name: String, _ directory: StreamDirectory) throws {
        _ = try self.answer {
            (reply: @escaping @Sendable (Result<DurableStreams.AppendOutcome, StreamError>) -> Void) in
            directory.append(name, request, now: SystemTime.milliseconds(), reply: reply)
        }
    }

    private static func createRequest(_ stream: StreamArchive.Document.Stream) throws -> CreateRequest {
        guard let contentType = ContentType(stream.config.content_type) else {
            throw StreamError(.badRequest, "\(stream.config.content_type) is no content type.")
        }
        var lifetime = Lifetime.none
        if let seconds = stream.config.ttl_seconds { lifetime = .ttl(seconds: seconds) }
        if let text = stream.config.expires_at {
            guard let milliseconds = Timestamp.milliseconds(text) else {
                throw StreamError(.badRequest, "\(text) is no date and time.")
            }
            lifetime = .deadline(milliseconds: milliseconds, text: text)
        }
        for number in [stream.config.retention_bytes, stream.config.retention_seconds].compactMap({ $0 }) {
            guard (1...StreamRetention.maximumNumber).contains(number) else {
                throw StreamError(.badRequest, "\(number) is no bound of a retention.")
            }
        }
        let retention = StreamRetention(
            maximumBytes: stream.config.retention_bytes, maximumAgeSeconds: stream.config.retention_seconds,
            isOwn: stream.config.retention_is_own ?? true)
        return CreateRequest(contentType: contentType, lifetime: lifetime, retention: retention)
    }

    private static func payloads(_ stream: StreamArchive.Document.Stream) throws -> [StreamPayload] {
        let contentType = ContentType(stream.config.content_type) ?? .octetStream
        return try stream.messages.map { message in
            guard let data = Data(base64Encoded: message.data_base64) else {
                throw StreamError(.badRequest, "the message at \(message.offset) is not base64.")
            }
            // A message that is an array must stay one: the outer array is the one that is taken apart.
            let body = contentType.isJSON ? Data("[".utf8) + data + Data("]".utf8) : data
            return try StreamPayload.encode(body: ByteBuffer(bytes: body), contentType: contentType)
        }
    }

    /// Waits for an answer of the directory, on this thread.
    private static func answer<Value: Sendable>(
        _ ask: (@escaping @Sendable (Result<Value, StreamError>) -> Void) -> Void
    ) throws -> Value {
        let box = AnswerBox<Value>()
        ask { box.fill($0) }
        do {
            return try box.wait().get()
        } catch {
            throw StreamArchive.Failure(description: error.detail.isEmpty ? "\(error.code)" : error.detail)
        }
    }
}

/// An import that has begun: what it writes, in a file beside the streams until all of it is there.
struct PendingImport {
    private let folder: String
    private static let name = "import.pending"

    init(_ folder: String) {
        self.folder = folder
    }

    private var path: String { self.folder + "/" + Self.name }

    /// Durable when it returns.
    func write(_ document: StreamArchive.Document) throws {
        let bytes = try JSONEncoder().encode(document)
        let files = PosixFileSystem()
        do {
            let temporary = self.path + ".new"
            if try files.list(self.folder).contains(Self.name + ".new") { try files.unlink(temporary) }
            let file = try files.open(temporary, .createNew)
            try [UInt8](bytes).withUnsafeBytes { try file.writeAll($0, at: 0) }
            try file.sync()
            try files.rename(temporary, to: self.path, replacing: true)
            try files.syncDirectory(self.folder)
        } catch let error as FileError {
            throw StreamArchive.Failure(description: "The import cannot begin: \(StoreError(error))")
        }
    }

    func remove() throws {
        let files = PosixFileSystem()
        do throws(FileError) {
            try files.unlink(self.path)
            try files.syncDirectory(self.folder)
        } catch {
            throw StreamArchive.Failure(description: "The import is done but cannot be ended: \(StoreError(error))")
        }
    }

    /// Finishes what was begun before, if anything was. Blocks; to be called before anybody uses the streams.
    func finish(in directory: StreamDirectory) throws {
        guard let data = FileManager.default.contents(atPath: self.path) else { return }
        do {
            try StreamImport.apply(try StreamImport.document(data), to: directory)
        } catch {
            throw StreamArchive.Failure(description: "An import that was cut off cannot be finished: \(error)")
        }
        try self.remove()
    }
}

/// One answer, waited for by a thread that may block.
private final class AnswerBox<Value: Sendable>: @unchecked Sendable {
    // Why unchecked: written once before the signal, read once after it.
    private var result: Result<Value, StreamError>?
    private let semaphore = DispatchSemaphore(value: 0)

    func fill(_ result: Result<Value, StreamError>) {
        self.result = result
        self.semaphore.signal()
    }

    func wait() -> Result<Value, StreamError> {
        self.semaphore.wait()
        return self.result ?? .failure(StreamError(.internalError))
    }
}
