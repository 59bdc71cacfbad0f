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

    private struct Route: Sendable {
        var method: HTTPMethod
        var path: String
        /// Whether everything below the path belongs to the route as well.
        var isPrefix: Bool
        var handler: Handler
    }

    private var routes: [Route] = []

    package init() {}

    package mutating func on(_ method: HTTPMethod, _ path: String, _ handler: @escaping Handler) {
        self.routes.append(Route(method: method, path: path, isPrefix: false, handler: handler))
    }

    package mutating func onPrefix(_ method: HTTPMethod, _ path: String, _ handler: @escaping Handler) {
        self.routes.append(Route(method: method, path: path, isPrefix: true, handler: handler))
    }

    /// Routes of HEAD are those of GET; the connection leaves the body out.
    package func answer(_ request: HTTPRequest) async -> HTTPAnswer {
        let method: HTTPMethod = request.head.method == .HEAD ? .GET : request.head.method
        for route in self.routes where route.method == method {
            if route.path == request.path || (route.isPrefix && request.path.hasPrefix(route.path + "/")) {
                return await route.handler(request)
            }
        }
        return .reply(.text("Not found", status: .notFound))
    }
}
