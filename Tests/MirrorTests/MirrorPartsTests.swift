import DurableStreams
import ExactText
import NIOCore
import PostgresClient
import PostgresWire
import Testing

@testable import Mirror

/// The parts that need no database.
@Suite struct MirrorPartsTests {
    @Test(arguments: [
        ("orders/*/events", "orders/7/events", true), ("orders/*/events", "orders/7/8/events", false),
        ("orders/**", "orders/7/8/events", true), ("o?ders", "orders", true), ("a?b", "a/b", false),
        ("**", "anything/at/all", true), ("*", "a/b", false), ("*", "", true), ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxbyy", false), ("**", "__ds/mirror/flow/1", false),
    ])
    func patternsMatchNames(_ pattern: String, _ name: String, _ isMatch: Bool) {
        #expect(StreamSelector.pattern(pattern).matches(name) == isMatch)
    }

    @Test func prefixMatchesWhatGoesOn() {
        #expect(StreamSelector.prefix("orders/").matches("orders/1"))
        #expect(!StreamSelector.prefix("orders/").matches("orders/"))
        #expect(!StreamSelector.prefix("__ds/").matches("__ds/mirror/x"))
    }

    @Test func sequencesSortAsTheyHappen() throws {
        let order = [
            MirrorSequence(generation: 0, anchor: 5, position: LSN(rawValue: 9), part: 3),
            MirrorSequence(generation: 0, anchor: 5, position: LSN(rawValue: 9), part: 10),
            MirrorSequence(generation: 0, anchor: 5, position: LSN(rawValue: 9), part: MirrorSequence.whole),
            MirrorSequence(generation: 0, anchor: 5, position: LSN(rawValue: 0x10), part: MirrorSequence.whole),
            MirrorSequence(generation: 0, anchor: 99, position: LSN(rawValue: 0x10), part: 1),
            MirrorSequence(generation: 1, anchor: 0, position: .zero, part: 1),
            MirrorSequence(generation: 1, anchor: 700, position: .zero, part: MirrorSequence.whole),
            MirrorSequence(generation: 1, anchor: 700, position: LSN(rawValue: 1), part: 1),
        ]
        for (earlier, later) in zip(order, order.dropFirst()) {
            #expect(earlier.text.utf8.lexicographicallyPrecedes(later.text.utf8))
        }
        for sequence in order { #expect(MirrorSequence(sequence.text) == sequence) }
        for text in ["", "7", "0000000-0000000000000000-0000000000000000-0000000000000000", order[0].text + "0"] {
            #expect(MirrorSequence(text) == nil)
        }
    }

    @Test func descriptionsComeBackFromAnAppend() throws {
        let description = SourceDescription(
            generation: 3, epoch: 2, systemIdentifier: "712", schema: "pub\"lic", table: "a.b/c", oid: 77,
            columns: [SourceColumn(name: "i\"d", typeOID: 23, typeModifier: -1)], position: LSN(rawValue: 1 << 40),
            end: LSN(rawValue: 1 << 41), snapshot: TransactionSnapshot(xmin: 5, xmax: 9, running: [6, 8]))
        var buffer = ByteBuffer()
        description.write(as: .snapshotEnd, to: &buffer)
        buffer.writeString("{\"more\":1},")
        #expect(SourceDescription(storedAppend: buffer) == description)
        // Streams of earlier versions do not say how the table was published.
        var marked = description
        marked.publicationMark = "t16385"
        marked.numbers = ["i\"d": 4]
        marked.storage = "abc"
        buffer.clear()
        marked.write(as: .snapshotEnd, to: &buffer)
        #expect(SourceDescription(storedAppend: buffer) == marked)
        #expect(SourceDescription(storedAppend: ByteBuffer(string: "{\"a\":1},")) == nil)
    }

    @Test func copyRowsAreUnescaped() {
        var rows: [[String?]] = []
        CopyRows.forEach(in: ByteBuffer(string: "1\ta\\tb\\\\\t\\N\n\t\\\\N\tx\n")) { row in
            rows.append(row.map(\.string))
        }
        #expect(rows == [["1", "a\tb\\", nil], ["", "\\N", "x"]])
    }

    @Test func slicesFindMembers() throws {
        let json = JSONSlice(
            ByteBuffer(string: #" {"a" : {"b\u0041":[1,{"c":"}"}], "n":null}, "a2":-1.50 , "s":"x\"y","d":1,"d":2}"#))
        #expect(json.value(at: ["a", "bA"]).map { String(buffer: $0.bytes) } == #"[1,{"c":"}"}]"#)
        #expect(json.value(at: ["a", "n"])?.isNull == true)
        #expect(json.member("a2")?.scalarText == "-1.50")
        #expect(json.member("s")?.string == "x\"y")
        #expect(json.member("d")?.scalarText == "2")
        #expect(json.member("b") == nil)
        #expect(JSONSlice(ByteBuffer(string: "[1]")).member("a") == nil)
    }

    @Test func textBecomesJSONWhateverItHolds() {
        var buffer = ByteBuffer()
        buffer.writeJSONString(ByteBuffer(bytes: [0x22, 0x5C, 0x0A, 0x01, 0x1F, 0x61, 0xFF, 0xC3, 0xA4]))
        #expect(JSONValue(buffer)?.stringValue == "\"\\\n\u{1}\u{1F}a\u{FFFD}ä")
    }

    @Test func pausesGrowAndHaveAnEnd() {
        var options = MirrorOptions()
        options.firstBackoff = .milliseconds(100)
        options.greatestBackoff = .seconds(1)
        var backoff = Backoff(options)
        let pauses = (0..<40).map { _ in backoff.next(chance: 1) }
        #expect(
            pauses.prefix(5) == [
                .milliseconds(100), .milliseconds(200), .milliseconds(400), .milliseconds(800), .seconds(1),
            ])
        #expect(pauses.last == .seconds(1))
        #expect(backoff.next(chance: 0) == .milliseconds(500))
    }

    @Test(arguments: [("", "")] + [("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("abcd", "YWJjZA==")])
    func base64(_ text: String, _ encoded: String) {
        #expect(Base64.encode(ByteBuffer(string: text)) == encoded)
    }

    @Test(arguments: [
        ("22P02", false, true), ("23505", false, true), ("P0001", false, true), ("21000", false, true),
        ("42P01", true, false), ("42501", true, false), ("40001", false, false), ("57P01", false, false),
        ("08006", false, false), ("25006", false, false), ("44000", false, true), ("38000", false, true),
        ("20000", false, true), ("MY001", false, true), ("45000", false, true), ("", false, false),
        ("XX000", true, false),
    ])
    func errorsAreSorted(_ state: String, _ isFatal: Bool, _ isPoison: Bool) {
        let fault = MirrorFault(PostgresError(sqlState: state, message: "m"))
        #expect(fault.isFatal == isFatal)
        #expect(fault.isPoison == isPoison)
    }
}
