import HTTPServer
import Logging
import NIOCore
import NIOPosix
import Testing

let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A listener with direct routes of the test's own.
struct DirectServer {
    let listener: HTTPListener
    var port: Int { self.listener.port }

    static func start(
        limits change: (inout HTTPLimits) -> Void = { _ in }, options: HTTPListenerOptions = HTTPListenerOptions(),
        route: HTTPRouteOptions = HTTPRouteOptions(), group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        _ handler: @escaping HTTPRouter.DirectHandler
    ) async throws -> DirectServer {
        var limits = HTTPLimits()
        change(&limits)
        var router = HTTPRouter()
        router.onPrefixDirect("/s", route, handler)
        return DirectServer(
            listener: try await HTTPListener.bind(
                host: "127.0.0.1", port: 0, group: group, limits: limits, router: router, logger: silent,
                options: options))
    }

    /// What the server sends until it closes.
    func exchange(_ text: String) async throws -> String {
        let client = try await RawConnection.connect(port: self.port)
        client.send(text)
        #expect(await client.waitForEnd(), "the server did not close; it sent: \(client.text)")
        await client.close()
        return client.text
    }

    func stop() async { await self.listener.drain(grace: .zero) }
}

/// A response without the line that differs from second to second.
func withoutDate(_ response: String) -> String {
    var lines = response.split(separator: "\r\n", omittingEmptySubsequences: false)
    lines.removeAll { $0.hasPrefix("date: ") }
    return lines.joined(separator: "\r\n")
}

/// Waits for a condition that no event announces.
func eventually(_ condition: () -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while !condition() {
        try #require(ContinuousClock.now < deadline)
        try await Task.sleep(for: .milliseconds(5))
    }
}
