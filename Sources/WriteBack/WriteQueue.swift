internal import ExactText
import Synchronization

/// Transactions of clients on their way to Postgres.
///
/// Order within a client is kept: a client is with one worker at a time, which takes its transactions from the front.
/// Clients that have work take turns. Bounded by count and bytes for each client and in all; who is over the limit is
/// told to wait for the completion of what it has submitted, and refused when it goes on regardless.
final class WriteQueue: Sendable {
    struct Entry: Sendable {
        var transaction: WriteTransaction
        var byteCount: Int
        /// Times it was tried.
        var attempts = 0
        /// Its changes have been put in the order of foreign keys.
        var isSorted = false
        var completion: @Sendable (WriteOutcome) -> Void
    }

    private struct Client {
        var entries: [Entry] = []
        /// Entries before this index are gone; they are removed in one go now and then.
        var head = 0
        var byteCount = 0
        /// With a worker, or waiting for its pause to end.
        var isTaken = false

        var count: Int { self.entries.count - self.head }
    }

    private struct State {
        var clients: ExactDictionary<Client> = [:]
        /// Clients with work that no worker has.
        var ready: [String] = []
        var readyHead = 0
        var count = 0
        var byteCount = 0
        var idleWorkers: [CheckedContinuation<String?, Never>] = []
        var isClosed = false
        /// Closed, and workers stop at once.
        var isStopped = false
    }

    private let limits: DirectWriter.Limits
    private let state = Mutex(State())

    init(limits: DirectWriter.Limits) {
        self.limits = limits
    }

    var status: (transactions: Int, bytes: Int, clients: Int) {
        self.state.withLock { ($0.count, $0.byteCount, $0.clients.count) }
    }

    func submit(_ entry: Entry) -> DirectWriter.Admission {
        let clientID = entry.transaction.clientID
        let limits = self.limits
        let (admission, worker) = self.state.withLock {
            state -> (DirectWriter.Admission, CheckedContinuation<String?, Never>?) in
            guard !state.isClosed else { return (.closed, nil) }
            var client = state.clients[clientID] ?? Client()
            // The first transaction of a client is always taken up to the total, however large it is.
            let clientIsOver = client.count > 0 && client.byteCount + entry.byteCount > 2 * limits.bytesPerClient
            let clientHasTooMany = client.count >= 2 * limits.transactionsPerClient
            let totalIsOver = state.count > 0 && state.byteCount + entry.byteCount > 2 * limits.totalBytes
            if clientIsOver || clientHasTooMany || totalIsOver { return (.refused, nil) }
            client.entries.append(entry)
            client.byteCount += entry.byteCount
            state.count += 1
            state.byteCount += entry.byteCount
            let isFull =
                client.count >= limits.transactionsPerClient || client.byteCount >= limits.bytesPerClient
                || state.byteCount >= limits.totalBytes
            let worker = Self.offer(clientID, &client, &state)
            state.clients[clientID] = client
            return (isFull ? .acceptedAndFull : .accepted, worker)
        }
        worker?.resume(returning: clientID)
        return admission
    }

    /// Gives a client with work to a worker that waits, or puts it behind the others.
    private static func offer(
        _ clientID: String, _ client: inout Client, _ state: inout State
    ) -> CheckedContinuation<String?, Never>? {
        guard !client.isTaken, client.count > 0 else { return nil }
        client.isTaken = true
        if let worker = state.idleWorkers.popLast() { return worker }
        state.ready.append(clientID)
        return nil
    }

    /// The next client with work, which is the worker's until ``release(_:)``; nil when there will be none any more.
    func nextClient() async -> String? {
        await withCheckedContinuation { continuation in
            let answer: String?? = self.state.withLock { state in
                if state.isStopped { return .some(nil) }
                if state.readyHead < state.ready.count {
                    let clientID = state.ready[state.readyHead]
                    state.readyHead += 1
                    if state.readyHead > 1024 {
                        state.ready.removeFirst(state.readyHead)
                        state.readyHead = 0
                    }
                    return .some(clientID)
                }
                if state.isClosed && state.count == 0 { return .some(nil) }
                state.idleWorkers.append(continuation)
                return nil
            }
            if let answer { continuation.resume(returning: answer) }
        }
    }

    /// The transactions at the front of a client's queue, up to the limits of a batch; at least one if there is any.
    func front(of clientID: String, count: Int, bytes: Int) -> [Entry] {
        self.state.withLock { state in
            guard let client = state.clients[clientID] else { return [] }
            var size = 0
            var batch: [Entry] = []
            for entry in client.entries[client.head...] {
                if !batch.isEmpty, size + entry.byteCount > bytes || batch.count >= count { break }
                size += entry.byteCount
                batch.append(entry)
            }
            return batch
        }
    }

    /// Removes the transaction at the front, which has been dealt with, and tells its submitter.
    func completeFront(of clientID: String, _ outcome: WriteOutcome) {
        let entry: Entry? = self.state.withLock { state in
            guard var client = state.clients[clientID], client.count > 0 else { return nil }
            state.clients[clientID] = nil
            let entry = client.entries[client.head]
            client.head += 1
            client.byteCount -= entry.byteCount
            state.count -= 1
            state.byteCount -= entry.byteCount
            if client.head > 64 {
                client.entries.removeFirst(client.head)
                client.head = 0
            }
            state.clients[clientID] = client
            return entry
        }
        entry?.completion(outcome)
    }

    /// Counts a failed attempt of the transaction at the front and returns the number of attempts so far.
    @discardableResult
    func noteAttempt(of clientID: String) -> Int {
        self.state.withLock { state in
            guard var client = state.clients[clientID], client.count > 0 else { return 0 }
            state.clients[clientID] = nil
            client.entries[client.head].attempts += 1
            let attempts = client.entries[client.head].attempts
            state.clients[clientID] = client
            return attempts
        }
    }

    /// Puts the changes of the transaction at the front in another order.
    func sortFront(of clientID: String, _ changes: [WriteChange]) {
        self.state.withLock { state in
            guard let head = state.clients[clientID]?.head, (state.clients[clientID]?.count ?? 0) > 0 else { return }
            state.clients[clientID]?.entries[head].transaction.changes = changes
            state.clients[clientID]?.entries[head].isSorted = true
            state.clients[clientID]?.entries[head].attempts += 1
        }
    }

    /// Gives a client back; if it has more work it is behind the others.
    func release(_ clientID: String) {
        let (worker, finished) = self.state.withLock {
            state -> (CheckedContinuation<String?, Never>?, [CheckedContinuation<String?, Never>]) in
            var worker: CheckedContinuation<String?, Never>?
            if var client = state.clients[clientID] {
                client.isTaken = false
                if client.count == 0 {
                    state.clients[clientID] = nil
                } else {
                    worker = Self.offer(clientID, &client, &state)
                    state.clients[clientID] = client
                }
            }
            return (worker, Self.finished(&state))
        }
        worker?.resume(returning: clientID)
        for worker in finished { worker.resume(returning: nil) }
    }

    private static func finished(_ state: inout State) -> [CheckedContinuation<String?, Never>] {
        guard state.isStopped || (state.isClosed && state.count == 0) else { return [] }
        defer { state.idleWorkers = [] }
        return state.idleWorkers
    }

    /// Takes no more; workers end when what is there has been dealt with.
    func close() {
        let finished = self.state.withLock { state in
            state.isClosed = true
            return Self.finished(&state)
        }
        for worker in finished { worker.resume(returning: nil) }
    }

    /// Takes no more, and workers end at once.
    func stop() {
        let finished = self.state.withLock { state in
            state.isClosed = true
            state.isStopped = true
            return Self.finished(&state)
        }
        for worker in finished { worker.resume(returning: nil) }
    }

    var isStopped: Bool { self.state.withLock { $0.isStopped } }

    /// After the workers have ended: tells the submitters of what is left.
    func abandonAll() {
        let left: [Entry] = self.state.withLock { state in
            let entries = state.clients.values.flatMap { $0.entries[$0.head...] }
            state.clients = [:]
            state.count = 0
            state.byteCount = 0
            return entries
        }
        for entry in left { entry.completion(.abandoned) }
    }
}
