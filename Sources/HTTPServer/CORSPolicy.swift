import NIOCore
import NIOHTTP1

/// Which web pages may read the responses of a route, as a value: headers of answers, and the answer to a preflight.
package struct CORSPolicy: Hashable, Sendable {
    package enum Origins: Hashable, Sendable {
        case any
        /// Exact origins such as `https://app.example`, compared byte for byte.
        case list([String])
    }

    package var origins: Origins
    package var methods: [String]
    package var requestHeaders: [String]
    package var exposedHeaders: [String]
    /// How long a browser may remember the answer to a preflight.
    package var maximumAgeSeconds: Int
    /// Whether pages may have the browser send its cookies along. Only for listed origins; browsers refuse it for any.
    package var allowsCredentials: Bool

    package init(
        origins: Origins, methods: [String] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"],
        requestHeaders: [String] = [], exposedHeaders: [String] = [], maximumAgeSeconds: Int = 86_400,
        allowsCredentials: Bool = false
    ) {
        self.origins = origins
        self.methods = methods
        self.requestHeaders = requestHeaders
        self.exposedHeaders = exposedHeaders
        self.maximumAgeSeconds = maximumAgeSeconds
        self.allowsCredentials = allowsCredentials
    }

    /// Headers that do not depend on the request.
    var fixedFields: [(name: String, value: String)] {
        var fields: [(name: String, value: String)] = []
        switch self.origins {
        case .any: fields.append(("access-control-allow-origin", "*"))
        // Why also without an origin: a cache must not give the answer for one page to another.
        case .list:
            fields.append(("vary", "Origin"))
            if self.allowsCredentials { fields.append(("access-control-allow-credentials", "true")) }
        }
        if !self.exposedHeaders.isEmpty {
            fields.append(("access-control-expose-headers", self.exposedHeaders.joined(separator: ", ")))
        }
        return fields
    }

    /// The origin to name in an answer: the request's own if it is on the list.
    func namedOrigin(for origin: String?) -> String? {
        guard case .list(let allowed) = self.origins, let origin, allowed.contains(origin) else { return nil }
        return origin
    }

    /// All headers of an answer to a request of this origin; a direct route gets them without asking.
    package func responseFields(for origin: String?) -> [(name: String, value: String)] {
        var fields = self.fixedFields
        if let named = self.namedOrigin(for: origin) { fields.append(("access-control-allow-origin", named)) }
        return fields
    }

    /// The answer to a preflight request: 204. The server adds the headers that every response of the route has.
    /// Nil if the request is no preflight, but a plain OPTIONS.
    package func preflight(_ request: HTTPRequestHead) -> HTTPReply? {
        guard request.method == .OPTIONS, request.headers.contains(name: "origin"),
            request.headers.contains(name: "access-control-request-method")
        else { return nil }
        var headers: HTTPHeaders = ["access-control-allow-methods": self.methods.joined(separator: ", ")]
        if !self.requestHeaders.isEmpty {
            headers.add(name: "access-control-allow-headers", value: self.requestHeaders.joined(separator: ", "))
        }
        headers.add(name: "access-control-max-age", value: String(self.maximumAgeSeconds))
        return HTTPReply(status: .noContent, headers: headers)
    }
}
