import DurableStreams
import Testing

@Suite("Stream offsets")
struct StreamOffsetTests {
    @Test func theStartIsWrittenAsZeros() {
        #expect(StreamOffset.start.token == "0000000000000000_0000000000000000")
        #expect(StreamOffset(token: "0000000000000000_0000000000000000") == .start)
    }

    @Test(arguments: [0, 1, 9, 10, 12345, 9_999_999_999_999_998, 9_999_999_999_999_999] as [UInt64])
    func tokensReadBackAsThePosition(position: UInt64) {
        let token = StreamOffset(position: position).token
        #expect(token.utf8.count == 33)
        #expect(StreamOffset(token: token)?.position == position)
    }

    @Test func ninesLieBehindEveryTail() throws {
        let offset = try #require(StreamOffset(token: "9999999999999999_9999999999999999"))
        #expect(offset > StreamOffset(position: StreamOffset.maximumPosition))
    }

    @Test func tokensSortLikePositions() {
        let positions: [UInt64] = [0, 1, 9, 10, 99, 100, 1 << 40]
        let tokens = positions.map { StreamOffset(position: $0).token }
        #expect(tokens == tokens.sorted())
    }

    @Test(arguments: [
        "", "0", "-1", "now", "0000000000000000", "0000000000000000-0000000000000000",
        "000000000000000_00000000000000000", "0000000000000000_000000000000000a", "0000000000000000_000000000000000 ",
        "0000000000000000_00000000000000000", "0000000000000000_000000000000,000", "+000000000000000_0000000000000000",
        "٠000000000000000_0000000000000000",
    ])
    func otherTextsAreNoTokens(text: String) {
        #expect(StreamOffset(token: text) == nil)
    }

    @Test func sentinelsAreStartsOfReads() {
        #expect(ReadStart(parameter: "-1") == .start)
        #expect(ReadStart(parameter: "now") == .now)
        #expect(ReadStart(parameter: "Now") == nil)
        #expect(ReadStart(parameter: "") == nil)
        #expect(ReadStart(parameter: "0000000000000000_0000000000000007") == .at(StreamOffset(position: 7)))
    }
}
