import NIOCore
import StreamDirectory
import Synchronization

/// Hands answers of the directory to an event loop: what one flush settles comes in one hop.
final class LoopTarget: CompletionTarget {
    private let eventLoop: any EventLoop

    init(_ eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    func deliver(_ completions: [StreamCompletion]) {
        self.eventLoop.execute {
            for completion in completions { completion.run() }
        }
    }
}

/// One target, and one table of watched streams, for each event loop.
package final class LoopTargets: Sendable {
    private let known = Mutex<[(loop: any EventLoop, target: LoopTarget, tails: NIOLoopBound<SharedTails>)]>([])

    /// Live reads that are under way.
    let readers = Atomic<Int>(0)
    /// Batches of events that were encoded.
    let batches = Atomic<Int>(0)

    package init() {}

    /// On the loop itself, as the next.
    func target(on eventLoop: any EventLoop) -> LoopTarget { self.entry(eventLoop).0 }

    func tails(on eventLoop: any EventLoop) -> SharedTails { self.entry(eventLoop).1.value }

    private func entry(_ eventLoop: any EventLoop) -> (LoopTarget, NIOLoopBound<SharedTails>) {
        self.known.withLock { known in
            for entry in known where entry.loop === eventLoop { return (entry.target, entry.tails) }
            let target = LoopTarget(eventLoop)
            let tails = NIOLoopBound(SharedTails(), eventLoop: eventLoop)
            known.append((eventLoop, target, tails))
            return (target, tails)
        }
    }
}
