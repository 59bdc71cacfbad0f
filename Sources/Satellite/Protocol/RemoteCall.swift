package import NIOCore
import SwiftProtobuf

/// The remote procedures of the protocol; the raw value is the `method` field of requests and responses.
package enum RemoteMethod: String, Hashable, Sendable, CaseIterable {
    case authenticate
    case startReplication
    case stopReplication
    case subscribe
    case unsubscribe
}

/// A request of the client, with its payload decoded.
package enum ClientRequest: Hashable, Sendable {
    case authenticate(Electric_Satellite_SatAuthReq)
    case startReplication(Electric_Satellite_SatInStartReplicationReq)
    case stopReplication
    case subscribe(Electric_Satellite_SatSubsReq)
    case unsubscribe(Electric_Satellite_SatUnsubsReq)

    /// Nil for an unknown method or a payload that is not that method's request.
    package init?(_ request: Electric_Satellite_SatRpcRequest) {
        guard let method = RemoteMethod(rawValue: request.method) else { return nil }
        do {
            switch method {
            case .authenticate: self = .authenticate(try .init(serializedBytes: request.message))
            case .startReplication: self = .startReplication(try .init(serializedBytes: request.message))
            case .stopReplication:
                _ = try Electric_Satellite_SatInStopReplicationReq(serializedBytes: request.message)
                self = .stopReplication
            case .subscribe: self = .subscribe(try .init(serializedBytes: request.message))
            case .unsubscribe: self = .unsubscribe(try .init(serializedBytes: request.message))
            }
        } catch {
            return nil
        }
    }
}

extension SatelliteMessage {
    /// A request of either side.
    package static func request(
        _ method: RemoteMethod, id: UInt32, _ payload: some SwiftProtobuf.Message
    ) -> SatelliteMessage {
        var request = Electric_Satellite_SatRpcRequest()
        request.method = method.rawValue
        request.requestID = id
        request.message = payload.encodedBytes().protobufField
        return .rpcRequest(request)
    }

    /// The answer to a request. The payload's field is written even when the payload is empty: clients need one of the
    /// two cases to be there.
    package static func response(
        _ method: String, id: UInt32, _ payload: some SwiftProtobuf.Message
    ) -> SatelliteMessage {
        var response = Electric_Satellite_SatRpcResponse()
        response.method = method
        response.requestID = id
        response.result = .message(payload.encodedBytes().protobufField)
        return .rpcResponse(response)
    }

    /// The failure of a whole call.
    package static func failure(
        _ method: String, id: UInt32, _ error: Electric_Satellite_SatErrorResp
    ) -> SatelliteMessage {
        var response = Electric_Satellite_SatRpcResponse()
        response.method = method
        response.requestID = id
        response.result = .error(error)
        return .rpcResponse(response)
    }
}

extension Electric_Satellite_SatErrorResp {
    package init(_ type: ErrorCode, _ message: String? = nil, lsn: ByteBuffer? = nil) {
        self.init()
        self.errorType = type
        if let message { self.message = message }
        if let lsn { self.lsn = lsn.protobufField }
    }
}
