import Testing

@testable import Configuration

@Suite("Addresses and log filters")
struct NetworkAddressTests {
    @Test(arguments: [
        ("10.0.0.0/8", "10.255.1.2", true), ("10.0.0.0/8", "11.0.0.1", false), ("10.1.2.3/8", "10.9.9.9", true),
        ("192.0.2.7", "192.0.2.7", true), ("192.0.2.7", "192.0.2.8", false), ("0.0.0.0/0", "1.2.3.4", true),
        ("0.0.0.0/0", "::1", false), ("::/0", "fd00::1", true), ("fd00::/9", "fd7f::1", true),
        ("fd00::/9", "fd80::1", false), ("10.0.0.0/8", "::ffff:10.1.1.1", true),
        ("::ffff:10.0.0.0/104", "10.1.1.1", true), ("::ffff:10.0.0.0/104", "11.1.1.1", false),
        ("172.16.0.0/12", "172.31.255.255", true), ("172.16.0.0/12", "172.32.0.0", false),
    ])
    func networksContainTheirAddresses(network: String, address: String, contains: Bool) throws {
        let prefix = try #require(NetworkPrefix(network))
        #expect(prefix.contains(try #require(NetworkAddress(address))) == contains)
    }

    @Test(arguments: [
        "", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8", "example.com",
        "::ffff:10.0.0.0/90", "10.0.0.01x", "[::1]", "1.2.3.4 ",
    ])
    func whatIsNoNetworkIsRefused(text: String) {
        #expect(NetworkPrefix(text) == nil)
    }

    @Test func loopbackIsKnown() {
        #expect(NetworkAddress("127.9.9.9")?.isLoopback == true)
        #expect(NetworkAddress("::1")?.isLoopback == true)
        #expect(NetworkAddress("::ffff:127.0.0.1")?.isLoopback == true)
        #expect(NetworkAddress("0.0.0.0")?.isLoopback == false)
    }

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
