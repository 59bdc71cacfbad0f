import Testing

/// The checker of histories finds what it is there to find.
@Suite struct StreamHistoryTests {
    private static func claim(_ seq: Int, epoch: Int = 0) -> StreamAction.Claim {
        .init(id: "p", epoch: epoch, seq: seq)
    }

    /// A history without a fault, with a kill in it, and two requests without an answer: one happened, one did not.
    private static let sound: [StreamAction] = [
        StreamAction(request: .create(body: [1, 2]), stream: "a", status: 201),
        StreamAction(request: .append([3], claim: claim(0)), stream: "a", status: 200),
        StreamAction(request: .append([4], sequence: "0005"), stream: "a", status: 204),
        StreamAction(request: .create(body: [], fork: "a"), stream: "f", status: 201),
        StreamAction(request: .append([5], claim: claim(1)), stream: "a", status: nil),
        StreamAction(request: .restart),
        StreamAction(request: .append([3], claim: claim(0)), stream: "a", status: 204),
        StreamAction(request: .append([6], sequence: "0005"), stream: "a", status: 409),
        StreamAction(request: .read, stream: "a", status: 200, found: [1, 2, 3, 4, 5]),
        StreamAction(request: .append([7], claim: claim(0, epoch: 1), closes: true), stream: "f", status: 409),
        StreamAction(request: .append([7], closes: true), stream: "f", status: 204),
        StreamAction(request: .create(body: [8]), stream: "g", status: 201),
        StreamAction(request: .append([9]), stream: "g", status: nil),
        StreamAction(request: .restart),
        StreamAction(request: .read, stream: "g", status: 200, found: [8]),
        StreamAction(request: .delete, stream: "g", status: 204),
        StreamAction(request: .read, stream: "g", status: 404),
        StreamAction(request: .read, stream: "f", status: 200, found: [1, 2, 3, 4, 7], isClosed: true),
        StreamAction(request: .delete, stream: "a", status: 204),
        StreamAction(request: .read, stream: "a", status: 410),
        StreamAction(request: .delete, stream: "f", status: 204),
        StreamAction(request: .read, stream: "a", status: 404),
    ].map { action in
        // A new epoch begins with 0; the fork does not know the producer.
        guard case .append([7], claim: let claim?, _, _) = action.request, claim.epoch == 1 else { return action }
        return StreamAction(request: .append([7], claim: Self.claim(1)), stream: "f", status: 409)
    }

    private static func fault(
        _ actions: [StreamAction], survivesKill: Bool = true, seen: Set<Int> = []
    ) -> StreamHistoryChecker.Violation? {
        var checker = StreamHistoryChecker(survivesKill: survivesKill)
        do throws(StreamHistoryChecker.Violation) {
            try checker.check(actions)
            try checker.seen(seen)
            return nil
        } catch {
            return error
        }
    }

    @Test func aSoundHistoryPasses() {
        #expect(Self.fault(Self.sound, seen: [1, 5, 7, 8])?.description == nil)
    }

    /// Each of these is what a broken server would have answered after the kill.
    @Test(arguments: [
        ("a lost append", 8, [1, 2, 3, 5], 200, false), ("a doubled append", 8, [1, 2, 3, 4, 5, 5], 200, false),
        ("half of a creation", 8, [1, 3, 4, 5], 200, false), ("another order", 8, [2, 1, 3, 4, 5], 200, false),
        ("a lost stream", 8, [], 404, false), ("a close that nobody asked for", 8, [1, 2, 3, 4, 5], 200, true),
        ("a forgotten producer", 6, [], 200, false), ("a forgotten sequence", 7, [], 204, false),
        ("a lost close", 17, [1, 2, 3, 4, 7], 200, false), ("half of append-and-close", 17, [1, 2, 3, 4], 200, true),
        ("a deletion that came back", 16, [8], 200, false), ("a fork that lost its source", 19, [], 404, false),
        ("a source that stays", 21, [], 410, false), ("an append seen by the fork", 17, [1, 2, 3, 4, 5, 7], 200, true),
    ])
    func eachPlantedFaultIsFound(_ name: String, _ index: Int, _ found: [Int], _ status: Int, _ isClosed: Bool) {
        var actions = Self.sound
        actions[index].status = status
        actions[index].found = found
        actions[index].isClosed = isClosed
        #expect(Self.fault(actions) != nil, "\(name)")
    }

    @Test func whatAReaderSawMustNotGoAway() {
        // 9 was on its way when the server was killed, and is not there.
        #expect(Self.fault(Self.sound, seen: [9]) != nil)
        #expect(Self.fault(Self.sound, seen: [99]) != nil)
        #expect(throws: StreamHistoryChecker.Violation.self) { try StreamHistoryChecker.checkReading([1, 3, 2]) }
        #expect(throws: StreamHistoryChecker.Violation.self) { try StreamHistoryChecker.checkReading([1, 1]) }
        #expect(throws: Never.self) { try StreamHistoryChecker.checkReading([1, 2, 7]) }
    }

    @Test func aStorageInMemoryMustLoseEverything() {
        let create = StreamAction(request: .create(body: [1]), stream: "a", status: 201)
        let restart = StreamAction(request: .restart)
        let there = StreamAction(request: .read, stream: "a", status: 200, found: [1])
        let gone = StreamAction(request: .read, stream: "a", status: 404)
        #expect(Self.fault([create, restart, gone], survivesKill: false) == nil)
        #expect(Self.fault([create, restart, there], survivesKill: false) != nil)
        #expect(Self.fault([create, restart, gone], survivesKill: true) != nil)
        #expect(Self.fault([create, restart, there], survivesKill: true) == nil)
    }
}
