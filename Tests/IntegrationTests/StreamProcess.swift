import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import Synchronization
import TestSupport

/// The real program as a stream server of its own, on a directory that outlives it.
final class StreamProcess: Sendable {
    let directory: String
    let port: Int
    private let environment: [String: String]
    private let process = Mutex<pid_t?>(nil)

    init(mode: String, environment: [String: String] = [:]) throws {
        self.directory = "/tmp/pki-\(UUID().uuidString.prefix(8))"
        self.port = try SidecarProcess.freePort()
        try FileManager.default.createDirectory(atPath: self.directory, withIntermediateDirectories: true)
        self.environment = [
            "DS_SERVER__BIND_ADDRESS": "127.0.0.1:\(self.port)", "DS_STORAGE__MODE": mode,
            "DS_STORAGE__DATA_DIR": "\(self.directory)/data", "DS_STORAGE__ACID_SHARD_COUNT": "4",
            "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "1",
            "PENSTOCK_DATA_DIR": "\(self.directory)/feed", "PENSTOCK_SOCKET": "\(self.directory)/penstock.sock",
            "PATH": "/usr/bin:/bin", "SWIFT_BACKTRACE": "enable=no",
        ].merging(environment) { $1 }
    }

    deinit {
        self.end(SIGKILL)
        try? FileManager.default.removeItem(atPath: self.directory)
    }

    func launch() throws {
        let child = try ChildProcess.spawn(
            [SidecarProcess.programPath, "serve"], environment: self.environment, output: "\(self.directory)/log")
        self.process.withLock { $0 = child }
    }

    /// Runs the program for another command, with the same settings.
    func run(_ arguments: String...) async throws -> ChildOutcome {
        try await self.run(arguments)
    }

    /// - Parameter environment: what is set otherwise this time.
    func run(_ arguments: [String], environment: [String: String] = [:]) async throws -> ChildOutcome {
        try await ChildProcess.run(
            [SidecarProcess.programPath] + arguments, environment: self.environment.merging(environment) { $1 })
    }

    /// Sends a signal that does not end it.
    func signal(_ signal: Int32) {
        self.process.withLock { if let child = $0 { _ = Foundation.kill(child, signal) } }
    }

    /// Another command of the program, with the server's settings. Its process is the caller's to wait for.
    func spawn(_ arguments: [String]) throws -> pid_t {
        try ChildProcess.spawn(
            [SidecarProcess.programPath] + arguments, environment: self.environment, output: "\(self.directory)/log")
    }

    /// Sends a signal and waits for the end.
    ///
    /// - Returns: the status as `waitpid` gives it: 0 for an end in order, -1 if nothing was running.
    @discardableResult
    func end(_ signal: Int32) -> Int32 {
        guard
            let child = self.process.withLock({ process in
                defer { process = nil }
                return process
            })
        else { return -1 }
        _ = Foundation.kill(child, signal)
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0 && errno == EINTR {}
        return status
    }

    func waitUntilReady() async throws {
        try await eventually("the stream server is ready", within: .seconds(60)) {
            (try? await self.request(.GET, "/readyz"))?.status == 200
        }
    }

    /// Runs the program for as long as `body` takes.
    func whileRunning<Result>(_ body: () async throws -> Result) async throws -> Result {
        try self.launch()
        try await self.waitUntilReady()
        let result = try await body()
        self.end(SIGTERM)
        return result
    }

    var log: String { (try? String(contentsOfFile: "\(self.directory)/log", encoding: .utf8)) ?? "" }

    struct Answer: Sendable {
        var status: Int
        var headers: HTTPHeaders
        var body: ByteBuffer
    }

    /// Why not the shared one: it opens eight connections to a host, and long-polls would keep all of them from appends.
    private static let client: HTTPClient = {
        var configuration = HTTPClient.Configuration.singletonConfiguration
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 64
        return HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }()

    /// One request; a path without a slash at its beginning names a stream.
    func request(
        _ method: HTTPMethod, _ path: String, headers: [(String, String)] = [], body: String? = nil
    ) async throws -> Answer {
        let path = path.hasPrefix("/") ? path : "/v1/stream/" + path
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(self.port)\(path)")
        request.method = method
        request.headers = HTTPHeaders(headers)
        if let body { request.body = .bytes(ByteBuffer(string: body)) }
        let response = try await Self.client.execute(request, timeout: .seconds(10))
        return Answer(
            status: Int(response.status.code), headers: response.headers,
            body: try await response.body.collect(upTo: 64 << 20))
    }
}
