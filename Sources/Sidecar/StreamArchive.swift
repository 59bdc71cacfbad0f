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
        /// Left out, since their time is over.
        package var expired: [String] = []
        /// False where the rules turned streams away that had seemed to be in order.
        package var isWhole = true
        /// What did not come in after all, in sentences.
        package var notes: [String] = []
    }

    /// The document of an export, format version 1. Names of members are those of the reference server.
    struct Document: Codable {
        struct Configuration: Codable {
            var content_type: String
            var ttl_seconds: UInt64?
            var expires_at: String?
            var retention_bytes: UInt64?
            var retention_seconds: UInt64?
            /// Whether the creator asked for the retention. Without it: yes.
            var retention_is_own: Bool?
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
    private let totalLimit: ByteCount?
    private let streamLimit: ByteCount?
    static let formatVersion = 1

    /// Opens the storage that a server with these settings would. Blocks.
    ///
    /// - Parameters:
    ///   - makesStorage: Whether it is made where there is none; a mistyped directory is an error otherwise.
    ///   - notice: Gets what is worth a line on the terminal.
    package init(
        _ settings: StreamServerSettings, makesStorage: Bool, notice: @escaping (String) -> Void = { _ in }
    ) throws {
        guard settings.storage.mode.usesDisk else {
            throw Failure(
                description: """
                    Streams in memory (DS_STORAGE__MODE=memory) end with their server: there is nothing on the disk. \
                    Ask a running server with DS_ADMIN__ENABLED=true at \(settings.admin.basePath)/streams instead.
                    """)
        }
        if !makesStorage { try StreamStorage.checkPresence(settings) }
        self.directory = try StreamStorage.open(
            settings, SystemTime.milliseconds, appliesRetention: false, notice: notice)
        let limits = settings.limits.payload(in: settings.storage.mode)
        self.totalLimit = limits.total
        self.streamLimit = limits.stream
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
            if let retention = view.configuration.retention {
                configuration.retention_bytes = retention.maximumBytes
                configuration.retention_seconds = retention.maximumAgeSeconds
                configuration.retention_is_own = retention.isOwn
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
        var position = view.earliest
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
        // Why first: what is over would stand in the way of a stream with its name.
        self.directory.sweep(now: self.now)
        var existing: ExactDictionary<StreamListing> = [:]
        for listing in self.directory.list(now: self.now) { existing[listing.view.name] = listing }
        var report = ImportReport()
        var seen = ExactSet()
        var wanted: [Document.Stream] = []
        var need = ImportNeed(
            self.directory.statistics.payloadBytes, totalLimit: self.totalLimit, streamLimit: self.streamLimit)
        for stream in document.streams {
            guard seen.insert(stream.name).inserted else {
                throw Failure(description: "The document holds the stream \(stream.name) twice.")
            }
            let plan: StreamImport.Plan
            do throws(StreamError) {
                _ = try self.names.name(decoded: stream.name)
                plan = try StreamImport.plan(stream)
            } catch {
                throw Failure(description: "The stream \(stream.name) cannot be imported: \(error.detail)")
            }
            if let expiry = plan.create.lifetime.expiry(lastTouched: self.now), expiry <= self.now {
                report.expired.append(stream.name)
                continue
            }
            guard let present = existing[stream.name] else {
                try need.add(plan, named: stream.name, replacing: 0)
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
                let inherited = present.view.configuration.fork?.position ?? 0
                try need.add(plan, named: stream.name, replacing: present.byteCount - min(inherited, present.byteCount))
                wanted.append(stream)
                report.replaced += 1
            }
        }
        document.streams = wanted
        report.imported = wanted.count
        guard !wanted.isEmpty else { return report }
        try need.checkDisk(of: self.folder, documentBytes: data.count)
        let pending = PendingImport(self.folder)
        try pending.write(document)
        do {
            let result = try pending.carryOut(document, in: self.directory)
            report.imported -= result.leftCount
            report.isWhole = result.isWhole
            report.notes = result.notes
        } catch let failure as Failure {
            throw Failure(
                description: """
                    The import stopped: \(failure.description) It is finished when the storage is opened next; \
                    moving \(pending.path) away gives it up.
                    """)
        }
        return report
    }
}
