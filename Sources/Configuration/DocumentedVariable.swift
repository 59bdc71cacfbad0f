/// What is to be told about a variable, for the documentation and for `penstock check`.
package struct DocumentedVariable: Hashable, Sendable {
    /// Nil for variables of the stream server and the mirror, which are keys of files as well.
    package var variable: Variable?
    package var name: String
    /// Whether the value may never be shown.
    package var isSecret: Bool
    /// The value when it is not set; nil when there is none.
    package var defaultValue: String?
    /// When it has to be set; nil when never.
    package var required: String?
    /// What it is for and what it accepts.
    package var summary: String

    /// All variables in the order in which they are best read.
    package static let all: [DocumentedVariable] = Self.ofVariables + Self.streams

    private static let ofVariables = Variable.allCases.filter { $0 != .streamServerPort }.map(Self.init(documenting:))

    init(name: String, defaultValue: String?, isSecret: Bool = false, summary: String) {
        self.variable = nil
        self.name = name
        self.isSecret = isSecret
        self.defaultValue = defaultValue
        self.summary = summary
    }

    private init(_ variable: Variable, _ defaultValue: String?, required: String? = nil, _ summary: String) {
        self.variable = variable
        self.name = variable.rawValue
        self.isSecret = variable.isSecret
        self.defaultValue = defaultValue
        self.required = required
        self.summary = summary
    }

    private init(documenting variable: Variable) {
        switch variable {
        case .databaseURL:
            self.init(
                variable, nil, required: "by the satellite and shapes fronts",
                """
                The database, as postgresql://user:password@host:port/database. A direct connection, not a pooler. \
                Options: sslmode, sslrootcert, channel_binding, and host for the directory of a Unix socket.
                """)
        case .databaseRequireSSL:
            self.init(
                variable, "true",
                "Whether connections to the database must be encrypted. If false, TLS is tried before plain text.")
        case .databaseUseIPv6:
            self.init(variable, "false", "Whether the host name of the database is looked up in IPv6 first.")
        case .electricUseIPv6:
            self.init(variable, "true", "Whether listeners bind the IPv6 wildcard address, which takes IPv4 too.")
        case .httpPort:
            self.init(variable, "5133", "Port of the HTTP and WebSocket listener.")
        case .writeToPgMode:
            self.init(
                variable, "logical_replication",
                "How clients' writes reach the database: logical_replication or direct_writes.")
        case .logicalPublisherHost:
            self.init(
                variable, nil, required: "in the logical_replication write mode",
                "Name under which the database reaches the logical publisher of this service.")
        case .logicalPublisherPort:
            self.init(variable, "5433", "Port of the logical publisher.")
        case .pgProxyPassword:
            self.init(
                variable, nil, required: "by the satellite front", "Password of connections to the migrations proxy.")
        case .pgProxyPort:
            self.init(
                variable, "65432",
                "Port of the migrations proxy: N, or http for the HTTP tunnel alone, or http:N for both.")
        case .resumableWALWindow:
            self.init(
                variable, "2G", "How much of the change log is kept for clients that resume. A size: 256M, 1.5G, 2g.")
        case .txnCacheSize:
            self.init(variable, "256M", "Memory for recent transactions in front of the change log. A size.")
        case .logLevel:
            self.init(variable, "info", "Lowest level that is logged: error, warning, info or debug.")
        default:
            self.init(documentingFurther: variable)
        }
    }

    private init(documentingFurther variable: Variable) {
        switch variable {
        case .authMode:
            self.init(variable, "secure", "Whether tokens of clients must be signed: secure or insecure.")
        case .authJWTAlg:
            self.init(
                variable, nil, required: "in the secure mode of the satellite front",
                "Signing algorithm of tokens: HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384 or ES512.")
        case .authJWTKey:
            self.init(
                variable, nil, required: "in the secure mode of the satellite front",
                "Key of tokens: the secret for HS algorithms, the public key in PEM for RS and ES.")
        case .authJWTKeyIsBase64Encoded:
            self.init(variable, "false", "Whether AUTH_JWT_KEY is the base64 encoding of the secret (HS only).")
        case .authJWTNamespace:
            self.init(variable, nil, "Claim that holds the user id; by default the user id is a top-level claim.")
        case .authJWTIss:
            self.init(variable, nil, "If set, the iss claim must be present and equal.")
        case .authJWTAud:
            self.init(variable, nil, "If set, the aud claim must be present and equal, or contain this value.")
        case .electricTelemetry:
            self.init(variable, "disabled", "Accepted for compatibility. Nothing is reported to anybody.")
        case .electricFeatures:
            self.init(variable, "", "Feature flags, flag=true or flag=false, joined by colons; earlier ones win.")
        case .electricInstanceID:
            self.init(variable, "random", "Name of this instance, as clients and metrics see it.")
        case .statsdHost:
            self.init(variable, nil, "Host to push metrics to in the StatsD format.")
        case .metricsMeasurementPeriod:
            self.init(variable, "2000", "Milliseconds between two measurements of gauges.")
        case .otelExport:
            self.init(variable, nil, "Where traces go: otlp, honeycomb or debug; anything else is off.")
        case .otlpEndpoint:
            self.init(variable, nil, "URL of the OTLP collector.")
        case .honeycombAPIKey:
            self.init(variable, nil, "Key for the honeycomb export.")
        case .proxyTracingEnable:
            self.init(variable, "false", "Whether the messages of the migrations proxy are logged, secrets masked.")
        case .penstockFronts:
            self.init(
                variable, "inferred from the other variables",
                "What is served: a comma-separated list of satellite, shapes and streams.")
        case .penstockDataDir:
            self.init(
                variable, Settings.defaultDataDirectory,
                "Where the change log lives. Empty: no disk is used, and the database keeps its log for the clients.")
        case .penstockSocket:
            self.init(variable, Settings.defaultSocketPath, "Unix socket the database extension connects to.")
        case .penstockSocketPeers:
            self.init(
                variable, nil,
                "Users who may connect to the socket besides root and ourselves: names or numbers, comma-separated.")
        case .penstockTransport:
            self.init(
                variable, "auto", "How changes arrive: extension, replication, or auto for whichever is there.")
        case .electricSecret:
            self.init(
                variable, nil, required: "by the shapes front, unless ELECTRIC_INSECURE=true",
                "Secret that requests to the shape API carry.")
        case .electricInsecure:
            self.init(variable, "false", "Whether the shape API is open to everybody.")
        case .electricPort:
            self.init(variable, nil, "Port of an extra listener for the shape API.")
        default:
            // Every other variable has its text above, or as a key of the stream server; the tests walk the list.
            self.init(variable, nil, "")
        }
    }
}
