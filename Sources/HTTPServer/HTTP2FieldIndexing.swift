import NIOCore
import NIOHPACK
import NIOHTTP2

/// Keeps fields that differ from answer to answer out of the table of an HTTP/2 connection's compression.
///
/// Why: the encoder looks through the table for every field that it writes, and browsers allow a table of 64 KiB. Offsets and
/// entity tags filled it with hundreds of lines that never match again; that cost more than all else in an answer.
final class HTTP2FieldIndexing: ChannelOutboundHandler {
    typealias OutboundIn = HTTP2Frame.FramePayload
    typealias OutboundOut = HTTP2Frame.FramePayload

    /// Fields with few values, besides those of other origins.
    private static let lasting: Set<String> = [
        ":status", "content-type", "cache-control", "vary", "allow", "server", "x-content-type-options",
        "cross-origin-resource-policy",
    ]

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard case .headers(var payload) = self.unwrapOutboundIn(data) else {
            context.write(data, promise: promise)
            return
        }
        payload.headers = Self.marked(payload.headers)
        context.write(self.wrapOutboundOut(.headers(payload)), promise: promise)
    }

    static func marked(_ headers: HPACKHeaders) -> HPACKHeaders {
        var marked = HPACKHeaders()
        marked.reserveCapacity(headers.count)
        for (name, value, _) in headers {
            let isLasting = Self.lasting.contains(name) || name.hasPrefix("access-control-")
            marked.add(name: name, value: value, indexing: isLasting ? .indexable : .nonIndexable)
        }
        return marked
    }
}
