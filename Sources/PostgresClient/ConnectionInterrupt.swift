import CLibPQ
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif

/// Stops what a connection is doing, from any thread.
///
/// A cancel request goes to the server over a connection of its own. It is only sent while the statement it is meant
/// for is under way, and the end of that statement waits for the request, so that a late request never hits the next
/// statement.
final class ConnectionInterrupt: Sendable {
    // Why unchecked: PGcancel is immutable and made by libpq to be used from other threads.
    private struct CancelKey: @unchecked Sendable {
        var pointer: OpaquePointer
    }

    private struct State {
        var key: CancelKey?
        /// The connection's socket; -1 once it is closed.
        var socket: Int32 = -1
        var lastNumber: UInt64 = 0
        var current: UInt64 = 0
        /// A statement that was given up before it began.
        var givenUp: UInt64 = 0
        var isRunning = false
        var isAborted = false
    }

    private let state = Mutex(State())

    /// Called when the connection stands.
    func attach(connection: OpaquePointer) {
        let key = PQgetCancel(connection).map { CancelKey(pointer: $0) }
        let socket = PQsocket(connection)
        self.state.withLock {
            $0.key = key
            $0.socket = socket
        }
    }

    /// Called before the connection is freed: nothing here touches its socket any more.
    func detach() {
        let key = self.state.withLock { state in
            state.socket = -1
            defer { state.key = nil }
            return state.key
        }
        if let key { PQfreeCancel(key.pointer) }
    }

    /// A number for a statement that is about to begin.
    func newNumber() -> UInt64 {
        self.state.withLock {
            $0.lastNumber += 1
            return $0.lastNumber
        }
    }

    /// Marks the beginning of a statement; false when it has been given up already.
    func begin(_ number: UInt64) -> Bool {
        self.state.withLock {
            guard $0.givenUp != number else { return false }
            $0.current = number
            $0.isRunning = true
            return true
        }
    }

    func end() {
        self.state.withLock { $0.isRunning = false }
    }

    var isAborted: Bool { self.state.withLock { $0.isAborted } }

    /// Whether statement `number` is still under way.
    private func isRunning(_ number: UInt64) -> Bool {
        self.state.withLock { $0.isRunning && $0.current == number && $0.socket >= 0 }
    }

    /// Asks the server to give up the statement under way. It blocks for a round trip.
    func cancel(_ number: UInt64? = nil) {
        self.state.withLock { state in
            guard state.isRunning, number == nil || state.current == number, let key = state.key else { return }
            withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { text in
                text.initialize(repeating: 0)
                _ = PQcancel(key.pointer, text.baseAddress, Int32(text.count))
            }
        }
    }

    /// Cancels statement `number` without blocking the caller; a server that does not react within five seconds is cut
    /// off.
    func cancelInBackground(_ number: UInt64) {
        let isWaiting = self.state.withLock { state in
            if !state.isRunning || state.current != number { state.givenUp = number }
            return state.isRunning && state.current == number
        }
        guard isWaiting else { return }
        BackgroundThread.start(name: "pg-cancel") {
            self.cancel(number)
            for _ in 0..<100 where self.isRunning(number) { usleep(50_000) }
            if self.isRunning(number) { self.abort() }
        }
    }

    /// Cuts the connection: a call blocked on it returns at once with `connectionLost`.
    func abort() {
        self.state.withLock { state in
            state.isAborted = true
            if state.socket >= 0 { _ = shutdown(state.socket, Int32(SHUT_RDWR)) }
        }
    }
}
