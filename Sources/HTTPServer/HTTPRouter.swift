import NIOCore
import NIOHTTP1

/// What a route does with a request.
package enum HTTPAnswer: Sendable {
    case reply(HTTPReply)
    /// Switch to the WebSocket protocol. `makeSession` runs on the connection's event loop.
    case webSocket(subprotocol: String?, makeSession: @Sendable (WebSocket) -> any WebSocketSession)
}

/// Finds the route of a request. Routes are fixed before the listener is bound, so no lock is needed.
package struct HTTPRouter: Sendable {
    package typealias Handler = @Sendable (HTTPRequest) async -> HTTPAnswer
    /// Runs on the connection's event loop, must not block, and answers through the responder, at once or later.
    package typealias DirectHandler = @Sendable (HTTPRequest, HTTPResponder) -> Void

    /// Options of all routes but the direct ones, and of answers to requests without a route.
    package var defaults = HTTPRouteOptions() {
        didSet {
            self.fallback = HTTPRoute(method: nil, path: "", isPrefix: true, options: self.defaults, handler: .none)
        }
    }
    private(set) var fallback = HTTPRoute(
        method: nil, path: "", isPrefix: true, options: HTTPRouteOptions(), handler: .none)
    private var routes: [HTTPRoute] = []

    package init() {}

    package mutating func on(_ method: HTTPMethod, _ path: String, _ handler: @escaping Handler) {
        self.routes.append(
            HTTPRoute(method: method, path: path, isPrefix: false, options: self.defaults, handler: .task(handler)))
    }

    /// A path for what watches over the server: answered also to requests that come while the server ends.
    package mutating func onProbe(_ path: String, _ handler: @escaping Handler) {
        var options = self.defaults
        options.answersWhileDraining = true
        self.routes.append(
            HTTPRoute(method: .GET, path: path, isPrefix: false, options: options, handler: .task(handler)))
    }

    package mutating func onPrefix(_ method: HTTPMethod, _ path: String, _ handler: @escaping Handler) {
        self.routes.append(
            HTTPRoute(method: method, path: path, isPrefix: true, options: self.defaults, handler: .task(handler)))
    }

    /// All methods of a path and of everything below it, without a task for each request.
    package mutating func onPrefixDirect(
        _ path: String, _ options: HTTPRouteOptions = HTTPRouteOptions(), _ handler: @escaping DirectHandler
    ) {
        self.routes.append(
            HTTPRoute(method: nil, path: path, isPrefix: true, options: options, handler: .direct(handler)))
    }

    /// Changes the options of all routes that were added for this path.
    package mutating func adjust(_ path: String, _ change: (inout HTTPRouteOptions) -> Void) {
        self.routes = self.routes.map { $0.path == path ? $0.adjusted(change) : $0 }
    }

    /// Answers to requests without a route, and to what is no request, get the headers that the responses of this path have: a
    /// web page that may read those may read these as well.
    package mutating func fallBack(to path: String) {
        guard let options = self.routes.first(where: { $0.path == path })?.options else { return }
        self.fallback = self.fallback.adjusted {
            $0.securityHeaders = options.securityHeaders
            $0.cors = options.cors
        }
    }

    /// Routes of HEAD are those of GET; the connection leaves the body out.
    func route(_ method: HTTPMethod, path: String) -> HTTPRoute? {
        for route in self.routes where route.matches(method == .HEAD ? .GET : method, path: path) { return route }
        return nil
    }

    /// Asks the route of a request that no connection brought; direct routes are not asked.
    package func answer(_ request: HTTPRequest) async -> HTTPAnswer {
        guard case .task(let handler)? = self.route(request.head.method, path: request.path)?.handler else {
            return .reply(HTTPRoute.notFound)
        }
        return await handler(request)
    }
}

/// One route, made ready for serving.
final class HTTPRoute: Sendable {
    enum Handler: Sendable {
        case task(HTTPRouter.Handler)
        case direct(HTTPRouter.DirectHandler)
        case none
    }

    static let notFound = HTTPReply.text("Not found", status: .notFound)

    /// Nil is every method.
    private let method: HTTPMethod?
    let path: String
    private let pathSlash: String
    /// Whether everything below the path belongs to the route as well.
    private let isPrefix: Bool
    let options: HTTPRouteOptions
    let handler: Handler
    /// Headers of every response, and the same as lines of HTTP/1.
    let fixedFields: [(name: String, value: String)]
    let fixedLines: ByteBuffer
    /// Bytes that a head of HTTP/1 takes, or a bit more: lines of origins and names may be long, and a buffer that has to grow is
    /// copied.
    let headCapacity: Int

    init(method: HTTPMethod?, path: String, isPrefix: Bool, options: HTTPRouteOptions, handler: Handler) {
        self.method = method
        self.path = path
        self.pathSlash = path + "/"
        self.isPrefix = isPrefix
        self.options = options
        self.handler = handler
        self.fixedFields = options.securityHeaders.fields + (options.cors?.fixedFields ?? [])
        self.fixedLines = ByteBuffer(string: self.fixedFields.map { "\($0.name): \($0.value)\r\n" }.joined())
        self.headCapacity = 384 + self.fixedLines.readableBytes
    }

    func adjusted(_ change: (inout HTTPRouteOptions) -> Void) -> HTTPRoute {
        var options = self.options
        change(&options)
        return HTTPRoute(
            method: self.method, path: self.path, isPrefix: self.isPrefix, options: options, handler: self.handler)
    }

    func matches(_ method: HTTPMethod, path: String) -> Bool {
        if let own = self.method, own != method { return false }
        return path == self.path || (self.isPrefix && path.hasPrefix(self.pathSlash))
    }
}
