import DurableStreams
import Foundation
import HTTPServer
import Logging
import NIOCore
import NIOPosix
import StreamDirectory
import StreamEndpoint
import StreamStore
import Synchronization

/// A clock that runs like the machine's and can be set forward.
final class TestClock: Sendable {
    private let ahead = Atomic<UInt64>(0)

    func now() -> UInt64 {
        UInt64(Date().timeIntervalSince1970 * 1000) + self.ahead.load(ordering: .relaxed)
    }

    func advance(milliseconds: UInt64) { self.ahead.wrappingAdd(milliseconds, ordering: .relaxed) }
    func advance(seconds: UInt64) { self.advance(milliseconds: seconds * 1000) }
}

/// A folder that goes with its last reference.
final class TestFolder: Sendable {
    let path: String

    init() throws {
        self.path = NSTemporaryDirectory() + "penstock-endpoint-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }
}

/// Streams behind a real socket.
final class EndpointServer: Sendable {
    struct Settings {
        var mode: TestMode
        var folder: TestFolder?
        var clock = TestClock()
        var directory: @Sendable (inout StreamDirectoryConfiguration) -> Void = { _ in }
        var services: @Sendable (inout StreamServices) -> Void = { _ in }
        var limits: @Sendable (inout HTTPLimits) -> Void = { _ in }
        var options: @Sendable (inout HTTPListenerOptions) -> Void = { _ in }
        var port = 0
        var fileSystem: any FileSystem = PosixFileSystem()
        /// Made before the routes are; gets the directory and the port.
        var control: (@Sendable (StreamDirectory, TestClock, TestFolder) throws -> SubscriptionControl)?
    }

    static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    let mode: TestMode
    let folder: TestFolder
    let clock: TestClock
    let directory: StreamDirectory
    let services: StreamServices
    let listener: HTTPListener
    let control: SubscriptionControl?

    private init(_ settings: Settings) async throws {
        self.mode = settings.mode
        self.clock = settings.clock
        self.folder = try settings.folder ?? TestFolder()
        var configuration = StreamDirectoryConfiguration(
            mode: settings.mode.storage, directory: self.folder.path + "/streams")
        settings.directory(&configuration)
        let clock = settings.clock
        self.directory = try StreamDirectory.open(
            configuration, fileSystem: settings.fileSystem, clock: { clock.now() })
        var services = StreamServices(directory: self.directory, clock: { clock.now() }, logger: Self.silent)
        services.live.longPollTimeout = 600
        services.catchUpBytes = 256 << 10
        services.cors = StreamServices.cors(.any)
        self.control = try settings.control?(self.directory, clock, self.folder)
        services.control = self.control
        settings.services(&services)
        self.services = services
        var router = HTTPRouter()
        StreamRoute(services).add(to: &router)
        var limits = HTTPLimits()
        settings.limits(&limits)
        var options = HTTPListenerOptions()
        settings.options(&options)
        do {
            self.listener = try await HTTPListener.bind(
                host: "127.0.0.1", port: settings.port, group: MultiThreadedEventLoopGroup.singleton, limits: limits,
                router: router, logger: Self.silent, options: options)
        } catch {
            try? self.directory.close()
            throw error
        }
    }

    static func start(
        _ mode: TestMode, folder: TestFolder? = nil, _ change: (inout Settings) -> Void = { _ in }
    ) async throws -> EndpointServer {
        var settings = Settings(mode: mode, folder: folder)
        change(&settings)
        return try await EndpointServer(settings)
    }

    /// Starts a server for one test and stops it afterwards.
    static func with(
        _ mode: TestMode, _ change: (inout Settings) -> Void = { _ in },
        _ body: (EndpointServer) async throws -> Void
    ) async throws {
        let server = try await self.start(mode, change)
        do {
            try await body(server)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    var client: StreamClient { StreamClient(port: self.listener.port) }
    /// A loop for what is not tied to a connection.
    var directoryLoop: any EventLoop { MultiThreadedEventLoopGroup.singleton.any() }
    var origin: String { "http://127.0.0.1:\(self.listener.port)" }

    func stop() async {
        self.control?.stop()
        await self.listener.drain(grace: .milliseconds(500))
        self.directory.releaseObservers()
        try? self.directory.close()
    }
}
