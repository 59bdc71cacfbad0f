import ChangeFeed
import Configuration
import DatabaseSetup
import Foundation
import Identity
import Logging
import Mirror
import NIOPosix
import Observability
import PostgresClient
import Satellite
import SatelliteEndpoint
import StreamStore
import Synchronization
import WriteBack

/// The parts of a running service, wired together.
final class SidecarParts: Sendable {
    let settings: Settings
    let parameters: ConnectionParameters
    let logger: Logger
    let flusher: StoreFlusher
    let pool: PostgresPool
    let feed: ChangeFeed
    let hub: SatelliteHub
    let clientState: ClientStateStore
    let writer: DirectWriter
    let schemaSource: DatabaseSchemaSource
    let satellite: SharedSatelliteServices
    let health: HealthRegistry
    /// Set where there is one.
    let mirror = SharedReference<MirrorService>()
    let capture: CaptureWatch
    private let isInstalled = Mutex(false)
    private let installProblem = Mutex<String?>(nil)

    /// How long the change log's records may wait for their sync.
    ///
    /// Why: clients have their rows by then, and only Postgres waits, which frees WAL by the megabyte. A sync for every
    /// transaction would hold up the next commit where Postgres has the same disk.
    private static let logLinger = 100

    init(settings: Settings, database: DatabaseSettings, dataDirectory: String?, logger: Logger) {
        self.settings = settings
        self.logger = logger
        self.parameters = ConnectionParameters(database)
        self.flusher = StoreFlusher(lingerMilliseconds: Self.logLinger)
        self.pool = PostgresPool(self.parameters, configuration: .init(maximumConnections: 10), logger: logger)
        let pool = self.pool
        self.capture = CaptureWatch(pool: pool, logger: logger)
        let clientState = ClientStateStore(pool: pool, logger: logger)
        let hubReference = SharedReference<SatelliteHub>()
        let mirror = self.mirror
        var options = FeedOptions(
            database: database.database,
            transport: FeedTransportChoice(rawValue: settings.feed.transport.rawValue) ?? .auto,
            socketPath: settings.feed.socketPath, socketPeers: Self.peers(settings.feed.socketPeers, logger),
            logDirectory: (dataDirectory ?? "") + "/changes",
            retentionBytes: UInt64(settings.retention.resumableWALWindow.bytes),
            cacheBytes: Int(settings.retention.transactionCache.bytes))
        var store = LogStore(fileSystem: PosixFileSystem(), flusher: self.flusher)
        if dataDirectory == nil { (options, store) = options.inMemory(flusher: self.flusher) }
        self.feed = ChangeFeed(
            options: options, database: PostgresFeedDatabase(parameters: self.parameters, logger: logger), store: store,
            group: MultiThreadedEventLoopGroup.singleton, logger: logger,
            onStartOver: { reason in
                await mirror.value?.feedStartedOver("\(reason)")
                try await clientState.forgetEveryone()
                hubReference.value?.reset()
            })
        self.writer = DirectWriter(self.parameters, logger: logger)
        self.schemaSource = DatabaseSchemaSource(pool: pool, logger: logger)
        let writer = self.writer
        self.hub = SatelliteHub(
            feed: self.feed, source: self.schemaSource, budget: Int(settings.retention.transactionCache.bytes) / 4,
            logger: logger,
            onSchemaChange: {
                writer.noteSchemaChange()
                Task {
                    // A table that was electrified by hand, or a publication that somebody changed.
                    _ = try? await pool.query("SELECT * FROM electric.ensure_publication()")
                }
            })
        hubReference.value = self.hub
        self.clientState = clientState
        self.health = HealthRegistry(expecting: ["database", "replication", "satellite"])
        var limits = SatelliteLimits()
        limits.endsSessionsOnExpiry = false
        let verifier = settings.tokenPolicy.map { TokenVerifier(policy: $0) }
        let services = SatelliteServices(
            hub: self.hub, clientState: clientState, snapshots: SnapshotFetcher(pool: pool, feed: self.feed),
            writer: DirectClientWriter(self.writer), instanceID: settings.instanceID, limits: limits
        ) { token in
            Self.authenticate(token, verifier, logger)
        }
        self.satellite = SharedSatelliteServices(services)
    }

    private static func peers(_ peers: [FeedSettings.Peer], _ logger: Logger) -> Set<UInt32> {
        Set(
            peers.compactMap { peer in
                switch peer {
                case .userID(let id): return id
                case .userName(let name):
                    guard let entry = getpwnam(name) else {
                        logger.warning(
                            "PENSTOCK_SOCKET_PEERS names a user that this system does not have; give its numeric id",
                            metadata: ["user": "\(name)"])
                        return nil
                    }
                    return entry.pointee.pw_uid
                }
            })
    }

    private static func authenticate(_ token: String, _ verifier: TokenVerifier?, _ logger: Logger) -> SessionEvent {
        guard let verifier else { return .authenticationFailed(.unavailable) }
        do {
            let verified = try verifier.verify(token, now: UnixTime(microseconds: SystemTime.microseconds()))
            return .authenticated(
                .init(userID: verified.userID, expiresAt: verified.expiresAt.map { Int64($0.seconds) }))
        } catch {
            logger.info(
                "a client's token was refused",
                metadata: ["reason": "\(error.text)", "fingerprint": "\(TokenVerifier.fingerprint(of: token))"])
            return .authenticationFailed(.invalidToken)
        }
    }

    // MARK: Readiness

    /// Why clients cannot be served yet, in the legacy service's words for its states; nil when they can.
    var obstacle: String? {
        guard self.isInstalled.withLock({ $0 }) else { return "initialization" }
        guard self.feed.health.isReady else { return "establishing_repl_conn" }
        return self.hub.isLoaded ? nil : "subscribing"
    }

    var isReady: Bool { self.obstacle == nil }

    /// Brings the health registry up to date and answers for it.
    func readiness() -> (isReady: Bool, json: String) {
        let isInstalled = self.isInstalled.withLock { $0 }
        let problem = isInstalled ? nil : self.pool.status.problem ?? self.installProblem.withLock { $0 }
        var database = HealthStatus(
            name: "database", ready: isInstalled, detail: problem ?? (isInstalled ? "set up" : "being set up"),
            remedy: problem == nil ? nil : "run `penstock check` with the same environment")
        if isInstalled, let isCapturing = self.capture.isCapturing {
            database.facts["migration_capture"] = isCapturing ? "on" : "missing"
            if !isCapturing {
                database.detail = "set up, without the event triggers that capture migrations"
                database.remedy = CaptureWatch.remedy
            }
        }
        self.health.report(database)
        let feed = self.feed.health
        var facts: [String: String] = ["state": feed.label]
        facts["position"] = feed.position.map { "\($0)" }
        facts["durable_position"] = feed.durable.map { "\($0)" }
        facts["lag_bytes"] = feed.lagBytes.map(String.init)
        facts["epoch"] = feed.epoch.map(String.init)
        facts["started_over_because"] = feed.startedOverBecause
        let misfits = self.hub.misfits
        self.health.report(
            HealthStatus(name: "replication", ready: feed.isReady, detail: feed.summary, facts: facts))
        self.health.report(
            HealthStatus(
                name: "satellite", ready: self.hub.isLoaded,
                detail: self.hub.isLoaded ? "serving \(self.hub.clientCount) clients" : "waiting for the schema",
                facts: misfits.isEmpty ? [:] : ["misfit_tables": misfits.joined(separator: ", ")]))
        return self.health.readiness()
    }

    func waitUntilReady() async throws {
        while !self.isReady { try await Task.sleep(for: .milliseconds(50)) }
    }

    // MARK: The database side

    /// Sets the database up, however long that takes, then follows it.
    func runFeed() async throws {
        try await self.install()
        async let watch: Void = self.capture.run()
        try await self.feed.run()
        await watch
    }

    private func install() async throws {
        var pause = Duration.seconds(1)
        while true {
            do {
                try await self.pool.withConnection { connection in
                    _ = try await Installer.install(on: connection, logger: self.logger)
                    let repairs = try await connection.query("SELECT action, object FROM electric.ensure_publication()")
                    for row in repairs.rows {
                        self.logger.info(
                            "publication repaired",
                            metadata: ["action": "\(row[0] ?? "")", "object": "\(row[1] ?? "")"])
                    }
                    try await self.capture.tellFindings(connection)
                }
                self.isInstalled.withLock { $0 = true }
                self.installProblem.withLock { $0 = nil }
                return
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                self.installProblem.withLock { $0 = "\(error)" }
                self.logger.error(
                    "cannot set the database up; trying again",
                    metadata: ["error": "\(error)", "pause": "\(pause)"])
                try await Task.sleep(for: pause)
                pause = min(pause * 2, .seconds(10))
            }
        }
    }
}

/// A reference that is set once, after what refers to it has been made.
final class SharedReference<Value: AnyObject & Sendable>: Sendable {
    private let stored = Mutex<Value?>(nil)

    var value: Value? {
        get { self.stored.withLock { $0 } }
        set { self.stored.withLock { $0 = newValue } }
    }
}

extension ConnectionParameters {
    /// The connection that the configuration asks for.
    package init(_ database: DatabaseSettings) {
        let host: String
        switch database.host {
        case .network(let name): host = name
        case .socketDirectory(let path): host = path
        }
        let tls: TLSRequirement
        switch database.tls {
        case .local: tls = .disable
        case .preferred: tls = .prefer
        case .required: tls = .require
        case .verifiedAuthority: tls = .verifyCA
        case .verifiedHost: tls = .verifyFull
        }
        self.init(
            host: host, port: Int(database.port), user: database.user, password: database.password?.reveal(),
            database: database.database, tls: tls, tlsRootCertificate: database.rootCertificatePath,
            addressChoice: database.usesIPv6 ? .ipv6First : .ipv4Only)
    }
}
