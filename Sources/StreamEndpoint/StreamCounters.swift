import Synchronization

/// What the endpoint of streams has done since its start. Sums of event streams come in now and then, not with each event.
package final class StreamCounters: Sendable {
    /// The ways to read.
    package enum ReadKind: String, CaseIterable, Sendable {
        case catchUp = "catch_up"
        case longPoll = "long_poll"
        case eventStream = "sse"
    }

    private let catchUps = Atomic<UInt64>(0)
    private let catchUpBytes = Atomic<UInt64>(0)
    private let longPolls = Atomic<UInt64>(0)
    private let longPollBytes = Atomic<UInt64>(0)
    private let eventStreams = Atomic<UInt64>(0)
    private let eventBytes = Atomic<UInt64>(0)
    private let unauthorized = Atomic<UInt64>(0)

    package init() {}

    /// Requests to read, live ones counted when they begin.
    package func reads(_ kind: ReadKind) -> UInt64 {
        switch kind {
        case .catchUp: self.catchUps.load(ordering: .relaxed)
        case .longPoll: self.longPolls.load(ordering: .relaxed)
        case .eventStream: self.eventStreams.load(ordering: .relaxed)
        }
    }

    /// Bytes of bodies given to readers.
    package func sentBytes(_ kind: ReadKind) -> UInt64 {
        switch kind {
        case .catchUp: self.catchUpBytes.load(ordering: .relaxed)
        case .longPoll: self.longPollBytes.load(ordering: .relaxed)
        case .eventStream: self.eventBytes.load(ordering: .relaxed)
        }
    }

    /// Requests that were turned away for their token, or the lack of one.
    package var unauthorizedCount: UInt64 { self.unauthorized.load(ordering: .relaxed) }

    func began(_ kind: ReadKind) {
        switch kind {
        case .catchUp: self.catchUps.wrappingAdd(1, ordering: .relaxed)
        case .longPoll: self.longPolls.wrappingAdd(1, ordering: .relaxed)
        case .eventStream: self.eventStreams.wrappingAdd(1, ordering: .relaxed)
        }
    }

    func sent(_ bytes: Int, _ kind: ReadKind) {
        guard bytes > 0 else { return }
        switch kind {
        case .catchUp: self.catchUpBytes.wrappingAdd(UInt64(bytes), ordering: .relaxed)
        case .longPoll: self.longPollBytes.wrappingAdd(UInt64(bytes), ordering: .relaxed)
        case .eventStream: self.eventBytes.wrappingAdd(UInt64(bytes), ordering: .relaxed)
        }
    }

    func refused() { self.unauthorized.wrappingAdd(1, ordering: .relaxed) }
}
