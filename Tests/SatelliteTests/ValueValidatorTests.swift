import NIOCore
import Testing

@testable import Satellite

@Suite("Values that clients write")
struct ValueValidatorTests {
    private static func column(_ type: String, labels: [String]? = nil) -> SatelliteTable.Column {
        .init(name: "c", typeName: type, enumLabels: labels)
    }

    private static func isAccepted(_ text: String, _ column: SatelliteTable.Column) -> Bool {
        (try? ValueValidator.validate(ByteBuffer(string: text), column: column)) == ByteBuffer(string: text)
    }

    static let accepted: [(String, [String])] = [
        ("bool", ["t", "f"]),
        ("int2", ["0", "-32768", "32767", "+5", "007"]),
        ("int4", ["-2147483648", "2147483647"]),
        ("int8", ["-9223372036854775808", "9223372036854775807"]),
        ("float4", ["1", "1.5", "-0", "1e10", "1.5E-3", "3.4e38", "0e-999", "inf", "-Infinity", "NaN"]),
        ("float8", ["1e308", "5e-324", "0.1", "1e+21", "Infinity", "-inf", "nan"]),
        ("text", ["", "a", "ü\n"]),
        ("varchar", ["", "x"]),
        ("uuid", ["8d9a1503-6f19-40fe-8e2f-ec04c8e5deb4"]),
        ("bytea", ["", "\u{0}\u{1}"]),
        (
            "jsonb",
            [
                "null", "{}", "[]", " [1, 2.5e-3, -0] ", #"{"a": {"b": [true, false, null]}}"#, #""null""#, "12",
                #""\u00e4\ud83d\ude00\n""#, #""ü""#,
            ]
        ),
        ("date", ["2023-01-31", "0001-01-01", "9999-12-31", "2024-02-29", "6000-02-29"]),
        ("time", ["00:00:00", "23:59:59.999999", "01:02:03.1"]),
        ("timestamp", ["2023-01-31 01:02:03", "2023-01-31T01:02:03.123", "0001-01-01 00:00:00"]),
        ("timestamptz", ["2023-01-31 01:02:03Z", "2023-01-31T01:02:03.123+00", "2023-01-31 01:02:03+00:00"]),
    ]

    static let refused: [(String, [String])] = [
        ("bool", ["1", "0", "true", "yes", "", "T"]),
        ("int2", ["", "32768", "-32769", "1_000", "0x33", "5.0", " 1", "1 ", "-", "five"]),
        ("int4", ["2147483648", "-2147483649", ""]),
        ("int8", ["9223372036854775808", "-9223372036854775809", "1e3"]),
        ("float4", ["", ".", "0.", " 1", "1 ", "0x33", "1e39", "1e-60", "1,5", "+inf", "--1"]),
        ("float8", ["1e309", "-1e309", "1e-400", ".5", "e5", "0x1p3", "1e"]),
        ("text", ["a\u{0}b"]),
        (
            "uuid",
            [
                "", "8d9a15036f1940fe8e2fec04c8e5deb4", "{8d9a1503-6f19-40fe-8e2f-ec04c8e5deb4}",
                "8d9a1503-6f19-40fe-8e2f-ec04c8e5degg",
            ]
        ),
        (
            "jsonb",
            [
                "", "{", "[1,]", "{\"a\"}", "{a:1}", "nul", "01", "1.", "'a'", #""\x""#, #""\u0000""#, #""\ud800""#,
                #""\udc00""#, "[] []", "\"a\nb\"", "+1", "NaN",
            ]
        ),
        (
            "date",
            [
                "", "today", "2023-22-08", "2023-02-29", "1900-02-29", "0000-01-01", "44-01-01", "2023-1-1",
                "2023-01-01 BC", "12023-01-01", "2023-04-31",
            ]
        ),
        (
            "time",
            ["20:12", "02:02:03-08:00", "24:00:00", "23:60:00", "23:59:60", "1:02:03", "01:02:03.", "01:02:03.1234567"]
        ),
        (
            "timestamp",
            [
                "now", "2023-01-31", "2023-01-31 01:02:03Z", "2023-01-31 01:02:03+00", "2023-02-30 01:02:03",
                "0000-01-01 00:00:00",
            ]
        ),
        (
            "timestamptz",
            [
                "2023-01-31 01:02:03", "2023-01-31 01:02:03+01", "2023-01-31 01:02:03+00:30", "infinity",
                "2023-01-31 01:02:03-00:00",
            ]
        ),
        ("numeric", ["1"]),
    ]

    @Test(arguments: accepted)
    func documentedFormsAreAccepted(type: String, texts: [String]) {
        for text in texts { #expect(Self.isAccepted(text, Self.column(type)), "\(type) \(text)") }
    }

    @Test(arguments: refused)
    func everythingElseIsRefused(type: String, texts: [String]) {
        for text in texts {
            #expect(throws: ValueValidator.Failure.self, "\(type) \(text)") {
                try ValueValidator.validate(ByteBuffer(string: text), column: Self.column(type))
            }
        }
    }

    @Test func enumsTakeTheirLabelsOnly() {
        let column = Self.column("color", labels: ["RED", "green"])
        #expect(Self.isAccepted("RED", column))
        #expect(throws: ValueValidator.Failure("Unexpected value \"red\" for enum type color")) {
            try ValueValidator.validate(ByteBuffer(string: "red"), column: column)
        }
    }

    @Test func uuidsBecomeLowerCase() throws {
        let value = try ValueValidator.validate(
            ByteBuffer(string: "8D9A1503-6F19-40FE-8E2F-EC04C8E5DEB4"), column: Self.column("uuid"))
        #expect(String(buffer: value) == "8d9a1503-6f19-40fe-8e2f-ec04c8e5deb4")
    }

    @Test func textThatIsNotUTF8IsRefused() {
        for type in ["text", "varchar", "jsonb"] {
            #expect(throws: ValueValidator.Failure.self) {
                try ValueValidator.validate(ByteBuffer(bytes: [0x22, 0xFF, 0x22]), column: Self.column(type))
            }
        }
    }

    @Test func deepJSONIsRefusedInsteadOfExhaustingTheStack() {
        let deep = String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000)
        #expect(!JSONSyntax.isValid(Array(deep.utf8)))
        #expect(
            JSONSyntax.isValid(Array((String(repeating: "[", count: 500) + String(repeating: "]", count: 500)).utf8)))
    }

    @Test func errorTextsAreShortAndPrintable() {
        #expect(ValueValidator.quoted(Array(repeating: 0x41, count: 1_000)).count < 80)
        #expect(ValueValidator.quoted([0x00, 0x41]) == "<2 bytes>")
    }
}
