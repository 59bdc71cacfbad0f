import PostgresWire
import Testing

@testable import ChangeFeed

@Suite struct SlotDecisionTests {
    private let name = "electric_replication_out_app"

    private func facts(
        _ presence: SlotFacts.Presence, system: UInt64 = 1, timeline: UInt32 = 1, flush: UInt64 = 10_000
    ) -> SlotFacts {
        SlotFacts(
            systemIdentifier: system, timeline: timeline, walFlush: LSN(rawValue: flush), nextXID: 700,
            presence: presence)
    }

    private var identity: StreamIdentity {
        StreamIdentity(systemIdentifier: 1, timeline: 1, slotName: self.name, epoch: 1, base: LSN(rawValue: 100))
    }

    private func decide(_ facts: SlotFacts, _ identity: StreamIdentity?, stored: UInt64 = 5_000) -> SlotDecision {
        SlotDecision.decide(facts: facts, identity: identity, stored: LSN(rawValue: stored), slotName: self.name)
    }

    private func present(_ confirmed: UInt64) -> SlotFacts.Presence {
        .present(confirmed: LSN(rawValue: confirmed), activePID: nil)
    }

    private func startsOver(_ decision: SlotDecision) -> Bool {
        if case .startOver = decision { return true }
        return false
    }

    @Test func firstStartTakesOrMakesTheSlot() {
        #expect(self.decide(self.facts(.absent), nil) == .begin(createSlot: true, dropFirst: false))
        #expect(self.decide(self.facts(self.present(50)), nil) == .begin(createSlot: false, dropFirst: false))
        #expect(self.decide(self.facts(.unusable(reason: "lost")), nil) == .begin(createSlot: true, dropFirst: true))
    }

    @Test func slotAtOrBehindTheLogIsResumed() {
        #expect(self.decide(self.facts(self.present(5_000)), self.identity) == .resume)
        #expect(self.decide(self.facts(self.present(10)), self.identity) == .resume)
    }

    @Test func anythingThatWouldLeaveAGapStartsOver() {
        #expect(self.startsOver(self.decide(self.facts(self.present(5_001)), self.identity)))
        #expect(self.startsOver(self.decide(self.facts(.absent), self.identity)))
        #expect(self.startsOver(self.decide(self.facts(.unusable(reason: "x")), self.identity)))
        #expect(self.startsOver(self.decide(self.facts(self.present(5_000), system: 2), self.identity)))
        #expect(self.startsOver(self.decide(self.facts(self.present(4_000), flush: 4_900), self.identity)))
        #expect(self.startsOver(self.decide(self.facts(self.present(4_000), timeline: 2), self.identity)))
        var other = self.identity
        other.slotName = "another"
        #expect(self.startsOver(self.decide(self.facts(self.present(5_000)), other)))
    }

    @Test func promotedServerWithAnUpToDateSlotIsResumed() {
        #expect(self.decide(self.facts(self.present(5_000), timeline: 2), self.identity) == .resume)
    }

    @Test(arguments: [
        ("app", "electric_replication_out_app"),
        ("My-App.Prod", "electric_replication_out_my_app_prod"),
        ("__x__", "electric_replication_out_x"),
        (String(repeating: "a", count: 63), "electric_replication_out_" + String(repeating: "a", count: 38)),
    ])
    func slotIsNamedForItsDatabase(_ database: String, _ slot: String) {
        #expect(SlotName.main(database: database) == slot)
    }
}

@Suite struct SlotStateMachineTests {
    @Test func readyOnlyAfterCatchingUpWithWhatWasThereAtTheStart() {
        var machine = SlotStateMachine(patience: 20)
        machine.transportChosen("the extension")
        #expect(!machine.isReady)
        machine.streamStarted("the extension", position: LSN(rawValue: 10), walFlush: LSN(rawValue: 100), now: 0)
        #expect(!machine.isReady)
        #expect(machine.label == "catching_up")
        machine.advanced(to: LSN(rawValue: 99), now: 1)
        #expect(!machine.isReady)
        machine.advanced(to: LSN(rawValue: 100), now: 1)
        #expect(machine.isReady)
    }

    @Test func stalledStreamIsNotReadyAndRecoversByItself() {
        var machine = SlotStateMachine(patience: 20)
        machine.streamStarted("x", position: LSN(rawValue: 100), walFlush: LSN(rawValue: 100), now: 0)
        #expect(machine.isReady)
        machine.walObserved(flush: LSN(rawValue: 200), position: LSN(rawValue: 100), now: 10)
        #expect(machine.isReady, "lag alone is no stall")
        machine.walObserved(flush: LSN(rawValue: 300), position: LSN(rawValue: 100), now: 21)
        #expect(!machine.isReady)
        #expect(machine.state == .lagging(transport: "x", bytes: 200))
        machine.advanced(to: LSN(rawValue: 300), now: 22)
        #expect(machine.isReady)
    }

    @Test func idleDatabaseIsNotStalled() {
        var machine = SlotStateMachine(patience: 20)
        machine.streamStarted("x", position: LSN(rawValue: 100), walFlush: LSN(rawValue: 100), now: 0)
        for now in stride(from: 5.0, to: 500, by: 5) {
            machine.walObserved(flush: LSN(rawValue: 100), position: LSN(rawValue: 100), now: now)
        }
        #expect(machine.isReady)
    }

    @Test func waitingForOpenTransactionsNamesThem() {
        var machine = SlotStateMachine()
        machine.creationStarted()
        machine.creationWaits(for: [41, 42])
        #expect(machine.summary.contains("41, 42"))
        #expect(!machine.isReady)
    }

    @Test func lostSlotForgetsThatItHadCaughtUp() {
        var machine = SlotStateMachine()
        machine.streamStarted("x", position: LSN(rawValue: 100), walFlush: LSN(rawValue: 100), now: 0)
        machine.slotLost("dropped")
        machine.streamStarted("x", position: LSN(rawValue: 100), walFlush: LSN(rawValue: 500), now: 5)
        #expect(!machine.isReady)
    }
}
