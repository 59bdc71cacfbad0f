import Foundation
import NIOCore
import Satellite
import SwiftProtobuf

/// The least that a Satellite client can be: it says what the protocol asks for, counts operations, and acknowledges
/// every tenth transaction.
///
/// Used by one thread at a time, but for ``sendFrames(_:)``.
final class SatelliteSubscriber: @unchecked Sendable {
    let clientID: String
    let socket: WebSocketClient
    private(set) var scanner: OpLogScanner
    /// When the last bytes came.
    private(set) var lastReceipt = 0.0
    private(set) var finishedSubscriptions = 0
    private(set) var isWritable = false
    private var answers: Set<UInt32> = []
    private var refusal: String?
    private var acknowledged = 0
    private var nextRequest: UInt32 = 1

    init(port: Int, clientID: String) throws {
        self.clientID = clientID
        self.scanner = OpLogScanner(origin: clientID)
        self.socket = try WebSocketClient(port: port)
    }

    /// A client that is authenticated and has its stream running in both directions.
    static func start(port: Int, clientID: String, table: String? = nil) throws -> SatelliteSubscriber {
        let client = try SatelliteSubscriber(port: port, clientID: clientID)
        var authentication = Electric_Satellite_SatAuthReq()
        authentication.id = clientID
        authentication.token = Self.token
        try client.call(.authenticate, authentication)
        var start = Electric_Satellite_SatInStartReplicationReq()
        start.sqlDialect = .sqlite
        try client.call(.startReplication, start)
        try client.pump { client.isWritable }
        if let table { try client.subscribe(to: table) }
        return client
    }

    /// Returns when clients can subscribe to a table that was made a moment ago.
    static func waitUntilKnown(_ table: String, port: Int) throws {
        var lastError: (any Error)?
        let deadline = Clock.now + 20
        while Clock.now < deadline {
            do {
                _ = try Self.start(port: port, clientID: "probe-\(table)", table: table)
                return
            } catch {
                lastError = error
                usleep(50_000)
            }
        }
        throw BenchmarkError("\(table) does not reach clients: \(lastError.map { "\($0)" } ?? "")")
    }

    private static let token: String = {
        func encoded(_ text: String) -> String {
            Data(text.utf8).base64EncodedString().replacingOccurrences(of: "=", with: "")
                .replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
        }
        return encoded(#"{"alg":"none","typ":"JWT"}"#) + "." + encoded(#"{"sub":"bench"}"#) + "."
    }()

    /// Subscribes and returns when all rows have come.
    func subscribe(to table: String) throws {
        let before = self.finishedSubscriptions
        try self.requestSubscription(to: table)
        try self.pump { self.finishedSubscriptions > before }
    }

    func requestSubscription(to table: String) throws {
        var select = Electric_Satellite_SatShapeDef.Select()
        select.tablename = table
        var shape = Electric_Satellite_SatShapeReq()
        shape.requestID = UUID().uuidString.lowercased()
        shape.shapeDefinition.selects = [select]
        var request = Electric_Satellite_SatSubsReq()
        request.subscriptionID = UUID().uuidString.lowercased()
        request.shapeRequests = [shape]
        try self.call(.subscribe, request)
    }

    private func call(_ method: RemoteMethod, _ payload: some SwiftProtobuf.Message) throws {
        let id = self.nextRequest
        self.nextRequest += 1
        try self.send(.request(method, id: id, payload))
        try self.pump { self.answers.remove(id) != nil }
    }

    func send(_ message: SatelliteMessage) throws {
        var frames = ByteBuffer()
        WebSocketClient.appendFrame(message.encoded(), to: &frames)
        try self.socket.send(frames)
    }

    /// Reads until `condition` holds.
    func pump(until condition: () -> Bool) throws {
        while !condition() { try self.pumpOnce() }
    }

    /// Reads what is there, blocking until there is something.
    func pumpOnce() throws {
        try self.socket.receive()
        self.lastReceipt = Clock.now
        while let message = try self.socket.nextMessage() {
            guard let code = message.first else { continue }
            if code == SatelliteMessage.Code.opLog.rawValue {
                try self.scanner.scan(UnsafeRawBufferPointer(rebasing: message.dropFirst()))
                if self.scanner.transactions - self.acknowledged >= 10 { try self.acknowledge() }
            } else {
                try self.control(SatelliteMessage.decode(ByteBuffer(bytes: message)))
            }
        }
        if let refusal { throw BenchmarkError("the server refused: \(refusal)") }
    }

    private func acknowledge() throws {
        self.acknowledged = self.scanner.transactions
        var ack = Electric_Satellite_SatOpLogAck()
        ack.lsn = self.scanner.lastLSN.protobufField
        ack.transactionID = self.scanner.lastTransactionID
        try self.send(.opLogAck(ack))
    }

    private func control(_ message: SatelliteMessage) throws {
        switch message {
        case .rpcResponse(let response):
            self.answers.insert(response.requestID)
            if case .error(let error) = response.result { self.refusal = "\(response.method): \(error.message)" }
            if case .message(let bytes) = response.result, response.method == RemoteMethod.subscribe.rawValue {
                let answer = try Electric_Satellite_SatSubsResp(serializedBytes: bytes)
                if answer.hasErr { self.refusal = "subscribe: \(answer.err.message) \(answer.err.shapeRequestError)" }
            }
        case .rpcRequest(let request) where request.method == RemoteMethod.startReplication.rawValue:
            try self.send(
                .response(
                    RemoteMethod.startReplication.rawValue, id: request.requestID,
                    Electric_Satellite_SatInStartReplicationResp()))
            self.isWritable = true
        case .error(let error): self.refusal = "\(error.errorType) \(error.message)"
        case .subscriptionDataError(let error): self.refusal = error.message
        case .subscriptionDataEnd: self.finishedSubscriptions += 1
        default: break
        }
    }
}
