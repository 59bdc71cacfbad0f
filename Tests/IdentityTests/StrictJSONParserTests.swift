import Testing

@testable import Identity

@Suite("Strict JSON")
struct StrictJSONParserTests {
    @Test func everyKindOfValueIsRead() throws {
        let text =
            #" { "a" : [ 1 , -0.5 , 1e3 , true , false , null ] , "b\u00e9\ud83d\ude00\/\n" : { } "#
            + #" , "c" : [ ] } "#
        let value = try StrictJSONParser.parse(Array(text.utf8))
        #expect(
            value
                == .object([
                    "a": .array([.integer(1), .number(-0.5), .number(1000), .bool(true), .bool(false), .null]),
                    "b\u{e9}\u{1f600}/\n": .object([:]), "c": .array([]),
                ]))
        #expect(try StrictJSONParser.parse(Array(value.text.utf8)) == value)
        #expect(try StrictJSONParser.parse(Array("9223372036854775807".utf8)) == .integer(.max))
        #expect(try StrictJSONParser.parse(Array("9223372036854775808".utf8)) == .number(9_223_372_036_854_775_808))
    }

    @Test(arguments: [
        "", " ", "{", "}", "[1", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "01", "+1", "1.", ".5",
        "1e", "1e+", "-", "tru", "nul", "True", "\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"",
        "\"\\udc00\"", "\"\n\"", "1 2", "{\"a\":1}{}", "NaN", "-Infinity", "1e400", "{\"a\":1,\"a\":1}", "/**/1",
    ])
    func everythingElseIsRefused(text: String) {
        #expect(throws: StrictJSONParser.Malformed.self) { try StrictJSONParser.parse(Array(text.utf8)) }
    }

    @Test func illFormedUTF8IsRefused() {
        for bytes: [UInt8] in [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xe2, 0x82]] {
            #expect(throws: StrictJSONParser.Malformed.self) {
                try StrictJSONParser.parse([UInt8(ascii: "\"")] + bytes + [UInt8(ascii: "\"")])
            }
        }
    }

    @Test func truncationAtEveryByteIsRefused() {
        let text = Array(#"{"alg":"HS\u0032","n":[1.5e3,{"x":null}]}"#.utf8)
        for length in 0..<text.count {
            #expect(throws: StrictJSONParser.Malformed.self) { try StrictJSONParser.parse(Array(text[..<length])) }
        }
    }

    @Test func randomBytesNeverTrap() {
        let seed = UInt64.random(in: .min ... .max)
        var state = seed
        let alphabet = Array(#"{}[]",:\u0123456789eE+-.truefalsn "#.utf8) + [0xff, 0xc3, 0xa9, 0]
        var parsed = 0
        for _ in 0..<20_000 {
            var bytes: [UInt8] = []
            state = state &* 6_364_136_223_846_793_005 &+ 1
            for _ in 0..<(state >> 59) {
                state = state &* 6_364_136_223_846_793_005 &+ 1
                bytes.append(alphabet[Int((state >> 33) % UInt64(alphabet.count))])
            }
            if let value = try? StrictJSONParser.parse(bytes) {
                parsed += 1
                #expect((try? StrictJSONParser.parse(Array(value.text.utf8))) == value, "seed \(seed)")
            }
        }
        #expect(parsed > 0, "seed \(seed)")
    }
}
