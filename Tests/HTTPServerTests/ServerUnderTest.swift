import HTTPServer
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing

/// A listener on a free port with routes for the tests.
final class ServerUnderTest: Sendable {
    let listener: HTTPListener
    let gate: Gate
    let cancelled: Signal

    private init(_ listener: HTTPListener, _ gate: Gate, _ sessions: SessionList, _ cancelled: Signal) {
        self.listener = listener
        self.gate = gate
        self.sessions = sessions
        self.cancelled = cancelled
    }
    private let sessions: SessionList

    var port: Int { self.listener.port }
    var logs: [RecordingSession.Log] { self.sessions.all }

    static func start(_ change: (inout HTTPLimits) -> Void = { _ in }) async throws -> ServerUnderTest {
        var limits = HTTPLimits()
        change(&limits)
        let gate = Gate()
        let sessions = SessionList()
        let cancelled = Signal()
        var router = HTTPRouter()
        router.on(.GET, "/hello") { _ in .reply(.text("hello")) }
        router.on(.POST, "/echo") { request in .reply(HTTPReply(status: .ok, body: request.body)) }
        router.on(.GET, "/query") { request in .reply(.text(request.queryValue("q") ?? "(none)")) }
        router.on(.GET, "/injected") { _ in
            .reply(HTTPReply(status: .ok, headers: ["x-name": "a\r\nset-cookie: b=c"]))
        }
        router.on(.GET, "/large") { _ in
            .reply(HTTPReply(status: .ok, body: ByteBuffer(repeating: 0x61, count: 4 << 20)))
        }
        router.on(.GET, "/slow") { _ in
            gate.arrived.fire()
            await withTaskCancellationHandler {
                await gate.opened.wait()
            } onCancel: {
                cancelled.fire()
                gate.opened.fire()
            }
            return .reply(.text("slow"))
        }
        router.on(.GET, "/socket") { _ in
            .webSocket(subprotocol: nil) { socket in
                let session = RecordingSession(socket)
                sessions.add(session.log)
                return session
            }
        }
        let listener = try await HTTPListener.bind(
            host: "127.0.0.1", port: 0, group: MultiThreadedEventLoopGroup.singleton, limits: limits, router: router,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        return ServerUnderTest(listener, gate, sessions, cancelled)
    }

    func stop() async { await self.listener.drain(grace: .zero) }

    /// A client behind a finished upgrade.
    func webSocket(reads: Bool = true, behind: [UInt8] = []) async throws -> RawConnection {
        let client = try await RawConnection.connect(port: self.port, reads: reads)
        client.send(Array(Self.upgradeRequest.utf8) + behind)
        return client
    }

    static let upgradeRequest =
        "GET /socket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
        + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        + "Origin: https://elsewhere.example\r\n\r\n"
}

final class SessionList: Sendable {
    private let logs = Mutex<[RecordingSession.Log]>([])
    func add(_ log: RecordingSession.Log) { self.logs.withLock { $0.append(log) } }
    var all: [RecordingSession.Log] { self.logs.withLock { $0 } }
}

/// Happens once; any number may wait for it.
final class Signal: Sendable {
    private let state = Mutex<(fired: Bool, waiters: [CheckedContinuation<Void, Never>])>((false, []))

    var hasFired: Bool { self.state.withLock { $0.fired } }

    func fire() {
        let waiters = self.state.withLock { state in
            state.fired = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Gives up after half a minute, so that one lost event is one failed test.
    func wait() async {
        let limit = MultiThreadedEventLoopGroup.singleton.next().scheduleTask(in: .seconds(30)) {
            Issue.record("an event did not come")
            self.fire()
        }
        defer { limit.cancel() }
        await withCheckedContinuation { continuation in
            let isOver = self.state.withLock { state in
                if !state.fired { state.waiters.append(continuation) }
                return state.fired
            }
            if isOver { continuation.resume() }
        }
    }
}

struct Gate: Sendable {
    let arrived = Signal()
    let opened = Signal()
}

/// Echoes binary messages, and does what a text message says.
final class RecordingSession: WebSocketSession {
    final class Log: Sendable {
        struct Entries {
            var messages: [Int] = []
            var writability: [Bool] = []
            var frames = 0
            var drains = 0
        }
        let entries = Mutex(Entries())
        let closed = Signal()
        let messageCame = Signal()
    }

    let log = Log()
    private let socket: WebSocket

    init(_ socket: WebSocket) { self.socket = socket }

    func opened() {}
    func binaryReceived(_ message: ByteBuffer) {
        self.log.entries.withLock { $0.messages.append(message.readableBytes) }
        self.socket.send(message)
        self.socket.flush()
        self.log.messageCame.fire()
    }
    func textReceived(_ message: ByteBuffer) {
        switch String(buffer: message) {
        case "close": self.socket.close(code: 4000, reason: String(repeating: "é", count: 100))
        case "bare close": self.socket.close(code: nil)
        case "shared":
            var frame = ByteBuffer()
            WebSocket.writeHeader(opcode: 0x2, length: 70_000, to: &frame)
            frame.writeRepeatingByte(7, count: 70_000)
            self.socket.sendFramed(frame)
            self.socket.sendFramed(frame)
            self.socket.flush()
        case "flood":
            let chunk = ByteBuffer(repeating: 1, count: 1 << 20)
            for _ in 0..<64 { self.socket.send(chunk) }
            self.socket.flush()
        default: break
        }
        self.log.messageCame.fire()
    }
    func activitySeen() { self.log.entries.withLock { $0.frames += 1 } }
    func writabilityChanged(_ isWritable: Bool) { self.log.entries.withLock { $0.writability.append(isWritable) } }
    func draining() {
        self.log.entries.withLock { $0.drains += 1 }
        self.socket.close(code: 1001, reason: "bye")
    }
    func closed() { self.log.closed.fire() }
}

/// Frames of a client.
enum ClientFrame {
    static func make(_ opcode: UInt8, _ payload: [UInt8] = [], isFinal: Bool = true) -> [UInt8] {
        var bytes: [UInt8] = [(isFinal ? 0x80 : 0) | opcode]
        switch payload.count {
        case 0..<126: bytes.append(0x80 | UInt8(payload.count))
        case 126..<65_536: bytes += [0x80 | 126, UInt8(payload.count >> 8), UInt8(payload.count & 255)]
        default: bytes += [0x80 | 127] + (0..<8).map { UInt8(truncatingIfNeeded: payload.count >> (56 - 8 * $0)) }
        }
        let key: [UInt8] = [0x12, 0x34, 0x56, 0x78]
        return bytes + key + payload.enumerated().map { $1 ^ key[$0 & 3] }
    }
    static func text(_ text: String) -> [UInt8] { self.make(0x1, Array(text.utf8)) }
}
