import Testing

@testable import WriteBack

@Suite("The text of tags")
struct TagTextTests {
    @Test(arguments: [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_686_827_885_372, "2023-06-15T11:18:05.372Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (1_703_980_800_000, "2023-12-31T00:00:00.000Z"),
        (TagText.greatestTimestamp, "9999-12-31T23:59:59.999Z"),
    ])
    func timestampsAreInUTC(milliseconds: Int64, text: String) {
        #expect(TagText.timestamp(milliseconds) == text)
    }

    @Test func quotesAndBackslashesAreEscapedOncePerLevel() {
        #expect(TagText.tag(timestampMilliseconds: 0, source: nil) == #"("1970-01-01T00:00:00.000Z",)"#)
        #expect(TagText.tag(timestampMilliseconds: 0, source: #"a"b\"#) == #"("1970-01-01T00:00:00.000Z","a\"b\\")"#)
        #expect(TagText.array([]) == "{}")
        #expect(
            TagText.array([.init(timestampMilliseconds: 0, source: "c"), .init(timestampMilliseconds: 0, source: nil)])
                == #"{"(\"1970-01-01T00:00:00.000Z\",\"c\")","(\"1970-01-01T00:00:00.000Z\",)"}"#)
    }
}
