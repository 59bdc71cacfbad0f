import DurableStreams
import NIOCore
import StreamDirectory
import StreamStore
import Testing

@Suite(.timeLimit(.minutes(2))) struct ObserverTests {
    /// Gathers what is delivered, and how often.
    private final class Loop: CompletionTarget {
        let calls = Box<[Int]>([])

        func deliver(_ completions: [StreamCompletion]) {
            self.calls.change { $0.append(completions.count) }
            for completion in completions { completion.run() }
        }
    }

    @Test(arguments: TestMode.allCases)
    func noticesComeWhenTheTailIsDurable(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        _ = try harness.create("a")
        let tails = Box<[UInt64]>([])
        let (observer, view) = try harness.directory.observe("a", now: harness.now.value) { notice in
            tails.change { $0.append(notice.tail) }
        }.get()
        #expect(view.tail == 0)
        harness.directory.append("a", DirectoryHarness.request("xyz"), now: harness.now.value) { _ in }
        if mode != .memory {
            #expect(tails.value.isEmpty)
            #expect(try harness.lookup("a").tail == 0, "not visible before it is durable")
            #expect(try harness.read("a").pieces.isEmpty)
        }
        harness.directory.flush()
        #expect(tails.value == [3])
        #expect(try harness.lookup("a").tail == 3)
        harness.directory.cancel(observer, now: harness.now.value)
        try harness.append("a", "more")
        #expect(tails.value == [3])
    }

    @Test(arguments: TestMode.allCases)
    func waitingIsServedOnceByDataClosureOrDeletion(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        for name in ["a", "b", "c"] { _ = try harness.create(name, body: "1") }
        let notices = Box<[String: [StreamNotice]]>([:])
        for (name, position) in [("a", 0), ("a", 1), ("b", 1), ("c", 1)] as [(String, UInt64)] {
            _ = try harness.directory.wait(name, beyond: position, now: harness.now.value) { notice in
                notices.change { $0["\(name)\(position)", default: []].append(notice) }
            }.get()
        }
        #expect(notices.value["a0"]?.map(\.tail) == [1], "at once")
        #expect(notices.value.count == 1)
        try harness.append("a", "2")
        try harness.append("a", "3")
        try harness.append("b", "", closes: true)
        try harness.delete("c")
        #expect(notices.value["a1"]?.map(\.tail) == [2])
        #expect(notices.value["b1"]?.map(\.isClosed) == [true])
        #expect(notices.value["c1"]?.map(\.end) == [.deleted])
        _ = try harness.directory.wait("b", beyond: 1, now: harness.now.value) { _ in
            notices.change { $0["closed"] = [] }
        }.get()
        #expect(notices.value["closed"] != nil)
    }

    @Test(arguments: TestMode.onDisk)
    func oneFlushIsOneDeliveryForEachTarget(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode) { $0.mode = mode == .acid ? .acid(shards: 1) : mode.mode }
        for name in ["a", "b"] { _ = try harness.create(name) }
        let (first, second) = (Loop(), Loop())
        let order = Box<[Int]>([])
        for number in 0..<10 {
            harness.directory.append(
                number % 2 == 0 ? "a" : "b", DirectoryHarness.request("x"), now: harness.now.value,
                target: number < 6 ? first : second
            ) { _ in order.change { $0.append(number) } }
        }
        #expect(order.value.isEmpty)
        harness.directory.flush()
        #expect(first.calls.value == [6])
        #expect(second.calls.value == [4])
        #expect(order.value == Array(0..<10))
    }

    @Test(arguments: TestMode.onDisk)
    func aRepeatIsAnsweredWhenTheOriginalIsDurable(_ mode: TestMode) throws {
        let harness = try DirectoryHarness(mode)
        let kinds = Box<[DurableStreams.AppendOutcome.Kind]>([])
        let created = Box<[Bool]>([])
        for _ in 0..<2 {
            harness.directory.create("a", CreateRequest(contentType: nil), now: harness.now.value) { result in
                if case .success(let outcome) = result { created.change { $0.append(outcome.isNew) } }
            }
        }
        let request = DirectoryHarness.request("x", producer: ProducerClaim(id: "p", epoch: 0, seq: 0))
        for _ in 0..<2 {
            harness.directory.append("a", request, now: harness.now.value) { result in
                if case .success(let outcome) = result { kinds.change { $0.append(outcome.kind) } }
            }
        }
        #expect(kinds.value.isEmpty && created.value.isEmpty)
        #expect(harness.code { try harness.lookup("a") } == .notFound, "a stream is not there before it is durable")
        harness.directory.flush()
        #expect(created.value == [true, false])
        #expect(kinds.value == [.appended, .duplicate])
    }

    @Test func manyObserversOfOneStreamAreToldInOneCall() throws {
        let harness = try DirectoryHarness(.memory)
        _ = try harness.create("a")
        let loop = Loop()
        let count = Box(0)
        var observers: [TailObserver] = []
        for _ in 0..<5000 {
            observers.append(
                try harness.directory.observe("a", now: harness.now.value, target: loop) { _ in count.change { $0 += 1 }
                }
                .get().observer)
        }
        try harness.append("a", "x")
        #expect(count.value == 5000)
        #expect(loop.calls.value == [5000])
        for observer in observers { harness.directory.cancel(observer, now: harness.now.value) }
        harness.directory.releaseObservers()
        #expect(count.value == 5000)
    }
}
