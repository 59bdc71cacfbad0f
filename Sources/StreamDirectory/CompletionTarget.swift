import DurableStreams

/// Where answers and notices are to run: one for each event loop of an endpoint.
///
/// Everything that one flush settles for a target is handed over in one call, so that a thousand appends cost a loop
/// one hop.
package protocol CompletionTarget: AnyObject, Sendable {
    /// Called from any thread, also from inside a call of the directory made by the target's own thread. Must not block
    /// and must not call into the directory: it hands `completions` to its loop, which runs each of them in order.
    func deliver(_ completions: [StreamCompletion])
}

/// One answer or notice, ready to be given.
package struct StreamCompletion: Sendable {
    enum Body: Sendable {
        case append(@Sendable (Result<DurableStreams.AppendOutcome, StreamError>) -> Void, DurableStreams.AppendOutcome)
        case create(@Sendable (Result<CreateOutcome, StreamError>) -> Void, CreateOutcome)
        case delete(@Sendable (Result<Void, StreamError>) -> Void)
        case notice(TailObserver, StreamNotice)
    }

    let body: Body
    /// Instead of the outcome.
    var error: StreamError?

    init(_ body: Body, error: StreamError? = nil) {
        self.body = body
        self.error = error
    }

    /// Gives the answer.
    package func run() {
        switch self.body {
        case .append(let reply, let outcome): reply(self.error.map { .failure($0) } ?? .success(outcome))
        case .create(let reply, let outcome): reply(self.error.map { .failure($0) } ?? .success(outcome))
        case .delete(let reply): reply(self.error.map { .failure($0) } ?? .success(()))
        case .notice(let observer, let notice): observer.deliver(notice)
        }
    }
}

/// Answers and notices gathered under locks, handed over afterwards: one call for each target.
struct DeliveryBatch {
    private var direct: [StreamCompletion] = []
    private var groups: [(target: any CompletionTarget, completions: [StreamCompletion])] = []
    private var last = 0

    var isEmpty: Bool { self.direct.isEmpty && self.groups.isEmpty }

    mutating func add(_ completion: StreamCompletion, to target: (any CompletionTarget)?) {
        guard let target else {
            self.direct.append(completion)
            return
        }
        // Why first the last one: a flush's answers come in runs.
        if self.last < self.groups.count, self.groups[self.last].target === target {
            self.groups[self.last].completions.append(completion)
            return
        }
        if let index = self.groups.firstIndex(where: { $0.target === target }) {
            self.last = index
            self.groups[index].completions.append(completion)
        } else {
            self.last = self.groups.count
            self.groups.append((target, [completion]))
        }
    }

    /// To be called without any lock.
    func deliver() {
        for (target, completions) in self.groups { target.deliver(completions) }
        for completion in self.direct { completion.run() }
    }
}
