/// The keys of the stream server. The raw value is the path in a TOML file; the environment spells it
/// `DS_LIMITS__MAX_MEMORY_BYTES`.
enum StreamKey: String, CaseIterable, Hashable, Sendable {
    case serverBindAddress = "server.bind_address"
    case serverPort = "server.port"
    case limitsMaxMemoryBytes = "limits.max_memory_bytes"
    case limitsMaxStreamBytes = "limits.max_stream_bytes"
    case limitsMaxDiskBytes = "limits.max_disk_bytes"
    case limitsMaxDiskStreamBytes = "limits.max_disk_stream_bytes"
    case limitsMaxRequestBodyBytes = "limits.max_request_body_bytes"
    case limitsMaxBufferedBodyBytes = "limits.max_buffered_body_bytes"
    case limitsMaxStreamNameBytes = "limits.max_stream_name_bytes"
    case limitsMaxStreamNameSegments = "limits.max_stream_name_segments"
    case limitsMaxProducersPerStream = "limits.max_producers_per_stream"
    case limitsMaxStorageJobs = "limits.max_storage_jobs"
    case retentionMaxBytes = "retention.max_bytes"
    case retentionMaxAgeSecs = "retention.max_age_secs"
    case retentionPrefixes = "retention.prefixes"
    case httpCORSOrigins = "http.cors_origins"
    case httpAllowWildcardCORS = "http.allow_wildcard_cors"
    case httpStreamBasePath = "http.stream_base_path"
    case httpAllowInsecureWebhooks = "http.allow_insecure_webhooks"
    case httpWebhookKeyDays = "http.webhook_key_days"
    case httpOutgoingCAPath = "http.outgoing_ca_path"
    case httpCache = "http.cache"
    case httpCacheMaxAgeSecs = "http.cache_max_age_secs"
    case httpCacheStaleWhileRevalidateSecs = "http.cache_stale_while_revalidate_secs"
    case httpCacheSealedMaxAgeSecs = "http.cache_sealed_max_age_secs"
    case httpCompression = "http.compression"
    case httpCompressionMinBytes = "http.compression_min_bytes"
    case adminEnabled = "admin.enabled"
    case adminBasePath = "admin.base_path"
    case storageMode = "storage.mode"
    case storageDataDir = "storage.data_dir"
    case storageAcidShardCount = "storage.acid_shard_count"
    case storageAcidBackend = "storage.acid_backend"
    case transportMode = "transport.mode"
    case transportHTTPVersions = "transport.http.versions"
    case transportConnectionLongPollTimeoutSecs = "transport.connection.long_poll_timeout_secs"
    case transportConnectionSSEReconnectIntervalSecs = "transport.connection.sse_reconnect_interval_secs"
    case transportConnectionSSEKeepAliveSecs = "transport.connection.sse_keep_alive_secs"
    case transportConnectionSSERetryMillis = "transport.connection.sse_retry_millis"
    case transportTLSCertPath = "transport.tls.cert_path"
    case transportTLSKeyPath = "transport.tls.key_path"
    case transportTLSClientCAPath = "transport.tls.client_ca_path"
    case transportTLSMinVersion = "transport.tls.min_version"
    case transportTLSMaxVersion = "transport.tls.max_version"
    case transportTLSALPNProtocols = "transport.tls.alpn_protocols"
    case proxyEnabled = "proxy.enabled"
    case proxyForwardedHeaders = "proxy.forwarded_headers"
    case proxyTrustedProxies = "proxy.trusted_proxies"
    case proxyIdentityMode = "proxy.identity.mode"
    case proxyIdentityHeaderName = "proxy.identity.header_name"
    case proxyIdentityRequireTLS = "proxy.identity.require_tls"
    case observabilityRustLog = "observability.rust_log"
    case observabilityLogFormat = "observability.log_format"
    case observabilityRequestLog = "observability.request_log"
    case authMode = "auth.mode"
    case authIssuer = "auth.issuer"
    case authAudiences = "auth.audiences"
    case authAlgorithms = "auth.algorithms"
    case authStaticKey = "auth.static_key"
    case authJWKSFile = "auth.jwks_file"
    case authJWKSURL = "auth.jwks_url"
    case authAllowInsecureJWKS = "auth.allow_insecure_jwks"
    case authClockSkewSecs = "auth.clock_skew_secs"
    case authScopeClaim = "auth.scope_claim"
    case authScopes = "auth.scopes"
    case authClaimHeaders = "auth.claim_headers"
    case authTokenCookie = "auth.token_cookie"
    case authTokenQuery = "auth.token_query"

    /// The name in the environment of a path in a file.
    static func environmentName(of path: String) -> String {
        "DS_" + path.uppercased().replacing(".", with: "__")
    }

    var environmentName: String { Self.environmentName(of: self.rawValue) }

    /// Whether the value may never be shown.
    var isSecret: Bool { self == .authStaticKey }

    /// Paths of earlier versions that mean the same.
    var olderPaths: [String] {
        switch self {
        case .transportConnectionLongPollTimeoutSecs: ["server.long_poll_timeout_secs"]
        case .transportConnectionSSEReconnectIntervalSecs: ["server.sse_reconnect_interval_secs"]
        case .transportTLSCertPath: ["tls.cert_path"]
        case .transportTLSKeyPath: ["tls.key_path"]
        case .observabilityRustLog: ["log.rust_log"]
        default: []
        }
    }

    /// Names in the environment of the first versions, without a prefix.
    var oldestNames: [String] {
        switch self {
        case .serverPort: ["PORT"]
        case .limitsMaxMemoryBytes: ["MAX_MEMORY_BYTES"]
        case .limitsMaxStreamBytes: ["MAX_STREAM_BYTES"]
        case .httpCORSOrigins: ["CORS_ORIGINS"]
        case .storageMode: ["STORAGE_MODE"]
        case .transportConnectionLongPollTimeoutSecs: ["LONG_POLL_TIMEOUT_SECS"]
        case .transportConnectionSSEReconnectIntervalSecs: ["SSE_RECONNECT_INTERVAL_SECS", "SSE_IDLE_CLOSE_SECS"]
        default: []
        }
    }

    /// All paths that mean this key, the present one first.
    var paths: [String] { [self.rawValue] + self.olderPaths }

    /// Every path that may stand in a file.
    static let knownPaths: Set<String> = Set(Self.allCases.flatMap(\.paths))

    /// What to say about a path that is not known.
    static func hint(forPath path: String) -> String {
        NearestName.hint(
            for: path, in: Self.knownPaths, offered: Self.allCases.map(\.rawValue), separator: ".")
    }

    /// What to say about a section that is not known.
    static func hint(forSection path: String) -> String {
        let present = Set(Self.allCases.map { String($0.rawValue.prefix { $0 != "." }) })
        return NearestName.hint(for: path, in: Self.sections, offered: Array(present), separator: ".")
    }

    /// What to say about a variable that is not known.
    static func hint(forEnvironmentName name: String) -> String {
        NearestName.hint(
            for: name, in: Self.knownPaths.map(Self.environmentName),
            offered: Self.allCases.map(\.environmentName), separator: "__")
    }

    /// Every section that may stand in a file.
    static let sections: Set<String> = Set(
        Self.knownPaths.flatMap { path in
            let parts = path.split(separator: ".")
            return (1..<parts.count).map { parts[..<$0].joined(separator: ".") }
        })
}
