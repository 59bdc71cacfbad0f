import NIOCore
import NIOHTTP1

/// How a receiver finds the end of a response body.
enum HTTPBodyFraming: Equatable {
    case length(Int)
    case chunked
    /// HTTP/1.0 with an unknown length, and HTTP/2, which has frames of its own.
    case untilEnd
    /// There is none (204, 304).
    case none
}

/// What a response head is made of, besides what the handler gave.
struct HTTPHeadFacts {
    var version: HTTPVersion
    var framing: HTTPBodyFraming
    /// Value of `Connection`, if any.
    var connection: StaticString?
    var date: HTTPDate
    var route: HTTPRoute
    /// Origin to name for the browser, if it is not the same for everybody.
    var allowedOrigin: String?
    /// Who asks.
    var identity: HTTPHeaders?
}

/// Heads of responses. Fields of framing and of the route replace what the handler set; a `Date` of the handler's stays.
enum HTTPHeadEncoder {
    /// Whether the fields can be sent without one of them turning into two.
    static func isWellFormed(_ headers: HTTPHeaders) -> Bool {
        for (name, value) in headers {
            guard Self.all(name, { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ":") }), !name.isEmpty,
                Self.all(value, { $0 == 0x09 || ($0 >= 0x20 && $0 != 0x7F) })
            else { return false }
        }
        return true
    }

    private static func all(_ text: String, _ isGood: (UInt8) -> Bool) -> Bool {
        text.utf8.withContiguousStorageIfAvailable { $0.allSatisfy(isGood) } ?? text.utf8.allSatisfy(isGood)
    }

    /// Fields that are ours to set.
    private static func isReserved(_ name: String, _ route: HTTPRoute) -> Bool {
        switch name.utf8.count {
        case 10: return name.lowercased() == "connection"
        case 14: return name.lowercased() == "content-length"
        case 17: return name.lowercased() == "transfer-encoding"
        case 22: return name.lowercased() == "x-content-type-options"
        case 28:
            return route.options.securityHeaders.crossOriginResourcePolicy != nil
                && name.lowercased() == "cross-origin-resource-policy"
        default: return false
        }
    }

    private static func isDate(_ name: String) -> Bool {
        // Most names of this length are those of entity tags, and are told apart by their first letter.
        name.utf8.first.map { $0 | 0x20 } == UInt8(ascii: "d") && name.lowercased() == "date"
    }

    static func writeHTTP1(
        _ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ facts: HTTPHeadFacts, to buffer: inout ByteBuffer
    ) {
        Self.writeStatusLine(status, facts.version, to: &buffer)
        var hasDate = false
        for (name, value) in headers where !Self.isReserved(name, facts.route) {
            if name.utf8.count == 4, Self.isDate(name) { hasDate = true }
            Self.writeField(name, value, to: &buffer)
        }
        if !hasDate { buffer.writeImmutableBuffer(facts.date.line) }
        switch facts.framing {
        case .length(let count):
            buffer.writeStaticString("content-length: ")
            buffer.writeString(String(count))
            buffer.writeStaticString("\r\n")
        case .chunked: buffer.writeStaticString("transfer-encoding: chunked\r\n")
        case .untilEnd, .none: break
        }
        buffer.writeImmutableBuffer(facts.route.fixedLines)
        if let origin = facts.allowedOrigin {
            buffer.writeStaticString("access-control-allow-origin: ")
            buffer.writeString(origin)
            buffer.writeStaticString("\r\n")
        }
        if let identity = facts.identity {
            for (name, value) in identity { Self.writeField(name, value, to: &buffer) }
        }
        if let connection = facts.connection {
            buffer.writeStaticString("connection: ")
            buffer.writeStaticString(connection)
            buffer.writeStaticString("\r\n")
        }
        buffer.writeStaticString("\r\n")
    }

    private static func writeField(_ name: String, _ value: String, to buffer: inout ByteBuffer) {
        buffer.writeString(name)
        buffer.writeStaticString(": ")
        buffer.writeString(value)
        buffer.writeStaticString("\r\n")
    }

    private static func writeStatusLine(
        _ status: HTTPResponseStatus, _ version: HTTPVersion, to buffer: inout ByteBuffer
    ) {
        if version == .http1_0 {
            buffer.writeStaticString("HTTP/1.0 ")
        } else {
            buffer.writeStaticString("HTTP/1.1 ")
        }
        switch status {
        case .ok: buffer.writeStaticString("200 OK\r\n")
        case .noContent: buffer.writeStaticString("204 No Content\r\n")
        default:
            buffer.writeString(String(status.code))
            buffer.writeStaticString(" ")
            // Why: a reason of the handler's making must not add a line.
            if Self.all(status.reasonPhrase, { $0 >= 0x20 && $0 != 0x7F }) { buffer.writeString(status.reasonPhrase) }
            buffer.writeStaticString("\r\n")
        }
    }

    static func http2(_ status: HTTPResponseStatus, _ headers: HTTPHeaders, _ facts: HTTPHeadFacts) -> HTTPResponseHead
    {
        var all = HTTPHeaders()
        all.reserveCapacity(headers.count + facts.route.fixedFields.count + 3)
        var hasDate = false
        for (name, value) in headers where !Self.isReserved(name, facts.route) {
            if name.utf8.count == 4, Self.isDate(name) { hasDate = true }
            all.add(name: name, value: value)
        }
        if !hasDate { all.add(name: "date", value: facts.date.value) }
        if case .length(let count) = facts.framing { all.add(name: "content-length", value: String(count)) }
        for (name, value) in facts.route.fixedFields { all.add(name: name, value: value) }
        if let origin = facts.allowedOrigin { all.add(name: "access-control-allow-origin", value: origin) }
        if let identity = facts.identity { all.add(contentsOf: identity) }
        return HTTPResponseHead(version: .http2, status: status, headers: all)
    }
}
