import Identity

/// The whole configuration of a process, checked: what it says can be relied upon.
package struct Settings: Sendable {
    package static let defaultDataDirectory = "/var/lib/penstock"
    package static let defaultSocketPath = "/var/run/penstock/penstock.sock"

    /// What is served, and why.
    package var fronts: FrontSelection
    /// The database; nil for a pure stream server.
    package var database: DatabaseSettings?
    /// Where the service listens.
    package var listeners: ListenerSettings
    /// How tokens of Satellite clients are verified; nil when that front is off.
    package var tokenPolicy: TokenPolicy?
    /// How writes of clients reach the database; nil when the Satellite front is off.
    package var writeMode: WriteMode?
    /// The migrations proxy; nil when the Satellite front is off.
    package var proxy: ProxySettings?
    /// Who may use the shape API; nil when that front is off.
    package var shapeAccess: ShapeAccess?
    /// How much of the past is kept.
    package var retention: RetentionSettings
    /// How changes come out of the database.
    package var feed: FeedSettings
    package var log: LogSettings
    package var telemetry: TelemetrySettings
    package var features: FeatureFlags
    /// Name of this instance.
    package var instanceID: String
    /// What is asked for and not built yet, one sentence each, to be told at start-up.
    package var unavailable: [String]
    /// The durable streams server; nil when that front is off.
    package var streams: StreamServerSettings?
    /// The flows between streams and tables; nil when there are none.
    package var mirror: MirrorSettings?
}

/// How to reach the database.
package struct DatabaseSettings: Hashable, Sendable {
    /// What is demanded of the connection.
    package enum TLS: String, Hashable, Sendable {
        /// A Unix socket: there is nothing to encrypt.
        case local
        /// TLS is tried first, then plain text with a warning.
        case preferred
        /// TLS, whatever the certificate.
        case required
        /// TLS with a certificate of a trusted authority.
        case verifiedAuthority = "verify-ca"
        /// TLS with a certificate of a trusted authority for this host.
        case verifiedHost = "verify-full"
    }

    package var host: DatabaseURL.Host
    package var port: UInt16
    package var user: String
    package var password: Secret?
    package var database: String
    package var tls: TLS
    /// Path of the certificates of trusted authorities.
    package var rootCertificatePath: String?
    /// `channel_binding` for libpq, nil for its default.
    package var channelBinding: String?
    /// Whether the host name is looked up in IPv6 first; otherwise in IPv4 alone.
    package var usesIPv6: Bool

    package init(
        host: DatabaseURL.Host, port: UInt16 = 5432, user: String, password: Secret? = nil, database: String,
        tls: TLS, rootCertificatePath: String? = nil, channelBinding: String? = nil, usesIPv6: Bool = false
    ) {
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self.database = database
        self.tls = tls
        self.rootCertificatePath = rootCertificatePath
        self.channelBinding = channelBinding
        self.usesIPv6 = usesIPv6
    }

    /// The place and name of the database for logs and messages, without the credentials.
    package var displayName: String {
        switch self.host {
        case .network(let host): "\(host.contains(":") ? "[\(host)]" : host):\(self.port)/\(self.database)"
        case .socketDirectory(let path): "\(path):\(self.port)/\(self.database)"
        }
    }
}

/// An address and port to listen on.
package struct ListenAddress: Hashable, Sendable {
    /// `::`, `0.0.0.0` or an address. `::` is to take IPv4 as well.
    package var host: String
    package var port: UInt16

    package init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }
}

/// The listeners for clients.
package struct ListenerSettings: Hashable, Sendable {
    /// Where every front that is on answers. Nil for a stream server without `HTTP_PORT`.
    package var http: ListenAddress?
    /// An extra listener for the shape API.
    package var shapes: ListenAddress?
    /// An extra listener for durable streams.
    package var streams: ListenAddress?

    package init(http: ListenAddress?, shapes: ListenAddress? = nil, streams: ListenAddress? = nil) {
        self.http = http
        self.shapes = shapes
        self.streams = streams
    }
}

/// How writes of clients reach the database.
package enum WriteMode: Hashable, Sendable {
    /// The database subscribes to a publisher that this service listens as.
    case logicalReplication(publisherHost: String, listen: ListenAddress)
    /// The service writes over its own connections.
    case directWrites

    /// The value of `ELECTRIC_WRITE_TO_PG_MODE`.
    package var name: String {
        switch self {
        case .logicalReplication: "logical_replication"
        case .directWrites: "direct_writes"
        }
    }
}

/// The migrations proxy.
package struct ProxySettings: Hashable, Sendable {
    package var password: Secret
    /// The TCP listener; nil when only the tunnel is wanted.
    package var listen: ListenAddress?
    /// Whether `/proxy` on the HTTP listener relays to the proxy.
    package var isTunnelEnabled: Bool
    /// Whether the messages that pass are logged.
    package var isTracing: Bool

    package init(password: Secret, listen: ListenAddress?, isTunnelEnabled: Bool = false, isTracing: Bool = false) {
        self.password = password
        self.listen = listen
        self.isTunnelEnabled = isTunnelEnabled
        self.isTracing = isTracing
    }
}

/// Who may use the shape API.
package enum ShapeAccess: Hashable, Sendable {
    case secret(Secret)
    case everybody
}

/// How much of the past is kept.
package struct RetentionSettings: Hashable, Sendable {
    /// Size of the change log that clients resume from.
    package var resumableWALWindow: ByteCount
    /// Memory in front of the change log.
    package var transactionCache: ByteCount

    package init(
        resumableWALWindow: ByteCount = ByteCount(bytes: 2 << 30),
        transactionCache: ByteCount = ByteCount(bytes: 256 << 20)
    ) {
        self.resumableWALWindow = resumableWALWindow
        self.transactionCache = transactionCache
    }
}

/// How changes come out of the database.
package struct FeedSettings: Hashable, Sendable {
    /// Which way is taken.
    package enum Transport: String, CaseIterable, Hashable, Sendable {
        /// The extension when the database has it, else a replication connection.
        case auto
        case `extension`
        case replication
    }

    /// A user who may connect to the socket.
    package enum Peer: Hashable, Sendable {
        case userID(UInt32)
        case userName(String)
    }

    package var transport: Transport
    /// The Unix socket for the database extension.
    package var socketPath: String
    /// Users who may connect to it besides root and ourselves.
    package var socketPeers: [Peer]
    /// Where the change log lives; nil when no disk is to be used.
    package var dataDirectory: String?

    package init(
        transport: Transport = .auto, socketPath: String = Settings.defaultSocketPath, socketPeers: [Peer] = [],
        dataDirectory: String? = Settings.defaultDataDirectory
    ) {
        self.transport = transport
        self.socketPath = socketPath
        self.socketPeers = socketPeers
        self.dataDirectory = dataDirectory
    }
}

/// What is logged.
package struct LogSettings: Hashable, Sendable {
    /// The levels by the names of `LOG_LEVEL`; the documented ones and those the legacy service took silently.
    package enum Level: String, CaseIterable, Hashable, Sendable {
        case emergency, alert, critical, error, warning, warn, notice, info, debug

        /// The names a message about a wrong value lists.
        static let documented: [Level] = [.error, .warning, .info, .debug]
    }

    /// How a line looks.
    package enum Format: String, CaseIterable, Hashable, Sendable {
        case text, json
    }

    package var level: Level
    /// Levels by the label of the logger; nil where one level holds for all.
    package var filter: LogFilter?
    package var format = Format.text
    /// Whether each request gets a line.
    package var logsRequests = false

    package init(level: Level = .info) {
        self.level = level
    }

    /// The lowest level that is logged under a label.
    package func level(of label: String) -> Level {
        self.filter?.level(for: label).logLevel ?? self.level
    }
}

/// Metrics and traces beyond those that are always there.
package struct TelemetrySettings: Hashable, Sendable {
    /// Where traces go.
    package enum TraceExport: Hashable, Sendable {
        case otlp(endpoint: String?)
        case honeycomb(apiKey: Secret)
        case debug
    }

    /// Whether usage reports are explicitly asked for. There is nobody they would be sent to.
    package var wantsUsageReports: Bool
    package var statsdHost: String?
    package var measurementPeriod: Duration
    package var traceExport: TraceExport?

    package init(
        wantsUsageReports: Bool = false, statsdHost: String? = nil,
        measurementPeriod: Duration = .milliseconds(2000), traceExport: TraceExport? = nil
    ) {
        self.wantsUsageReports = wantsUsageReports
        self.statsdHost = statsdHost
        self.measurementPeriod = measurementPeriod
        self.traceExport = traceExport
    }
}

/// Named switches. A flag that is not listed is off.
package struct FeatureFlags: Hashable, Sendable {
    package var flags: [String: Bool]

    package init(_ flags: [String: Bool] = [:]) {
        self.flags = flags
    }

    package func isEnabled(_ flag: String) -> Bool { self.flags[flag] ?? false }

    /// Reads `flag=true:other=false`, where earlier entries win; nil for anything else.
    init?(parsing text: String) {
        var flags: [String: Bool] = [:]
        for entry in text.split(separator: ":") {
            let halves = entry.split(separator: "=", omittingEmptySubsequences: false)
            guard halves.count == 2, !halves[0].isEmpty, let value = Bool(String(halves[1])) else { return nil }
            if flags[String(halves[0])] == nil { flags[String(halves[0])] = value }
        }
        self.flags = flags
    }
}
