internal import ExactText
internal import NIOCore
internal import PostgresWire
import SwiftProtobuf

/// Subscribe and unsubscribe.
extension SatelliteSession {
    typealias SubscriptionError = Electric_Satellite_SatSubsResp.SatSubsError
    typealias ShapeError = SubscriptionError.ShapeReqError

    mutating func subscribeRequested(_ request: Electric_Satellite_SatSubsReq, requestID: UInt32) {
        var response = Electric_Satellite_SatSubsResp()
        response.subscriptionID = request.subscriptionID
        if request.subscriptionID.utf8.count > self.limits.maximumSubscriptionIDBytes {
            response.subscriptionID =
                String(String.UnicodeScalarView(request.subscriptionID.unicodeScalars.prefix(126))) + "..."
        }
        var roots: [UInt32] = []
        if let error = self.validate(request, roots: &roots) {
            response.err = error
            self.send(.response(RemoteMethod.subscribe.rawValue, id: requestID, response))
            return
        }
        self.send(.response(RemoteMethod.subscribe.rawValue, id: requestID, response))
        let pending = SubscriptionState.Pending(
            id: request.subscriptionID, requestIDs: request.shapeRequests.map(\.requestID),
            tables: self.schema.closure(of: roots).map(\.oid), request: ByteBuffer(bytes: request.encodedBytes()))
        self.subscriptions.deliveries.append(.init(content: .subscription(pending)))
    }

    mutating func unsubscribeRequested(_ request: Electric_Satellite_SatUnsubsReq, requestID: UInt32) {
        guard request.subscriptionIds.count <= self.limits.maximumSubscriptions else {
            self.failCall(
                RemoteMethod.unsubscribe.rawValue, requestID, .invalidRequest, cause: "too many unsubscriptions")
            return
        }
        self.send(
            .response(RemoteMethod.unsubscribe.rawValue, id: requestID, Electric_Satellite_SatUnsubsResp()))
        let ids = ExactSet(request.subscriptionIds)
        var delivered = self.subscriptions.active.map(\.id).filter { ids.contains($0) }
        var undelivered: [String] = []
        var remaining: [SubscriptionState.Delivery] = []
        for var delivery in self.subscriptions.deliveries {
            if case .subscription(let pending) = delivery.content, ids.contains(pending.id), !delivery.isRevoked {
                switch delivery.step {
                case .queued:
                    undelivered.append(pending.id)
                    continue
                case .fetching:
                    undelivered.append(pending.id)
                    self.actions.append(.cancelFetch(delivery.number))
                    continue
                case .sending:
                    // It is finished first; its rows are removed right behind it.
                    delivered.append(pending.id)
                    delivery.isRevoked = true
                }
            }
            remaining.append(delivery)
        }
        self.subscriptions.deliveries = remaining
        if !undelivered.isEmpty { self.actions.append(.removeSubscriptions(undelivered)) }
        if !delivered.isEmpty, self.subscriptions.isDelivering || self.stream.large != nil || self.outgoing != .active {
            // The removal has to wait; until it is sent, no position of the client's is behind it.
            self.actions.append(
                .saveUnsubscriptions(
                    delivered.map { StoredUnsubscription(id: $0, position: StoredUnsubscription.notSent) }))
        }
        // Also for ids that nobody knows: the client waits for the confirmation.
        self.subscriptions.end(request.subscriptionIds, stored: delivered)
    }

    // MARK: Validation

    private func validate(
        _ request: Electric_Satellite_SatSubsReq, roots: inout [UInt32]
    ) -> SubscriptionError? {
        func error(_ message: String, _ shapes: [ShapeError] = []) -> SubscriptionError {
            var error = SubscriptionError()
            // Why the code stays 0: any other would make the client repeat the request for ever.
            error.message = message
            error.shapeRequestError = shapes
            return error
        }
        let id = request.subscriptionID
        guard id.utf8.count <= self.limits.maximumSubscriptionIDBytes else { return error("ID too long") }
        guard !self.subscriptions.isKnown(id) else {
            return error(
                "Cannot establish multiple subscriptions with the same ID. If you want to change the subscription, "
                    + "you need to unsubscribe first.")
        }
        guard !request.shapeRequests.isEmpty else {
            return error("Subscription must include at least one shape request")
        }
        guard Self.isLowercaseUUID(id) else { return error("Subscription ID should be a valid UUID") }
        guard ExactSet(request.shapeRequests.map(\.requestID)).count == request.shapeRequests.count else {
            return error("Duplicated request ids are not allowed")
        }
        guard self.subscriptions.count < self.limits.maximumSubscriptions,
            request.shapeRequests.count <= self.limits.maximumShapeRequests
        else { return error("Too many subscriptions or shape requests") }
        var shapeErrors: [ShapeError] = []
        for shape in request.shapeRequests {
            if let error = self.validate(shape, roots: &roots) { shapeErrors.append(error) }
        }
        return shapeErrors.isEmpty
            ? nil : error("Could not establish a subscription due to errors on requests", shapeErrors)
    }

    private func validate(_ shape: Electric_Satellite_SatShapeReq, roots: inout [UInt32]) -> ShapeError? {
        func error(_ code: ShapeError.Code, _ message: String) -> ShapeError {
            var error = ShapeError()
            error.code = code
            error.message = message
            error.requestID = shape.requestID
            return error
        }
        let selects = shape.shapeDefinition.selects
        guard let select = selects.first else {
            return error(.emptyShapeDefinition, "Empty shape requests are not allowed")
        }
        guard selects.count == 1 else {
            return error(.invalidIncludeTree, "Cannot have more than one top-level select")
        }
        let name = select.tablename
        guard !name.isEmpty, name.utf8.count <= self.limits.maximumTableNameBytes,
            name.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control })
        else { return error(.tableNotFound, "Invalid table name") }
        guard let table = self.schema.table(publicName: name) else {
            return error(.tableNotFound, "Unknown table \(name)")
        }
        guard select.where.utf8.allSatisfy({ $0 == 0x20 || (0x09...0x0D).contains($0) }) else {
            return error(.invalidWhereClause, "where clauses are not supported yet")
        }
        guard select.include.isEmpty else {
            return error(.invalidIncludeTree, "include trees are not supported yet")
        }
        roots.append(table.oid)
        return nil
    }

    static func isLowercaseUUID(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard bytes.count == 36 else { return false }
        return bytes.enumerated().allSatisfy { index, byte in
            switch index {
            case 8, 13, 18, 23: return byte == UInt8(ascii: "-")
            default: return (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
            }
        }
    }
}
