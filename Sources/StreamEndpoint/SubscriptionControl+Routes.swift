import DurableStreams
import HTTPServer
import NIOCore
import NIOHTTP1
import NIOPosix
import StreamDirectory
import Synchronization
import WebAddresses

extension SubscriptionControl {
    private enum Target {
        case keys
        case subscription(String)
        case streams(String)
        case stream(String, name: String)
        case claim(String)
        case acknowledge(String)
        case release(String)

        init?(_ path: Substring) {
            let parts = path.split(separator: "/", omittingEmptySubsequences: false)
            if parts == ["jwks.json"] {
                self = .keys
                return
            }
            guard parts.count >= 2, parts[0] == "subscriptions",
                let id = PercentCoding.decoded(parts[1]), !id.isEmpty
            else { return nil }
            switch (parts.count, parts.count > 2 ? parts[2] : "") {
            case (2, _): self = .subscription(id)
            case (3, "streams"): self = .streams(id)
            case (4..., "streams"):
                let rest = parts[3...].joined(separator: "/")
                guard let name = PercentCoding.decoded(rest), !name.isEmpty else { return nil }
                self = .stream(id, name: name.hasPrefix("/") ? String(name.dropFirst()) : name)
            case (3, "claim"): self = .claim(id)
            case (3, "ack"), (3, "callback"): self = .acknowledge(id)
            case (3, "release"): self = .release(id)
            default: return nil
            }
        }

        var methods: [HTTPMethod] {
            switch self {
            case .keys: [.GET, .HEAD]
            case .subscription: [.PUT, .GET, .HEAD, .DELETE]
            case .streams, .claim, .acknowledge, .release: [.POST]
            case .stream: [.DELETE]
            }
        }
    }

    /// Bytes of a body that a request may bring.
    private static var maximumBody: Int { 1 << 20 }

    /// Public keys are for everybody; acks, callbacks and releases bring a token of their own.
    package func isOpen(_ path: Substring) -> Bool {
        switch Target(path) {
        case .keys, .acknowledge, .release: true
        default: false
        }
    }

    package func handle(_ path: Substring, _ request: HTTPRequest, _ responder: HTTPResponder) {
        guard let target = Target(path) else {
            let error = StreamError(.notFound, "There is nothing here.")
            return responder.reply(StreamRoute.refusal(error, request))
        }
        guard target.methods.contains(request.head.method) else {
            var response = StreamResponse.error(StreamError(.methodNotAllowed), instance: request.rawPath)
            response.headers.append(("Allow", target.methods.map(\.rawValue).joined(separator: ", ")))
            return responder.reply(response)
        }
        guard request.body.readableBytes <= Self.maximumBody else {
            let error = StreamError(.payloadTooLarge, "The body is too large.")
            return responder.reply(StreamRoute.refusal(error, request))
        }
        // Why beside the loop: a creation looks at all streams.
        if case .subscription = target, request.head.method == .PUT {
            NIOThreadPool.singleton.submit { _ in self.answer(target, request, responder) }
        } else {
            self.answer(target, request, responder)
        }
    }

    private func answer(_ target: Target, _ request: HTTPRequest, _ responder: HTTPResponder) {
        do throws(SubscriptionError) {
            let (response, actions) = try self.response(to: target, request)
            self.carryOut(actions) { succeeded in
                responder.reply(
                    succeeded
                        ? response
                        : SubscriptionError(.unavailable, "The subscriptions could not be written.").response)
            }
        } catch {
            responder.reply(error.response)
        }
    }

    private func response(
        to target: Target, _ request: HTTPRequest
    ) throws(SubscriptionError) -> (StreamResponse, [SubscriptionAction]) {
        let now = self.clock()
        let authorization = request.head.headers.first(name: "authorization")
        let done = StreamResponse(status: 204)
        switch target {
        case .keys:
            return (self.keys.keySet(at: now), [])
        case .subscription(let id):
            switch request.head.method {
            case .PUT:
                // Why of each its own: whoever creates a subscription speaks for no other's receiver.
                let controlURL =
                    self.configuration.origin == nil
                    ? request.origin.map { $0 + self.configuration.controlPath } : nil
                return try self.create(id, body: request.body, controlURL: controlURL, at: now)
            case .DELETE:
                return try self.locked { set throws(SubscriptionError) in (done, try set.delete(id)) }
            default:
                return try self.locked { set throws(SubscriptionError) in
                    (set.response(status: 200, for: try set.subscription(id), keyID: self.keys.currentID(at: now)), [])
                }
            }
        case .streams(let id):
            return try self.locked { set throws(SubscriptionError) in
                let actions = try set.addStreams(id, body: request.body) { name in
                    if case .success(let view) = self.streams.lookup(name, now: now) { view.tail } else { nil }
                }
                return (done, actions)
            }
        case .stream(let id, let name):
            return try self.locked { set throws(SubscriptionError) in
                _ = try set.subscription(id)
                return (done, try set.removeStream(id, name: name))
            }
        case .claim(let id):
            return try self.locked { set throws(SubscriptionError) in
                let (response, actions) = try set.claim(id, body: request.body, at: now)
                return (response, actions)
            }
        case .acknowledge(let id):
            return try self.locked { set throws(SubscriptionError) in
                let (outcome, actions) = try set.acknowledge(
                    id, authorization: authorization, body: request.body, at: now)
                return (outcome.response, actions)
            }
        case .release(let id):
            return try self.locked { set throws(SubscriptionError) in
                (done, try set.release(id, authorization: authorization, body: request.body, at: now))
            }
        }
    }

    private typealias Change = (StreamResponse, [SubscriptionAction])

    /// Links of one subscription that are made under the lock at a time.
    private static var linksAtATime: Int { 512 }

    /// PUT. Looks at all streams, but not under the lock: others go on meanwhile.
    private func create(
        _ id: String, body: ByteBuffer, controlURL: String?, at now: UInt64
    ) throws(SubscriptionError) -> Change {
        let tail = { (name: String) -> UInt64? in
            if case .success(let view) = self.streams.lookup(name, now: now) { view.tail } else { nil }
        }
        let beginning = try self.locked { set throws(SubscriptionError) in
            // Why before the look at the streams: changes behind that look must be told, and wait for the lock.
            self.isActive.store(true, ordering: .sequentiallyConsistent)
            defer { self.isActive.store(!set.isEmpty, ordering: .releasing) }
            return try set.begin(id, body: body, controlURL: controlURL, tail: tail, at: now)
        }
        var actions: [SubscriptionAction] = []
        if case .begun(let configuration) = beginning {
            if configuration.pattern != nil { self.link(id, by: configuration, tail, at: now) }
            actions = self.state.withLock { $0.set.finish(id, at: now) }
        }
        var isNew = false
        if case .begun = beginning { isNew = true }
        return try self.locked { set throws(SubscriptionError) in
            let subscription = try set.subscription(id)
            let keyID = self.keys.currentID(at: now)
            return (set.response(status: isNew ? 201 : 200, for: subscription, keyID: keyID), actions)
        }
    }

    private func link(
        _ id: String, by configuration: SubscriptionConfiguration, _ tail: (String) -> UInt64?, at now: UInt64
    ) {
        for part in 0..<self.streams.partCount {
            let names = self.streams.names(inPart: part, now: now)
                .filter { SubscriptionSet.follows($0, configuration) }
            for start in stride(from: 0, to: names.count, by: Self.linksAtATime) {
                let piece = names[start..<min(start + Self.linksAtATime, names.count)]
                self.state.withLock { $0.set.link(id, to: piece, tail: tail) }
            }
        }
    }

    private func locked<Value>(
        _ body: (inout SubscriptionSet) throws(SubscriptionError) -> Value
    ) throws(SubscriptionError) -> Value {
        let result = self.state.withLock { state -> Result<Value, SubscriptionError> in
            do throws(SubscriptionError) {
                return .success(try body(&state.set))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
