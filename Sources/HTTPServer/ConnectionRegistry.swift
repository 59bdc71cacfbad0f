import NIOCore
import Synchronization

/// The open connections of one listener.
final class ConnectionRegistry: Sendable {
    private struct State {
        var channels: [ObjectIdentifier: any Channel] = [:]
        /// Connections that were on their way in when the drain began are turned away.
        var isDraining = false
        var refused: UInt64 = 0
    }

    private let state = Mutex(State())
    private let limit: Int

    init(limit: Int) {
        self.limit = limit
    }

    var count: Int { self.state.withLock { $0.channels.count } }
    /// How many connections were turned away.
    var refused: UInt64 { self.state.withLock { $0.refused } }

    /// Returns false when the limit is reached or the server drains; the caller refuses the connection then.
    func opened(_ channel: any Channel) -> Bool {
        let id = ObjectIdentifier(channel)
        let accepted = self.state.withLock { state in
            guard !state.isDraining, state.channels.count < self.limit else {
                state.refused += 1
                return false
            }
            state.channels[id] = channel
            return true
        }
        if accepted {
            channel.closeFuture.whenComplete { _ in
                // Nothing is destroyed under the lock.
                _ = self.state.withLock { $0.channels.removeValue(forKey: id) }
            }
        }
        return accepted
    }

    func askAllToEnd() {
        let channels = self.state.withLock { state in
            state.isDraining = true
            return Array(state.channels.values)
        }
        for channel in channels { channel.pipeline.fireUserInboundEventTriggered(ServerIsDraining()) }
    }

    func closeAll() async {
        let channels = self.state.withLock { Array($0.channels.values) }
        for channel in channels { channel.close(promise: nil) }
        for channel in channels { try? await channel.closeFuture.get() }
    }
}

/// A connection that is turned away.
struct ConnectionRefused: Error {}
