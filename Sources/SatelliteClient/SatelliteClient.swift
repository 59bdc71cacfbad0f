import ExactText
import Foundation
import NIOCore
import NIOPosix
import PostgresWire
import Satellite
import SwiftProtobuf
import Synchronization

/// A client of the Satellite protocol: connects, subscribes, keeps a replica, writes.
package final class SatelliteClient: Sendable {
    /// When transactions are acknowledged.
    package enum Acknowledging: Sendable {
        /// After so many transactions, and after each delivery.
        case every(Int)
        case never
    }

    package struct Failure: Error, CustomStringConvertible {
        package var description: String

        package init(_ description: String) {
            self.description = description
        }
    }

    /// The server refused to start the stream.
    package struct ReplicationRefused: Error {
        package var code: Int
        package var message: String
        /// Whether everything has to be fetched anew.
        package var mustStartOver: Bool { (1...3).contains(self.code) }
    }

    struct State {
        var replica: ClientReplica
        var calls: [UInt32: CheckedContinuation<Electric_Satellite_SatRpcResponse, any Error>] = [:]
        var waiters: [UInt64: Waiter] = [:]
        var nextWaiter: UInt64 = 0
        var nextRequest: UInt32 = 0
        var acknowledging: Acknowledging
        var unacknowledged = 0
        var isWritable = false
        var sentRelations: ExactSet = []
        var nextLSN: UInt32
        var lastTimestamp: UInt64 = 0
        var ending: String?
        var errors: [Electric_Satellite_SatErrorResp] = []
        /// The last client position that the server has told to be in Postgres.
        var committedLSN: [UInt8] = []
    }

    struct Waiter {
        var condition: @Sendable (borrowing State) -> Bool
        var continuation: CheckedContinuation<Void, any Error>
    }

    package let clientID: String
    private let token: String
    private let channel: any Channel
    let state: Mutex<State>
    /// Told of every transaction and delivery, on the connection's event loop.
    private let observer: Observer?

    package typealias Observer = @Sendable (ClientReplica, ClientReplica.Outcome) -> Void

    init(
        clientID: String, token: String, channel: any Channel, replica: ClientReplica, acknowledging: Acknowledging,
        firstLSN: UInt32, observer: Observer?
    ) {
        self.clientID = clientID
        self.token = token
        self.channel = channel
        self.observer = observer
        self.state = Mutex(State(replica: replica, acknowledging: acknowledging, nextLSN: firstLSN))
    }

    package var replica: ClientReplica { self.state.withLock { $0.replica } }
    /// Looks at the replica without copying it.
    package func inspect<Value: Sendable>(_ body: (ClientReplica) -> Value) -> Value {
        self.state.withLock { body($0.replica) }
    }

    /// Error messages that the server has sent.
    package var errors: [Electric_Satellite_SatErrorResp] { self.state.withLock { $0.errors } }
    /// Why the connection has ended; nil while it is open.
    package var ending: String? { self.state.withLock { $0.ending } }
    package var nextLSN: UInt32 { self.state.withLock { $0.nextLSN } }

    // MARK: Life

    /// Connects, authenticates and starts the stream, from scratch or where `replica` stands.
    ///
    /// - Parameter subscriptions: ids that go on; only with a replica that has a position.
    package static func start(
        host: String = "127.0.0.1", port: Int, clientID: String, token: String, replica: ClientReplica? = nil,
        subscriptions: [String] = [], acknowledging: Acknowledging = .every(10), firstLSN: UInt32 = 1,
        schemaVersion: String? = nil,
        observer: Observer? = nil
    ) async throws -> SatelliteClient {
        let client = try await self.connect(
            host: host, port: port, clientID: clientID, token: token, replica: replica, acknowledging: acknowledging,
            firstLSN: firstLSN, observer: observer)
        do {
            try await client.authenticate()
            try await client.startReplication(
                from: client.replica.position, subscriptions: subscriptions, schemaVersion: schemaVersion)
        } catch {
            await client.close()
            throw error
        }
        return client
    }

    package func close() async {
        try? await self.channel.close()
    }

    /// Waits until the connection has ended and tells why.
    package func waitUntilClosed() async -> String {
        try? await self.channel.closeFuture.get()
        return self.ending ?? "closed"
    }

    // MARK: Calls

    package func authenticate() async throws {
        var request = Electric_Satellite_SatAuthReq()
        request.id = self.clientID
        request.token = self.token
        let response = try await self.call(.authenticate, request)
        if case .error(let error) = response.result { throw Failure("authentication failed: \(error.errorType)") }
    }

    package func startReplication(
        from position: LSN?, subscriptions: [String] = [], schemaVersion: String? = nil
    ) async throws {
        var request = Electric_Satellite_SatInStartReplicationReq()
        if let position {
            request.lsn = .init(ServerPosition.encode(position))
            request.subscriptionIds = subscriptions
        }
        if let schemaVersion { request.schemaVersion = schemaVersion }
        let response = try await self.call(.startReplication, request)
        let answer = try Electric_Satellite_SatInStartReplicationResp(serializedBytes: try Self.payload(response))
        if answer.hasErr { throw ReplicationRefused(code: answer.err.code.rawValue, message: answer.err.message) }
    }

    /// Subscribes to whole tables; returns when the server has accepted, not when the rows are there.
    package func subscribe(id: String, tables: [String]) async throws {
        var request = Electric_Satellite_SatSubsReq()
        request.subscriptionID = id
        request.shapeRequests = tables.enumerated().map { index, table in
            var select = Electric_Satellite_SatShapeDef.Select()
            select.tablename = table
            var shape = Electric_Satellite_SatShapeReq()
            shape.requestID = "request-\(index)"
            shape.shapeDefinition.selects = [select]
            return shape
        }
        let response = try await self.call(.subscribe, request)
        let answer = try Electric_Satellite_SatSubsResp(serializedBytes: try Self.payload(response))
        if answer.hasErr {
            let details = answer.err.shapeRequestError.map(\.message).joined(separator: "; ")
            throw Failure("subscription refused: \(answer.err.message) \(details)")
        }
    }

    package func unsubscribe(_ ids: [String]) async throws {
        var request = Electric_Satellite_SatUnsubsReq()
        request.subscriptionIds = ids
        _ = try Self.payload(try await self.call(.unsubscribe, request))
    }

    private static func payload(_ response: Electric_Satellite_SatRpcResponse) throws -> [UInt8] {
        switch response.result {
        case .message(let bytes): return Array(bytes)
        case .error(let error):
            throw Failure("\(response.method) failed: \(error.errorType) \(error.hasMessage ? error.message : "")")
        case nil: throw Failure("\(response.method) was answered with neither a result nor an error")
        }
    }

    package func call(
        _ method: RemoteMethod, _ payload: some SwiftProtobuf.Message & Sendable
    ) async throws -> Electric_Satellite_SatRpcResponse {
        try await withCheckedThrowingContinuation { continuation in
            let id: UInt32? = self.state.withLock { state in
                if state.ending != nil { return nil }
                state.nextRequest += 1
                state.calls[state.nextRequest] = continuation
                return state.nextRequest
            }
            guard let id else {
                continuation.resume(throwing: Failure("the connection has ended: \(self.ending ?? "")"))
                return
            }
            self.send(.request(method, id: id, payload))
        }
    }

    /// Sends any message.
    package func send(_ message: SatelliteMessage) {
        self.channel.writeAndFlush(message.encoded(), promise: nil)
    }

    /// Sends the bytes of one binary WebSocket message, right or wrong.
    package func send(bytes: ByteBuffer) {
        self.channel.writeAndFlush(bytes, promise: nil)
    }

    // MARK: Waiting

    /// Waits until the replica fulfils a condition.
    package func wait(
        for what: String, within limit: Duration = .seconds(30),
        until condition: @escaping @Sendable (ClientReplica) -> Bool
    ) async throws {
        try await self.waitForState(for: what, within: limit) { condition($0.replica) }
    }

    func waitForState(
        for what: String, within limit: Duration, until condition: @escaping @Sendable (borrowing State) -> Bool
    ) async throws {
        let id = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        let timer = Task {
            try? await Task.sleep(for: limit)
            guard !Task.isCancelled else { return }
            let waiter = self.state.withLock { $0.waiters.removeValue(forKey: id) }
            waiter?.continuation.resume(throwing: Failure("in \(limit) it did not come about: \(what)"))
        }
        defer { timer.cancel() }
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            let now: Result<Void, any Error>? = self.state.withLock { state in
                if condition(state) { return .success(()) }
                if let ending = state.ending { return .failure(Failure("the connection has ended: \(ending)")) }
                state.waiters[id] = Waiter(condition: condition, continuation: continuation)
                return nil
            }
            if let now { continuation.resume(with: now) }
        }
    }

    /// Waits for the data of a subscription.
    package func waitForDelivery(of id: String, within limit: Duration = .seconds(60)) async throws {
        try await self.wait(for: "delivery of \(id)", within: limit) { $0.delivered.contains(id) }
    }

    // MARK: Receiving; on the event loop

    func received(_ bytes: ByteBuffer) {
        let message: SatelliteMessage
        do {
            message = try SatelliteMessage.decode(bytes)
        } catch {
            self.ended("undecodable message from the server: \(error)")
            self.channel.close(promise: nil)
            return
        }
        switch message {
        case .rpcResponse(let response):
            self.state.withLock { $0.calls.removeValue(forKey: response.requestID) }?.resume(returning: response)
        case .rpcRequest(let request): self.answer(request)
        case .error(let error): self.state.withLock { $0.errors.append(error) }
        default: self.apply(message)
        }
    }

    private func answer(_ request: Electric_Satellite_SatRpcRequest) {
        switch RemoteMethod(rawValue: request.method) {
        case .startReplication:
            self.send(
                .response(request.method, id: request.requestID, Electric_Satellite_SatInStartReplicationResp()))
            let start = try? Electric_Satellite_SatInStartReplicationReq(serializedBytes: Array(request.message))
            self.wake { state in
                state.isWritable = true
                state.committedLSN = start.map { Array($0.lsn) } ?? []
            }
        case .stopReplication:
            self.send(.response(request.method, id: request.requestID, Electric_Satellite_SatInStopReplicationResp()))
            self.wake { $0.isWritable = false }
        default: break
        }
    }

    private func apply(_ message: SatelliteMessage) {
        let (outcome, acknowledgement) = self.state.withLock { state in
            let outcome = state.replica.receive(message)
            var mustAcknowledge = false
            if case .every(let count) = state.acknowledging {
                switch outcome {
                case .transaction:
                    state.unacknowledged += 1
                    mustAcknowledge = state.unacknowledged >= count
                case .delivered: mustAcknowledge = state.replica.lastTransactionID != 0
                case .nothing: break
                }
            }
            if mustAcknowledge { state.unacknowledged = 0 }
            return (outcome, mustAcknowledge ? Self.acknowledgement(state.replica) : nil)
        }
        if let acknowledgement { self.send(.opLogAck(acknowledgement)) }
        if case .nothing = outcome { return }
        if let observer = self.observer { observer(self.replica, outcome) }
        self.wake { _ in }
    }

    /// Acknowledges everything that has been applied.
    package func acknowledge() {
        self.send(.opLogAck(Self.acknowledgement(self.replica)))
    }

    private static func acknowledgement(_ replica: ClientReplica) -> Electric_Satellite_SatOpLogAck {
        var acknowledgement = Electric_Satellite_SatOpLogAck()
        acknowledgement.lsn = .init(ServerPosition.encode(replica.position ?? .zero))
        acknowledgement.transactionID = replica.lastTransactionID
        acknowledgement.subscriptionIds = Array(replica.delivered)
        return acknowledgement
    }

    private func wake(_ change: @Sendable (inout State) -> Void) {
        let fulfilled = self.state.withLock { state in
            change(&state)
            let ids = state.waiters.filter { $0.value.condition(state) }.map(\.key)
            return ids.compactMap { state.waiters.removeValue(forKey: $0) }
        }
        for waiter in fulfilled { waiter.continuation.resume() }
    }

    func ended(_ reason: String) {
        let (calls, waiters) = self.state.withLock { state in
            if state.ending == nil { state.ending = reason }
            defer {
                state.calls = [:]
                state.waiters = [:]
            }
            return (Array(state.calls.values), Array(state.waiters.values))
        }
        let failure = Failure("the connection has ended: \(reason)")
        for call in calls { call.resume(throwing: failure) }
        for waiter in waiters { waiter.continuation.resume(throwing: failure) }
    }
}
