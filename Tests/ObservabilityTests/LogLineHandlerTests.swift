import Logging
import Testing

@testable import Observability

@Suite("Log lines")
struct LogLineHandlerTests {
    private struct Boom: Error, CustomStringConvertible {
        var description: String { "could not reach postgres://app:hunter2@db/app" }
    }

    private let memory = LogMemory()

    private func logger(level: Logger.Level = .trace) -> Logger {
        Logger(label: "test") { _ in
            LogLineHandler(level: level, sink: self.memory) { 1_709_251_199_123_456 }
        }
    }

    @Test func aLineIsTimeMetadataLevelMessage() {
        var logger = self.logger()
        logger[metadataKey: "client_id"] = "abc"
        logger.info("Client connected", metadata: ["lsn": "0/16B3748", "attempt": "\(3)"])
        logger.warning("Nothing else")
        #expect(
            self.memory.contents == [
                "2024-02-29T23:59:59.123Z attempt=3 client_id=abc lsn=0/16B3748 [info] Client connected\n",
                "2024-02-29T23:59:59.123Z client_id=abc [warning] Nothing else\n",
            ])
    }

    @Test func levelsBelowTheConfiguredOneAreNotPrinted() {
        let logger = self.logger(level: .warning)
        logger.info("no")
        logger.debug("no")
        logger.error("yes")
        #expect(self.memory.contents.count == 1)
    }

    @Test func nobodyForgesALine() {
        self.logger().info(
            "a\nb\r\u{1b}[31m\u{202e}", metadata: ["user id": "x y=\"z\"\n", "empty": "", "list": ["a b", "c"]])
        #expect(
            self.memory.contents == [
                "2024-02-29T23:59:59.123Z empty=\"\" list=[\"a b\",c] \"user id\"=\"x y=\\\"z\\\"\\n\" "
                    + "[info] a\\nb\\r\\u{1b}[31m\\u{202e}\n"
            ])
    }

    @Test(arguments: ["password", "PG_PROXY_PASSWORD", "auth_token", "Authorization", "jwt", "DATABASE_URL", "secret"])
    func valuesUnderSecretKeysAreNeverPrinted(key: String) {
        self.logger().info("m", metadata: [key: "hunter2", "nested": [key: "hunter2"]])
        #expect(self.memory.contents.joined().contains("\(key)=[redacted]"))
        #expect(!self.memory.contents.joined().contains("hunter2"))
    }

    @Test(arguments: [
        ("postgres://app:hunter2@db:5432/app", "postgres://app:[redacted]@db:5432/app"),
        ("to postgresql://a:p@ss@word@[::1]/d?x=1 now", "to postgresql://a:[redacted]@[::1]/d?x=1 now"),
        ("http://host:5133/path@x", "http://host:5133/path@x"), ("http://user@host/", "http://user@host/"),
        ("a://u:p@h b://u:q@h", "a://u:[redacted]@h b://u:[redacted]@h"), ("a://", "a://"),
        ("token eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1In0. refused", "token [redacted] refused"),
        ("eyJustAWord", "eyJustAWord"), ("nothing to hide", "nothing to hide"),
    ])
    func passwordsAndTokensInTextsAreMasked(text: String, printed: String) {
        #expect(Redaction.redacted(text) == printed)
    }

    @Test func errorsAreRedactedToo() {
        self.logger().error("Database lost", error: Boom())
        #expect(
            self.memory.contents == [
                "2024-02-29T23:59:59.123Z [error] Database lost: could not reach postgres://app:[redacted]@db/app\n"
            ])
    }

    @Test func noLineIsEndless() {
        self.logger().info("\(String(repeating: "é", count: 100_000))")
        let line = self.memory.contents[0]
        #expect(line.utf8.count < Redaction.maximumBytes + 200)
        #expect(line.hasSuffix("…\n"))
    }

    @Test func metadataOfAProviderIsPrinted() {
        let provider = Logger.MetadataProvider { ["session": "s1"] }
        var handler = LogLineHandler(level: .info, sink: self.memory) { 0 }
        handler.metadataProvider = provider
        let logger = Logger(label: "x", factory: { _ in handler })
        logger.info("m")
        #expect(self.memory.contents == ["1970-01-01T00:00:00.000Z session=s1 [info] m\n"])
    }

    @Test(arguments: [
        (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000_000, "2000-02-29T00:00:00.000Z"), (4_107_542_400_000_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999Z"),
    ])
    func timesAreWrittenInUTC(microseconds: Int64, text: String) {
        #expect(Timestamp.text(microseconds: microseconds) == text)
    }

    @Test func theClockIsThisCenturys() {
        #expect(Timestamp.text(microseconds: SystemTime.microseconds()).hasPrefix("20"))
    }

    @Test func theNamesOfTheConfigurationMapToLevels() {
        let names = ["emergency", "alert", "critical", "error", "warning", "warn", "notice", "info", "debug"]
        let levels: [Logger.Level] = [
            .critical, .critical, .critical, .error, .warning, .warning, .notice, .info, .debug,
        ]
        #expect(names.map { Logger.Level(configurationName: $0) } == levels)
        for name in ["INFO", "", "trace", " info", "verbose"] {
            #expect(Logger.Level(configurationName: name) == nil)
        }
    }

    @Test func theMemoryKeepsTheLastLines() {
        let memory = LogMemory(limit: 2)
        for line in ["1", "2", "3"] { memory.write(line) }
        #expect(memory.contents == ["2", "3"])
    }
}
