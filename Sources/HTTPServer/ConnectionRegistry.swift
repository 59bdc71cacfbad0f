import NIOCore
import Synchronization

/// The open connections of one listener.
final class ConnectionRegistry: Sendable {
    private let channels = Mutex<[ObjectIdentifier: any Channel]>([:])
    private let limit: Int

    init(limit: Int) {
        self.limit = limit
    }

    var count: Int { self.channels.withLock { $0.count } }

    /// Returns false when the limit is reached; the caller closes the connection then.
    func opened(_ channel: any Channel) -> Bool {
        let id = ObjectIdentifier(channel)
        let accepted = self.channels.withLock { channels in
            guard channels.count < self.limit else { return false }
            channels[id] = channel
            return true
        }
        if accepted {
            channel.closeFuture.whenComplete { _ in
                self.channels.withLock { _ = $0.removeValue(forKey: id) }
            }
        }
        return accepted
    }

    func askAllToEnd() {
        for channel in self.channels.withLock({ Array($0.values) }) {
            channel.pipeline.fireUserInboundEventTriggered(ServerIsDraining())
        }
    }

    func closeAll() async {
        for channel in self.channels.withLock({ Array($0.values) }) {
            try? await channel.close()
        }
    }
}
