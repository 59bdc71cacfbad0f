import NIOCore
import NIOEmbedded
import Testing

@testable import SatelliteEndpoint

@Suite struct PingWheelTests {
    private final class Client: PingWheelClient {
        var wheelPlace: PingWheel.Place?
        var ticks = 0
        var onTick: () -> Void = {}
        func ticked() {
            self.ticks += 1
            self.onTick()
        }
    }

    private let loop = EmbeddedEventLoop()

    @Test func eachIsToldOncePerIntervalFromItsOwnBeginning() {
        let wheel = PingWheel(eventLoop: self.loop, interval: 5)
        let early = Client()
        let late = Client()
        wheel.add(early)
        self.loop.advanceTime(by: .seconds(2))
        wheel.add(late)
        self.loop.advanceTime(by: .seconds(3))
        #expect((early.ticks, late.ticks) == (1, 0))
        self.loop.advanceTime(by: .seconds(2))
        #expect((early.ticks, late.ticks) == (1, 1))
        self.loop.advanceTime(by: .seconds(50))
        #expect((early.ticks, late.ticks) == (11, 11))
    }

    @Test func whoLeavesIsNotToldAndTheOthersAre() {
        let wheel = PingWheel(eventLoop: self.loop, interval: 2)
        let clients = (0..<4).map { _ in Client() }
        for client in clients { wheel.add(client) }
        // The second leaves while the first is told.
        clients[0].onTick = { wheel.remove(clients[1]) }
        wheel.remove(clients[2])
        self.loop.advanceTime(by: .seconds(4))
        #expect(clients.map(\.ticks) == [2, 0, 0, 2])
        for client in clients { wheel.remove(client) }
        self.loop.advanceTime(by: .seconds(10))
        #expect(clients.map(\.ticks) == [2, 0, 0, 2])
        wheel.add(clients[2])
        self.loop.advanceTime(by: .seconds(2))
        #expect(clients[2].ticks == 1)
    }
}
