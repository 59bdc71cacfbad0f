import Foundation
import Identity
import Synchronization
import Testing

@testable import TokenKeys

/// A fetcher whose answers a test hands out one by one.
private final class ScriptedFetcher: KeySetFetcher {
    private let answers: AsyncStream<Result<String, KeySetFetchError>>
    private let feed: AsyncStream<Result<String, KeySetFetchError>>.Continuation
    private let calls = Mutex(0)
    let name = "script"

    init() { (self.answers, self.feed) = AsyncStream.makeStream() }

    var count: Int { self.calls.withLock { $0 } }

    func answer(_ text: String) { self.feed.yield(.success(text)) }
    func fail() { self.feed.yield(.failure(KeySetFetchError(.unreachable, "script"))) }

    func fetch() async throws(KeySetFetchError) -> FetchedKeySet {
        self.calls.withLock { $0 += 1 }
        for await answer in self.answers {
            return FetchedKeySet(bytes: Array(try answer.get().utf8), lifetime: .seconds(3600))
        }
        throw KeySetFetchError(.unreachable, "ended")
    }
}

@Suite("Sources of key sets", .timeLimit(.minutes(1)))
struct KeySetSourceTests {
    private func running(
        _ source: KeySetSource, _ body: @escaping @Sendable () async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { await source.run() }
            try await body()
            tasks.cancelAll()
        }
    }

    @Test func tokensWaitForTheFirstFetch() async throws {
        let fetcher = ScriptedFetcher()
        let source = KeySetSource(fetcher: fetcher)
        let authenticator = TokenAuthenticator(policy: SigningParty.policy, sources: [source])
        let party = SigningParty("a")
        let token = try party.token()
        #expect(authenticator.authenticateAtOnce(token, now: SigningParty.now) == nil)
        try await self.running(source) { () async throws in
            async let waiting = authenticator.authenticate(token, now: SigningParty.now)
            fetcher.answer(SigningParty.document(party))
            #expect(try await waiting.get().userID == "alice")
            #expect(try authenticator.authenticateAtOnce(token, now: SigningParty.now)?.get().userID == "alice")
            #expect(fetcher.count == 1)
        }
        // Closed: nothing waits for ever.
        #expect(await authenticator.authenticate(token, now: SigningParty.now) == .failure(.keysUnavailable))
    }

    @Test func aReloadFetchesAtOnceAndARemovedKeyIsRefused() async throws {
        let fetcher = ScriptedFetcher()
        let (events, feed) = AsyncStream<KeySetSource.Event>.makeStream()
        let source = KeySetSource(fetcher: fetcher) { feed.yield($0) }
        let authenticator = TokenAuthenticator(policy: SigningParty.policy, sources: [source])
        let (old, new) = (SigningParty("a"), SigningParty("b"))
        try await self.running(source) { () async throws in
            var next = events.makeAsyncIterator()
            fetcher.answer(SigningParty.document(old))
            _ = await next.next()
            #expect(try authenticator.authenticateAtOnce(old.token(), now: SigningParty.now)?.get().userID == "alice")
            // The set is good for an hour; nobody asks for a key that it lacks.
            fetcher.answer(SigningParty.document(new))
            source.reload()
            _ = await next.next()
            #expect(fetcher.count == 2)
            #expect(try authenticator.authenticateAtOnce(new.token(), now: SigningParty.now)?.get().userID == "alice")
            // A set that cannot be had changes nothing.
            fetcher.fail()
            source.reload()
            guard case .failed(_, _, _, hasKeys: true)? = await next.next() else {
                Issue.record("the failure was not told")
                return
            }
            #expect(try authenticator.authenticateAtOnce(new.token(), now: SigningParty.now)?.get().userID == "alice")
        }
    }

    @Test func aNewKeyIsFetchedWhenATokenNamesIt() async throws {
        let fetcher = ScriptedFetcher()
        let source = KeySetSource(fetcher: fetcher)
        let authenticator = TokenAuthenticator(policy: SigningParty.policy, sources: [source])
        let (old, new, stranger) = (SigningParty("a"), SigningParty("b"), SigningParty("c"))
        let impostor = SigningParty("b")
        try await self.running(source) { () async throws in
            fetcher.answer(SigningParty.document(old))
            #expect(try await authenticator.authenticate(old.token(), now: SigningParty.now).get().userID == "alice")
            let token = try new.token()
            #expect(authenticator.authenticateAtOnce(token, now: SigningParty.now) == nil)
            fetcher.answer(SigningParty.document(new))
            #expect(try await authenticator.authenticate(token, now: SigningParty.now).get().userID == "alice")
            #expect(fetcher.count == 2)
            // The old key is gone, the stranger's never came; neither leads to another fetch so soon.
            for party in [old, stranger] {
                #expect(
                    await authenticator.authenticate(try party.token(), now: SigningParty.now) == .failure(.unknownKey))
            }
            let forged = await authenticator.authenticate(try impostor.token(), now: SigningParty.now)
            #expect(throws: TokenError.self) { try forged.get() }
            #expect(fetcher.count == 2)
        }
    }

    @Test func aFailureIsToldAndTokensAreTurnedAway() async throws {
        let fetcher = ScriptedFetcher()
        let events = Mutex<[String]>([])
        var policy = KeySetState.Policy()
        policy.firstBackoff = .seconds(3600)
        policy.maximumBackoff = .seconds(3600)
        let source = KeySetSource(fetcher: fetcher, policy: policy) { event in
            switch event {
            case .fetched(_, let keys, let rejected):
                events.withLock { $0.append("\(keys) keys, \(rejected.count) rejected") }
            case .failed(_, let error, let failures, let hasKeys):
                events.withLock { $0.append("\(error.code) \(failures) \(hasKeys)") }
            }
        }
        let authenticator = TokenAuthenticator(policy: SigningParty.policy, sources: [source])
        let token = try SigningParty("a").token()
        try await self.running(source) { () async throws in
            fetcher.answer("{\"keys\":[]}")
            #expect(await authenticator.authenticate(token, now: SigningParty.now) == .failure(.keysUnavailable))
            #expect(await authenticator.authenticate(token, now: SigningParty.now) == .failure(.keysUnavailable))
        }
        #expect(events.withLock { $0 } == ["malformed 1 false"])
    }

    @Test func failedFetchesAreTriedAgainUntilOneSucceeds() async throws {
        let fetcher = ScriptedFetcher()
        var policy = KeySetState.Policy()
        policy.firstBackoff = .milliseconds(5)
        let (done, finished) = AsyncStream<Int>.makeStream()
        let source = KeySetSource(fetcher: fetcher, policy: policy) { event in
            if case .fetched(_, let keys, _) = event { finished.yield(keys) }
        }
        try await self.running(source) { () async throws in
            for _ in 0..<3 { fetcher.fail() }
            fetcher.answer(SigningParty.document(SigningParty("a"), SigningParty("b")))
            for await keys in done {
                #expect(keys == 2)
                break
            }
            #expect(fetcher.count == 4)
            #expect(source.keysAtHand()?.keys.count == 2)
        }
    }

    @Test func aCancelledRequestStopsWaiting() async throws {
        let fetcher = ScriptedFetcher()
        let source = KeySetSource(fetcher: fetcher)
        let authenticator = TokenAuthenticator(policy: SigningParty.policy, sources: [source])
        let token = try SigningParty("a").token()
        // Nothing ever answers, and nobody runs the source.
        let task = Task { await authenticator.authenticate(token, now: SigningParty.now) }
        task.cancel()
        #expect(await task.value == .failure(.keysUnavailable))
    }

    @Test func manyTokensShareOneFetch() async throws {
        let fetcher = ScriptedFetcher()
        let source = KeySetSource(fetcher: fetcher)
        let authenticator = TokenAuthenticator(policy: SigningParty.policy, sources: [source])
        let party = SigningParty("a")
        let token = try party.token()
        try await self.running(source) { () async throws in
            await withTaskGroup(of: Bool.self) { tasks in
                for _ in 0..<200 {
                    tasks.addTask {
                        (try? await authenticator.authenticate(token, now: SigningParty.now).get()) != nil
                    }
                }
                fetcher.answer(SigningParty.document(party))
                for await isGood in tasks { #expect(isGood) }
            }
            #expect(fetcher.count == 1)
        }
    }

    @Test func keysRotateOverHTTP() async throws {
        let server = try await LoopbackServer.start()
        let (old, new) = (SigningParty("a"), SigningParty("b"))
        server.set("/keys", .init(headers: [("Cache-Control", "max-age=3600")], body: SigningParty.document(old)))
        let fetcher = try HTTPKeySetFetcher(url: server.url("/keys"), allowsInsecureLoopback: true)
        let source = KeySetSource(fetcher: fetcher)
        let authenticator = TokenAuthenticator(policy: SigningParty.policy, sources: [source])
        try await self.running(source) { () async throws in
            #expect(try await authenticator.authenticate(old.token(), now: SigningParty.now).get().userID == "alice")
            server.set("/keys", .init(body: SigningParty.document(old, new)))
            #expect(try await authenticator.authenticate(new.token(), now: SigningParty.now).get().userID == "alice")
            #expect(try await authenticator.authenticate(old.token(), now: SigningParty.now).get().userID == "alice")
            #expect(server.requests.count == 2)
        }
        await fetcher.shutdown()
        await server.stop()
    }

    @Test func aFileIsReadAgainWhenItChanges() async throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("penstock-keys-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let file = directory.appendingPathComponent("keys.json")
        let fetcher = FileKeySetFetcher(path: file.path)
        await #expect(throws: KeySetFetchError(.unreadable, "")) { try await fetcher.fetch() }
        let (old, new) = (SigningParty("a"), SigningParty("bb"))
        try Data(SigningParty.document(old).utf8).write(to: file, options: .atomic)
        #expect(try await fetcher.fetch().bytes == Array(SigningParty.document(old).utf8))
        try Data(SigningParty.document(new).utf8).write(to: file, options: .atomic)
        #expect(try await fetcher.fetch().bytes == Array(SigningParty.document(new).utf8))
        try Data(repeating: 0x20, count: KeySet.maximumBytes + 1).write(to: file)
        await #expect(throws: KeySetFetchError(.tooLarge, "")) { try await fetcher.fetch() }
        await #expect(throws: KeySetFetchError(.unreadable, "")) {
            try await FileKeySetFetcher(path: directory.path).fetch()
        }
    }
}
