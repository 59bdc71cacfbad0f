import DurableStreams
import ExactText
import NIOCore
import Synchronization
import Testing

@Suite("Subscriptions")
struct SubscriptionSetTests {
    private static let start: UInt64 = 1_800_000_000_000

    /// Counts up, so that tokens and identifiers differ; `chance % n` stays in the lower part of any spread.
    private final class Counter: Sendable {
        private let value = Mutex<UInt64>(0)
        func next() -> UInt64 {
            self.value.withLock {
                $0 += 1
                return $0
            }
        }
    }

    private func makeSet() -> SubscriptionSet {
        let counter = Counter()
        return SubscriptionSet(
            settings: SubscriptionSet.Settings(controlURL: "http://h/v1/stream/__ds", allowsLocalWebhooks: true),
            digest: { bytes in
                // Any function that tells tokens apart will do here.
                var state: UInt64 = 14_695_981_039_346_656_037
                for byte in bytes { state = (state ^ UInt64(byte)) &* 1_099_511_628_211 }
                return (0..<8).map { UInt8(truncatingIfNeeded: state >> (8 * UInt64($0))) }
            },
            chance: { counter.next() })
    }

    private func put(
        _ set: inout SubscriptionSet, _ id: String = "s", body: String, streams: [(name: String, tail: UInt64)] = []
    ) throws -> Bool {
        let result = try set.put(id, body: ByteBuffer(string: body), streams: streams, at: Self.start)
        #expect(result.actions == (result.isNew ? [.persist] : []))
        return result.isNew
    }

    private let webhook =
        "{\"type\":\"webhook\",\"pattern\":\"events/*\",\"webhook\":{\"url\":\"http://127.0.0.1:9/h\"},\"lease_ttl_ms\":1000}"
    private let pull = "{\"type\":\"pull-wake\",\"pattern\":\"**\",\"wake_stream\":\"wake/pool\",\"lease_ttl_ms\":1000}"

    private func document(_ response: StreamResponse) throws -> JSONValue {
        guard case .bytes(let body) = response.body else { return .null }
        return try #require(JSONValue(body))
    }

    private func delivery(_ actions: [SubscriptionAction]) throws -> (WebhookDelivery, JSONValue) {
        for action in actions {
            if case .deliver(let delivery) = action { return (delivery, try #require(JSONValue(delivery.body))) }
        }
        Issue.record("no delivery in \(actions)")
        throw SubscriptionError(.invalidRequest, "")
    }

    private func ack(
        _ set: inout SubscriptionSet, _ wake: JSONValue, token: String, acks: [(String, UInt64)], done: Bool,
        at now: UInt64 = Self.start, generation: UInt64? = nil
    ) throws -> (outcome: AcknowledgeOutcome, actions: [SubscriptionAction]) {
        let list = acks.map {
            "{\"stream\":\"\($0.0)\",\"offset\":\"\(StreamOffset(position: $0.1).token)\"}"
        }.joined(separator: ",")
        let generation = generation ?? wake["generation"]?.unsignedValue ?? 0
        let body =
            "{\"wake_id\":\"\(wake["wake_id"]?.stringValue ?? "")\",\"generation\":\(generation),\"acks\":[\(list)],\"done\":\(done)}"
        return try set.acknowledge("s", authorization: "Bearer \(token)", body: ByteBuffer(string: body), at: now)
    }

    private func acked(_ set: SubscriptionSet, _ name: String, in id: String = "s") throws -> UInt64? {
        try set.subscription(id).links[name]?.acked
    }

    // MARK: Configuration

    @Test func theSameConfigurationIsConfirmed() throws {
        var set = self.makeSet()
        #expect(try self.put(&set, body: self.webhook))
        #expect(try !self.put(&set, body: self.webhook))
        let spelled = self.webhook.replacing(
            "\"lease_ttl_ms\":1000", with: "\"description\":null,\"lease_ttl_ms\": 1000, \"streams\":[]")
        #expect(try !self.put(&set, body: spelled))
        let error = #expect(throws: SubscriptionError.self) {
            try self.put(&set, body: self.webhook.replacing("1000", with: "2000"))
        }
        #expect(error?.code == .subscriptionAlreadyExists)
    }

    @Test func theOrderOfStreamsDoesNotCount() throws {
        var set = self.makeSet()
        func body(_ streams: String) -> String {
            "{\"type\":\"pull-wake\",\"streams\":[\(streams)],\"wake_stream\":\"w\"}"
        }
        #expect(try self.put(&set, body: body("\"b\",\"a\",\"b\"")))
        #expect(try !self.put(&set, body: body("\"a\",\"/b\"")))
        #expect(try set.subscription("s").configuration.leaseTTL == 30_000)
    }

    @Test(arguments: [
        "", "[]", "{}", "{\"type\":\"webhook\"}", "{\"type\":\"x\",\"pattern\":\"*\"}",
        "{\"type\":\"webhook\",\"pattern\":\"*\"}", "{\"type\":\"pull-wake\",\"pattern\":\"*\"}",
        "{\"type\":\"pull-wake\",\"streams\":[],\"wake_stream\":\"w\"}",
        "{\"type\":\"pull-wake\",\"pattern\":\"\",\"wake_stream\":\"w\"}",
        "{\"type\":\"pull-wake\",\"streams\":[\"a//b\"],\"wake_stream\":\"w\"}",
        "{\"type\":\"pull-wake\",\"streams\":[\"__ds/x\"],\"wake_stream\":\"w\"}",
        "{\"type\":\"pull-wake\",\"streams\":[1],\"wake_stream\":\"w\"}",
        "{\"type\":\"pull-wake\",\"pattern\":\"*\",\"wake_stream\":\"w\",\"lease_ttl_ms\":999}",
        "{\"type\":\"pull-wake\",\"pattern\":\"*\",\"wake_stream\":\"w\",\"lease_ttl_ms\":600001}",
        "{\"type\":\"pull-wake\",\"pattern\":\"*\",\"wake_stream\":\"w\",\"lease_ttl_ms\":\"1000\"}",
        "{\"type\":\"pull-wake\",\"pattern\":\"*\",\"wake_stream\":\"w\",\"description\":5}",
    ])
    func malformedConfigurationsAreRefused(body: String) {
        var set = self.makeSet()
        let error = #expect(throws: SubscriptionError.self) { try self.put(&set, body: body) }
        #expect(error?.code == .invalidRequest)
        #expect(error?.response.status == 400)
        #expect(set.isEmpty)
    }

    @Test func unsafeWebhooksAreRejected() throws {
        var set = self.makeSet()
        let error = #expect(throws: SubscriptionError.self) {
            try self.put(&set, body: self.webhook.replacing("127.0.0.1:9", with: "10.0.0.1"))
        }
        let response = try #require(error?.response)
        #expect(response.status == 400)
        #expect(try self.document(response)["error"]?["code"] == .string("WEBHOOK_URL_REJECTED"))
    }

    @Test func aDeletedNameIsNotGivenAgain() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook)
        #expect(try set.delete("s") == [.persist])
        #expect(try set.delete("s") == [])
        #expect(throws: SubscriptionError.self) { try set.subscription("s") }
        #expect(throws: SubscriptionError.self) { try self.put(&set, body: self.webhook) }
        #expect(throws: SubscriptionError.self) { try set.delete("other") }
        #expect(set.streamChanged("events/a", previousTail: 0, tail: 5, at: Self.start) == [])
    }

    @Test func theResponseShowsLinksAndNoSecrets() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook, streams: [("events/a", 7), ("other", 3)])
        let response = set.response(status: 201, for: try set.subscription("s"), keyID: "ds_k")
        let document = try self.document(response)
        #expect(document["id"] == .string("s"))
        #expect(document["subscription_id"] == .string("s"))
        #expect(document["type"] == .string("webhook"))
        #expect(document["status"] == .string("active"))
        #expect(document["wake_stream"] == .null)
        #expect(document["lease_ttl_ms"]?.unsignedValue == 1000)
        #expect(document["created_at"] == .string("2027-01-15T08:00:00.000Z"))
        #expect(document["webhook"]?["url"] == .string("http://127.0.0.1:9/h"))
        #expect(document["webhook"]?["signing"]?["alg"] == .string("ed25519"))
        #expect(document["webhook"]?["signing"]?["kid"] == .string("ds_k"))
        #expect(document["webhook"]?["signing"]?["jwks_url"] == .string("http://h/v1/stream/__ds/jwks.json"))
        #expect(document["webhook_secret"] == nil)
        #expect(
            document["streams"]
                == .array([
                    .object([
                        "path": .string("events/a"), "link_type": .string("glob"),
                        "acked_offset": .string(StreamOffset(position: 7).token),
                    ])
                ]))
    }

    // MARK: Links

    @Test func whatHappensDuringTheLookAtAllStreamsIsNeitherMissedNorCountedTwice() throws {
        var set = self.makeSet()
        // Concerns no one, until there is a subscription.
        _ = set.streamChanged("events/known", previousTail: 0, tail: 5, at: Self.start)
        let body = ByteBuffer(string: self.webhook)
        guard case .begun(let configuration) = try set.begin("s", body: body, tail: { _ in nil }, at: Self.start) else {
            Issue.record("not begun")
            return
        }
        // Nobody knows of it yet, another like it waits, and nothing of it is written down.
        #expect(throws: SubscriptionError.self) { try set.subscription("s") }
        let busy = #expect(throws: SubscriptionError.self) { try self.put(&set, body: self.webhook) }
        #expect(busy?.code == .unavailable)
        #expect(!String(buffer: set.snapshot()).contains("events"))

        set.link("s", to: ["events/a"], tail: { _ in 7 })
        // Appended to before it was looked at; made behind the look; gone when its turn comes.
        #expect(set.streamChanged("events/b", previousTail: 3, tail: 9, at: Self.start) == [.persist])
        #expect(set.streamCreated("events/new", previousTail: 0, tail: 2, at: Self.start) == [.persist])
        #expect(set.streamChanged("events/known", previousTail: 5, tail: 6, at: Self.start) == [.persist])
        set.link("s", to: ["events/b", "events/gone", "events/new"], tail: { $0 == "events/gone" ? nil : 9 })
        #expect(SubscriptionSet.follows("events/a", configuration) && !SubscriptionSet.follows("other", configuration))

        let actions = set.finish("s", at: Self.start)
        #expect(actions.first == .persist)
        let (_, wake) = try self.delivery(actions)
        #expect(wake["streams"]?.arrayValue?.count == 4)
        let links = try set.subscription("s").links
        #expect(links.mapValues(\.acked) == ["events/a": 7, "events/b": 3, "events/new": 0, "events/known": 5])
        #expect(links.mapValues(\.tail) == ["events/a": 7, "events/b": 9, "events/new": 2, "events/known": 6])
        // Others are told apart again.
        #expect(set.streamChanged("other", previousTail: 0, tail: 5, at: Self.start) == [])
    }

    @Test func explicitLinksWinAndLeaveThePatternsBehind() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook, streams: [("events/a", 4)])
        let body = ByteBuffer(string: "{\"streams\":[\"events/a\",\"manual/b\"]}")
        #expect(try set.addStreams("s", body: body, tail: { _ in 9 }) == [.persist])
        #expect(try set.subscription("s").links["events/a"]?.type == "explicit")
        #expect(try self.acked(set, "events/a") == 4)
        #expect(try self.acked(set, "manual/b") == 9)
        _ = try set.removeStream("s", name: "events/a")
        _ = try set.removeStream("s", name: "manual/b")
        #expect(try set.removeStream("s", name: "manual/b") == [])
        #expect(try set.subscription("s").links["events/a"]?.type == "glob")
        #expect(try set.subscription("s").links["manual/b"] == nil)
        #expect(set.streamChanged("manual/b", previousTail: 9, tail: 10, at: Self.start) == [])
    }

    @Test func equivalentNamesAreTwoLinks() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook)
        let (one, other) = ("events/caf\u{e9}", "events/cafe\u{301}")
        _ = set.streamChanged(one, previousTail: 0, tail: 3, at: Self.start)
        _ = set.streamChanged(other, previousTail: 0, tail: 5, at: Self.start)
        #expect(try set.subscription("s").links[one]?.tail == 3)
        #expect(try set.subscription("s").links[other]?.tail == 5)
        _ = set.streamRemoved(one)
        #expect(try set.subscription("s").links.map(\.key.utf8.count) == [other.utf8.count])
    }

    @Test func aStreamFoundLaterIsFollowedFromBeforeTheAppend() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook)
        let actions = set.streamChanged("events/new", previousTail: 3, tail: 8, at: Self.start)
        #expect(try self.acked(set, "events/new") == 3)
        let (_, body) = try self.delivery(actions)
        #expect(body["streams"]?.arrayValue?.first?["tail_offset"] == .string(StreamOffset(position: 8).token))
        #expect(set.streamChanged("unrelated", previousTail: 0, tail: 8, at: Self.start) == [])
    }

    @Test func theWakeStreamIsNotFollowed() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.pull, streams: [("wake/pool", 2)])
        #expect(try set.subscription("s").links.isEmpty)
        #expect(set.streamChanged("wake/pool", previousTail: 2, tail: 4, at: Self.start) == [])
    }

    @Test func removedStreamsAreForgotten() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook, streams: [("events/a", 4)])
        _ = try set.addStreams("s", body: ByteBuffer(string: "{\"streams\":[\"x\"]}"), tail: { _ in 5 })
        #expect(set.streamRemoved("events/a") == [.persist])
        #expect(set.streamRemoved("x") == [.persist])
        #expect(try set.subscription("s").links.keys.sorted() == ["x"])
        _ = try self.delivery(set.streamChanged("x", previousTail: 0, tail: 2, at: Self.start))
    }

    // MARK: Webhooks

    @Test func aWebhookThatIsDoneAcksWhatItWasTold() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook)
        let (delivery, body) = try self.delivery(
            set.streamChanged("events/a", previousTail: 0, tail: 5, at: Self.start))
        #expect(body["subscription_id"] == .string("s"))
        #expect(body["generation"]?.unsignedValue == 1)
        #expect(body["callback_url"] == .string("http://h/v1/stream/__ds/subscriptions/s/callback"))
        let stream = try #require(body["streams"]?.arrayValue?.first)
        #expect(stream["path"] == .string("events/a"))
        #expect(stream["has_pending"] == .bool(true))
        // More comes while the request is under way: no second wake yet, but one afterwards.
        #expect(set.streamChanged("events/a", previousTail: 5, tail: 8, at: Self.start) == [])
        let next = set.webhookAnswered("s", attempt: delivery.attempt, generation: 1, with: .done, at: Self.start)
        #expect(try self.acked(set, "events/a") == 5)
        let (_, second) = try self.delivery(next)
        #expect(second["generation"]?.unsignedValue == 2)
        #expect(second["wake_id"] != body["wake_id"])
        #expect(
            set.webhookAnswered("s", attempt: 1, generation: 2, with: .done, at: Self.start) == [.persist])
        #expect(try self.acked(set, "events/a") == 8)
        #expect(try set.subscription("s").wake == nil)
    }

    @Test func callbacksAckAndStaleOnesAreFenced() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook)
        let (delivery, wake) = try self.delivery(
            set.streamChanged("events/a", previousTail: 0, tail: 5, at: Self.start))
        let token = try #require(wake["callback_token"]?.stringValue)
        _ = set.webhookAnswered("s", attempt: delivery.attempt, generation: 1, with: .accepted, at: Self.start)
        let result = try self.ack(&set, wake, token: token, acks: [("events/a", 5)], done: true)
        #expect(!result.outcome.nextWake)
        #expect(try self.document(result.outcome.response) == .object(["ok": .bool(true), "next_wake": .bool(false)]))
        let stale = #expect(throws: SubscriptionError.self) {
            try self.ack(&set, wake, token: token, acks: [("events/a", 5)], done: true)
        }
        #expect(stale?.code == .fenced)
        #expect(stale?.response.status == 409)
    }

    @Test func tokenGenerationAndWakeMustAllMatch() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook)
        let (_, wake) = try self.delivery(set.streamChanged("events/a", previousTail: 0, tail: 5, at: Self.start))
        let token = try #require(wake["callback_token"]?.stringValue)
        func code(_ body: () throws -> Void) -> SubscriptionError.Code? {
            do { try body() } catch { return (error as? SubscriptionError)?.code }
            return nil
        }
        #expect(code { _ = try self.ack(&set, wake, token: "forged", acks: [], done: true) } == .tokenInvalid)
        #expect(code { _ = try self.ack(&set, wake, token: token, acks: [], done: true, generation: 2) } == .fenced)
        #expect(
            code {
                _ = try self.ack(
                    &set, .object(["wake_id": .string("w_x"), "generation": .number("1")]), token: token, acks: [],
                    done: true)
            }
                == .fenced)
        #expect(
            code {
                _ = try set.acknowledge("s", authorization: nil, body: ByteBuffer(string: "{}"), at: Self.start)
            } == .tokenInvalid)
        #expect(code { _ = try self.ack(&set, wake, token: token, acks: [], done: true) } == nil)
    }

    @Test func acksAreCheckedAsAWhole() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook, streams: [("events/b", 2)])
        let (_, wake) = try self.delivery(set.streamChanged("events/a", previousTail: 1, tail: 5, at: Self.start))
        let token = try #require(wake["callback_token"]?.stringValue)
        for bad in [("events/a", 6), ("events/a", 0), ("events/c", 1), ("events/b", 3)] as [(String, UInt64)] {
            let error = #expect(throws: SubscriptionError.self) {
                try self.ack(&set, wake, token: token, acks: [("events/a", 4), bad], done: false)
            }
            #expect(error?.code == .invalidOffset)
            #expect(try self.acked(set, "events/a") == 1)
        }
        let result = try self.ack(&set, wake, token: token, acks: [("events/a", 4)], done: true)
        #expect(result.outcome.nextWake)
        #expect(try self.acked(set, "events/a") == 4)
        _ = try self.delivery(result.actions)
    }

    @Test func failedDeliveriesAreTriedAgainLaterAndLater() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook)
        var (delivery, body) = try self.delivery(
            set.streamChanged("events/a", previousTail: 0, tail: 5, at: Self.start))
        var now = Self.start
        for expected: UInt64 in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            #expect(
                set.webhookAnswered(
                    "s", attempt: delivery.attempt, generation: delivery.generation, with: .failed, at: now)
                    == [.persist])
            let due = try #require(set.nextDeadline)
            #expect((expected * 4 / 5...expected * 6 / 5).contains(due - now))
            #expect(try set.subscription("s").isFailed)
            #expect(set.timeReached(due - 1) == [])
            #expect(set.streamChanged("events/a", previousTail: 5, tail: 6, at: due - 1) == [])
            now = due
            let (next, nextBody) = try self.delivery(set.timeReached(now))
            #expect(next.attempt == delivery.attempt + 1)
            #expect(nextBody["wake_id"] == body["wake_id"])
            // An answer to the attempt before counts no more.
            #expect(
                set.webhookAnswered("s", attempt: delivery.attempt, generation: 1, with: .done, at: now) == [])
            (delivery, body) = (next, nextBody)
        }
        #expect(
            set.webhookAnswered("s", attempt: delivery.attempt, generation: 1, with: .done, at: now) == [.persist])
        #expect(try !set.subscription("s").isFailed)
    }

    @Test func aReceiverThatFallsSilentLosesItsWake() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook)
        let (delivery, wake) = try self.delivery(
            set.streamChanged("events/a", previousTail: 0, tail: 5, at: Self.start))
        _ = set.webhookAnswered("s", attempt: delivery.attempt, generation: 1, with: .accepted, at: Self.start)
        let token = try #require(wake["callback_token"]?.stringValue)
        // A heartbeat extends the lease.
        _ = try self.ack(&set, wake, token: token, acks: [], done: false, at: Self.start + 900)
        #expect(set.nextDeadline == Self.start + 1900)
        let (_, second) = try self.delivery(set.timeReached(Self.start + 1900))
        #expect(second["generation"]?.unsignedValue == 2)
        let late = #expect(throws: SubscriptionError.self) {
            try self.ack(&set, wake, token: token, acks: [("events/a", 5)], done: true, at: Self.start + 1900)
        }
        #expect(late?.code == .fenced)
        // Not even with the names of the new wake: the old token is not its own.
        let borrowed = #expect(throws: SubscriptionError.self) {
            try self.ack(&set, second, token: token, acks: [("events/a", 5)], done: true, at: Self.start + 1900)
        }
        #expect(borrowed?.code == .fenced)
    }

    // MARK: Pull-wake

    private func claim(_ set: inout SubscriptionSet, worker: String, at now: UInt64 = Self.start) throws -> JSONValue {
        let result = try set.claim("s", body: ByteBuffer(string: "{\"worker\":\"\(worker)\"}"), at: now)
        #expect(result.response.status == 200)
        return try self.document(result.response)
    }

    @Test func workersClaimAckAndRelease() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.pull)
        let idle = #expect(throws: SubscriptionError.self) { try self.claim(&set, worker: "w1") }
        #expect(idle?.code == .noPendingWork)

        let actions = set.streamChanged("events/a", previousTail: 0, tail: 5, at: Self.start)
        guard case .appendWakeEvent(_, let generation, let stream, let event)? = actions.last else {
            Issue.record("no wake event")
            return
        }
        #expect(stream == "wake/pool" && generation == 1)
        let wakeEvent = try #require(JSONValue(event))
        #expect(wakeEvent["type"] == .string("wake"))
        #expect(wakeEvent["stream"] == .string("events/a"))
        #expect(wakeEvent["ts"]?.unsignedValue == Self.start)
        #expect(set.wakeEventWritten("s", generation: 1, succeeded: true, at: Self.start) == [.persist])

        let first = try self.claim(&set, worker: "w1")
        #expect(first["generation"]?.unsignedValue == 1)
        let busy = #expect(throws: SubscriptionError.self) { try self.claim(&set, worker: "w2") }
        #expect(busy?.code == .alreadyClaimed)
        #expect(busy?.currentHolder == "w1")
        #expect(busy?.generation == 1)
        let token = try #require(first["token"]?.stringValue)
        #expect(try !self.ack(&set, first, token: token, acks: [("events/a", 5)], done: true).outcome.nextWake)

        _ = set.streamChanged("events/a", previousTail: 5, tail: 9, at: Self.start)
        let second = try self.claim(&set, worker: "w1")
        #expect(second["generation"]?.unsignedValue == 2)
        let body =
            "{\"wake_id\":\"\(second["wake_id"]?.stringValue ?? "")\",\"generation\":2}"
        let released = try set.release(
            "s", authorization: "bearer \(second["token"]?.stringValue ?? "")", body: ByteBuffer(string: body),
            at: Self.start)
        // Work is left, so another wake goes out.
        guard case .appendWakeEvent(_, 3, _, _)? = released.last else {
            Issue.record("no new wake")
            return
        }
        #expect(throws: SubscriptionError.self) {
            try set.release(
                "s", authorization: "Bearer \(second["token"]?.stringValue ?? "")", body: ByteBuffer(string: body),
                at: Self.start)
        }
    }

    @Test func aLeaseThatEndsGoesToTheNextWorker() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.pull)
        _ = set.streamChanged("events/a", previousTail: 0, tail: 5, at: Self.start)
        _ = try self.claim(&set, worker: "w1")
        // Even when no one has looked at the clock yet.
        let second = try self.claim(&set, worker: "w2", at: Self.start + 1000)
        #expect(second["generation"]?.unsignedValue == 2)
        guard case .appendWakeEvent(_, 3, _, _)? = set.timeReached(Self.start + 2000).last else {
            Issue.record("no new wake")
            return
        }
    }

    @Test func aWakeStreamThatIsMissingIsTriedAgain() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.pull)
        _ = set.streamChanged("events/a", previousTail: 0, tail: 5, at: Self.start)
        #expect(set.wakeEventWritten("s", generation: 1, succeeded: false, at: Self.start) == [.persist])
        let due = try #require(set.nextDeadline)
        guard case .appendWakeEvent(_, 1, "wake/pool", _)? = set.timeReached(due).last else {
            Issue.record("not tried again")
            return
        }
    }

    // MARK: Restart

    @Test func aRestartLosesNothing() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook, streams: [("events/a", 4), ("events/gone", 1)])
        _ = try self.put(&set, "t", body: self.pull, streams: [("events/a", 4)])
        _ = try self.put(&set, "dead", body: self.pull)
        _ = try set.delete("dead")
        let actions = set.streamChanged("events/a", previousTail: 4, tail: 9, at: Self.start)
        let (delivery, wake) = try self.delivery(actions)
        _ = set.webhookAnswered("s", attempt: delivery.attempt, generation: 1, with: .accepted, at: Self.start)
        let snapshot = set.snapshot()
        let token = try #require(wake["callback_token"]?.stringValue)
        #expect(!String(buffer: snapshot).contains(token))

        var restored = self.makeSet()
        let after = restored.restore(snapshot, streams: [("events/a", 9), ("events/late", 2)], at: Self.start + 10)
        #expect(after != nil)
        #expect(restored.tombstones == ["dead"])
        #expect(try self.acked(restored, "events/gone") == nil)
        #expect(try self.acked(restored, "events/late") == 0)
        #expect(try self.acked(restored, "events/a", in: "t") == 4)
        // The receiver at work may still call back; the announcement that was under way is made again.
        let due = restored.timeReached(Self.start + 10)
        #expect(due.contains { if case .appendWakeEvent("t", 1, _, _) = $0 { true } else { false } })
        let result = try self.ack(
            &restored, wake, token: token, acks: [("events/a", 9)], done: true, at: Self.start + 20)
        #expect(result.outcome.nextWake)
    }

    @Test func theBackOffSurvivesARestart() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook)
        let (delivery, _) = try self.delivery(set.streamChanged("events/a", previousTail: 0, tail: 5, at: Self.start))
        _ = set.webhookAnswered("s", attempt: delivery.attempt, generation: 1, with: .failed, at: Self.start)
        let due = try #require(set.nextDeadline)
        var restored = self.makeSet()
        #expect(restored.restore(set.snapshot(), streams: [("events/a", 5)], at: Self.start + 1) == [])
        #expect(restored.nextDeadline == due)
        #expect(restored.timeReached(due - 1) == [])
        #expect(try self.delivery(restored.timeReached(due)).0.attempt == 2)
        #expect(try restored.subscription("s").isFailed)
    }

    @Test func damagedSnapshotsChangeNothing() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook)
        for text in [
            "", "{", "{}", "{\"version\":2,\"tombstones\":[],\"subscriptions\":[]}",
            "{\"version\":1,\"tombstones\":[],\"subscriptions\":[{\"id\":\"x\"}]}",
        ] {
            #expect(set.restore(ByteBuffer(string: text), streams: [], at: 0) == nil)
        }
        #expect(try set.subscription("s").id == "s")
    }

    @Test func aStreamThatBeganAnewWhileNoOneLookedIsFollowedFromItsStart() throws {
        var set = self.makeSet()
        _ = try self.put(&set, body: self.webhook, streams: [("events/a", 100)])
        let actions = set.reconcile([("events/a", 5)], at: Self.start)
        #expect(try self.acked(set, "events/a") == 0)
        _ = try self.delivery(actions)
    }
}
