import NIOCore
import PostgresWire

/// The frames between the extension's worker and the sidecar (`pg_ext/PROTOCOL.md`, version 1).
package enum WorkerFrame {
    package static let protocolVersion: UInt16 = 1

    /// What the worker sends.
    package enum Incoming: Hashable, Sendable {
        case hello(Hello)
        /// One `pgoutput` message.
        case message(ByteBuffer)
        case keepalive(decoded: LSN, flush: LSN, replyWanted: Bool)
        case released(sent: LSN)
        case failure(Failure)
    }

    /// What the sidecar sends.
    package enum Outgoing: Hashable, Sendable {
        case start(from: LSN, protocolVersion: UInt8, publication: String)
        case acknowledge(LSN)
        case release
        case ping
    }

    package struct Hello: Hashable, Sendable {
        package enum SlotState: UInt8, Hashable, Sendable {
            case absent = 0
            case present = 1
            case invalidated = 2
        }

        package var systemIdentifier: UInt64
        package var timeline: UInt32
        package var serverVersion: UInt32
        package var pid: UInt32
        package var slotState: SlotState
        package var slotConfirmed: LSN
        package var slotRestart: LSN
        package var walFlush: LSN
        package var nextXID: UInt64
        package var database: String
        package var slotName: String
        package var extensionVersion: String
    }

    package struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
        package var code: UInt16
        package var sqlState: String
        package var message: String
        package var hint: String

        package static let slotMissing: UInt16 = 3
        package static let slotInvalidated: UInt16 = 4
        package static let slotInUse: UInt16 = 5
        package static let dataLost: UInt16 = 7
        package static let startAhead: UInt16 = 8
        package static let slotDropped: UInt16 = 14

        /// Whether the slot has to be inspected, and perhaps made again, before streaming can go on.
        package var concernsSlot: Bool {
            switch self.code {
            case Self.slotMissing, Self.slotInvalidated, Self.dataLost, Self.startAhead, Self.slotDropped: return true
            default: return false
            }
        }

        package var description: String {
            self.hint.isEmpty
                ? "\(self.message) (code \(self.code))" : "\(self.message) (code \(self.code)); \(self.hint)"
        }
    }

    /// Bytes that do not follow the protocol. The connection ends.
    package struct ProtocolError: Error, Hashable, CustomStringConvertible {
        package var description: String
    }

    /// Largest frame taken from a worker: one row change is at most 1 GB, and its old image may come with it.
    package static let maximumLength: UInt32 = 2_200_000_000
    /// Largest frame of any other type than a message.
    package static let maximumControlLength: UInt32 = 65_536
    /// Longest hello, also the most that is read before the peer has said who it is.
    package static let headerLength = 5
}

extension WorkerFrame {
    /// Takes the next frame off `buffer`; nil when it is not complete yet.
    package static func next(from buffer: inout ByteBuffer) throws -> Incoming? {
        let start = buffer.readerIndex
        guard let length = buffer.getInteger(at: start, as: UInt32.self) else { return nil }
        guard length >= 1, length <= self.maximumLength else {
            throw ProtocolError(description: "frame length \(length) is out of range")
        }
        guard let type = buffer.getInteger(at: start + 4, as: UInt8.self) else { return nil }
        if type != UInt8(ascii: "M"), length > self.maximumControlLength {
            throw ProtocolError(description: "control frame of \(length) bytes is too long")
        }
        guard buffer.readableBytes >= 4 + Int(length) else { return nil }
        buffer.moveReaderIndex(forwardBy: self.headerLength)
        guard var payload = buffer.readSlice(length: Int(length) - 1) else { return nil }
        switch type {
        case UInt8(ascii: "M"):
            return .message(payload)
        case UInt8(ascii: "K"):
            guard let (decoded, flush, reply) = payload.readMultipleIntegers(as: (UInt64, UInt64, UInt8).self) else {
                throw ProtocolError(description: "keepalive is cut short")
            }
            return .keepalive(
                decoded: LSN(rawValue: decoded), flush: LSN(rawValue: flush), replyWanted: reply == 1)
        case UInt8(ascii: "R"):
            guard let sent = payload.readInteger(as: UInt64.self) else {
                throw ProtocolError(description: "released frame is cut short")
            }
            return .released(sent: LSN(rawValue: sent))
        case UInt8(ascii: "H"):
            return .hello(try self.hello(&payload))
        case UInt8(ascii: "E"):
            return .failure(try self.failure(&payload))
        default:
            throw ProtocolError(description: "unknown frame type \(type)")
        }
    }

    /// Takes all messages off the front of `buffer` that are there whole; nil when there is none.
    package static func messages(from buffer: inout ByteBuffer) throws -> MessageRun? {
        let count = try buffer.withUnsafeReadableBytes { bytes in
            var end = 0
            while end + self.headerLength <= bytes.count, bytes[end + 4] == UInt8(ascii: "M") {
                let length = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: end, as: UInt32.self))
                guard length >= 1, length <= self.maximumLength else {
                    throw ProtocolError(description: "frame length \(length) is out of range")
                }
                guard end + 4 + Int(length) <= bytes.count else { break }
                end += 4 + Int(length)
            }
            return end
        }
        guard count > 0, let bytes = buffer.readSlice(length: count) else { return nil }
        return MessageRun(bytes: bytes, framing: .worker)
    }

    private static func hello(_ payload: inout ByteBuffer) throws -> Hello {
        guard let (version, _) = payload.readMultipleIntegers(as: (UInt16, UInt16).self) else {
            throw ProtocolError(description: "hello is cut short")
        }
        guard version == self.protocolVersion else {
            throw ProtocolError(
                description: "the extension speaks protocol version \(version), this sidecar \(self.protocolVersion); "
                    + "install the extension and the sidecar of the same release")
        }
        guard
            let (system, timeline, server, pid) = payload.readMultipleIntegers(
                as: (UInt64, UInt32, UInt32, UInt32).self),
            let state = payload.readInteger(as: UInt8.self).flatMap(Hello.SlotState.init(rawValue:)),
            let (confirmed, restart, flush, xid) = payload.readMultipleIntegers(
                as: (UInt64, UInt64, UInt64, UInt64).self),
            let database = self.text16(&payload), let slot = self.text16(&payload),
            let release = self.text16(&payload)
        else { throw ProtocolError(description: "hello is malformed") }
        return Hello(
            systemIdentifier: system, timeline: timeline, serverVersion: server, pid: pid, slotState: state,
            slotConfirmed: LSN(rawValue: confirmed), slotRestart: LSN(rawValue: restart),
            walFlush: LSN(rawValue: flush), nextXID: xid, database: database, slotName: slot,
            extensionVersion: release)
    }

    private static func failure(_ payload: inout ByteBuffer) throws -> Failure {
        guard let code = payload.readInteger(as: UInt16.self), let state = payload.readString(length: 5),
            let messageLength = payload.readInteger(as: UInt32.self),
            let message = payload.readString(length: Int(messageLength)),
            let hintLength = payload.readInteger(as: UInt32.self),
            let hint = payload.readString(length: Int(hintLength))
        else { throw ProtocolError(description: "error frame is malformed") }
        return Failure(code: code, sqlState: state, message: message, hint: hint)
    }

    private static func text16(_ payload: inout ByteBuffer) -> String? {
        guard let length = payload.readInteger(as: UInt16.self) else { return nil }
        return payload.readString(length: Int(length))
    }

    /// Writes one frame to the worker.
    package static func write(_ frame: Outgoing, to buffer: inout ByteBuffer) {
        switch frame {
        case .start(let position, let version, let publication):
            let name = Array(publication.utf8)
            buffer.writeInteger(UInt32(1 + 2 + 8 + 1 + 1 + 2 + name.count))
            buffer.writeInteger(UInt8(ascii: "S"))
            buffer.writeInteger(self.protocolVersion)
            buffer.writeInteger(position.rawValue)
            buffer.writeInteger(version)
            buffer.writeInteger(UInt8(1))  // logical messages
            buffer.writeInteger(UInt16(name.count))
            buffer.writeBytes(name)
        case .acknowledge(let position):
            buffer.writeInteger(UInt32(9))
            buffer.writeInteger(UInt8(ascii: "A"))
            buffer.writeInteger(position.rawValue)
        case .release:
            buffer.writeInteger(UInt32(1))
            buffer.writeInteger(UInt8(ascii: "Q"))
        case .ping:
            buffer.writeInteger(UInt32(1))
            buffer.writeInteger(UInt8(ascii: "P"))
        }
    }
}
