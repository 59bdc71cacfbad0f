import DurableStreams
import HTTPServer
import NIOCore
import NIOHTTP1
import StreamDirectory

/// The requests to streams: from the wire into values, to the directory, and back.
///
/// Runs on the event loop of the request's connection and never blocks it on the disk's account for more than a short
/// read.
///
/// A class, because every request's closures hold it.
package final class StreamRoute: Sendable {
    let services: StreamServices

    package init(_ services: StreamServices) {
        self.services = services
    }

    /// Adds everything below the stream root.
    package func add(to router: inout HTTPRouter) {
        var options = HTTPRouteOptions()
        options.bodyBytes = self.services.requestBytes
        options.securityHeaders = HTTPSecurityHeaders(crossOriginResourcePolicy: "cross-origin")
        options.cors = self.services.cors
        options.refusal = { refusal in
            switch refusal {
            case .bodyTooLarge(let limit):
                StreamResponse.error(
                    StreamError(.payloadTooLarge, "A request may have \(limit) bytes of body."), instance: nil
                ).httpReply
            case .overloaded:
                StreamResponse.error(
                    StreamError(.unavailable, "Too much is being received.", retryAfterSeconds: 1), instance: nil
                ).httpReply
            }
        }
        router.onPrefixDirect(self.services.root, options) { request, responder in self.handle(request, responder) }
    }

    // MARK: Dispatch

    private func handle(_ request: HTTPRequest, _ responder: HTTPResponder) {
        if request.head.method == .OPTIONS {
            if let cors = self.services.cors, let reply = cors.preflight(request.head) {
                responder.reply(reply)
            } else {
                responder.reply(
                    HTTPReply(
                        status: .noContent, headers: ["allow": StreamHeaderName.methods.joined(separator: ", ")]))
            }
            return
        }
        let path = request.rawPath.dropFirst(self.services.root.utf8.count)
        let inner = path.first == "/" ? path.dropFirst() : path
        if inner.hasPrefix(StreamNameRules.reservedSegment) {
            let rest = inner.dropFirst(StreamNameRules.reservedSegment.utf8.count)
            if rest.isEmpty || rest.first == "/", let control = self.services.control {
                let path = rest.dropFirst()
                if control.isOpen(path) { return control.handle(path, request, responder) }
                guard self.services.authorizer != nil else { return control.handle(path, request, responder) }
                self.permitted(request, responder, .subscribe, "") { request, _ in
                    control.handle(path, request, responder)
                }
                return
            }
        }
        do throws(StreamError) {
            let name = try self.services.names.name(path: inner)
            guard let operation = Self.operation(request.head.method) else {
                responder.reply(StreamResponse.methodNotAllowed)
                return
            }
            // Why apart: without a closure there is nothing to allocate.
            guard self.services.authorizer != nil else { return self.perform(name, request, responder, until: nil) }
            self.permitted(request, responder, operation, name) { self.perform(name, $0, responder, until: $1) }
        } catch {
            self.refuse(error, request, responder)
        }
    }

    /// What a method does to a stream; nil if it is none of the protocol's.
    private static func operation(_ method: HTTPMethod) -> StreamServices.Operation? {
        switch method {
        case .POST: .append
        case .GET, .HEAD: .read
        case .PUT: .create
        case .DELETE: .delete
        default: nil
        }
    }

    private func perform(_ name: String, _ request: HTTPRequest, _ responder: HTTPResponder, until: UInt64?) {
        switch request.head.method {
        case .POST: self.append(name, request, responder)
        case .GET: self.read(name, request, responder, until: until)
        case .HEAD: self.head(name, request, responder)
        case .PUT: self.create(name, request, responder)
        default: self.delete(name, request, responder)
        }
    }

    /// Goes on, on the event loop, if the request may do so, with the request as it says who asks.
    private func permitted(
        _ request: HTTPRequest, _ responder: HTTPResponder, _ operation: StreamServices.Operation, _ name: String,
        _ goOn: @escaping @Sendable (HTTPRequest, UInt64?) -> Void
    ) {
        guard let authorizer = self.services.authorizer else { return goOn(request, nil) }
        var request = request
        for field in self.services.identityFields { request.head.headers.remove(name: field) }
        let asked = request
        let eventLoop = responder.eventLoop
        authorizer(asked, operation, name) { permission in
            switch permission {
            case .refused(let response):
                self.services.counters.refused()
                responder.reply(response)
            case .granted(let until, let identity):
                var request = asked
                if !identity.isEmpty {
                    request.head.headers.add(contentsOf: identity)
                    responder.identify(identity)
                }
                let known = request
                if eventLoop.inEventLoop { goOn(known, until) } else { eventLoop.execute { goOn(known, until) } }
            }
        }
    }

    func refuse(_ error: StreamError, _ request: HTTPRequest, _ responder: HTTPResponder) {
        responder.reply(Self.refusal(error, request))
    }

    static func refusal(_ error: StreamError, _ request: HTTPRequest) -> StreamResponse {
        StreamResponse.error(error, instance: request.rawPath, isHead: request.head.method == .HEAD)
    }

    /// Where answers that wait for the disk are to run. In memory they come at once, on this very loop.
    private func target(_ responder: HTTPResponder) -> (any CompletionTarget)? {
        self.services.answersAtOnce ? nil : self.services.loops.target(on: responder.eventLoop)
    }

    // MARK: Writing

    private func fields(_ request: HTTPRequest) -> RequestFields {
        var fields = RequestFields()
        for (name, value) in request.head.headers { fields.add(name: name, value: value) }
        return fields
    }

    private func create(_ name: String, _ request: HTTPRequest, _ responder: HTTPResponder) {
        let create: CreateRequest
        do throws(StreamError) {
            create = try self.fields(request).createRequest(
                body: request.body, root: self.services.root, names: self.services.names,
                defaultRetention: self.services.retention?.retention(of: name))
        } catch {
            return self.refuse(error, request, responder)
        }
        let control = self.services.control
        let root = self.services.root
        self.services.directory.create(name, create, now: self.services.clock(), target: self.target(responder)) {
            switch $0 {
            case .success(let outcome):
                if outcome.isNew { control?.streamCreated(name) }
                let location = (request.origin ?? "") + root + "/" + StreamNameRules.encodedPath(name)
                responder.reply(StreamResponse.created(outcome, location: location))
            case .failure(let error):
                responder.reply(Self.refusal(error, request))
            }
        }
    }

    private func append(_ name: String, _ request: HTTPRequest, _ responder: HTTPResponder) {
        let append: AppendRequest
        let now = self.services.clock()
        do throws(StreamError) {
            append = try self.fields(request).appendRequest(body: request.body)
        } catch {
            // Whether the stream is there counts more than how the request is made.
            if case .failure(let missing) = self.services.directory.lookup(name, now: now) {
                return self.refuse(missing, request, responder)
            }
            return self.refuse(error, request, responder)
        }
        let control = self.services.control
        var count: UInt64 = 0
        if control != nil, case .success(let payload) = append.payload { count = UInt64(payload.bytes.readableBytes) }
        let added = count
        self.services.directory.append(name, append, now: now, target: self.target(responder)) {
            switch $0 {
            case .success(let outcome):
                if outcome.kind == .appended, added > 0 {
                    let tail = outcome.tail.position
                    control?.streamAppended(name, previousTail: tail - min(added, tail), tail: tail)
                }
                responder.reply(StreamResponse.appended(outcome))
            case .failure(let error):
                responder.reply(Self.refusal(error, request))
            }
        }
    }

    private func delete(_ name: String, _ request: HTTPRequest, _ responder: HTTPResponder) {
        let control = self.services.control
        self.services.directory.delete(name, now: self.services.clock(), target: self.target(responder)) {
            switch $0 {
            case .success:
                control?.streamDeleted(name)
                responder.reply(StreamResponse.deleted)
            case .failure(let error): responder.reply(Self.refusal(error, request))
            }
        }
    }

    // MARK: Reading

    private func head(_ name: String, _ request: HTTPRequest, _ responder: HTTPResponder) {
        switch self.services.directory.lookup(name, now: self.services.clock()) {
        case .success(let view):
            responder.reply(
                StreamResponse.head(
                    identity: view.identity, configuration: view.configuration, tail: view.tail,
                    isClosed: view.isClosed,
                    earliest: view.earliest))
        case .failure(let error): self.refuse(error, request, responder)
        }
    }

    private func read(_ name: String, _ request: HTTPRequest, _ responder: HTTPResponder, until: UInt64?) {
        let fields = self.fields(request)
        let now = self.services.clock()
        let directory = self.services.directory
        do throws(StreamError) {
            let view = try directory.lookup(name, now: now).get()
            let query = try ReadQuery(query: request.query, lastEventID: fields.lastEventID)
            let position: UInt64
            switch query.start {
            case .start: position = view.earliest
            case .now: position = view.tail
            case .at(let offset): position = offset.position
            }
            if let live = query.live {
                try directory.checkPosition(position, in: view, now: now)
                guard position >= view.earliest else { throw StreamState.offsetGone(earliest: view.earliest) }
                let place = LivePlace(
                    name: name, view: view, position: position, isNow: query.start == .now,
                    isFromStart: query.start == .start, cursor: query.cursor,
                    conditions: ReadConditions(fields, request, self.services), until: until)
                switch live {
                case .longPoll: try LongPoll.begin(place, self.services, request, responder)
                case .eventStream: EventSession.begin(place, self.services, request, responder)
                }
                return
            }
            self.services.counters.began(.catchUp)
            if query.start == .now {
                directory.touch(name, now: now)
                let reading = StreamReading(view: view, start: view.tail, end: view.tail, pieces: [])
                responder.reply(
                    StreamResponse.read(reading.facts(isNow: true), policy: self.services.cache), content: reading)
                return
            }
            let isFromStart = query.start == .start
            let reading = try self.reading(name, view, from: position, isFromStart: isFromStart, now: now)
            let conditions = ReadConditions(fields, request, self.services)
            self.services.answer(
                reading, reading.facts(isFromStart: isFromStart), conditions, .catchUp, responder)
        } catch {
            self.refuse(error, request, responder)
        }
    }

    private func reading(
        _ name: String, _ view: StreamView, from position: UInt64, isFromStart: Bool, now: UInt64
    ) throws(StreamError) -> StreamReading {
        var position = position
        // Again where the beginning has moved since it was looked up; it does so now and then only.
        for _ in 0..<4 {
            do throws(StreamError) {
                return try self.services.directory.read(
                    name, identity: view.identity, from: position, limit: self.services.catchUpBytes, now: now
                ).get()
            } catch {
                guard isFromStart, error.code == .offsetGone, let earliest = error.earliest else { throw error }
                position = earliest.position
            }
        }
        throw StreamError(.unavailable, "The stream is being trimmed.")
    }
}

/// Where a live read begins, and for whom.
struct LivePlace: Sendable {
    var name: String
    var view: StreamView
    var position: UInt64
    var isNow: Bool
    /// Whether it asked for the beginning.
    var isFromStart: Bool
    /// The cursor that the client knows.
    var cursor: UInt64?
    var conditions: ReadConditions
    /// End of the client's permission, in milliseconds since 1970.
    var until: UInt64?
}

extension StreamReading {
    func facts(isNow: Bool = false, cursor: UInt64? = nil, isFromStart: Bool = false) -> ReadFacts {
        ReadFacts(
            identity: self.view.identity, contentType: self.view.contentType, start: self.start, end: self.end,
            isAtTail: self.isAtTail, isClosed: self.view.isClosed, isNow: isNow, cursor: cursor,
            isFromStart: isFromStart, hasRetention: self.view.configuration.retention != nil)
    }
}
