package import NIOCore
import SwiftProtobuf

/// One message of the Satellite protocol: what a binary WebSocket message carries.
///
/// On the wire: one byte that names the message, then its protobuf encoding, which may be empty.
package enum SatelliteMessage: Hashable, Sendable {
    case error(Electric_Satellite_SatErrorResp)
    case opLog(Electric_Satellite_SatOpLog)
    case relation(Electric_Satellite_SatRelation)
    case subscriptionDataError(Electric_Satellite_SatSubsDataError)
    case subscriptionDataBegin(Electric_Satellite_SatSubsDataBegin)
    case subscriptionDataEnd(Electric_Satellite_SatSubsDataEnd)
    case shapeDataBegin(Electric_Satellite_SatShapeDataBegin)
    case shapeDataEnd(Electric_Satellite_SatShapeDataEnd)
    case rpcRequest(Electric_Satellite_SatRpcRequest)
    case rpcResponse(Electric_Satellite_SatRpcResponse)
    case opLogAck(Electric_Satellite_SatOpLogAck)
    case unsubscriptionDataBegin(Electric_Satellite_SatUnsubsDataBegin)
    case unsubscriptionDataEnd(Electric_Satellite_SatUnsubsDataEnd)

    /// The first byte of each message. Codes that are missing here are retired.
    package enum Code: UInt8, CaseIterable, Sendable {
        case error = 0
        case opLog = 9
        case relation = 10
        case subscriptionDataError = 14
        case subscriptionDataBegin = 15
        case subscriptionDataEnd = 16
        case shapeDataBegin = 17
        case shapeDataEnd = 18
        case rpcRequest = 21
        case rpcResponse = 22
        case opLogAck = 23
        case unsubscriptionDataBegin = 24
        case unsubscriptionDataEnd = 25
    }

    /// Why bytes are not a message.
    package enum DecodingError: Error, Hashable, CustomStringConvertible {
        case empty
        case unknownCode(UInt8)
        case malformed(Code)

        package var description: String {
            switch self {
            case .empty: return "a message without its type byte"
            case .unknownCode(let code): return "unknown message type \(code)"
            case .malformed(let code): return "malformed body of message type \(code.rawValue) (\(code))"
            }
        }
    }

    package var code: Code {
        switch self {
        case .error: return .error
        case .opLog: return .opLog
        case .relation: return .relation
        case .subscriptionDataError: return .subscriptionDataError
        case .subscriptionDataBegin: return .subscriptionDataBegin
        case .subscriptionDataEnd: return .subscriptionDataEnd
        case .shapeDataBegin: return .shapeDataBegin
        case .shapeDataEnd: return .shapeDataEnd
        case .rpcRequest: return .rpcRequest
        case .rpcResponse: return .rpcResponse
        case .opLogAck: return .opLogAck
        case .unsubscriptionDataBegin: return .unsubscriptionDataBegin
        case .unsubscriptionDataEnd: return .unsubscriptionDataEnd
        }
    }

    private var body: any SwiftProtobuf.Message {
        switch self {
        case .error(let body): return body
        case .opLog(let body): return body
        case .relation(let body): return body
        case .subscriptionDataError(let body): return body
        case .subscriptionDataBegin(let body): return body
        case .subscriptionDataEnd(let body): return body
        case .shapeDataBegin(let body): return body
        case .shapeDataEnd(let body): return body
        case .rpcRequest(let body): return body
        case .rpcResponse(let body): return body
        case .opLogAck(let body): return body
        case .unsubscriptionDataBegin(let body): return body
        case .unsubscriptionDataEnd(let body): return body
        }
    }

    /// Decodes one binary WebSocket message; every byte of it belongs to the message.
    package static func decode(_ buffer: ByteBuffer) throws(DecodingError) -> SatelliteMessage {
        var buffer = buffer
        guard let byte = buffer.readInteger(as: UInt8.self) else { throw .empty }
        guard let code = Code(rawValue: byte) else { throw .unknownCode(byte) }
        do {
            let bytes = Array(buffer.readableBytesView)
            switch code {
            case .error: return .error(try .init(serializedBytes: bytes))
            case .opLog: return .opLog(try .init(serializedBytes: bytes))
            case .relation: return .relation(try .init(serializedBytes: bytes))
            case .subscriptionDataError: return .subscriptionDataError(try .init(serializedBytes: bytes))
            case .subscriptionDataBegin: return .subscriptionDataBegin(try .init(serializedBytes: bytes))
            case .subscriptionDataEnd: return .subscriptionDataEnd(try .init(serializedBytes: bytes))
            case .shapeDataBegin: return .shapeDataBegin(try .init(serializedBytes: bytes))
            case .shapeDataEnd: return .shapeDataEnd(try .init(serializedBytes: bytes))
            case .rpcRequest: return .rpcRequest(try .init(serializedBytes: bytes))
            case .rpcResponse: return .rpcResponse(try .init(serializedBytes: bytes))
            case .opLogAck: return .opLogAck(try .init(serializedBytes: bytes))
            case .unsubscriptionDataBegin: return .unsubscriptionDataBegin(try .init(serializedBytes: bytes))
            case .unsubscriptionDataEnd: return .unsubscriptionDataEnd(try .init(serializedBytes: bytes))
            }
        } catch {
            throw .malformed(code)
        }
    }

    /// The bytes of one binary WebSocket message.
    package func encoded() -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(self.code.rawValue)
        buffer.writeBytes(self.body.encodedBytes())
        return buffer
    }
}

extension SwiftProtobuf.Message {
    /// The protobuf encoding.
    ///
    /// Why no error: proto3 messages have no required fields and no `Any`, and only messages over 2 GiB fail besides;
    /// what this process builds with SwiftProtobuf is control messages and migrations.
    package func encodedBytes() -> [UInt8] {
        (try? self.serializedBytes()) ?? []
    }
}
