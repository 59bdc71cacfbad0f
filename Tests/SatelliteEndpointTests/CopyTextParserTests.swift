import Logging
import NIOCore
import PostgresClient
import TestSupport
import Testing

@testable import SatelliteEndpoint

@Suite struct CopyTextParserTests {
    private func rows(_ text: String) -> [[String?]] { self.rows([ByteBuffer(string: text)]) }

    private func rows(_ chunks: [ByteBuffer]) -> [[String?]] {
        var parser = CopyTextParser()
        var rows: [[String?]] = []
        for chunk in chunks {
            parser.forEachRow(in: chunk) { fields in
                rows.append(fields.map { $0.map { String(decoding: $0, as: UTF8.self) } })
            }
        }
        return rows
    }

    @Test(
        arguments: [
            ("", []),
            ("\n", [[""]]),
            ("a\tb\n", [["a", "b"]]),
            ("\\N\n", [[nil]]),
            ("\\N\t\t\\\\N\n", [[nil, "", "\\N"]]),
            ("\\b\\f\\n\\r\\t\\v\\\\\n", [["\u{8}\u{c}\n\r\t\u{b}\\"]]),
            ("N\t\\\\\n", [["N", "\\"]]),
            ("\u{1}\u{7f}€\u{1F600}\tx\n", [["\u{1}\u{7f}€\u{1F600}", "x"]]),
            ("a\\\\\tb\\t\n\tc\n", [["a\\", "b\t"], ["", "c"]]),
            ("no end", [["no end"]]),
            ("cut\\", [["cut\\"]]),
        ] as [(String, [[String?]])])
    func textIsSplitAndUnescaped(text: String, expected: [[String?]]) {
        #expect(self.rows(text) == expected)
    }

    @Test func parserIsReusedAcrossChunks() {
        #expect(
            self.rows([ByteBuffer(string: "a\\n\t\\N\n"), ByteBuffer(), ByteBuffer(string: "b\tc\n")])
                == [["a\n", nil], ["b", "c"]])
    }

    private static let pieces = [
        "\\", "\t", "\n", "\r", "\u{8}", "\u{c}", "\u{b}", "N", "\\N", "\\.", "é", "\u{1F600}", "x", "", " ", "\u{1}",
        "\u{7f}",
    ]

    private static func randomValue(_ generator: inout SeededGenerator) -> String? {
        if Int.random(in: 0..<6, using: &generator) == 0 { return nil }
        return (0..<Int.random(in: 0..<8, using: &generator)).map { _ in
            self.pieces.randomElement(using: &generator) ?? ""
        }
        .joined()
    }

    /// As `CopyAttributeOutText` of Postgres writes it.
    private static func escaped(_ value: String?) -> String {
        guard let value else { return "\\N" }
        return value.unicodeScalars.map { scalar in
            switch scalar {
            case "\\": return "\\\\"
            case "\u{8}": return "\\b"
            case "\u{c}": return "\\f"
            case "\n": return "\\n"
            case "\r": return "\\r"
            case "\t": return "\\t"
            case "\u{b}": return "\\v"
            default: return String(scalar)
            }
        }.joined()
    }

    @Test(arguments: [1, 2, 3, 20_240_817] as [UInt64])
    func whatWasEscapedComesBack(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<500 {
            let width = Int.random(in: 1..<5, using: &generator)
            let expected = (0..<Int.random(in: 0..<6, using: &generator)).map { _ in
                (0..<width).map { _ in Self.randomValue(&generator) }
            }
            let text = expected.map { $0.map(Self.escaped).joined(separator: "\t") + "\n" }.joined()
            #expect(self.rows(text) == expected, "seed \(seed)")
        }
    }

    @Test(.timeLimit(.minutes(2))) func serversOwnOutputComesBack() async throws {
        let cluster = try await TestCluster.shared()
        let database = try await cluster.createDatabase()
        let pool = PostgresPool(
            cluster.parameters(database: database), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        var generator = SeededGenerator(seed: 7)
        let values = (0..<300).map { _ in [Self.randomValue(&generator), Self.randomValue(&generator)] }
        let chunks = try await pool.withConnection { connection in
            try await connection.execute("CREATE TABLE public.t (id serial, a text, b text)")
            for value in values {
                _ = try await connection.query("INSERT INTO public.t (a, b) VALUES ($1, $2)", value.map { .text($0) })
            }
            let reader = try await connection.copyOut("COPY (SELECT a, b FROM public.t ORDER BY id) TO STDOUT")
            var chunks: [ByteBuffer] = []
            while let chunk = try await reader.nextChunk(maxBytes: 64) { chunks.append(chunk) }
            return chunks
        }
        await pool.close()
        #expect(chunks.count > 10)
        #expect(chunks.allSatisfy { $0.readableBytesView.last == 0x0A })
        #expect(self.rows(chunks) == values)
    }
}
