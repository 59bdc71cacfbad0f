#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// An error of the store. Two errors are equal when their codes are; the rest is for people.
package struct StoreError: Error, Sendable {
    /// What went wrong. New codes may be added.
    package struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Value: String {
            case corrupt, diskFull, io, failed, closed, locked, unsupportedFormat, newerFormat, recordTooLarge, trimmed
            case outOfRange, invalidState
        }
        private let value: Value

        /// Bytes on disk are not what was written.
        package static let corrupt = Self(value: .corrupt)
        /// No room on the disk. What was appended before waits in memory; nothing more is taken until there is room.
        package static let diskFull = Self(value: .diskFull)
        /// The system refused a file operation.
        package static let io = Self(value: .io)
        /// A write or sync failed earlier; this log takes nothing more until it is opened anew.
        package static let failed = Self(value: .failed)
        package static let closed = Self(value: .closed)
        /// Another process, or another part of this one, has the directory open.
        package static let locked = Self(value: .locked)
        /// Written by a version this one cannot upgrade from.
        package static let unsupportedFormat = Self(value: .unsupportedFormat)
        /// Written by a later version.
        package static let newerFormat = Self(value: .newerFormat)
        package static let recordTooLarge = Self(value: .recordTooLarge)
        /// The offset lies before the first one kept.
        package static let trimmed = Self(value: .trimmed)
        /// The offset lies after the durable end.
        package static let outOfRange = Self(value: .outOfRange)
        /// The call is not allowed now.
        package static let invalidState = Self(value: .invalidState)

        package var description: String { self.value.rawValue }
    }

    package var code: Code
    /// One sentence for the operator. Holds no record contents.
    package var message: String
    package var file: String?
    /// Offset in the log, or for a damaged file header the position in the file.
    package var offset: UInt64?
    /// The system's error number, if a file operation failed.
    package var systemError: Int32?

    package init(
        _ code: Code, _ message: String, file: String? = nil, offset: UInt64? = nil, systemError: Int32? = nil
    ) {
        self.code = code
        self.message = message
        self.file = file
        self.offset = offset
        self.systemError = systemError
    }

    /// A failed file operation: `diskFull` for a lack of room (except in a sync, after which nothing is certain), else
    /// `io`.
    package init(_ error: FileError) {
        let isFull = error.number == ENOSPC || error.number == EDQUOT
        let isSync = error.operation == .sync || error.operation == .syncDirectory
        let code: Code =
            if error.operation == .lock, error.number == EWOULDBLOCK {
                .locked
            } else if isFull, !isSync {
                .diskFull
            } else {
                .io
            }
        let reason = strerror(error.number).map { String(cString: $0) } ?? "error \(error.number)"
        self.init(
            code, "\(error.operation.rawValue) failed: \(reason)", file: error.path, systemError: error.number)
    }

    static func corrupt(file: String, offset: UInt64, _ reason: String) -> StoreError {
        StoreError(.corrupt, reason, file: file, offset: offset)
    }
}

extension StoreError: Hashable {
    package static func == (left: StoreError, right: StoreError) -> Bool { left.code == right.code }

    package func hash(into hasher: inout Hasher) { hasher.combine(self.code) }
}

extension StoreError: CustomStringConvertible {
    package var description: String {
        var text = "\(self.code): \(self.message)"
        if let file = self.file { text += " (file \(file)" + (self.offset.map { ", offset \($0))" } ?? ")") }
        return text
    }
}

/// Runs file operations and turns their errors into the store's.
func storing<Result>(_ body: () throws(FileError) -> Result) throws(StoreError) -> Result {
    do throws(FileError) {
        return try body()
    } catch {
        throw StoreError(error)
    }
}
