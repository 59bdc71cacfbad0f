import HTTPServer
import Logging
import NIOCore
import NIOHTTP1

/// The upgrade of `/ws`: its checks in their order, each with the text that clients' developers know.
package enum SatelliteRoute {
    private static let prefix = "electric."
    /// Versions of the protocol that are spoken: 0.10, 0.11 and 0.12.
    private static let versions = 10...12
    private static let range = ">= 0.10.0 and <= 0.12.1"

    /// - Parameter status: nil when clients can be served, otherwise why not yet, in one word.
    package static func answer(
        _ request: HTTPRequest, services: SharedSatelliteServices, logger: Logger, status: String?
    ) -> HTTPAnswer {
        guard WebSocketUpgrade.key(of: request.head) != nil else {
            return .reply(.text("Bad request", status: .badRequest))
        }
        let offers = WebSocketUpgrade.offeredProtocols(request.head.headers).filter { $0.hasPrefix(self.prefix) }
        guard offers.count == 1, let offer = offers.first,
            let version = self.version(offer.dropFirst(self.prefix.count))
        else { return .reply(.text("Missing satellite websocket subprotocol", status: .badRequest)) }
        guard version.major == 0, self.versions.contains(version.minor) else {
            return .reply(
                .text(
                    "Cannot connect satellite version \(version.major).\(version.minor).0: this server requires \(self.range)",
                    status: .badRequest))
        }
        if let status {
            var reply = HTTPReply.text("Postgres connection is not ready: \(status)...", status: .serviceUnavailable)
            reply.headers.add(name: "retry-after", value: "1")
            return .reply(reply)
        }
        return .webSocket(subprotocol: offer) { socket in
            SatelliteConnection(socket: socket, services: services, logger: logger)
        }
    }

    /// Two numbers, in fewer than 20 bytes and without leading zeros, as in semantic versions.
    private static func version(_ text: Substring) -> (major: Int, minor: Int)? {
        guard text.utf8.count < 20 else { return nil }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }),
            parts.allSatisfy({ $0 == "0" || !$0.hasPrefix("0") }),
            let major = Int(parts[0]), let minor = Int(parts[1])
        else { return nil }
        return (major, minor)
    }
}
