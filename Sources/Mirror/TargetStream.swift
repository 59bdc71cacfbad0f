import DurableStreams
import NIOCore
import StreamDirectory
import Synchronization

/// Appends to one stream, several on their way to the disk at a time.
///
/// Each append says what tail it expects. So when one is turned away all behind it are, and no gap can come about.
final class TargetStream: Sendable {
    private struct State {
        var tail: UInt64
        var appends = 0
        var bytes = 0
        var failure: StreamError?
        var waiter: CheckedContinuation<Void, Never>?
        /// The waiter goes on when so many bytes are on their way at most.
        var wanted = 0
    }

    let name: String
    private let calls: StreamCalls
    private let limit: Int
    private let state: Mutex<State>

    init(_ name: String, tail: UInt64, calls: StreamCalls, limit: Int) {
        self.name = name
        self.calls = calls
        self.limit = limit
        self.state = Mutex(State(tail: tail))
    }

    /// Where the next append will begin.
    var tail: UInt64 { self.state.withLock { $0.tail } }

    /// Hands an append over; returns when there is room for the next. Failures show at a later call at the latest.
    func append(_ payload: StreamPayload, sequence: String?) async throws {
        let count = payload.bytes.readableBytes
        try await self.wait(until: max(self.limit - count, 0))
        let expected = self.state.withLock { state -> UInt64 in
            defer {
                state.tail += UInt64(count)
                state.appends += 1
                state.bytes += count
            }
            return state.tail
        }
        let request = AppendRequest(
            contentType: ContentType.json.text, payload: .success(payload), sequence: sequence,
            ifMatch: StreamOffset(position: expected))
        self.calls.directory.append(self.name, request, now: self.calls.now) { result in
            let waiter = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
                state.appends -= 1
                state.bytes -= count
                if case .failure(let error) = result, state.failure == nil { state.failure = error }
                guard state.bytes <= state.wanted || state.appends == 0 else { return nil }
                defer { state.waiter = nil }
                return state.waiter
            }
            waiter?.resume()
        }
    }

    /// Waits until everything that was handed over is durable.
    func drain() async throws {
        try await self.wait(until: 0)
    }

    private func wait(until bytes: Int) async throws {
        await withCheckedContinuation { continuation in
            let isDone = self.state.withLock { state -> Bool in
                if state.appends == 0 || (bytes > 0 && state.bytes <= bytes) { return true }
                state.wanted = bytes == 0 ? -1 : bytes
                state.waiter = continuation
                return false
            }
            if isDone { continuation.resume() }
        }
        if let failure = self.state.withLock({ $0.failure }) { throw failure }
    }

    /// After a failure: waits until nothing is on its way, whatever became of it.
    func settle() async {
        _ = try? await self.wait(until: 0)
    }
}
