import ChangeFeed
import Configuration
import DatabaseSetup
import Foundation
import HTTPServer
import Identity
import Logging
import Mirror
import NIOCore
import NIOHTTP1
import NIOPosix
import Observability
import PostgresClient
import Satellite
import SatelliteEndpoint
import ServiceLifecycle
import StreamStore
import UnixSignals
import WriteBack

/// The composition: settings in, a group of running services out. The only place that knows every part.
package struct Sidecar: Sendable {
    /// What cannot be helped by trying again.
    package struct StartError: Error, CustomStringConvertible {
        package var caption: ErrorBox.Caption
        package var text: String
        package var hint: String
        package var description: String { "\(self.text). \(self.hint)" }

        package init(_ caption: ErrorBox.Caption, _ text: String, hint: String) {
            self.caption = caption
            self.text = text
            self.hint = hint
        }
    }

    /// How long requests that had begun may take once the service is told to end.
    private static let drainGrace = Duration.seconds(30)

    package let settings: Settings
    private let logger: Logger
    private let metrics: MetricsRegistry
    private let onListening: @Sendable (_ port: Int) -> Void
    private let onReady: @Sendable () async throws -> Void

    /// - Parameters:
    ///   - onListening: told the port of the HTTP listener once it is bound.
    ///   - onReady: called when the database is set up and changes flow for the first time.
    package init(
        settings: Settings, logger: Logger, metrics: MetricsRegistry,
        onListening: @escaping @Sendable (_ port: Int) -> Void = { _ in },
        onReady: @escaping @Sendable () async throws -> Void = {}
    ) {
        self.settings = settings
        self.logger = logger
        self.metrics = metrics
        self.onListening = onListening
        self.onReady = onReady
    }

    /// Runs until SIGTERM or SIGINT, then drains: sessions are told to leave, accepted writes are made, the logs are closed.
    package func run() async throws {
        self.logger.info("starting", metadata: ["fronts": "\(self.settings.fronts.explanation)"])
        for sentence in self.settings.unavailable { self.logger.warning("\(sentence)") }
        let served = self.settings.servedFronts()
        let parts =
            if served.contains(.satellite), let database = self.settings.database {
                try self.makeParts(database)
            } else {
                SidecarParts?.none
            }
        let streams =
            try served.contains(.streams)
            ? self.settings.streams.map { try StreamServer($0, logger: self.logger) } : nil
        guard parts != nil || streams != nil else {
            throw StartError(
                .notImplemented, "none of the fronts that are switched on is built yet",
                hint: "Set DATABASE_URL to serve Satellite clients. On are: \(self.settings.fronts.explanation)")
        }
        defer { streams?.close() }
        var mirror: MirrorService?
        if let settings = self.settings.mirror {
            guard let parts, let streams else {
                throw StartError(
                    .configuration, "the mirror needs a database and streams",
                    hint: "Set DATABASE_URL, and name satellite and streams in PENSTOCK_FRONTS")
            }
            let service = MirrorWiring.service(
                settings, directory: streams.directory, pool: parts.pool, feed: parts.feed, logger: self.logger)
            MirrorWiring.observe(service, settings, self.metrics)
            parts.mirror.value = service
            mirror = service
        }
        let requests = RequestLog(self.settings.log, streams?.settings)
        defer { requests?.events.flush() }
        let ending = EndingNotice()
        let listeners = try await self.listen(parts, streams, requests, ending)
        streams?.start()
        if let port = listeners.first?.port { self.onListening(port) }

        var configuration = ServiceGroupConfiguration(
            services: self.services(parts, streams, mirror, listeners, ending),
            gracefulShutdownSignals: [.sigterm, .sigint], logger: self.logger)
        // What cannot end in time is cut off: clients send again what was not acknowledged. Requests have their time first, see
        // ``drainGrace``, and the writes that they brought have theirs after that.
        configuration.maximumGracefulShutdownDuration = .seconds(45)
        configuration.maximumCancellationDuration = .seconds(5)
        try await ServiceGroup(configuration: configuration).run()
        parts?.flusher.stop()
        self.logger.info("stopped")
    }

    private func makeParts(_ database: DatabaseSettings) throws -> SidecarParts {
        guard let dataDirectory = self.settings.feed.dataDirectory else {
            self.logger.notice(
                "no data directory: the change log is in memory, and the replication slot is held back for the next start",
                metadata: ["wal": "\(self.settings.retention.resumableWALWindow.bytes) bytes"])
            return SidecarParts(
                settings: self.settings, database: database, dataDirectory: nil, logger: self.logger)
        }
        do {
            try FileManager.default.createDirectory(
                atPath: dataDirectory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
        } catch {
            throw StartError(
                .initialisation, "cannot create the data directory \(dataDirectory)",
                hint: "Create it, or set PENSTOCK_DATA_DIR to a directory that this user may write to")
        }
        return SidecarParts(
            settings: self.settings, database: database, dataDirectory: dataDirectory, logger: self.logger)
    }

    /// The listener of all fronts, and the one that streams have of their own.
    private func listen(
        _ parts: SidecarParts?, _ streams: StreamServer?, _ requests: RequestLog?, _ ending: EndingNotice
    ) async throws -> [HTTPListener] {
        var listeners: [HTTPListener] = []
        // One budget and one set of counters, however many ports there are.
        var options = HTTPListenerOptions()
        if let requests { options.onExchange = { record in requests.note(record) } }
        if let limit = streams?.settings.limits.maximumBufferedBodies {
            options.bodyBudget = HTTPBodyBudget(limit: Int(limit.bytes))
        }
        var shared = HTTPRouter()
        let logger = self.logger
        if let parts {
            StatusRoutes(parts: parts, metrics: self.metrics, streams: streams, ending: ending).add(to: &shared)
            let satellite: HTTPRouter.Handler = { request in
                SatelliteRoute.answer(request, services: parts.satellite, logger: logger, status: parts.obstacle)
            }
            shared.on(.GET, "/ws", satellite)
            shared.onPrefix(.GET, "/ws", satellite)
            shared.on(.GET, "/api/migrations") { request in await MigrationsRoute.answer(request, parts: parts) }
        } else {
            streams?.addHealth(to: &shared, metrics: self.metrics, ending: ending)
        }
        streams?.add(to: &shared)
        if parts != nil || self.settings.listeners.http != nil || streams?.settings.bindAddress == nil {
            let address = self.settings.listeners.http ?? ListenAddress(host: "::", port: 5133)
            do {
                listeners.append(try await self.bind(address, shared, options))
                logger.info("listening", metadata: ["http": "\(listeners[0].port)"])
            } catch let error as IOError where error.errnoCode == EADDRINUSE {
                throw StartError(
                    .initialisation, "cannot listen on port \(address.port): another process has it",
                    hint: "Stop that process or set HTTP_PORT")
            } catch {
                throw StartError(
                    .initialisation, "cannot listen on \(address.host):\(address.port): \(Self.reason(error))",
                    hint: "Set HTTP_PORT to a port that this user may have")
            }
        }
        if let streams {
            var router = HTTPRouter()
            streams.addHealth(to: &router, metrics: self.metrics, ending: ending)
            streams.add(to: &router)
            if let listener = try await streams.bind(router, options) {
                logger.info("listening", metadata: ["streams": "\(listener.port)"])
                listeners.append(listener)
            }
        }
        let metrics = StreamMetrics(metrics: self.metrics)
        metrics.observe(options.counters, options.bodyBudget, listeners)
        streams?.observe(metrics)
        return listeners
    }

    /// What the system said, without the name of the call.
    static func reason(_ error: any Error) -> String {
        (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
    }

    private func bind(
        _ address: ListenAddress, _ router: HTTPRouter, _ options: HTTPListenerOptions
    ) async throws -> HTTPListener {
        func bind(_ host: String) async throws -> HTTPListener {
            try await HTTPListener.bind(
                host: host, port: Int(address.port), group: MultiThreadedEventLoopGroup.singleton, limits: HTTPLimits(),
                router: router, logger: self.logger, options: options)
        }
        do {
            return try await bind(address.host)
        } catch let error as IOError where address.host == "::" && error.errnoCode != EADDRINUSE {
            // A machine without IPv6.
            return try await bind("0.0.0.0")
        }
    }

    /// In the order of their start; they are stopped in the opposite order, so that nobody loses what it depends on.
    private func services(
        _ parts: SidecarParts?, _ streams: StreamServer?, _ mirror: MirrorService?, _ listeners: [HTTPListener],
        _ ending: EndingNotice
    ) -> [any Service] {
        let onReady = self.onReady
        let logger = self.logger
        // The first to start and the last to end: who watches over the process is answered until there is nothing left to do.
        var services: [any Service] = [
            ClosureService("ports") {
                try? await gracefulShutdown()
                for listener in listeners { await listener.close() }
            }
        ]
        if let parts {
            services += [
                ClosureService("feed") { try await cancelWhenGracefulShutdown { try await parts.runFeed() } },
                ClosureService("client state") { await cancelWhenGracefulShutdown { await parts.clientState.run() } },
                ClosureService("satellite hub") { await cancelWhenGracefulShutdown { await parts.hub.run() } },
                ClosureService("write-back") {
                    try await withThrowingTaskGroup(of: Void.self) { tasks in
                        tasks.addTask { await parts.writer.run() }
                        tasks.addTask {
                            try? await gracefulShutdown()
                            await parts.writer.drain(within: .seconds(8))
                        }
                        try await tasks.next()
                        tasks.cancelAll()
                    }
                },
            ]
        }
        if let mirror, let parts {
            services.append(
                ClosureService("mirror") {
                    // The schema has to be there first.
                    try await cancelWhenGracefulShutdown { try? await parts.waitUntilReady() }
                    try await mirror.run()
                    try? await gracefulShutdown()
                })
        }
        if let gate = streams?.gate {
            services.append(
                ClosureService("token keys") {
                    await cancelWhenGracefulShutdown {
                        await gate.run()
                        // Without keys to fetch there is nothing to do, and a service that ends would end the others.
                        try? await gracefulShutdown()
                    }
                })
        }
        services.append(
            ClosureService("reload") {
                await cancelWhenGracefulShutdown {
                    for await _ in await UnixSignalsSequence(trapping: .sighup) {
                        logger.info("reading certificates and keys again")
                        for listener in listeners { await listener.reloadCertificates() }
                        streams?.reload()
                    }
                    try? await gracefulShutdown()
                }
            })
        services.append(
            ClosureService("http") {
                try? await gracefulShutdown()
                ending.give()
                logger.info("draining", metadata: ["connections": "\(listeners.reduce(0) { $0 + $1.connectionCount })"])
                streams?.release()
                // A task that is cancelled has to be over soon.
                await HTTPListener.drain(listeners, grace: Task.isCancelled ? .seconds(3) : Self.drainGrace)
            })
        services.append(
            ClosureService("start-up") {
                try await cancelWhenGracefulShutdown {
                    try await parts?.waitUntilReady()
                    if !Task.isCancelled { try await onReady() }
                    try? await gracefulShutdown()
                }
            })
        return services
    }
}

/// A service that is one closure, and ends without an error when it is cancelled.
private struct ClosureService: Service, CustomStringConvertible {
    let description: String
    let body: @Sendable () async throws -> Void

    init(_ name: String, _ body: @escaping @Sendable () async throws -> Void) {
        self.description = name
        self.body = body
    }

    func run() async throws {
        do {
            try await self.body()
        } catch is CancellationError {
            // It was told to end, perhaps before it was ready. An error would cut off the services that still drain; and if
            // nobody told it, the group reports that it ended.
        }
    }
}
