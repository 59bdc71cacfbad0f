import NIOCore
import NIOHTTP1

/// A reply that is held whole in memory.
package struct HTTPReply: Sendable {
    package var status: HTTPResponseStatus
    package var headers: HTTPHeaders
    package var body: ByteBuffer
    /// The reason of a refusal, for a log of requests.
    package var errorCode: String?

    package init(status: HTTPResponseStatus, headers: HTTPHeaders = [:], body: ByteBuffer = ByteBuffer()) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    package static func text(_ text: String, status: HTTPResponseStatus = .ok) -> HTTPReply {
        HTTPReply(
            status: status, headers: ["content-type": "text/plain; charset=utf-8"], body: ByteBuffer(string: text))
    }

    package static func json(_ text: String, status: HTTPResponseStatus = .ok) -> HTTPReply {
        HTTPReply(
            status: status, headers: ["content-type": "application/json; charset=utf-8"],
            body: ByteBuffer(string: text))
    }
}
