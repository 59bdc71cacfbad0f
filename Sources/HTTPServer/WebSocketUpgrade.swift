import Crypto
import NIOHTTP1

/// The opening handshake of RFC 6455, section 4.2.
///
/// `Origin` is not looked at: clients are mostly native or on other origins, and nothing that a browser adds by itself (cookies,
/// HTTP authentication) means anything here. Who the client is, it proves by a token inside the connection.
package enum WebSocketUpgrade {
    private static let magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    /// The client's key if the request is a well-formed upgrade to WebSocket version 13; nil otherwise.
    package static func key(of request: HTTPRequestHead) -> String? {
        let headers = request.headers
        guard request.method == .GET, request.version == .http1_1,
            headers[canonicalForm: "upgrade"].contains(where: { $0.lowercased() == "websocket" }),
            headers[canonicalForm: "connection"].contains(where: { $0.lowercased() == "upgrade" }),
            headers["sec-websocket-version"] == ["13"],
            headers["sec-websocket-key"].count == 1
        else { return nil }
        let key = headers["sec-websocket-key"][0]
        // 16 bytes in base64
        let isBase64 = key.utf8.dropLast(2).allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
                return true
            default: return false
            }
        }
        return key.utf8.count == 24 && key.hasSuffix("==") && isBase64 ? key : nil
    }

    /// Value of `Sec-WebSocket-Accept`.
    package static func accept(key: String) -> String {
        var hash = Insecure.SHA1()
        hash.update(data: Array((key + self.magic).utf8))
        return self.base64(Array(hash.finalize()))
    }

    /// Subprotocols offered, over all headers and commas.
    package static func offeredProtocols(_ headers: HTTPHeaders) -> [String] {
        headers[canonicalForm: "sec-websocket-protocol"].map(String.init)
    }

    static func base64(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let chunk = bytes[start..<min(start + 3, bytes.count)]
            let word = chunk.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - chunk.count))
            for position in 0..<4 {
                text.append(
                    position <= chunk.count
                        ? alphabet[Int(word >> UInt32(18 - 6 * position)) & 63] : UInt8(ascii: "="))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }
}
