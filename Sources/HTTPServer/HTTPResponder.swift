import NIOCore
import NIOHTTP1
import Synchronization

/// What goes back to a client.
enum HTTPResponse {
    case reply(HTTPReply)
    case parts(HTTPResponseStatus, HTTPHeaders, [HTTPBodyPart])
    case compressed(HTTPResponseStatus, HTTPHeaders, HTTPCompressedBody)
    case stream(HTTPResponseStatus, HTTPHeaders, (HTTPStream) -> any HTTPStreamSession)
    case webSocket(subprotocol: String?, makeSession: (WebSocket) -> any WebSocketSession)

    var status: UInt {
        switch self {
        case .reply(let reply): reply.status.code
        case .parts(let status, _, _), .compressed(let status, _, _), .stream(let status, _, _): status.code
        case .webSocket: HTTPResponseStatus.switchingProtocols.code
        }
    }
}

/// Answers one request, once, from any thread; what comes after the first answer is ignored.
///
/// On the event loop of the connection the answer is written at once, elsewhere after a hop. A responder that is forgotten answers 500.
/// Callbacks run on the event loop, and only until the answer is given; each kind is kept once, the newest counts.
package final class HTTPResponder: Sendable {
    package let eventLoop: any EventLoop
    private let connection: NIOLoopBound<HTTPConnectionHandler>
    private let exchange: UInt64
    private let isAnswered = Atomic<Bool>(false)

    init(_ connection: HTTPConnectionHandler, exchange: UInt64, eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        self.connection = NIOLoopBound(connection, eventLoop: eventLoop)
        self.exchange = exchange
    }

    deinit {
        guard !self.isAnswered.load(ordering: .relaxed) else { return }
        let (connection, exchange) = (self.connection, self.exchange)
        // Never at once: this may be the middle of anything.
        self.eventLoop.execute { connection.value.forgotten(exchange) }
    }

    package func reply(_ reply: HTTPReply) {
        guard self.takeTurn() else { return }
        if self.eventLoop.inEventLoop {
            self.connection.value.respond(to: self.exchange, .reply(reply))
        } else {
            self.onLoop { $0.respond(to: $1, .reply(reply)) }
        }
    }

    /// A body made of bytes in memory and pieces of files. Its length is known, so the connection goes on afterwards. A file that has
    /// become shorter ends the connection.
    package func parts(_ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ parts: [HTTPBodyPart]) {
        guard self.takeTurn() else { return }
        self.onLoop { $0.respond(to: $1, .parts(status, headers, parts)) }
    }

    /// A body that is packed while it is sent. The handler names the coding in its headers, and has made sure that the client
    /// takes it.
    package func compressed(_ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ body: HTTPCompressedBody) {
        guard self.takeTurn() else { return }
        self.onLoop { $0.respond(to: $1, .compressed(status, headers, body)) }
    }

    /// A body without a known end, such as server-sent events. `makeSession` runs on the event loop; it does not run if the client is
    /// gone, or asked for the head only.
    package func stream(
        _ status: HTTPResponseStatus, _ headers: HTTPHeaders,
        makeSession: @escaping @Sendable (HTTPStream) -> any HTTPStreamSession
    ) {
        guard self.takeTurn() else { return }
        self.onLoop { $0.respond(to: $1, .stream(status, headers, makeSession)) }
    }

    /// The answer of a route with a task.
    func answer(_ answer: HTTPAnswer) {
        switch answer {
        case .reply(let reply): self.reply(reply)
        case .webSocket(let subprotocol, let makeSession):
            guard self.takeTurn() else { return }
            self.onLoop { $0.respond(to: $1, .webSocket(subprotocol: subprotocol, makeSession: makeSession)) }
        }
    }

    /// Says who asks: the fields go with the answer, where a proxy can read them, and into the log of requests. Before the answer.
    package func identify(_ fields: HTTPHeaders) {
        self.onLoop { $0.identify($1, fields) }
    }

    /// The client has left before the answer; at once if it has left already.
    package func onGone(_ body: @escaping @Sendable () -> Void) {
        self.onLoop { $0.addCallback(to: $1, .gone(body)) }
    }

    /// The server is about to end: whoever waits should answer now. At once if it drains already.
    package func onDrain(_ body: @escaping @Sendable () -> Void) {
        self.onLoop { $0.addCallback(to: $1, .drain(body)) }
    }

    /// The answer has not been given for `time`. Not early, and late by a quarter of a second at most; cheaper than a timer of one's own.
    package func onTimeout(_ time: TimeAmount, _ body: @escaping @Sendable () -> Void) {
        self.onLoop { $0.addCallback(to: $1, .timeout(time, body)) }
    }

    private func takeTurn() -> Bool {
        !self.isAnswered.exchange(true, ordering: .relaxed)
    }

    private func onLoop(_ body: @escaping @Sendable (HTTPConnectionHandler, UInt64) -> Void) {
        if self.eventLoop.inEventLoop {
            body(self.connection.value, self.exchange)
        } else {
            let (connection, exchange) = (self.connection, self.exchange)
            self.eventLoop.execute { body(connection.value, exchange) }
        }
    }
}
