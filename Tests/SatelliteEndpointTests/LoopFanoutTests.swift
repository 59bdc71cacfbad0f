import NIOCore
import NIOEmbedded
import PostgresWire
import Satellite
import Testing

@testable import SatelliteEndpoint

private final class Receiver: FanoutReceiver {
    var waitingPosition: LSN?
    var waitingIndex: Int?
    var deliveries: [TransactionDelivery] = []
    var asked = 0
    var onDelivery: (() -> Void)?

    init(at position: UInt64) { self.waitingPosition = LSN(rawValue: position) }

    func deliver(_ delivery: TransactionDelivery) {
        self.waitingPosition = nil
        self.deliveries.append(delivery)
        self.onDelivery?()
    }

    func askAgain() {
        self.waitingPosition = nil
        self.asked += 1
    }
}

@Suite struct LoopFanoutTests {
    private let loop = EmbeddedEventLoop()

    private func publish(_ fanout: LoopFanout, _ after: UInt64, _ upTo: UInt64) {
        fanout.published([.empty(at: upTo)], after: LSN(rawValue: after), upTo: LSN(rawValue: upTo))
    }

    @Test func waitingReceiverGetsWhatFollowsItsPosition() {
        let fanout = LoopFanout(eventLoop: self.loop)
        let receiver = Receiver(at: 10)
        fanout.wait(receiver)
        self.publish(fanout, 10, 20)
        #expect(receiver.deliveries.isEmpty)
        self.loop.run()
        #expect(receiver.deliveries.map(\.upTo.rawValue) == [20])
        #expect(receiver.deliveries.first?.after == LSN(rawValue: 10))
        #expect(fanout.waitingCount == 0)
        self.publish(fanout, 20, 30)
        self.loop.run()
        #expect(receiver.deliveries.count == 1)
    }

    @Test func receiverThatIsAheadGoesOnWaiting() {
        let fanout = LoopFanout(eventLoop: self.loop)
        let receiver = Receiver(at: 20)
        self.publish(fanout, 10, 20)
        fanout.wait(receiver)
        self.loop.run()
        #expect(receiver.deliveries.isEmpty && receiver.asked == 0)
        self.publish(fanout, 20, 30)
        self.loop.run()
        #expect(receiver.deliveries.count == 1)
    }

    @Test(arguments: [5, 15] as [UInt64]) func receiverElsewhereAsksTheHub(position: UInt64) {
        let fanout = LoopFanout(eventLoop: self.loop)
        let receiver = Receiver(at: position)
        fanout.wait(receiver)
        self.publish(fanout, 10, 20)
        self.loop.run()
        #expect(receiver.deliveries.isEmpty)
        #expect(receiver.asked == 1)
    }

    @Test func receiverThatIsGoneIsNotKeptAlive() {
        let fanout = LoopFanout(eventLoop: self.loop)
        let others = (0..<5).map { _ in Receiver(at: 10) }
        weak var gone: Receiver?
        do {
            let receiver = Receiver(at: 10)
            gone = receiver
            for other in others.prefix(2) { fanout.wait(other) }
            fanout.wait(receiver)
            for other in others.dropFirst(2) { fanout.wait(other) }
            fanout.wait(receiver)
            #expect(fanout.waitingCount == 6)
            fanout.remove(receiver)
            fanout.remove(receiver)
        }
        #expect(gone == nil)
        #expect(fanout.waitingCount == 5)
        fanout.remove(others[4])
        fanout.remove(others[0])
        self.publish(fanout, 10, 20)
        self.loop.run()
        #expect(others.map(\.deliveries.count) == [0, 1, 1, 1, 0])
    }

    @Test func receiverThatEndsAnotherDuringADeliveryIsSafe() {
        let fanout = LoopFanout(eventLoop: self.loop)
        let receivers = (0..<3).map { _ in Receiver(at: 10) }
        for receiver in receivers { fanout.wait(receiver) }
        receivers[0].onDelivery = {
            receivers[1].waitingPosition = nil
            fanout.remove(receivers[1])
            receivers[0].waitingPosition = LSN(rawValue: 20)
            fanout.wait(receivers[0])
        }
        self.publish(fanout, 10, 20)
        self.loop.run()
        #expect(receivers.map(\.deliveries.count) == [1, 0, 1])
        #expect(fanout.waitingCount == 1)
    }

    @Test func busyLoopIsGivenOneWakeInsteadOfEverything() {
        let fanout = LoopFanout(eventLoop: self.loop, maximumDeliveries: 2)
        let receiver = Receiver(at: 10)
        fanout.wait(receiver)
        receiver.onDelivery = {
            receiver.waitingPosition = receiver.deliveries.last?.upTo
            fanout.wait(receiver)
        }
        for step in UInt64(1)..<100 { self.publish(fanout, step * 10, step * 10 + 10) }
        self.loop.run()
        #expect(receiver.deliveries.map(\.upTo.rawValue) == [20, 30])
        #expect(receiver.asked == 1)
        // The backlog is gone: deliveries go out again.
        receiver.waitingPosition = LSN(rawValue: 1_000)
        fanout.wait(receiver)
        self.publish(fanout, 1_000, 1_010)
        self.loop.run()
        #expect(receiver.deliveries.last?.upTo == LSN(rawValue: 1_010))
    }
}
