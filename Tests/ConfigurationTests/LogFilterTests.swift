import Testing

@testable import Configuration

@Suite("Log filters")
struct LogFilterTests {
    @Test(arguments: [
        ("info", LogFilter(level: .info)), ("WARN", LogFilter(level: .warn)), ("0", LogFilter(level: .off)),
        ("debug,http=warn,store::log=off", LogFilter(level: .debug, targets: ["http": .warn, "store::log": .off])),
        ("http", LogFilter(level: .error, targets: ["http": .trace])),
        ("info, http[request{path}]=debug", LogFilter(level: .info, targets: ["http": .debug])),
    ])
    func filtersAreRead(text: String, filter: LogFilter) {
        #expect(LogFilter(parsing: text) == filter)
    }

    @Test(arguments: ["", ",", "http=", "=info", "a=b=c", "http=loud", "a b"])
    func whatIsNoFilterIsRefused(text: String) {
        #expect(LogFilter(parsing: text) == nil)
    }

    @Test func theLongestTargetCounts() {
        let filter = LogFilter(level: .info, targets: ["store": .warn, "store::log": .trace])
        #expect(filter.level(for: "store::log::flush") == .trace)
        #expect(filter.level(for: "store::index") == .warn)
        #expect(filter.level(for: "http") == .info)
    }
}
