import NIOCore
import Synchronization

/// The open connections of one listener.
final class ConnectionRegistry: Sendable {
    private enum Stage {
        case serving
        /// Connections that come now are kept apart: nobody waits for them.
        case draining
        case closed
    }

    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        /// Those that came during the drain.
        var late: [ObjectIdentifier: any Channel] = [:]
        var stage = Stage.serving
        var refused: UInt64 = 0

        var count: Int { self.channels.count + self.late.count }
    }

    private let state = Mutex(State())
    private let limit: Int

    init(limit: Int) {
        self.limit = limit
    }

    var count: Int { self.state.withLock { $0.count } }
    /// Connections that were there when the drain began.
    var countBeforeDrain: Int { self.state.withLock { $0.channels.count } }
    /// How many connections were turned away.
    var refused: UInt64 { self.state.withLock { $0.refused } }

    /// Returns false when the limit is reached or the listener is closed; the caller refuses the connection then.
    func opened(_ channel: any Channel) -> Bool {
        let id = ObjectIdentifier(channel)
        let accepted = self.state.withLock { state in
            guard state.stage != .closed, state.count < self.limit else {
                state.refused += 1
                return false
            }
            if state.stage == .serving { state.channels[id] = channel } else { state.late[id] = channel }
            return true
        }
        if accepted {
            channel.closeFuture.whenComplete { _ in
                // Nothing is destroyed under the lock.
                _ = self.state.withLock { $0.channels.removeValue(forKey: id) ?? $0.late.removeValue(forKey: id) }
            }
        }
        return accepted
    }

    func askAllToEnd() {
        let channels = self.state.withLock { state in
            if state.stage == .serving { state.stage = .draining }
            return Array(state.channels.values)
        }
        for channel in channels { channel.pipeline.fireUserInboundEventTriggered(ServerIsDraining()) }
    }

    func tellAllThatDrainIsOver() {
        let channels = self.state.withLock { state in
            state.stage = .closed
            return Array(state.late.values)
        }
        for channel in channels { channel.pipeline.fireUserInboundEventTriggered(DrainIsOver()) }
    }

    func closeThoseBeforeDrain() async {
        await Self.close(self.state.withLock { Array($0.channels.values) })
    }

    func closeAll() async {
        await Self.close(self.state.withLock { Array($0.channels.values) + Array($0.late.values) })
    }

    private static func close(_ channels: [any Channel]) async {
        for channel in channels { channel.close(promise: nil) }
        for channel in channels { try? await channel.closeFuture.get() }
    }
}

/// A connection that is turned away.
struct ConnectionRefused: Error {}
