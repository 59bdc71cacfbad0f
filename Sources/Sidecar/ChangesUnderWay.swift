import DurableStreams
import Foundation
import StreamDirectory

/// Changes that one thread hands to the storage without waiting for each, so that they share its syncs.
///
/// Of one stream they are made in the order in which they were begun; after one that failed no more are begun. Bounded in
/// number and bytes: who begins another one waits.
final class ChangesUnderWay: @unchecked Sendable {
    // Why unchecked: everything that changes is touched with the condition's lock held.
    private let condition = NSCondition()
    private let countLimit: Int
    private let byteLimit: Int
    private var count = 0
    private var bytes = 0
    private var failed: [Int: StreamError] = [:]

    /// - Parameter limits: Of the storage, which is kept well below them.
    init(within limits: StreamDirectoryLimits) {
        self.countLimit = max(1, min(256, limits.waitingChanges / 2))
        self.byteLimit = min(8 << 20, limits.waitingBytes / 2)
    }

    private func locked<Value>(_ body: () -> Value) -> Value {
        self.condition.lock()
        defer { self.condition.unlock() }
        return body()
    }

    /// Begins a change of a stream, unless an earlier one failed.
    ///
    /// - Parameter body: Begins it; what it is given is called once, on any thread, with what went wrong or nil.
    func begin(_ stream: Int, bytes: Int = 0, _ body: (@escaping @Sendable (StreamError?) -> Void) -> Void) {
        let begins = self.locked { () -> Bool in
            while self.count >= self.countLimit || self.count > 0 && self.bytes + bytes > self.byteLimit {
                self.condition.wait()
            }
            guard self.failed[stream] == nil else { return false }
            self.count += 1
            self.bytes += bytes
            return true
        }
        guard begins else { return }
        body { error in
            self.locked {
                self.count -= 1
                self.bytes -= bytes
                if let error { self.note(stream, error) }
                self.condition.broadcast()
            }
        }
    }

    func fail(_ stream: Int, _ error: StreamError) {
        self.locked { self.note(stream, error) }
    }

    private func note(_ stream: Int, _ error: StreamError) {
        if self.failed[stream] == nil { self.failed[stream] = error }
    }

    /// Until all have ended.
    func wait() {
        self.locked {
            while self.count > 0 { self.condition.wait() }
        }
    }

    /// The first error of each stream that had one.
    var failures: [Int: StreamError] { self.locked { self.failed } }
}
