import Configuration
import DurableStreams
import Foundation
import NIOCore
import Observability
import StreamDirectory

/// Listing, export and import of the streams on a disk while no server runs on them.
package struct StreamArchive: ~Copyable {
    /// What cannot be done, in words for a terminal.
    package struct Failure: Error, CustomStringConvertible {
        package var description: String
    }

    /// What an import does with a stream that is there already.
    package enum Conflict: String, CaseIterable, Sendable {
        case skip, fail, replace
    }

    package struct ImportReport: Sendable {
        package var imported = 0
        package var skipped = 0
        package var replaced = 0
    }

    /// The document of an export, format version 1. Names of members are those of the reference server.
    struct Document: Codable {
        struct Configuration: Codable {
            var content_type: String
            var ttl_seconds: UInt64?
            var expires_at: String?
        }

        struct Message: Codable {
            var offset: String
            var data_base64: String
        }

        struct Stream: Codable {
            var name: String
            var config: Configuration
            var closed: Bool
            var created_at: String
            var updated_at: String
            var total_bytes: UInt64
            var message_count: UInt64
            var next_offset: String
            var messages: [Message]
        }

        var format_version: Int
        var exported_at: String
        var server_version: String
        var streams: [Stream]
    }

    private let directory: StreamDirectory
    private let names: StreamNameRules
    private static let formatVersion = 1

    /// Opens the storage that a server with these settings would. Blocks.
    package init(_ settings: StreamServerSettings) throws {
        guard settings.storage.mode.usesDisk else {
            throw Failure(
                description: """
                    Streams in memory (DS_STORAGE__MODE=memory) end with their server: there is nothing on the disk. \
                    Ask a running server with DS_ADMIN__ENABLED=true at \(settings.admin.basePath)/streams instead.
                    """)
        }
        self.directory = try StreamServer.open(settings, SystemTime.milliseconds)
        self.names = StreamNameRules(
            maximumBytes: settings.limits.maximumNameBytes, maximumSegments: settings.limits.maximumNameSegments)
    }

    deinit {
        try? self.directory.close()
    }

    private var now: UInt64 { SystemTime.milliseconds() }

    // MARK: Listing

    /// Every stream, sorted by name.
    package borrowing func listings() -> [StreamListing] {
        self.directory.list(now: self.now).filter(StreamServer.isListed)
    }

    package borrowing func listJSON() throws -> String { try StreamServer.json(self.listings()) }

    // MARK: Export

    /// Writes the document piece by piece: no more than one append is in memory.
    package borrowing func export(names: [String], version: String, write: (String) throws -> Void) throws {
        let all = self.listings()
        for name in names where !all.contains(where: { $0.view.name == name }) {
            throw Failure(description: "There is no stream named \(name).")
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        func json(_ value: some Encodable) throws -> String {
            String(decoding: try encoder.encode(value), as: UTF8.self)
        }
        try write(
            """
            {"format_version":\(Self.formatVersion),"exported_at":\(try json(Timestamp.text(milliseconds: self.now))),\
            "server_version":\(try json(version)),"streams":[
            """)
        var isFirst = true
        for listing in all where names.isEmpty || names.contains(listing.view.name) {
            try write(isFirst ? "\n" : ",\n")
            isFirst = false
            let view = listing.view
            var configuration = Document.Configuration(content_type: view.contentType.text)
            switch view.configuration.lifetime {
            case .none: break
            case .ttl(let seconds): configuration.ttl_seconds = seconds
            case .deadline(_, let text): configuration.expires_at = text
            }
            let head = Document.Stream(
                name: view.name, config: configuration, closed: view.isClosed,
                created_at: Timestamp.text(milliseconds: view.createdAt),
                updated_at: Timestamp.text(milliseconds: view.updatedAt), total_bytes: listing.byteCount,
                message_count: listing.messageCount, next_offset: view.tailOffset.token, messages: [])
            // Why by hand: the messages of a large stream do not fit into memory. They come last in the object.
            let text = try json(head).replacing(#""messages":[],"#, with: "", maxReplacements: 1)
            try write(text.dropLast() + #","messages":["#)
            try self.exportMessages(of: view, write: write)
            try write("]}")
        }
        try write("\n]}\n")
    }

    private borrowing func exportMessages(of view: StreamView, write: (String) throws -> Void) throws {
        var position: UInt64 = 0
        var isFirst = true
        func message(_ bytes: ByteBuffer, at position: UInt64) throws {
            let data = Data(bytes.readableBytesView).base64EncodedString()
            try write(
                "\(isFirst ? "" : ",")\n{\"offset\":\"\(StreamOffset(position: position).token)\",\"data_base64\":\"\(data)\"}"
            )
            isFirst = false
        }
        while let append = try self.directory.nextAppend(
            of: view.name, identity: view.identity, after: position, now: self.now
        ).get() {
            if view.contentType.isJSON {
                var start = position
                try StoredMessages.forEach(in: append.bytes) { bytes in
                    try message(bytes, at: start)
                    start += UInt64(bytes.readableBytes) + 1
                }
            } else {
                try message(append.bytes, at: position)
            }
            position = append.end
        }
    }

    // MARK: Import

    /// Checks the whole document first, then brings its streams in, one after the other. Offsets are given anew.
    package borrowing func importDocument(_ data: Data, onConflict: Conflict) throws -> ImportReport {
        let document: Document
        do {
            document = try JSONDecoder().decode(Document.self, from: data)
        } catch {
            throw Failure(description: "The document is not an export: \(error)")
        }
        guard document.format_version == Self.formatVersion else {
            throw Failure(
                description:
                    "The document has format version \(document.format_version); this version reads \(Self.formatVersion)."
            )
        }
        let existing = Set(self.listings().map(\.view.name))
        var plans: [(stream: Document.Stream, create: CreateRequest, payloads: [StreamPayload])] = []
        var seen = Set<String>()
        for stream in document.streams {
            guard seen.insert(stream.name).inserted else {
                throw Failure(description: "The document holds the stream \(stream.name) twice.")
            }
            do {
                _ = try self.names.name(decoded: stream.name)
                plans.append((stream, try Self.createRequest(stream), try Self.payloads(stream)))
            } catch let error as StreamError {
                throw Failure(description: "The stream \(stream.name) cannot be imported: \(error.detail)")
            }
            if existing.contains(stream.name), onConflict == .fail {
                throw Failure(
                    description: "The stream \(stream.name) exists already. Nothing was imported; see --on-conflict.")
            }
        }
        var report = ImportReport()
        for plan in plans {
            if existing.contains(plan.stream.name) {
                guard onConflict == .replace else {
                    report.skipped += 1
                    continue
                }
                try self.answer { self.directory.delete(plan.stream.name, now: self.now, reply: $0) }
                report.replaced += 1
            }
            _ = try self.answer { (reply: @escaping @Sendable (Result<CreateOutcome, StreamError>) -> Void) in
                self.directory.create(plan.stream.name, plan.create, now: self.now, reply: reply)
            }
            for (index, payload) in plan.payloads.enumerated() {
                let isLast = index == plan.payloads.count - 1
                try self.append(
                    AppendRequest(
                        contentType: plan.stream.config.content_type, payload: .success(payload),
                        closes: plan.stream.closed && isLast), to: plan.stream.name)
            }
            if plan.stream.closed, plan.payloads.isEmpty {
                try self.append(
                    AppendRequest(contentType: nil, payload: nil, closes: true), to: plan.stream.name)
            }
            report.imported += 1
        }
        return report
    }

    private borrowing func append(_ request: AppendRequest, to name: String) throws {
        _ = try self.answer { (reply: @escaping @Sendable (Result<AppendOutcome, StreamError>) -> Void) in
            self.directory.append(name, request, now: self.now, reply: reply)
        }
    }

    private static func createRequest(_ stream: Document.Stream) throws -> CreateRequest {
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
        return CreateRequest(contentType: contentType, lifetime: lifetime)
    }

    private static func payloads(_ stream: Document.Stream) throws -> [StreamPayload] {
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
    private borrowing func answer<Value: Sendable>(
        _ ask: (@escaping @Sendable (Result<Value, StreamError>) -> Void) -> Void
    ) throws -> Value {
        let box = AnswerBox<Value>()
        ask { box.fill($0) }
        do {
            return try box.wait().get()
        } catch {
            throw Failure(description: error.detail.isEmpty ? "\(error.code)" : error.detail)
        }
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
