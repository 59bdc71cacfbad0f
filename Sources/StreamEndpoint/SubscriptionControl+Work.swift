import DurableStreams
import Logging
import NIOCore
import NIOPosix
import StreamDirectory
import StreamStore
import Synchronization

extension SubscriptionControl {
    /// Does what the machine wants, behind the file if need be; then calls `done` with whether the file could be
    /// written.
    func carryOut(_ actions: [SubscriptionAction], done: (@Sendable (Bool) -> Void)? = nil) {
        guard !actions.isEmpty || done != nil else { return }
        let changes = actions.contains(.persist)
        let effects = actions.filter { $0 != .persist }
        guard changes, self.file != nil else {
            if changes { self.isActive.store(self.state.withLock { !$0.set.isEmpty }, ordering: .releasing) }
            for effect in effects { self.perform(effect) }
            done?(true)
            return
        }
        self.state.withLock { state in
            state.isUnsaved = true
            state.effects += effects
            if let done { state.answers.append(done) }
            self.isActive.store(!state.set.isEmpty, ordering: .releasing)
        }
        self.save()
    }

    /// Writes the file, unless that is under way or not needed. What comes meanwhile goes into the next one.
    func save() {
        let begins = self.state.withLock { state -> Bool in
            guard state.isUnsaved, !state.isSaving else { return false }
            state.isSaving = true
            return true
        }
        guard begins else { return }
        guard self.file != nil else { return self.saved(true, [], self.takeEffects()) }
        NIOThreadPool.singleton.submit { _ in self.write() }
    }

    private func takeEffects() -> [SubscriptionAction] {
        self.state.withLock { state in
            state.isUnsaved = false
            defer { state.effects = [] }
            return state.effects
        }
    }

    private func write() {
        let (bytes, answers, effects) = self.state.withLock { state in
            defer {
                state.answers = []
                state.effects = []
                state.isUnsaved = false
            }
            return (state.set.snapshot(), state.answers, state.effects)
        }
        do throws(FileError) {
            try self.file?.replace(with: bytes)
            self.saved(true, answers, effects)
        } catch {
            self.logger.error(
                "subscriptions could not be written",
                metadata: ["operation": "\(error.operation)", "errno": "\(error.number)"])
            self.saved(false, answers, effects)
        }
    }

    private func saved(_ succeeded: Bool, _ answers: [@Sendable (Bool) -> Void], _ effects: [SubscriptionAction]) {
        self.state.withLock { state in
            state.isSaving = false
            if !succeeded {
                state.isUnsaved = true
                state.effects = effects + state.effects
            }
        }
        for answer in answers { answer(succeeded) }
        guard succeeded else { return }
        for effect in effects { self.perform(effect) }
        self.save()
    }

    private func perform(_ action: SubscriptionAction) {
        switch action {
        case .persist: break
        case .deliver(let delivery):
            self.state.withLock { state in
                guard !state.isClosed else { return }
                state.queue.append(delivery)
            }
            self.deliverNext()
        case .appendWakeEvent(let subscription, let generation, let stream, let event):
            self.announce(subscription, generation, stream, event)
        }
    }

    // MARK: Webhooks

    private func deliverNext() {
        let delivery = self.state.withLock { state -> WebhookDelivery? in
            guard state.underWay < self.configuration.deliveries, !state.queue.isEmpty else { return nil }
            state.underWay += 1
            return state.queue.removeFirst()
        }
        guard let delivery else { return }
        // Signed when it is sent: receivers refuse old times.
        let now = self.clock()
        guard !delivery.url.isLocal || self.configuration.allowsLocalWebhooks else {
            return self.answered(delivery, .failure(WebhookFailure("local addresses may not be called")))
        }
        guard let signature = self.keys.signature(of: delivery.body, at: now) else {
            return self.answered(delivery, .failure(WebhookFailure("it cannot be signed")))
        }
        let request = WebhookRequest(
            url: delivery.url,
            headers: [
                ("Content-Type", "application/json"), (StreamHeaderName.webhookSignature, signature),
                ("User-Agent", "penstock"),
            ], body: delivery.body)
        self.sender.send(request) { self.answered(delivery, $0) }
    }

    private func answered(_ delivery: WebhookDelivery, _ result: Result<WebhookReply, WebhookFailure>) {
        let reply = try? result.get()
        self.countDelivery(reply)
        let answer = reply.map { WebhookAnswer(status: $0.status, body: $0.body) } ?? .failed
        switch result {
        case .success(let reply): self.note(delivery, answer == .failed ? "answered with status \(reply.status)" : nil)
        case .failure(let failure): self.note(delivery, failure.reason)
        }
        let now = self.clock()
        let actions = self.state.withLock { state -> [SubscriptionAction] in
            state.underWay -= 1
            return state.set.webhookAnswered(
                delivery.subscription, attempt: delivery.attempt, generation: delivery.generation, with: answer, at: now
            )
        }
        self.carryOut(actions)
        self.deliverNext()
    }

    /// Tells when the deliveries of a subscription begin to fail, and when they work again; what lies between is counted.
    private func note(_ delivery: WebhookDelivery, _ problem: String?) {
        let isNews = self.state.withLock { state -> Bool in
            guard problem != nil else { return state.failing.remove(delivery.subscription) != nil }
            // What is deleted while it fails is forgotten when there are many; the worst is a line too many.
            if state.failing.count >= Self.failingLimit { state.failing.removeAll() }
            return state.failing.insert(delivery.subscription).inserted
        }
        guard isNews else { return }
        // Why no path: it may hold a secret of the receiver's.
        let metadata: Logger.Metadata = [
            "subscription": "\(delivery.subscription)", "host": "\(delivery.url.host):\(delivery.url.port)",
        ]
        if let problem {
            self.logger.warning(
                "a webhook cannot be delivered; trying again", metadata: metadata.merging(["reason": "\(problem)"]) { $1 })
        } else {
            self.logger.notice("a webhook is delivered again", metadata: metadata)
        }
    }

    private static let failingLimit = 10_000

    // MARK: Wake streams

    private func announce(_ subscription: String, _ generation: UInt64, _ stream: String, _ event: ByteBuffer) {
        let now = self.clock()
        let payload: StreamPayload
        let contentType: ContentType
        do throws(StreamError) {
            contentType = try self.streams.lookup(stream, now: now).get().contentType
            var body = event
            // Lines of a text are told apart by their ends.
            if !contentType.isJSON { body.writeStaticString("\n") }
            payload = try StreamPayload.encode(body: body, contentType: contentType)
        } catch {
            return self.announced(subscription, generation, succeeded: false)
        }
        let added = UInt64(payload.bytes.readableBytes)
        let request = AppendRequest(contentType: contentType.text, payload: .success(payload))
        self.streams.append(stream, request, now: now) { result in
            switch result {
            case .success(let outcome):
                let tail = outcome.tail.position
                self.streamAppended(stream, previousTail: tail - min(added, tail), tail: tail)
                self.announced(subscription, generation, succeeded: true)
            case .failure:
                self.announced(subscription, generation, succeeded: false)
            }
        }
    }

    private func announced(_ subscription: String, _ generation: UInt64, succeeded: Bool) {
        let now = self.clock()
        let actions = self.state.withLock {
            $0.set.wakeEventWritten(subscription, generation: generation, succeeded: succeeded, at: now)
        }
        self.carryOut(actions)
    }
}
