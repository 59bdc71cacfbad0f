import Testing

@testable import Configuration

@Suite("Formats of values")
struct ValueParsingTests {
    @Test(
        arguments: [
            ("1", 1), ("1000", 1000), ("2.23g", 2_230_000_000), ("256M", 268_435_456), ("430K", 440_320),
            ("2G", 2_147_483_648), ("1k", 1000), ("1m", 1_000_000), ("1g", 1_000_000_000), ("1K", 1024),
            ("1.5 G", 1_610_612_736), ("1.5\tG ", 1_610_612_736), ("10 ", 10), ("1.9", 1), ("0.5k", 500), ("007", 7),
            ("0.0000000001g", 0), ("1.9999999999999999999999999999", 1), ("9223372036854775807", .max),
            ("3.3333333333G", 3_579_139_413),
        ] as [(String, Int64)])
    func sizesAreRead(text: String, bytes: Int64) {
        #expect(ByteCount(size: text)?.bytes == (bytes == 0 ? nil : bytes))
    }

    @Test(arguments: [
        "", " ", "0", "0.0", "0K", "-1", "+1", "K", "1KB", "1kB", "1T", "1Ki", "1 K B", "1,5G", "1.", "1.K", ".5K",
        "1e3", "0x10", " 1", "1..2", "1 0", "9223372036854775808", "9999999999G", "10e", "٣",
    ])
    func whatIsNoSizeIsRefused(text: String) {
        #expect(ByteCount(size: text) == nil)
        #expect(
            Environments.problems(["ELECTRIC_TXN_CACHE_SIZE": text]) == [
                "ELECTRIC_TXN_CACHE_SIZE has invalid value: \"\(text)\""
            ])
    }

    @Test func booleansAreTheUsualWordsInAnyCase() {
        for word in ["1", "t", "true", "TRUE", "y", "Yes", "on", "enable", "enabled"] {
            #expect(ValueParsing.boolean(word) == true)
        }
        for word in ["0", "f", "false", "False", "n", "no", "OFF", "disable", "disabled"] {
            #expect(ValueParsing.boolean(word) == false)
        }
        for word in ["", " ", "2", "tru", "nope", "true ", "да"] {
            #expect(ValueParsing.boolean(word) == nil)
        }
    }

    @Test func integersAreDigitsAndNothingElse() {
        #expect(ValueParsing.integer("5133") == 5133)
        #expect(ValueParsing.integer("0") == 0)
        for text in ["", "+1", "-1", " 1", "1 ", "1x", "1.0", "0x1", "٣", "99999999999999999999"] {
            #expect(ValueParsing.integer(text) == nil, "\(text)")
        }
        #expect(ValueParsing.port("1") == 1)
        #expect(ValueParsing.port("65535") == 65535)
        for text in ["0", "65536", "70000", "-1"] { #expect(ValueParsing.port(text) == nil) }
    }

    @Test func quotedTextIsSafeToPrint() {
        #expect(ValueParsing.quoted("a\"b\\\n\u{1b}[2J") == #""a\"b\\\n\u{1b}[2J""#)
        #expect(ValueParsing.quoted(String(repeating: "x", count: 200)).count == 83)
    }

    @Test func secretsPrintAsNothing() {
        let secret = Secret("hunter2")
        struct Holder { var secret: Secret }
        var dumped = ""
        dump(Holder(secret: secret), to: &dumped)
        for text in ["\(secret)", String(reflecting: secret), "\(Holder(secret: secret))", dumped] {
            #expect(!text.contains("hunter2"))
        }
        #expect(secret.reveal() == "hunter2")
        #expect(secret == Secret("hunter2"))
    }
}
