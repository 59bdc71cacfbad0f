import NIOCore
import NIOHTTP1

/// A request whose body has arrived.
package struct HTTPRequest: Sendable {
    package var head: HTTPRequestHead
    package var body: ByteBuffer
    /// Decoded path, without the query.
    package var path: String
    /// The part after `?`, as sent; empty if there is none.
    package var query: String

    package init(head: HTTPRequestHead, body: ByteBuffer) {
        self.head = head
        self.body = body
        let parts = Self.originForm(head.uri).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = parts.first.map(String.init) ?? "/"
        // What cannot be decoded stays as it is, and names nothing.
        self.path = Self.percentDecoded(path, plusIsSpace: false) ?? path
        self.query = parts.count > 1 ? String(parts[1]) : ""
    }

    /// Path and query of a target that may be absolute (RFC 9112, section 3.2.2).
    private static func originForm(_ target: String) -> Substring {
        let lowercased = target.prefix(8).lowercased()
        guard lowercased.hasPrefix("http://") || lowercased.hasPrefix("https://") else { return target[...] }
        let authority = target.dropFirst(lowercased.hasPrefix("https://") ? 8 : 7)
        guard let slash = authority.firstIndex(where: { $0 == "/" || $0 == "?" }) else { return "/" }
        return authority[slash] == "/" ? authority[slash...] : "/" + authority[slash...]
    }

    /// The first value of a query parameter, decoded; nil if it is absent.
    package func queryValue(_ name: String) -> String? {
        for pair in self.query.split(separator: "&") {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard Self.percentDecoded(String(halves[0]), plusIsSpace: true) == name else { continue }
            return halves.count > 1 ? Self.percentDecoded(String(halves[1]), plusIsSpace: true) : ""
        }
        return nil
    }

    /// RFC 3986 percent-decoding; nil if the result is not UTF-8 or an escape is cut short.
    package static func percentDecoded(_ text: String, plusIsSpace: Bool) -> String? {
        var bytes: [UInt8] = []
        var iterator = text.utf8.makeIterator()
        while let byte = iterator.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = iterator.next().flatMap(self.hexValue),
                    let low = iterator.next().flatMap(self.hexValue)
                else { return nil }
                bytes.append(high << 4 | low)
            case UInt8(ascii: "+") where plusIsSpace:
                bytes.append(UInt8(ascii: " "))
            default:
                bytes.append(byte)
            }
        }
        return String(validating: bytes, as: UTF8.self)
    }

    private static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): return byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): return byte - UInt8(ascii: "A") + 10
        default: return nil
        }
    }
}

/// A reply that is held whole in memory.
package struct HTTPReply: Sendable {
    package var status: HTTPResponseStatus
    package var headers: HTTPHeaders
    package var body: ByteBuffer

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
