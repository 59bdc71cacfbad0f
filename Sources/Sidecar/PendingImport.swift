import Foundation
import StreamDirectory
import StreamStore

/// An import that has begun: what it writes, in a file beside the streams until all of it is there.
struct PendingImport {
    private let folder: String
    private static let name = "import.pending"
    private static let failedName = "import.failed"

    /// How an import ended.
    struct Result {
        /// Streams that are not there.
        var leftCount: Int
        /// False where the rules turned streams away and the document was set aside.
        var isWhole: Bool
        /// What did not come in, in sentences.
        var notes: [String]
    }

    init(_ folder: String) {
        self.folder = folder
    }

    var path: String { self.folder + "/" + Self.name }

    /// Durable when it returns.
    func write(_ document: StreamArchive.Document) throws {
        let bytes = try JSONEncoder().encode(document)
        let files = PosixFileSystem()
        let temporary = self.path + ".new"
        do {
            if try files.list(self.folder).contains(Self.name + ".new") { try files.unlink(temporary) }
            let file = try files.open(temporary, .createNew)
            try [UInt8](bytes).withUnsafeBytes { try file.writeAll($0, at: 0) }
            try file.sync()
            try files.rename(temporary, to: self.path, replacing: true)
            try files.syncDirectory(self.folder)
        } catch let error as FileError {
            // Room that nobody would give back.
            try? files.unlink(temporary)
            throw StreamArchive.Failure(
                description: "The import cannot begin: \(StoreError(error)). Nothing was imported.")
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

    /// Puts the document where it is not taken up again, for people; returns where it is now.
    func setAside() throws -> String {
        let files = PosixFileSystem()
        do throws(FileError) {
            let names = Set(try files.list(self.folder))
            var name = Self.failedName
            var number = 1
            while names.contains(name) {
                number += 1
                name = "\(Self.failedName).\(number)"
            }
            let target = self.folder + "/" + name
            try files.rename(self.path, to: target, replacing: false)
            try files.syncDirectory(self.folder)
            return target
        } catch {
            throw StreamArchive.Failure(description: "\(self.path) cannot be renamed: \(StoreError(error))")
        }
    }

    /// Writes what the document holds, and ends the import: in order, or with the document set aside.
    ///
    /// - Returns: what did not come in.
    /// - Throws: what may be otherwise the next time; the import is still pending then.
    func carryOut(_ document: StreamArchive.Document, in directory: StreamDirectory) throws -> Result {
        let leftover = try StreamImport.apply(document, to: directory)
        let count = leftover.expired.count + leftover.refused.count
        var notes = leftover.expired.map { "The stream \($0) was not imported: its time is over." }
        guard !leftover.refused.isEmpty else {
            try self.remove()
            return Result(leftCount: count, isWhole: true, notes: notes)
        }
        let place = try self.setAside()
        notes += leftover.refused.map { "The stream \($0.name) was not imported: \($0.reason)" }
        notes.append("All other streams are there. The document is kept as \(place).")
        return Result(leftCount: count, isWhole: false, notes: notes)
    }

    /// Finishes what was begun before, if anything was. Blocks; to be called before anybody uses the streams.
    ///
    /// - Returns: what can never be imported, in sentences.
    func finish(in directory: StreamDirectory) throws -> [String] {
        guard FileManager.default.fileExists(atPath: self.path) else { return [] }
        guard let data = FileManager.default.contents(atPath: self.path) else {
            throw StreamArchive.Failure(description: "\(self.path), an import that was cut off, cannot be read.")
        }
        let document: StreamArchive.Document
        do {
            document = try StreamImport.document(data)
        } catch {
            let place = try self.setAside()
            return ["An import that was cut off cannot be finished: \(error) The document is kept as \(place)."]
        }
        do {
            return try self.carryOut(document, in: directory).notes
        } catch {
            throw StreamArchive.Failure(description: "An import that was cut off cannot be finished now: \(error)")
        }
    }
}
