/// The life of one published key set: when to fetch it, how long to use it, what to do about unknown key ids.
///
/// States: without keys (none fetched yet) → with keys (fresh, then due, then stale while fetches fail) → too old, which
/// counts as without keys. A fetch may be under way in each of them. Times are durations since an arbitrary start.
package struct KeySetState: Sendable {
    /// The limits. Each time is bounded, whatever the source says.
    package struct Policy: Hashable, Sendable {
        /// How long a set is kept when the source does not say.
        package var defaultLifetime: Duration
        package var minimumLifetime: Duration
        package var maximumLifetime: Duration
        /// How long keys are used beyond their lifetime while fetches fail.
        package var staleLimit: Duration
        /// An unknown key id leads to a fetch at most once in this time, whoever asks and however often.
        package var refetchInterval: Duration
        /// How long a key id that was not in a fresh set is refused without asking again.
        package var unknownKeyLifetime: Duration
        /// How many such ids are remembered.
        package var maximumUnknownKeys: Int
        /// Pause after the first failure; it doubles with each further one.
        package var firstBackoff: Duration
        package var maximumBackoff: Duration

        package init(
            defaultLifetime: Duration = .seconds(600), minimumLifetime: Duration = .seconds(60),
            maximumLifetime: Duration = .seconds(86_400), staleLimit: Duration = .seconds(86_400),
            refetchInterval: Duration = .seconds(30), unknownKeyLifetime: Duration = .seconds(300),
            maximumUnknownKeys: Int = 1000, firstBackoff: Duration = .seconds(1),
            maximumBackoff: Duration = .seconds(300)
        ) {
            self.defaultLifetime = defaultLifetime
            self.minimumLifetime = minimumLifetime
            self.maximumLifetime = maximumLifetime
            self.staleLimit = staleLimit
            self.refetchInterval = refetchInterval
            self.unknownKeyLifetime = unknownKeyLifetime
            self.maximumUnknownKeys = maximumUnknownKeys
            self.firstBackoff = firstBackoff
            self.maximumBackoff = maximumBackoff
        }
    }

    /// What the runner is to do.
    package enum Action: Hashable, Sendable {
        case none
        /// Begin a fetch, and report its end.
        case fetch
    }

    /// What becomes of a token.
    package enum Answer: Sendable {
        /// Verify it with these keys.
        case use(KeySet)
        /// The same; the keys are older than they should be, as fetches fail.
        case serveStale(KeySet)
        /// A fetch that may bring the key is under way or begins now: ask again when it has ended.
        case wait(Action)
        /// The issuer has no such key.
        case refuseUnknownKey
        /// There are no keys to judge by.
        case refuseUnavailable
    }

    private struct Held: Sendable {
        var keys: KeySet
        var freshUntil: Duration
    }

    private let policy: Policy
    private var held: Held?
    /// Set while a fetch is under way.
    private var isFetching = false
    /// When an unknown key id last led to a fetch.
    private var lastUnknownFetch: Duration?
    private var failures = 0
    private var nextAttempt: Duration = .zero
    /// Ids that wait for the fetch under way.
    private var asked: Set<[UInt8]> = []
    /// Ids that were not in a set fetched for their sake, and until when that holds.
    private var unknown: [[UInt8]: Duration] = [:]

    /// For a source that costs nothing to ask: a file, looked at every few seconds.
    package static let localPolicy = Policy(
        defaultLifetime: .seconds(5), minimumLifetime: .seconds(1), maximumLifetime: .seconds(5),
        refetchInterval: .seconds(1), unknownKeyLifetime: .seconds(1), maximumBackoff: .seconds(5))

    package init(policy: Policy = Policy()) {
        self.policy = policy
    }

    /// How many fetches failed since the last good one.
    package var consecutiveFailures: Int { self.failures }

    /// How many unknown ids are remembered.
    package var unknownKeyCount: Int { self.unknown.count }

    /// The keys that may be used now.
    package func keys(now: Duration) -> KeySet? {
        guard let held = self.held, now < held.freshUntil + self.policy.staleLimit else { return nil }
        return held.keys
    }

    /// When ``timeArrived(now:)`` is due next; nil while a fetch is under way.
    package var nextWake: Duration? {
        if self.isFetching { return nil }
        guard let held = self.held else { return self.nextAttempt }
        return max(held.freshUntil, self.nextAttempt)
    }

    // MARK: Events

    /// Time has passed: a set that is due is fetched again.
    package mutating func timeArrived(now: Duration) -> Action {
        guard let wake = self.nextWake, now >= wake else { return .none }
        return self.begin()
    }

    /// Somebody says that the set has changed: it is fetched, whatever the time.
    package mutating func reloadAsked() -> Action {
        self.isFetching ? .none : self.begin()
    }

    /// A set has arrived. It replaces the former one altogether: a key that is gone is gone.
    package mutating func fetched(_ keys: KeySet, lifetime: Duration?, now: Duration) {
        guard self.isFetching else { return }
        self.isFetching = false
        self.failures = 0
        let lifetime = min(
            max(lifetime ?? self.policy.defaultLifetime, self.policy.minimumLifetime), self.policy.maximumLifetime)
        self.held = Held(keys: keys, freshUntil: now + lifetime)
        self.nextAttempt = now
        self.unknown = self.unknown.filter {
            $0.value > now && !keys.contains(keyID: String(decoding: $0.key, as: UTF8.self))
        }
        for id in self.asked where !keys.contains(keyID: String(decoding: id, as: UTF8.self)) {
            guard self.unknown.count < self.policy.maximumUnknownKeys else { break }
            self.unknown[id] = now + self.policy.unknownKeyLifetime
        }
        self.asked = []
    }

    /// A fetch has failed. The keys at hand stay in use.
    ///
    /// - Parameter jitter: Between 0 and 1, so that many servers do not come back at the same time.
    package mutating func fetchFailed(jitter: Double, now: Duration) {
        guard self.isFetching else { return }
        self.isFetching = false
        self.asked = []
        self.failures += 1
        var pause = self.policy.firstBackoff
        for _ in 1..<max(self.failures, 1) where pause < self.policy.maximumBackoff { pause *= 2 }
        let share = jitter.isFinite ? min(max(jitter, 0), 1) : 1
        self.nextAttempt = now + min(pause, self.policy.maximumBackoff) * (0.5 + share / 2)
    }

    /// A token asks for a key.
    package mutating func keyAsked(_ keyID: String?, now: Duration) -> Answer {
        guard let keys = self.keys(now: now) else {
            if self.isFetching { return .wait(.none) }
            return now >= self.nextAttempt ? .wait(self.begin()) : .refuseUnavailable
        }
        guard let keyID, !keys.contains(keyID: keyID) else {
            let isFresh = self.held.map { now < $0.freshUntil } ?? false
            return isFresh || self.failures == 0 ? .use(keys) : .serveStale(keys)
        }
        return self.unknownKeyAsked(Array(keyID.utf8), now: now)
    }

    private mutating func unknownKeyAsked(_ id: [UInt8], now: Duration) -> Answer {
        guard id.count <= JSONWebKey.maximumKeyIDBytes else { return .refuseUnknownKey }
        if let until = self.unknown[id] {
            if now < until { return .refuseUnknownKey }
            self.unknown[id] = nil
        }
        if self.isFetching {
            // Why: the fetch under way may have begun before the key was published, but waiting for it costs nothing,
            // and the id is not remembered as unknown for its sake.
            return .wait(.none)
        }
        if let last = self.lastUnknownFetch, now < last + self.policy.refetchInterval { return .refuseUnknownKey }
        guard now >= self.nextAttempt else { return .refuseUnknownKey }
        self.lastUnknownFetch = now
        self.asked.insert(id)
        return .wait(self.begin())
    }

    private mutating func begin() -> Action {
        self.isFetching = true
        return .fetch
    }
}
