import DurableStreams
import NIOCore

extension SubscriptionSet {
    /// A PUT with all its steps, as one.
    mutating func put(
        _ id: String, body: ByteBuffer, streams: [(name: String, tail: UInt64)], at now: UInt64
    ) throws(SubscriptionError) -> (isNew: Bool, actions: [SubscriptionAction]) {
        let tails = Dictionary(uniqueKeysWithValues: streams.map { ($0.name, $0.tail) })
        guard case .begun(let configuration) = try self.begin(id, body: body, tail: { tails[$0] }, at: now) else {
            return (false, [])
        }
        self.link(id, to: streams.map(\.name).filter { Self.follows($0, configuration) }) { tails[$0] }
        return (true, self.finish(id, at: now))
    }
}
