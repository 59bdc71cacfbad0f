import DurableStreams
import HTTPServer
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A webhook's receiver on a real socket, which answers as it is told.
final class WebhookReceiver: Sendable {
    struct Received: Sendable {
        var path: String
        var headers: HTTPHeaders
        var body: ByteBuffer
        var json: JSONValue? { JSONValue(self.body) }
        var token: String { self.json?["callback_token"]?.stringValue ?? "" }
        var wakeID: String { self.json?["wake_id"]?.stringValue ?? "" }
        var generation: UInt64 { self.json?["generation"]?.unsignedValue ?? 0 }

        /// One stream as the wake names it.
        func stream(_ name: String) -> JSONValue? {
            self.json?["streams"]?.arrayValue?.first { $0["path"]?.stringValue == name }
        }
    }

    typealias Script = @Sendable (_ request: Received, _ count: Int, _ responder: HTTPResponder) -> Void

    private let log: Mutex<[Received]>
    private let listener: HTTPListener

    static func start(
        _ options: HTTPListenerOptions = HTTPListenerOptions(), _ script: @escaping Script
    ) async throws -> WebhookReceiver {
        let holder = Holder()
        var router = HTTPRouter()
        router.onPrefixDirect("/hook") { request, responder in
            guard let receiver = holder.receiver else {
                return responder.reply(.text("early", status: .serviceUnavailable))
            }
            let received = Received(path: request.path, headers: request.head.headers, body: request.body)
            let count = receiver.log.withLock { log in
                log.append(received)
                return log.count
            }
            script(received, count, responder)
        }
        let listener = try await HTTPListener.bind(
            host: "127.0.0.1", port: 0, group: MultiThreadedEventLoopGroup.singleton, limits: HTTPLimits(),
            router: router, logger: EndpointServer.silent, options: options)
        let receiver = WebhookReceiver(listener)
        holder.receiver = receiver
        return receiver
    }

    private final class Holder: Sendable {
        private let box = Mutex<WebhookReceiver?>(nil)
        var receiver: WebhookReceiver? {
            get { self.box.withLock { $0 } }
            set { self.box.withLock { $0 = newValue } }
        }
    }

    private init(_ listener: HTTPListener) {
        self.listener = listener
        self.log = Mutex([])
    }

    static func done(_ responder: HTTPResponder) { responder.reply(.json("{\"done\":true}")) }
    static func accepted(_ responder: HTTPResponder) { responder.reply(.json("{}")) }

    var port: Int { self.listener.port }
    var url: String { "http://127.0.0.1:\(self.listener.port)/hook" }
    var received: [Received] { self.log.withLock { $0 } }

    func wait(count: Int, seconds: Double = 10) async throws -> [Received] {
        let deadline = ContinuousClock.now + .milliseconds(Int64(seconds * 1000))
        while self.received.count < count {
            guard ContinuousClock.now < deadline else {
                throw TestFailure("\(self.received.count) webhooks came, not \(count)")
            }
            try await Task.sleep(for: .milliseconds(5))
        }
        return self.received
    }

    func stop() async { await self.listener.drain(grace: .zero) }
}

/// A number that callbacks change.
final class SharedCount: Sendable {
    private let count = Atomic<Int>(0)
    var value: Int { self.count.load(ordering: .relaxed) }
    @discardableResult func add(_ number: Int) -> Int { self.count.wrappingAdd(number, ordering: .relaxed).newValue }
    func raise(to number: Int) { _ = self.count.max(number, ordering: .relaxed) }
}
