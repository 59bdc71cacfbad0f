import ExactText
import NIOCore
import WebAddresses

/// The durable part of the machine, as one JSON document.
extension SubscriptionSet {
    private static let version: UInt64 = 1

    /// Everything that must survive a restart. Holds digests of tokens, never tokens.
    package func snapshot() -> ByteBuffer {
        var text = JSONText()
        text.beginObject()
        text.member("version", Self.version)
        text.key("tombstones")
        text.beginArray()
        for id in self.tombstones.sorted() { text.string(id) }
        text.endArray()
        text.key("subscriptions")
        text.beginArray()
        for subscription in self.subscriptions.sortedByKey().map(\.value)
        where !subscription.isLinking {
            Self.write(subscription, into: &text)
        }
        text.endArray()
        text.endObject()
        return text.bytes
    }

    private static func write(_ subscription: Subscription, into text: inout JSONText) {
        text.beginObject()
        text.member("id", subscription.id)
        text.key("configuration")
        text.beginObject()
        subscription.configuration.write(into: &text)
        text.endObject()
        text.member("created_at", subscription.createdAt)
        if let url = subscription.controlURL { text.member("control_url", url) }
        text.member("generation", subscription.generation)
        text.member("failures", subscription.failures)
        if let next = subscription.nextAttemptAt { text.member("next_attempt_at", next) }
        text.key("links")
        text.beginArray()
        for (name, link) in subscription.links.sortedByKey() {
            text.beginArray()
            text.string(name)
            text.number((link.isExplicit ? 1 : 0) | (link.isGlob ? 2 : 0))
            text.number(link.acked)
            text.number(link.tail)
            text.endArray()
        }
        text.endArray()
        text.key("tokens")
        text.beginArray()
        for token in subscription.tokens {
            text.beginArray()
            text.number(token.generation)
            text.string(Self.hex(token.digest))
            text.endArray()
        }
        text.endArray()
        if let wake = subscription.wake {
            text.key("wake")
            text.beginObject()
            text.member("id", wake.id)
            text.member("phase", Self.phaseName(wake.phase))
            if let holder = wake.holder { text.key("holder"); text.string(holder) }
            if let leaseEnd = wake.leaseEnd { text.member("lease_end", leaseEnd) }
            text.member("attempt", wake.attempt)
            text.endObject()
        }
        text.endObject()
    }

    private static func phaseName(_ phase: Subscription.Wake.Phase) -> String {
        switch phase {
        case .sending: "sending"
        case .retrying: "retrying"
        case .accepted: "accepted"
        case .announcing: "announcing"
        case .announced: "announced"
        case .claimed: "claimed"
        }
    }

    private static func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private static func bytes(hex: String) -> [UInt8]? {
        let digits = hex.utf8.compactMap(PercentCoding.hexDigit)
        guard digits.count == hex.utf8.count, digits.count % 2 == 0 else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    /// Brings back a snapshot and compares it with the streams there are now. False leaves the machine as it was: the
    /// document is damaged, or from a newer version.
    ///
    /// What was being sent or announced when the service stopped is tried again at once; leases go on. Follow it with
    /// ``timeReached(_:)``.
    package mutating func restore(
        _ snapshot: ByteBuffer, streams: [(name: String, tail: UInt64)], at now: UInt64
    ) -> [SubscriptionAction]? {
        guard let document = JSONValue(snapshot), document["version"]?.unsignedValue == Self.version,
            let tombstones = document["tombstones"]?.arrayValue, let values = document["subscriptions"]?.arrayValue
        else { return nil }
        var restored: ExactDictionary<Subscription> = [:]
        for value in values {
            guard let subscription = self.subscription(restoring: value, at: now) else { return nil }
            restored[subscription.id] = subscription
        }
        self.tombstones = ExactSet(tombstones.compactMap(\.stringValue))
        self.subscriptions = restored
        self.rebuildFollowers()
        return self.reconcile(streams, at: now)
    }

    /// Compares the links with the streams there are: tails that moved unseen, streams that came or went.
    package mutating func reconcile(
        _ streams: [(name: String, tail: UInt64)], at now: UInt64
    ) -> [SubscriptionAction] {
        var actions: [SubscriptionAction] = []
        let names = ExactSet(streams.map(\.name))
        for name in self.followers.keys where !names.contains(name) { actions += self.streamRemoved(name) }
        for (name, tail) in streams {
            // Others may follow it by a pattern and not know it yet.
            if self.followers[name] != nil, self.discover(name, tail: 0) { actions.append(.persist) }
            for id in self.followers[name] ?? [] {
                self.subscriptions[id]?.updateLink(name) {
                    // A tail before the ack: another stream has taken the name.
                    if $0.acked > tail { $0.acked = 0 }
                    $0.tail = tail
                }
            }
            // A stream that came while no one looked is followed from its start: its data has not been seen.
            actions += self.streamChanged(name, previousTail: 0, tail: tail, at: now)
        }
        return Self.merged(actions)
    }

    private func subscription(restoring value: JSONValue, at now: UInt64) -> Subscription? {
        guard let id = value["id"]?.stringValue, let document = value["configuration"],
            let createdAt = value["created_at"]?.unsignedValue, let generation = value["generation"]?.unsignedValue,
            let failures = value["failures"]?.unsignedValue, let links = value["links"]?.arrayValue,
            let tokens = value["tokens"]?.arrayValue
        else { return nil }
        let configuration: SubscriptionConfiguration
        do throws(SubscriptionError) {
            // Why: what was accepted stays accepted; local webhooks are judged again when they are called.
            configuration = try SubscriptionConfiguration(
                document: document, names: StreamNameRules(maximumBytes: .max, maximumSegments: .max),
                allowsLocalWebhooks: true)
        } catch {
            return nil
        }
        var subscription = Subscription(id: id, configuration: configuration, createdAt: createdAt)
        subscription.controlURL = value["control_url"]?.stringValue
        subscription.generation = generation
        subscription.failures = failures
        subscription.nextAttemptAt = value["next_attempt_at"]?.unsignedValue
        for link in links {
            guard let parts = link.arrayValue, parts.count == 4, let name = parts[0].stringValue,
                let kind = parts[1].unsignedValue, let acked = parts[2].unsignedValue,
                let tail = parts[3].unsignedValue
            else { return nil }
            subscription.addLink(
                name,
                Subscription.Link(isExplicit: kind & 1 != 0, isGlob: kind & 2 != 0, acked: acked, tail: tail))
        }
        for token in tokens {
            guard let parts = token.arrayValue, parts.count == 2, let generation = parts[0].unsignedValue,
                let digest = parts[1].stringValue.flatMap(Self.bytes(hex:))
            else { return nil }
            subscription.tokens.append(Subscription.TokenRecord(generation: generation, digest: digest))
        }
        guard let wake = value["wake"] else { return subscription }
        guard let wakeID = wake["id"]?.stringValue, let attempt = wake["attempt"]?.unsignedValue else { return nil }
        var leaseEnd = wake["lease_end"]?.unsignedValue
        let phase: Subscription.Wake.Phase
        switch wake["phase"]?.stringValue {
        case "sending", "announcing":
            phase = .retrying
            leaseEnd = nil
            subscription.nextAttemptAt = subscription.nextAttemptAt ?? now
        case "retrying":
            phase = .retrying
            subscription.nextAttemptAt = subscription.nextAttemptAt ?? now
        case "accepted": phase = .accepted
        case "announced": phase = .announced
        case "claimed":
            guard let holder = wake["holder"]?.stringValue else { return nil }
            phase = .claimed(worker: holder)
        default: return nil
        }
        subscription.wake = Subscription.Wake(
            id: wakeID, phase: phase, snapshot: [:], leaseEnd: leaseEnd, attempt: attempt)
        return subscription
    }
}
