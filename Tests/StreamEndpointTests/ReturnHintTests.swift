import StreamEndpoint
import Testing

@Suite("When event sources come back")
struct ReturnHintTests {
    @Test func everyEventStreamSaysOfItsOwnWhenToComeBack() async throws {
        try await EndpointServer.with(.memory) { server in
            let stream = server.client.stream()
            try await stream.create(body: "x")
            var times: Set<Int> = []
            for _ in 0..<20 {
                let reader = try await stream.events()
                #expect(try await reader.untilUpToDate().map(\.name) == ["data", "control"])
                let first = try #require(reader.text.split(separator: "\n", omittingEmptySubsequences: false).first)
                #expect(first.hasPrefix("retry: "))
                #expect(reader.text.hasPrefix(first + "\nevent: data\n"))
                times.insert(try #require(Int(first.dropFirst(7))))
            }
            #expect(times.count > 1)
            #expect(times.allSatisfy { (300...900).contains($0) })
        }
    }

    @Test func withoutAHintAnEventStreamBeginsWithItsFirstEvent() async throws {
        try await EndpointServer.with(.memory, { $0.services = { $0.returnHint = nil } }) { server in
            let stream = server.client.stream()
            try await stream.create(body: "x")
            let reader = try await stream.events()
            _ = try await reader.untilUpToDate()
            #expect(reader.text.hasPrefix("event: data\n"))
        }
    }
}
