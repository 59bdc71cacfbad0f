import Glibc
import Logging
import NIOCore
import NIOPosix
import PostgresWire
import Synchronization

/// Listens on the Unix socket to which the extension's worker connects.
///
/// Peers are told apart by their uid before a byte of theirs counts: the sidecar's own, root's, and the ones configured.
package final class WorkerListener: Sendable {
    package struct SocketError: Error, CustomStringConvertible {
        package var description: String
    }

    private let channel: any Channel

    private init(channel: any Channel) {
        self.channel = channel
    }

    /// Binds the socket. A socket file left behind by a dead process is replaced; a live one is an error.
    ///
    /// - Parameter onLink: called on the link's event loop when a peer has said hello.
    package static func bind(
        path: String, allowedPeers: Set<UInt32>, group: any EventLoopGroup, logger: Logger,
        onLink: @escaping @Sendable (WorkerLink) -> Void
    ) async throws -> WorkerListener {
        try self.prepare(path: path)
        let allowed = allowedPeers.union([geteuid(), 0])
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 16)
            .childChannelOption(.autoRead, value: true)
            .childChannelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 256 * 1024))
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        WorkerLinkHandler(allowedPeers: allowed, logger: logger, onLink: onLink))
                }
            }
        let channel = try await bootstrap.bind(unixDomainSocketPath: path).get()
        // Why: the worker runs under the server's account. Who may talk is decided by the uid, not by the file mode.
        guard chmod(path, allowedPeers.isEmpty ? 0o600 : 0o666) == 0 else {
            try? await channel.close()
            throw SocketError(description: "cannot set the mode of \(path): errno \(errno)")
        }
        return WorkerListener(channel: channel)
    }

    package func close() async {
        try? await self.channel.close()
    }

    private static func prepare(path: String) throws {
        guard path.utf8.count < 104 else {
            throw SocketError(description: "the socket path \(path) is too long; set PENSTOCK_SOCKET to a shorter one")
        }
        let directory = path.split(separator: "/").dropLast().reduce(path.hasPrefix("/") ? "" : ".") { "\($0)/\($1)" }
        if mkdir(directory.isEmpty ? "/" : directory, 0o755) != 0, errno != EEXIST {
            throw SocketError(
                description: "cannot create the directory \(directory) for the extension's socket (errno \(errno)); "
                    + "create it or set PENSTOCK_SOCKET")
        }
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw SocketError(description: "\(path) exists and is not a socket; remove it or set PENSTOCK_SOCKET")
        }
        if self.answers(path) {
            throw SocketError(description: "another process is listening on \(path); only one sidecar may")
        }
        guard unlink(path) == 0 else {
            throw SocketError(description: "cannot replace the old socket \(path): errno \(errno)")
        }
    }

    private static func answers(_ path: String) -> Bool {
        let socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        guard socket >= 0 else { return false }
        defer { Glibc.close(socket) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
    }
}

/// One connected worker. Created when its hello has been read; idle until ``start(from:publication:sink:)``.
package final class WorkerLink: FeedTransport, Sendable {
    package enum Ending: Error, Hashable, Sendable {
        /// The worker said why.
        case failure(WorkerFrame.Failure)
        /// The worker gave the slot up, as asked.
        case released
        case disconnected
        /// The bytes made no sense, or the sink refused them.
        case broken(String)
    }

    package let hello: WorkerFrame.Hello
    let channel: any Channel
    private let state: Mutex<State>

    private struct State {
        var sink: (any FeedSink)?
        var ending: CheckedContinuation<Ending, Never>?
        var ended: Ending?
    }

    init(hello: WorkerFrame.Hello, channel: any Channel) {
        self.hello = hello
        self.channel = channel
        self.state = Mutex(State())
    }

    /// Starts the stream and returns when it has ended.
    package func stream(from position: LSN, publication: String, sink: any FeedSink) async -> Ending {
        await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<Ending, Never>) in
                let ended = self.state.withLock { state -> Ending? in
                    if let ended = state.ended { return ended }
                    state.sink = sink
                    state.ending = continuation
                    return nil
                }
                if let ended {
                    continuation.resume(returning: ended)
                } else {
                    self.write(.start(from: position, protocolVersion: 1, publication: publication))
                }
            }
        } onCancel: {
            self.close()
        }
    }

    package var isOpen: Bool { self.state.withLock { $0.ended == nil } }

    package func acknowledge(_ position: LSN) {
        self.write(.acknowledge(position))
    }

    /// Asks the worker to give the slot up; ``stream(from:publication:sink:)`` returns when it has.
    package func release() {
        self.write(.release)
    }

    package func ping() {
        self.write(.ping)
    }

    package func resume() {
        self.channel.eventLoop.execute {
            self.channel.setOption(.autoRead, value: true).whenSuccess { self.channel.read() }
        }
    }

    package func close() {
        // Why first: a child process that was being started at a bad moment may hold a copy of the descriptor, and the worker
        // would not hear of the end.
        self.channel.close(mode: .output, promise: nil)
        self.channel.close(promise: nil)
    }

    private func write(_ frame: WorkerFrame.Outgoing) {
        var buffer = self.channel.allocator.buffer(capacity: 64)
        WorkerFrame.write(frame, to: &buffer)
        self.channel.writeAndFlush(buffer, promise: nil)
    }

    var sink: (any FeedSink)? { self.state.withLock { $0.sink } }

    /// The stream is over. After `released` the connection stays and may be started again.
    func finish(_ ending: Ending) {
        let continuation = self.state.withLock { state -> CheckedContinuation<Ending, Never>? in
            defer {
                state.ending = nil
                state.sink = nil
            }
            if ending != .released { state.ended = state.ended ?? ending }
            return state.ending
        }
        continuation?.resume(returning: ending)
    }
}
