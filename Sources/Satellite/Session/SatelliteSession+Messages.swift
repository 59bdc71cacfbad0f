internal import NIOCore
import SwiftProtobuf

/// Messages of the client, and who it is.
extension SatelliteSession {
    mutating func messageReceived(_ bytes: ByteBuffer) {
        self.sawTraffic = true
        let message: SatelliteMessage
        do {
            message = try SatelliteMessage.decode(bytes)
        } catch {
            self.protocolViolated("\(error)")
            return
        }
        switch message {
        case .rpcRequest(let request): self.requestReceived(request)
        case .rpcResponse(let response): self.responseReceived(response)
        case .error:
            self.close(CloseCode.normal, "", cause: "client reported an error")
        case .opLog(let log): self.opLogReceived(log)
        case .relation(let relation): self.relationReceived(relation)
        case .opLogAck(let ack): self.acknowledged(ack)
        case .subscriptionDataError, .subscriptionDataBegin, .subscriptionDataEnd, .shapeDataBegin, .shapeDataEnd,
            .unsubscriptionDataBegin, .unsubscriptionDataEnd:
            self.fail(.invalidRequest, "Message is only sent by the server", cause: "server message from a client")
        }
    }

    private mutating func requestReceived(_ rpc: Electric_Satellite_SatRpcRequest) {
        guard let request = ClientRequest(rpc) else {
            let type: Electric_Satellite_SatErrorResp.ErrorCode = self.phase == .ready ? .invalidRequest : .authRequired
            self.failCall(
                rpc.method, rpc.requestID, RemoteMethod(rawValue: rpc.method) == .authenticate ? .invalidRequest : type,
                cause: "unknown or malformed request")
            return
        }
        if case .authenticate(let authentication) = request {
            self.authenticationRequested(authentication, requestID: rpc.requestID)
            return
        }
        guard self.phase == .ready else {
            self.failCall(rpc.method, rpc.requestID, .authRequired, cause: "request before authentication")
            return
        }
        switch request {
        case .authenticate: break
        case .startReplication(let start): self.startRequested(start, requestID: rpc.requestID)
        case .stopReplication: self.stopRequested(requestID: rpc.requestID)
        case .subscribe(let subscribe): self.subscribeRequested(subscribe, requestID: rpc.requestID)
        case .unsubscribe(let unsubscribe): self.unsubscribeRequested(unsubscribe, requestID: rpc.requestID)
        }
    }

    private mutating func responseReceived(_ response: Electric_Satellite_SatRpcResponse) {
        guard self.phase == .ready, response.method == RemoteMethod.startReplication.rawValue,
            self.incoming == .requested(id: response.requestID)
        else { return }
        if case .message = response.result {
            self.incoming = .active
        } else {
            self.incoming = .stopped
        }
    }

    mutating func request(_ method: RemoteMethod, _ payload: some SwiftProtobuf.Message) -> UInt32 {
        let id = self.nextRequestID
        self.nextRequestID &+= 1
        self.send(.request(method, id: id, payload))
        return id
    }

    // MARK: Authentication

    private mutating func authenticationRequested(_ request: Electric_Satellite_SatAuthReq, requestID: UInt32) {
        let method = RemoteMethod.authenticate.rawValue
        guard !request.id.isEmpty, !request.token.isEmpty,
            request.id.utf8.count <= self.limits.maximumClientIDBytes, !request.id.unicodeScalars.contains("\0"),
            request.token.utf8.count <= self.limits.maximumTokenBytes
        else {
            self.failCall(method, requestID, .invalidRequest, cause: "client id or token is missing or too long")
            return
        }
        switch self.phase {
        case .unauthenticated:
            self.phase = .authenticating(clientID: request.id, requestID: requestID)
        case .ready where request.id == self.clientID && self.renewalRequestID == nil:
            self.renewalRequestID = requestID
        case .ready, .authenticating, .closed:
            self.failCall(method, requestID, .invalidRequest, cause: "authentication of another client")
            return
        }
        self.actions.append(.authenticate(clientID: request.id, token: request.token))
    }

    mutating func authenticated(_ authentication: SessionEvent.Authentication) {
        var response = Electric_Satellite_SatAuthResp()
        response.id = self.instanceID
        switch self.phase {
        case .authenticating(let clientID, let requestID):
            self.phase = .ready
            self.clientID = clientID
            self.userID = authentication.userID
            self.writes.assembler = ClientTransactionAssembler(clientID: clientID, limits: self.limits)
            self.actions.append(.claim(clientID: clientID))
            self.send(.response(RemoteMethod.authenticate.rawValue, id: requestID, response))
            self.incoming = .lookingUp
            self.actions.append(.lookUpClientPosition(clientID: clientID))
        case .ready:
            guard let requestID = self.renewalRequestID else { return }
            self.renewalRequestID = nil
            guard authentication.userID == self.userID else {
                self.failCall(
                    RemoteMethod.authenticate.rawValue, requestID, .invalidRequest, cause: "token of another user")
                return
            }
            self.send(.response(RemoteMethod.authenticate.rawValue, id: requestID, response))
        case .unauthenticated, .closed:
            return
        }
        if self.limits.endsSessionsOnExpiry, let time = authentication.expiresAt {
            self.actions.append(.scheduleExpiry(at: time))
        }
    }

    mutating func authenticationFailed(_ failure: SessionEvent.AuthenticationFailure) {
        if failure == .unavailable {
            self.close(CloseCode.tryAgainLater, "Authentication is unavailable", cause: "authentication unavailable")
            return
        }
        let method = RemoteMethod.authenticate.rawValue
        switch self.phase {
        case .authenticating(_, let requestID):
            self.failCall(method, requestID, .authRequired, cause: "invalid token")
        case .ready:
            guard let requestID = self.renewalRequestID else { return }
            self.failCall(method, requestID, .invalidRequest, cause: "invalid token")
        case .unauthenticated, .closed:
            return
        }
    }

    mutating func tokenExpired() {
        guard self.limits.endsSessionsOnExpiry else { return }
        // The reason is what the client recognises.
        self.close(CloseCode.tokenExpired, "JWT-expired", cause: "token expired")
    }
}
