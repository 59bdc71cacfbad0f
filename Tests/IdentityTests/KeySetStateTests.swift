import Testing

@testable import Identity

@Suite("The life of a key set")
struct KeySetStateTests {
    private let keys: KeySet
    private let rotated: KeySet

    init() throws {
        func set(_ ids: [String]) throws -> KeySet {
            let entries = try ids.map { try TestIssuer(.es256).jwk($0) }
            return try KeySet(parsing: Array(JSONValue.object(["keys": .array(entries)]).text.utf8))
        }
        self.keys = try set(["a"])
        self.rotated = try set(["b"])
    }

    /// The answer in one word, with the first key id of what is used.
    private func word(_ answer: KeySetState.Answer) -> String {
        switch answer {
        case .use(let keys): "use \(keys.keys.first?.keyID ?? "")"
        case .serveStale(let keys): "stale \(keys.keys.first?.keyID ?? "")"
        case .wait(.fetch): "fetch"
        case .wait(.none): "wait"
        case .refuseUnknownKey: "unknown"
        case .refuseUnavailable: "unavailable"
        }
    }

    private func seconds(_ value: Double) -> Duration { .milliseconds(Int64(value * 1000)) }

    @Test func theFirstFetchIsDueAtOnceAndTokensWaitForIt() {
        var state = KeySetState()
        #expect(state.nextWake == .zero)
        #expect(self.word(state.keyAsked("a", now: .zero)) == "fetch")
        #expect(self.word(state.keyAsked("a", now: .zero)) == "wait")
        #expect(state.timeArrived(now: .seconds(1)) == .none)
        #expect(state.nextWake == nil)
        state.fetched(self.keys, lifetime: nil, now: .seconds(1))
        #expect(self.word(state.keyAsked("a", now: .seconds(2))) == "use a")
        #expect(self.word(state.keyAsked(nil, now: .seconds(2))) == "use a")
        #expect(state.nextWake == .seconds(601))
    }

    @Test(arguments: [(nil, 600), (0, 60), (59, 60), (300, 300), (100_000_000, 86_400)] as [(Int?, Int)])
    func theLifetimeIsBounded(said: Int?, used: Int) {
        var state = KeySetState()
        #expect(state.timeArrived(now: .zero) == .fetch)
        state.fetched(self.keys, lifetime: said.map { .seconds($0) }, now: .seconds(10))
        #expect(state.nextWake == .seconds(10 + used))
        #expect(state.timeArrived(now: .seconds(9 + used)) == .none)
        #expect(state.timeArrived(now: .seconds(10 + used)) == .fetch)
    }

    @Test func failuresBackOffAndKeysAtHandStayInUse() {
        var state = KeySetState()
        _ = state.timeArrived(now: .zero)
        state.fetched(self.keys, lifetime: .seconds(60), now: .zero)
        var now = Duration.seconds(60)
        var pauses: [Duration] = []
        for _ in 0..<12 {
            #expect(state.timeArrived(now: now) == .fetch)
            state.fetchFailed(jitter: 1, now: now)
            #expect(self.word(state.keyAsked("a", now: now)) == "stale a")
            // An unknown id does not break the pause.
            #expect(self.word(state.keyAsked("zzz", now: now)) == "unknown")
            let next = state.nextWake ?? .zero
            pauses.append(next - now)
            now = next
        }
        #expect(pauses.prefix(4) == [.seconds(1), .seconds(2), .seconds(4), .seconds(8)])
        #expect(pauses.suffix(2) == [.seconds(300), .seconds(300)])
        #expect(state.consecutiveFailures == 12)
        // After the limit nothing is believed any more.
        #expect(self.word(state.keyAsked("a", now: .seconds(60 + 86_399))) == "stale a")
        #expect(state.keys(now: .seconds(60 + 86_400)) == nil)
        #expect(state.timeArrived(now: .seconds(60 + 86_400)) == .fetch)
        state.fetchFailed(jitter: 0, now: .seconds(60 + 86_400))
        #expect(self.word(state.keyAsked("a", now: .seconds(60 + 86_400))) == "unavailable")
        // And a good answer ends it.
        now = state.nextWake ?? .zero
        #expect(state.timeArrived(now: now) == .fetch)
        state.fetched(self.keys, lifetime: nil, now: now)
        #expect(self.word(state.keyAsked("a", now: now)) == "use a")
        #expect(state.consecutiveFailures == 0)
    }

    @Test(arguments: [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0), (-3.0, 0.5), (9.0, 1.0), (Double.nan, 1.0)])
    func jitterShortensThePause(jitter: Double, pause: Double) {
        var state = KeySetState()
        _ = state.timeArrived(now: .zero)
        state.fetchFailed(jitter: jitter, now: .zero)
        #expect(state.nextWake == self.seconds(pause))
    }

    @Test func withoutKeysTokensWaitOnlyWhereAFetchMayBegin() {
        var state = KeySetState()
        _ = state.timeArrived(now: .zero)
        state.fetchFailed(jitter: 1, now: .zero)
        #expect(self.word(state.keyAsked("a", now: self.seconds(0.9))) == "unavailable")
        #expect(self.word(state.keyAsked("a", now: .seconds(1))) == "fetch")
    }

    @Test func anUnknownKeyIsLookedForOnce() {
        var state = KeySetState()
        _ = state.timeArrived(now: .zero)
        state.fetched(self.keys, lifetime: .seconds(3600), now: .zero)
        #expect(self.word(state.keyAsked("b", now: .seconds(1))) == "fetch")
        #expect(self.word(state.keyAsked("b", now: .seconds(1))) == "wait")
        // Known keys need not wait for it.
        #expect(self.word(state.keyAsked("a", now: .seconds(1))) == "use a")
        state.fetched(self.rotated, lifetime: .seconds(3600), now: .seconds(2))
        #expect(self.word(state.keyAsked("b", now: .seconds(2))) == "use b")
        // What the issuer has taken away is gone, and is not asked for again so soon.
        #expect(self.word(state.keyAsked("a", now: .seconds(3))) == "unknown")
        #expect(self.word(state.keyAsked("a", now: .seconds(31))) == "fetch")
        state.fetched(self.rotated, lifetime: .seconds(3600), now: .seconds(32))
        for second in [33, 62, 100, 331] { #expect(self.word(state.keyAsked("a", now: .seconds(second))) == "unknown") }
        #expect(state.unknownKeyCount == 1)
        #expect(self.word(state.keyAsked("a", now: .seconds(332))) == "fetch")
        state.fetched(self.keys, lifetime: .seconds(3600), now: .seconds(333))
        #expect(self.word(state.keyAsked("a", now: .seconds(333))) == "use a")
        #expect(state.unknownKeyCount == 0)
    }

    @Test func aFloodOfUnknownKeysFetchesOnceInAnInterval() {
        var policy = KeySetState.Policy()
        policy.maximumUnknownKeys = 10
        var state = KeySetState(policy: policy)
        _ = state.timeArrived(now: .zero)
        state.fetched(self.keys, lifetime: .seconds(86_400), now: .zero)
        var fetches = 0
        for step in 1...100_000 {
            // A thousand ids a second for a hundred seconds.
            let now = Duration.milliseconds(step)
            if self.word(state.keyAsked("id\(step)", now: now)) == "fetch" {
                fetches += 1
                state.fetched(self.keys, lifetime: .seconds(86_400), now: now)
            }
            #expect(state.unknownKeyCount <= 10)
        }
        #expect(fetches == 4)
        #expect(self.word(state.keyAsked(String(repeating: "x", count: 10_000), now: .seconds(1000))) == "unknown")
    }

    @Test func eventsWithoutAFetchChangeNothing() {
        var state = KeySetState()
        state.fetched(self.keys, lifetime: nil, now: .zero)
        #expect(state.keys(now: .zero) == nil)
        state.fetchFailed(jitter: 0, now: .zero)
        #expect(state.consecutiveFailures == 0)
    }

    /// Any events in any order: at most one fetch at a time, never more unknown ids than allowed, never keys that are too
    /// old, and a wake-up is always known unless a fetch is under way.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func aRandomWalkKeepsTheRules(seed: UInt64) {
        var generator = Walk(state: seed)
        var policy = KeySetState.Policy()
        policy.maximumUnknownKeys = 3
        var state = KeySetState(policy: policy)
        var now = Duration.zero
        var isFetching = false
        var lastFetched: Duration?
        for _ in 0..<20_000 {
            now += .milliseconds(Int64(generator.next() % 200_000))
            var action = KeySetState.Action.none
            switch generator.next() % 4 {
            case 0: action = state.timeArrived(now: now)
            case 1:
                let answer = state.keyAsked(["a", "b", "c", "d", nil][Int(generator.next() % 5)], now: now)
                if case .wait(let wanted) = answer { action = wanted }
                if case .use = answer { #expect(lastFetched.map { now - $0 <= .seconds(2 * 86_400) } == true) }
            case 2 where isFetching:
                state.fetched(generator.next() % 2 == 0 ? self.keys : self.rotated, lifetime: nil, now: now)
                lastFetched = now
                isFetching = false
            case 3 where isFetching && generator.next() % 3 == 0:
                state.fetchFailed(jitter: 0.5, now: now)
                isFetching = false
            default: break
            }
            if action == .fetch {
                #expect(!isFetching, "seed \(seed)")
                isFetching = true
            }
            #expect((state.nextWake == nil) == isFetching, "seed \(seed)")
            #expect(state.unknownKeyCount <= 3)
        }
    }

    private struct Walk {
        var state: UInt64
        mutating func next() -> UInt64 {
            self.state = self.state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return self.state >> 33
        }
    }

    @Test(
        arguments: [
            ("max-age=60", 60), ("public, max-age=3600, must-revalidate", 3600), ("MAX-AGE=5", 5), ("max-age=\"7\"", 7),
            ("no-store", 0), ("no-cache, max-age=60", 0), ("private", nil), ("", nil), ("max-age=-1", nil),
            ("max-age=x", nil), ("max-age", nil), ("max-age=99999999999999999999", .max), ("s-maxage=10", nil),
        ] as [(String, Int64?)])
    func cacheHeadersAreRead(header: String, seconds: Int64?) {
        #expect(CacheLifetime.seconds(inCacheControl: header) == seconds)
    }

    @Test(arguments: [
        ("https://id.example/keys", true, true), ("HTTPS://id.example:8443/keys?x=1", true, true),
        ("https://[::1]/k", true, true),
        ("http://127.0.0.1:80/k", false, true), ("http://localhost/k", false, true), ("http://[::1]:1/k", false, true),
        ("http://127.0.0.1.evil.example/k", false, false), ("http://id.example/k", false, false),
        ("http://localhost.evil/k", false, false), ("https://u:p@id.example/k", false, false),
        ("https://id.example/k#f", false, false), ("https:///k", false, false), ("https://", false, false),
        ("ftp://id.example/k", false, false), ("file:///etc/passwd", false, false), ("id.example", false, false),
        ("https://id.example:0/k", false, false), ("https://id.example:x/k", false, false),
        ("https://a b/k", false, false),
        ("https://id.example\\@evil/k", false, false), ("", false, false),
    ])
    func onlyProtectedURLsAreTaken(url: String, always: Bool, onLoopback: Bool) {
        #expect(KeySetURL.isAllowed(url, allowsInsecureLoopback: false) == always)
        #expect(KeySetURL.isAllowed(url, allowsInsecureLoopback: true) == onLoopback)
    }
}
