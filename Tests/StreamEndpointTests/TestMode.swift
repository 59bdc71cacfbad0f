import StreamDirectory
import Testing

/// The storage modes that every behaviour is tested in.
enum TestMode: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case memory, fileFast, fileDurable, acid

    var storage: StorageMode {
        switch self {
        case .memory: .memory
        case .fileFast: .fileFast
        case .fileDurable: .fileDurable
        case .acid: .acid(shards: 2)
        }
    }

    var testDescription: String { self.rawValue }
    static let onDisk: [TestMode] = [.fileFast, .fileDurable, .acid]

    /// A stream that no other test knows, on the server that all tests of this mode share.
    func stream(_ type: String = "text/plain") throws -> RemoteStream {
        try #require(SharedServers.current[self]).client.stream(type)
    }

    func server() throws -> EndpointServer { try #require(SharedServers.current[self]) }
}

/// One server for each mode, for all tests of a suite.
enum SharedServers {
    @TaskLocal static var current: [TestMode: EndpointServer] = [:]
}

struct SharedServersTrait: SuiteTrait, TestScoping {
    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        var servers: [TestMode: EndpointServer] = [:]
        for mode in TestMode.allCases { servers[mode] = try await EndpointServer.start(mode) }
        let result = await Self.outcome { try await SharedServers.$current.withValue(servers) { try await function() } }
        for server in servers.values { await server.stop() }
        try result.get()
    }

    private static func outcome(_ body: () async throws -> Void) async -> Result<Void, any Error> {
        do {
            return .success(try await body())
        } catch {
            return .failure(error)
        }
    }
}

extension Trait where Self == SharedServersTrait {
    static var sharedServers: Self { SharedServersTrait() }
}

/// The behaviours of the protocol, one test for each, in every storage mode.
@Suite(.sharedServers, .timeLimit(.minutes(1)))
enum Conformance {}
