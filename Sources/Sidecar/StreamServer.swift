import Configuration
import DurableStreams
import ExactText
import Foundation
import HTTPServer
import Identity
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import Observability
import StreamDirectory
import StreamEndpoint
import Synchronization
import WebhookDelivery

/// The durable streams front: the directory, who may use it, and its routes.
final class StreamServer: Sendable {
    let settings: StreamServerSettings
    let directory: StreamDirectory
    let gate: StreamGate?
    private let services: StreamServices
    private let subscriptions: SubscriptionControl
    private let webhookKeys: WebhookKeys
    private let rotation = Mutex<RepeatedTask?>(nil)
    private let logger: Logger

    /// Opens the storage. Blocks until everything that was answered for is back.
    init(_ settings: StreamServerSettings, logger: Logger) throws {
        self.settings = settings
        self.logger = logger
        for sentence in settings.warnings { logger.warning("\(sentence)") }
        let clock = SystemTime.milliseconds
        self.directory = try StreamStorage.open(settings, clock) { sentence in
            logger.error("an import that was cut off: \(sentence)")
        }
        Self.watch(self.directory, logger)
        var services = StreamServices(directory: self.directory, clock: clock, logger: logger)
        services.root = settings.http.basePath
        services.names = StreamNameRules(
            maximumBytes: settings.limits.maximumNameBytes, maximumSegments: settings.limits.maximumNameSegments)
        // Why never shared with tokens: a cache would hand out to anybody what one reader may see.
        services.cache = CachePolicy(
            scope: settings.http.cache == .noStore
                ? .none : settings.http.cache == .private || settings.auth != nil ? .user : .shared,
            maximumAgeSeconds: Self.milliseconds(settings.http.cacheMaximumAge) / 1000,
            staleWhileRevalidateSeconds: Self.milliseconds(settings.http.cacheStaleWhileRevalidate) / 1000,
            sealedMaximumAgeSeconds: settings.http.cacheSealedMaximumAge.map { Self.milliseconds($0) / 1000 })
        services.compression = settings.http.compressionMinimum.map { CompressionPolicy(minimumBytes: $0) }
        services.retention = StreamRetention(
            maximumBytes: settings.retention.maximumBytes, maximumAgeSeconds: settings.retention.maximumAgeSeconds,
            isOwn: false
        ).map { DefaultRetention($0, prefixes: settings.retention.prefixes) }
        services.requestBytes = Int(settings.limits.maximumRequestBody.bytes)
        services.live = LiveReader.Settings(
            longPollTimeout: Self.milliseconds(settings.transport.longPollTimeout),
            keepAlive: settings.transport.sseKeepAlive.map(Self.milliseconds) ?? 0,
            idleClose: settings.transport.sseReconnectInterval.map(Self.milliseconds) ?? 0)
        services.returnHint = settings.transport.sseRetry.map { ReturnHint(least: Self.milliseconds($0)) }
        switch settings.http.origins {
        case .any: services.cors = StreamServices.cors(.any)
        case .listed(let list):
            services.cors = StreamServices.cors(
                .list(list), allowsCredentials: settings.auth?.extractor.cookie != nil)
        }
        let names = services.names
        self.gate = try settings.auth.map {
            do {
                return try StreamGate(
                    $0, root: settings.http.basePath, names: names,
                    authorityPath: settings.http.outgoingAuthorityPath, logger: logger)
            } catch {
                throw Sidecar.StartError(
                    .configuration, "the keys of tokens cannot be used: \(error)",
                    hint: "Check the DS_AUTH__ settings and DS_HTTP__OUTGOING_CA_PATH")
            }
        }
        services.authorizer = self.gate?.authorizer
        services.identityFields = self.gate?.identityFields ?? []
        (self.subscriptions, self.webhookKeys) = try Self.subscriptions(
            settings, self.directory, names, clock, logger)
        services.control = self.subscriptions
        self.services = services
    }

    /// Says in the log when the storage takes no changes, when it does again, and which streams are damaged.
    private static func watch(_ directory: StreamDirectory, _ logger: Logger) {
        let isFull = Mutex(false)
        let tell: @Sendable (StreamDirectoryCondition) -> Void = { condition in
            switch condition {
            case .diskFull:
                guard
                    !isFull.withLock({ was in
                        defer { was = true }
                        return was
                    })
                else { return }
                logger.warning(
                    "the disk of the streams is full: what makes them larger is answered with 507 until there is room")
            case .healthy:
                guard
                    isFull.withLock({ was in
                        defer { was = false }
                        return was
                    })
                else { return }
                logger.notice("the disk of the streams has room again: all changes are taken")
            case .failed(let error):
                logger.error(
                    "the storage of the streams has failed: no changes are taken until the next start",
                    metadata: ["error": "\(error)"])
            case .closed: break
            }
        }
        directory.onCondition(tell)
        directory.onDamage { name, error in
            logger.error(
                "stored bytes of a stream are damaged: reads of them are answered with 500",
                metadata: ["stream": "\(name)", "error": "\(error)"])
        }
        directory.lookForRoom()
        if directory.condition == .diskFull { tell(.diskFull) }
    }

    /// Subscriptions, kept beside the streams where those are kept.
    private static func subscriptions(
        _ settings: StreamServerSettings, _ directory: StreamDirectory, _ names: StreamNameRules,
        _ clock: @escaping @Sendable () -> UInt64, _ logger: Logger
    ) throws -> (SubscriptionControl, WebhookKeys) {
        let place = Self.controlDirectory(settings)
        let sender: HTTPWebhookSender
        do {
            sender =
                try settings.http.outgoingAuthorityPath.map { try HTTPWebhookSender(authorityPath: $0) }
                ?? HTTPWebhookSender()
        } catch {
            throw Sidecar.StartError(
                .configuration, "the authorities for outgoing calls cannot be read: \(error)",
                hint: "Check DS_HTTP__OUTGOING_CA_PATH")
        }
        // Callbacks go where the one who subscribed has found us.
        var configuration = SubscriptionControl.Configuration(origin: nil, directory: place)
        configuration.root = settings.http.basePath
        configuration.names = names
        configuration.allowsLocalWebhooks = settings.http.allowsInsecureWebhooks
        do {
            let keys = try WebhookKeys(directory: place, at: clock())
            let control = try SubscriptionControl(
                configuration, streams: directory, sender: sender, keys: keys, clock: clock, logger: logger)
            return (control, keys)
        } catch {
            throw Sidecar.StartError(
                .initialisation, "the subscriptions in \(place ?? "memory") cannot be read: \(error)",
                hint: "Restore the directory from a copy, or move it away to begin without subscriptions")
        }
    }

    /// Everything that is counted about streams.
    func observe(_ metrics: StreamMetrics) {
        let subscriptions = self.subscriptions
        metrics.observe(self.services) { subscriptions.deliveries }
    }

    /// Where subscriptions and the keys of webhooks are kept; nil for memory only.
    static func controlDirectory(_ settings: StreamServerSettings) -> String? {
        settings.storage.mode.usesDisk ? settings.storage.dataDirectory + "/control" : nil
    }

    /// Begins to deliver webhooks and to keep their time.
    func start() {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        self.subscriptions.start(on: eventLoop)
        guard let age = self.settings.http.webhookKeyAge.map(Self.milliseconds) else { return }
        let task = eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: .minutes(1)) { [weak self] _ in
            NIOThreadPool.singleton.submit { _ in self?.rotateKey(ifOlderThan: age) }
        }
        self.rotation.withLock { $0 = task }
    }

    private func rotateKey(ifOlderThan age: UInt64) {
        do {
            guard let next = try self.webhookKeys.rotate(at: self.services.clock(), ifOlderThan: age) else { return }
            self.logger.info(
                "a new key will sign webhooks",
                metadata: ["kid": "\(next.id)", "from": "\(Timestamp.text(milliseconds: next.usedFrom))"])
        } catch {
            // Tried again in a minute; the old key stays in use.
            self.logger.error("the key of webhooks cannot be replaced", metadata: ["error": "\(error)"])
        }
    }

    /// Takes up what somebody has changed: token keys, and the keys of webhooks.
    func reload() {
        self.gate?.reload()
        do {
            try self.webhookKeys.reload(at: self.services.clock())
        } catch {
            self.logger.error(
                "the keys of webhooks are not loaded, the old ones stay in use", metadata: ["error": "\(error)"])
        }
    }

    private static func milliseconds(_ duration: Duration) -> UInt64 {
        UInt64(max(0, duration / .milliseconds(1)))
    }

    // MARK: Routes

    func add(to router: inout HTTPRouter) {
        StreamRoute(self.services).add(to: &router)
        router.adjust(self.services.root) { options in
            options.drainRefusal = {
                StreamResponse.error(
                    StreamError(.unavailable, "The server is about to end.", retryAfterSeconds: 1), instance: nil
                ).httpReply
            }
        }
        router.fallBack(to: self.services.root)
        guard self.settings.admin.isEnabled else { return }
        let directory = self.directory
        let clock = self.services.clock
        let base = self.settings.admin.basePath
        router.on(.GET, base + "/streams") { _ in
            let listings = directory.list(now: clock()).filter(Self.isListed)
            guard let json = try? Self.json(listings) else {
                return .reply(.text("The list cannot be made", status: .internalServerError))
            }
            return .reply(.json(json))
        }
    }

    /// One stream as administrators see it.
    private struct Description: Encodable {
        var name: String
        var closed: Bool
        var message_count: UInt64
        var total_bytes: UInt64
        var content_type: String
        var created_at: String
        var updated_at: String
        var ttl_seconds: UInt64?
        var expires_at: String?
        var retention_bytes: UInt64?
        var retention_seconds: UInt64?
        var earliest_offset: String?

        init(_ listing: StreamListing) {
            let view = listing.view
            self.name = view.name
            self.closed = view.isClosed
            self.message_count = listing.messageCount
            self.total_bytes = listing.byteCount
            self.content_type = view.contentType.text
            self.created_at = Timestamp.text(milliseconds: view.createdAt)
            self.updated_at = Timestamp.text(milliseconds: view.updatedAt)
            switch view.configuration.lifetime {
            case .none: break
            case .ttl(let seconds): self.ttl_seconds = seconds
            case .deadline(_, let text): self.expires_at = text
            }
            self.retention_bytes = view.configuration.retention?.maximumBytes
            self.retention_seconds = view.configuration.retention?.maximumAgeSeconds
            if view.earliest > 0 { self.earliest_offset = view.earliestOffset.token }
        }
    }

    /// Whether a stream is a client's: there, and not one that the service keeps for itself.
    static func isListed(_ listing: StreamListing) -> Bool {
        !listing.isSoftDeleted && !listing.view.name.hasExactPrefix(StreamNameRules.reservedSegment + "/")
    }

    /// The listing that the admin route and `penstock streams list --json` give, sorted by name.
    static func json(_ listings: [StreamListing]) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(listings.map(Description.init)), as: UTF8.self)
    }

    /// Health of a process that serves nothing but streams.
    func addHealth(to router: inout HTTPRouter, metrics: MetricsRegistry, ending: EndingNotice) {
        let directory = self.directory
        router.onProbe("/healthz") { _ in .reply(.text("ok")) }
        router.onProbe("/readyz") { _ in
            let isReady = directory.isReady && !ending.isGiven
            let reason = ending.isGiven ? EndingNotice.text : "\(directory.condition)"
            var reply = HTTPReply.text(
                isReady ? "ok" : "not ready: \(reason)", status: isReady ? .ok : .serviceUnavailable)
            reply.headers.add(name: "cache-control", value: "no-store")
            return .reply(reply)
        }
        router.onProbe("/metrics") { _ in
            .reply(
                HTTPReply(
                    status: .ok, headers: ["content-type": "text/plain; version=0.0.4; charset=utf-8"],
                    body: ByteBuffer(string: metrics.render())))
        }
    }

    /// Whether changes are taken, for the health of the whole service.
    var health: HealthStatus {
        HealthStatus(
            name: "streams", ready: self.directory.isReady,
            detail: self.directory.isReady
                ? "serving (\(self.settings.storage.mode.name))" : "\(self.directory.condition)",
            remedy: self.directory.isReady
                ? nil : "look for the storage error in the log; a failed storage needs a restart")
    }

    // MARK: The listener of its own

    /// - Parameter options: what all listeners of the process have in common.
    func bind(_ router: HTTPRouter, _ options: HTTPListenerOptions) async throws -> HTTPListener? {
        guard let address = self.settings.bindAddress else { return nil }
        var options = options
        let transport = self.settings.transport
        // Why in the order of the protocols: with TLS the first of them that a client knows is taken.
        options.versions = transport.tls.map { Self.versions($0.protocols) } ?? [.http1]
        options.security = transport.tls.map { tls in
            HTTPTransportSecurity(
                certificateChainPath: tls.certificatePath, privateKeyPath: tls.keyPath,
                clientAuthorityPath: tls.clientAuthorityPath,
                minimumVersion: tls.minimumVersion == .v12 ? .tls12 : .tls13,
                maximumVersion: tls.maximumVersion == .v12 ? .tls12 : .tls13)
        }
        let proxy = self.settings.proxy
        if proxy.isEnabled {
            options.forwarded = ForwardedPolicy(
                family: proxy.family == .xForwarded ? .xForwarded : proxy.family == .forwarded ? .forwarded : .none,
                trusted: proxy.trusted, identityHeader: proxy.identity?.header)
        }
        do {
            return try await HTTPListener.bind(
                host: address.host, port: Int(address.port), group: MultiThreadedEventLoopGroup.singleton,
                limits: HTTPLimits(), router: router, logger: self.logger, options: options)
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw Sidecar.StartError(
                .initialisation, "cannot listen on \(address.host):\(address.port): another process has it",
                hint: "Stop that process or set DS_SERVER__BIND_ADDRESS")
        } catch let error as IOError {
            throw Sidecar.StartError(
                .initialisation, "cannot listen on \(address.host):\(address.port): \(Sidecar.reason(error))",
                hint: "Set DS_SERVER__BIND_ADDRESS to an address of this machine and a port that this user may have")
        } catch let error as TLSFileError {
            throw Sidecar.StartError(
                .configuration, "TLS cannot be used: \(error)",
                hint: "Check DS_TRANSPORT__TLS__CERT_PATH, __KEY_PATH and __CLIENT_CA_PATH")
        }
    }

    private static func versions(_ protocols: [String]) -> [HTTPProtocolVersion] {
        protocols.map { $0 == HTTPProtocolVersion.http2.alpn ? .http2 : .http1 }
    }

    /// Lets live readers go.
    func release() {
        self.rotation.withLock { $0 }?.cancel()
        self.subscriptions.stop()
        self.directory.releaseObservers()
    }

    /// Makes everything accepted durable and gives the files free.
    func close() {
        do {
            try self.directory.close()
        } catch {
            self.logger.error("the streams could not be closed in order", metadata: ["error": "\(error)"])
        }
    }
}
