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
        } catch let error as DecodingError {
            throw StreamArchive.Failure(description: "The document is not an export: " + self.reason(error, in: data))
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
    static func plan(_ stream: StreamArchive.Document.Stream) throws(StreamError) -> Plan {
        Plan(create: try self.createRequest(stream), payloads: try self.payloads(stream))
    }

    /// What a document with a fault lacks, and where.
    private static func reason(_ error: DecodingError, in data: Data) -> String {
        let context: DecodingError.Context
        let what: String
        switch error {
        case .keyNotFound(let key, let found):
            context = found
            what = "the member \"\(key.stringValue)\" is missing"
        case .valueNotFound(_, let found):
            context = found
            what = "the value is null"
        case .typeMismatch(let type, let found):
            context = found
            what = "the value is no \(self.word(for: type))"
        case .dataCorrupted(let found):
            if found.codingPath.isEmpty { return "it is not JSON." }
            context = found
            what = "the value cannot be read"
        @unknown default: return "it cannot be read."
        }
        var place = ""
        for key in context.codingPath {
            place += key.intValue.map { "[\($0)]" } ?? (place.isEmpty ? "" : ".") + key.stringValue
        }
        if place.isEmpty { return what + "." }
        // Why looked up: people know their streams by name.
        let stream = context.codingPath.count > 1 ? context.codingPath[1].intValue : nil
        let whole = (try? JSONSerialization.jsonObject(with: data)) as? [String: Any]
        let streams = whole?["streams"] as? [Any] ?? []
        let name = stream.flatMap { $0 < streams.count ? (streams[$0] as? [String: Any])?["name"] as? String : nil }
        return "at \(place)" + (name.map { ", of the stream \($0)" } ?? "") + ", \(what)."
    }

    private static func word(for type: Any.Type) -> String {
        if type == String.self { return "text" }
        if type == Bool.self { return "true or false" }
        if type == Int.self || type == UInt64.self { return "number that fits" }
        if type is any ExpressibleByArrayLiteral.Type { return "list" }
        return "object"
    }

    /// What did not come in of a document that is otherwise there.
    struct Leftover {
        /// Names of streams whose time is over.
        var expired: [String] = []
        /// Streams that the rules turned away, each with the reason: trying again would not help.
        var refused: [(name: String, reason: String)] = []
    }

    /// Writes streams, each in the place of one that has its name; may be done again after it was cut off. Blocks.
    ///
    /// Each stream is whole or not there.
    /// - Throws: what may be otherwise the next time: a disk that is full, a storage that has failed.
    static func apply(_ document: StreamArchive.Document, to directory: StreamDirectory) throws -> Leftover {
        var leftover = Leftover()
        var rest = document.streams[...]
        while !rest.isEmpty {
            let part = self.nextPart(of: rest)
            rest = rest[part.endIndex...]
            let failures = self.write(part, to: directory)
            for index in failures.keys.sorted() {
                guard let error = failures[index] else { continue }
                try self.judge(error, of: document.streams[index], in: directory, &leftover)
            }
        }
        return leftover
    }

    /// Streams that are written together, so that they share the syncs of the storage.
    private static func nextPart(
        of streams: ArraySlice<StreamArchive.Document.Stream>
    ) -> ArraySlice<StreamArchive.Document.Stream> {
        var count = 0
        var bytes = 0
        for stream in streams {
            bytes += stream.messages.reduce(0) { $0 + $1.data_base64.utf8.count }
            guard count == 0 || count < 256 && bytes <= 8 << 20 else { break }
            count += 1
        }
        return streams.prefix(count)
    }

    /// What becomes of a stream that could not be written.
    private static func judge(
        _ error: StreamError, of stream: StreamArchive.Document.Stream, in directory: StreamDirectory,
        _ leftover: inout Leftover
    ) throws {
        if self.mayPass(error) { throw StreamArchive.Failure(description: self.sentence(error)) }
        if error.code == .notFound, self.isOver(stream, in: directory) {
            leftover.expired.append(stream.name)
            return
        }
        if let left = self.failure({ () throws(StreamError) in try self.remove(stream.name, from: directory) }),
            self.mayPass(left)
        {
            throw StreamArchive.Failure(description: self.sentence(left))
        }
        leftover.refused.append((stream.name, self.sentence(error)))
    }

    private static func failure(_ body: () throws(StreamError) -> Void) -> StreamError? {
        do throws(StreamError) {
            try body()
            return nil
        } catch {
            return error
        }
    }

    /// Whether a stream that is not there any more has expired: nobody else uses the directory.
    private static func isOver(_ stream: StreamArchive.Document.Stream, in directory: StreamDirectory) -> Bool {
        guard stream.config.ttl_seconds != nil || stream.config.expires_at != nil else { return false }
        guard case .failure = directory.lookup(stream.name, now: SystemTime.milliseconds()) else { return false }
        return true
    }

    /// Whether trying again may help.
    private static func mayPass(_ error: StreamError) -> Bool {
        [.insufficientStorage, .unavailable, .internalError].contains(error.code)
    }

    private static func sentence(_ error: StreamError) -> String {
        error.detail.isEmpty ? "\(error.code)" : error.detail
    }

    /// Writes streams in the place of those that have their names; returns what went wrong, by index.
    private static func write(
        _ streams: ArraySlice<StreamArchive.Document.Stream>, to directory: StreamDirectory
    ) -> [Int: StreamError] {
        let changes = ChangesUnderWay(within: directory.configuration.limits)
        var plans: [Int: Plan] = [:]
        for (index, stream) in zip(streams.indices, streams) {
            do throws(StreamError) {
                plans[index] = try self.plan(stream)
            } catch {
                changes.fail(index, error)
            }
            guard case .success = directory.lookup(stream.name, now: SystemTime.milliseconds()) else { continue }
            changes.begin(index) { done in
                directory.delete(stream.name, now: SystemTime.milliseconds()) { result in
                    // It has expired in between.
                    if case .failure(let error) = result, error.code != .notFound { done(error) } else { done(nil) }
                }
            }
        }
        changes.wait()
        for (index, stream) in zip(streams.indices, streams) {
            guard let plan = plans[index] else { continue }
            changes.begin(index) { done in
                directory.create(stream.name, plan.create, now: SystemTime.milliseconds()) { done($0.failure) }
            }
        }
        changes.wait()
        for (index, stream) in zip(streams.indices, streams) {
            guard let plan = plans[index] else { continue }
            var requests = plan.payloads.map {
                AppendRequest(contentType: stream.config.content_type, payload: .success($0), closes: false)
            }
            if stream.closed {
                if requests.isEmpty { requests.append(AppendRequest(contentType: nil, payload: nil, closes: true)) }
                requests[requests.count - 1].closes = true
            }
            for request in requests {
                var bytes = 0
                if case .success(let payload) = request.payload { bytes = payload.bytes.readableBytes }
                changes.begin(index, bytes: bytes) { done in
                    directory.append(stream.name, request, now: SystemTime.milliseconds()) { done($0.failure) }
                }
            }
        }
        changes.wait()
        return changes.failures
    }

    private static func remove(_ name: String, from directory: StreamDirectory) throws(StreamError) {
        guard case .success = directory.lookup(name, now: SystemTime.milliseconds()) else { return }
        do throws(StreamError) {
            try self.answer { directory.delete(name, now: SystemTime.milliseconds(), reply: $0) }
        } catch {
            // It has expired in between.
            if error.code != .notFound { throw error }
        }
    }

    private static func createRequest(
        _ stream: StreamArchive.Document.Stream
    ) throws(StreamError) -> CreateRequest {
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

    private static func payloads(
        _ stream: StreamArchive.Document.Stream
    ) throws(StreamError) -> [StreamPayload] {
        let contentType = ContentType(stream.config.content_type) ?? .octetStream
        var payloads: [StreamPayload] = []
        for message in stream.messages {
            guard let data = Data(base64Encoded: message.data_base64) else {
                throw StreamError(.badRequest, "the message at \(message.offset) is not base64.")
            }
            // A message that is an array must stay one: the outer array is the one that is taken apart.
            let body = contentType.isJSON ? Data("[".utf8) + data + Data("]".utf8) : data
            payloads.append(try StreamPayload.encode(body: ByteBuffer(bytes: body), contentType: contentType))
        }
        return payloads
    }

    /// Waits for an answer of the directory, on this thread.
    private static func answer<Value: Sendable>(
        _ ask: (@escaping @Sendable (Result<Value, StreamError>) -> Void) -> Void
    ) throws(StreamError) -> Value {
        let box = AnswerBox<Value>()
        ask { box.fill($0) }
        return try box.wait().get()
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

extension Result where Failure == StreamError {
    fileprivate var failure: StreamError? {
        if case .failure(let error) = self { error } else { nil }
    }
}
