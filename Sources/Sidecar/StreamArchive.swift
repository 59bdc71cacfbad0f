import Configuration
import DurableStreams
import ExactText
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
    private let folder: String
    private let names: StreamNameRules
    static let formatVersion = 1

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
        self.folder = settings.storage.dataDirectory
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
        for name in names where !all.contains(where: { $0.view.name.isExactly(name) }) {
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
        for listing in all where names.isEmpty || names.containsExactly(listing.view.name) {
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

    /// Checks the whole document first, then brings its streams in. Offsets are given anew.
    ///
    /// Whole or not at all: what is to be written is put down first, and an import that a crash or a fault cuts off is
    /// finished when the storage is opened next, by a server too.
    package borrowing func importDocument(_ data: Data, onConflict: Conflict) throws -> ImportReport {
        var document = try StreamImport.document(data)
        var existing: ExactDictionary<StreamListing> = [:]
        for listing in self.listings() { existing[listing.view.name] = listing }
        var report = ImportReport()
        var seen = ExactSet()
        var wanted: [Document.Stream] = []
        for stream in document.streams {
            guard seen.insert(stream.name).inserted else {
                throw Failure(description: "The document holds the stream \(stream.name) twice.")
            }
            do {
                _ = try self.names.name(decoded: stream.name)
                _ = try StreamImport.plan(stream)
            } catch let error as StreamError {
                throw Failure(description: "The stream \(stream.name) cannot be imported: \(error.detail)")
            }
            guard let present = existing[stream.name] else {
                wanted.append(stream)
                continue
            }
            switch onConflict {
            case .fail:
                throw Failure(
                    description: "The stream \(stream.name) exists already. Nothing was imported; see --on-conflict.")
            case .skip: report.skipped += 1
            case .replace:
                guard !present.isSoftDeleted, present.forkCount == 0 else {
                    throw Failure(
                        description: "The stream \(stream.name) has forks, which need its data. Nothing was imported.")
                }
                wanted.append(stream)
                report.replaced += 1
            }
        }
        document.streams = wanted
        report.imported = wanted.count
        guard !wanted.isEmpty else { return report }
        let pending = PendingImport(self.folder)
        try pending.write(document)
        do {
            try StreamImport.apply(document, to: self.directory)
        } catch let failure as Failure {
            throw Failure(
                description:
                    "The import stopped: \(failure.description) It is finished when the storage is opened next.")
        }
        try pending.remove()
        return report
    }
}
