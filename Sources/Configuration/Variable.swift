/// Every environment variable of the service. What is not listed here is not read.
package enum Variable: String, CaseIterable, Hashable, Sendable {
    case databaseURL = "DATABASE_URL"
    case databaseRequireSSL = "DATABASE_REQUIRE_SSL"
    case databaseUseIPv6 = "DATABASE_USE_IPV6"
    case electricUseIPv6 = "ELECTRIC_USE_IPV6"
    case httpPort = "HTTP_PORT"
    case writeToPgMode = "ELECTRIC_WRITE_TO_PG_MODE"
    case logicalPublisherHost = "LOGICAL_PUBLISHER_HOST"
    case logicalPublisherPort = "LOGICAL_PUBLISHER_PORT"
    case pgProxyPassword = "PG_PROXY_PASSWORD"
    case pgProxyPort = "PG_PROXY_PORT"
    case resumableWALWindow = "ELECTRIC_RESUMABLE_WAL_WINDOW"
    case txnCacheSize = "ELECTRIC_TXN_CACHE_SIZE"
    case logLevel = "LOG_LEVEL"
    case authMode = "AUTH_MODE"
    case authJWTAlg = "AUTH_JWT_ALG"
    case authJWTKey = "AUTH_JWT_KEY"
    case authJWTKeyIsBase64Encoded = "AUTH_JWT_KEY_IS_BASE64_ENCODED"
    case authJWTNamespace = "AUTH_JWT_NAMESPACE"
    case authJWTIss = "AUTH_JWT_ISS"
    case authJWTAud = "AUTH_JWT_AUD"
    case electricTelemetry = "ELECTRIC_TELEMETRY"
    case electricFeatures = "ELECTRIC_FEATURES"
    case electricInstanceID = "ELECTRIC_INSTANCE_ID"
    case statsdHost = "STATSD_HOST"
    case metricsMeasurementPeriod = "METRICS_MEASUREMENT_PERIOD"
    case otelExport = "OTEL_EXPORT"
    case otlpEndpoint = "OTLP_ENDPOINT"
    case honeycombAPIKey = "HONEYCOMB_API_KEY"
    case proxyTracingEnable = "PROXY_TRACING_ENABLE"
    case penstockFronts = "PENSTOCK_FRONTS"
    case penstockDataDir = "PENSTOCK_DATA_DIR"
    case penstockSocket = "PENSTOCK_SOCKET"
    case penstockSocketPeers = "PENSTOCK_SOCKET_PEERS"
    case penstockTransport = "PENSTOCK_TRANSPORT"
    case electricSecret = "ELECTRIC_SECRET"
    case electricInsecure = "ELECTRIC_INSECURE"
    case electricPort = "ELECTRIC_PORT"
    case streamServerPort = "DS_SERVER__PORT"

    /// Whether the value may never be shown.
    package var isSecret: Bool {
        switch self {
        case .databaseURL, .pgProxyPassword, .authJWTKey, .honeycombAPIKey, .electricSecret: true
        default: false
        }
    }

    /// Whether the variable speaks for the Satellite front: an installation of the legacy sync service sets it.
    var speaksForSatellite: Bool {
        switch self {
        case .writeToPgMode, .logicalPublisherHost, .logicalPublisherPort, .pgProxyPassword, .pgProxyPort,
            .resumableWALWindow, .txnCacheSize, .authMode, .authJWTAlg, .authJWTKey, .authJWTKeyIsBase64Encoded,
            .authJWTNamespace, .authJWTIss, .authJWTAud, .proxyTracingEnable:
            true
        default: false
        }
    }

    /// Whether the variable speaks for the shape API: only Electric 1.x knows it.
    var speaksForShapes: Bool {
        switch self {
        case .electricSecret, .electricInsecure, .electricPort: true
        default: false
        }
    }
}
