import Testing
import WebAddresses

@testable import Configuration

@Suite("Settings of the stream server")
struct StreamServerSettingsTests {
    typealias Streams = StreamEnvironments

    @Test func defaultsAreTheDocumentedOnes() throws {
        let streams = try Streams.load()
        #expect(streams.profile == "default")
        #expect(streams.bindAddress == ListenAddress(host: "0.0.0.0", port: 4437))
        #expect(streams.limits == StreamServerSettings.Limits())
        #expect(streams.limits.maximumMemory.bytes == 104_857_600)
        #expect(streams.limits.maximumMemoryStream.bytes == 10_485_760)
        #expect(streams.limits.maximumRequestBody.bytes == 10_485_760)
        #expect(streams.limits.maximumDisk == nil)
        #expect(streams.limits.maximumDiskStream == nil)
        #expect(streams.limits.maximumNameBytes == 1024)
        #expect(streams.limits.maximumNameSegments == 8)
        #expect(streams.limits.maximumProducers == 10_000)
        #expect(streams.limits.maximumStorageJobs == 64)
        #expect(streams.http == StreamServerSettings.HTTP())
        #expect(streams.http.basePath == "/v1/stream")
        #expect(streams.http.cache == .public)
        #expect(streams.http.compressionMinimum == nil)
        #expect(streams.admin == StreamServerSettings.Admin())
        #expect(streams.storage == StreamServerSettings.Storage())
        #expect(streams.storage.dataDirectory == "./data/streams")
        #expect(streams.transport == StreamServerSettings.Transport())
        #expect(streams.transport.longPollTimeout == .seconds(30))
        #expect(streams.transport.sseReconnectInterval == .seconds(60))
        #expect(streams.transport.sseKeepAlive == .seconds(15))
        #expect(streams.transport.sseRetry == .milliseconds(300))
        #expect(streams.proxy == StreamServerSettings.Proxy())
        #expect(streams.logFilter == LogFilter())
        #expect(streams.logFormat == .text)
        #expect(!streams.logsRequests)
        #expect(streams.auth == nil)
        #expect(!streams.retention.isOn)
        #expect(streams.warnings.count == 1)
        #expect(try Environments.load().streams == nil)
    }

    @Test func aDirectoryThatHasNoEffectIsWarnedOf() throws {
        let name = "DS_STORAGE__DATA_DIR"
        for mode in ["memory", "file-fast"] {
            let streams = try Streams.load([name: "/data", "DS_STORAGE__MODE": mode])
            #expect(streams.warnings.contains { $0.contains(name) } == (mode == "memory"))
        }
        // What a profile brings along is nobody's mistake.
        #expect(try !Streams.load(["DS_STORAGE__MODE": "memory"]).warnings.contains { $0.contains(name) })
    }

    @Test func everyVariableIsRead() throws {
        let streams = try Streams.load([
            "DS_SERVER__BIND_ADDRESS": "[::1]:5000", "DS_SERVER__PORT": "6000", "DS_LIMITS__MAX_MEMORY_BYTES": "1",
            "DS_LIMITS__MAX_STREAM_BYTES": "2", "DS_LIMITS__MAX_REQUEST_BODY_BYTES": "3",
            "DS_LIMITS__MAX_STREAM_NAME_BYTES": "4", "DS_LIMITS__MAX_STREAM_NAME_SEGMENTS": "5",
            "DS_LIMITS__MAX_PRODUCERS_PER_STREAM": "7",
            "DS_LIMITS__MAX_STORAGE_JOBS": "6", "DS_LIMITS__MAX_DISK_BYTES": "7",
            "DS_LIMITS__MAX_DISK_STREAM_BYTES": "8", "DS_RETENTION__MAX_BYTES": "9",
            "DS_RETENTION__MAX_AGE_SECS": "10", "DS_RETENTION__PREFIXES": "logs/, m",
            "DS_HTTP__CORS_ORIGINS": "https://a.example, http://localhost:3000",
            "DS_HTTP__STREAM_BASE_PATH": "/streams",
            "DS_HTTP__ALLOW_INSECURE_WEBHOOKS": "true", "DS_HTTP__CACHE": "private",
            "DS_HTTP__CACHE_MAX_AGE_SECS": "0", "DS_HTTP__CACHE_STALE_WHILE_REVALIDATE_SECS": "11",
            "DS_HTTP__CACHE_SEALED_MAX_AGE_SECS": "12", "DS_HTTP__COMPRESSION": "true",
            "DS_HTTP__COMPRESSION_MIN_BYTES": "13", "DS_ADMIN__ENABLED": "yes",
            "DS_ADMIN__BASE_PATH": "/ops", "DS_STORAGE__MODE": "acid", "DS_STORAGE__DATA_DIR": "/data",
            "DS_STORAGE__ACID_SHARD_COUNT": "4", "DS_STORAGE__ACID_BACKEND": "in-memory", "DS_TRANSPORT__MODE": "mtls",
            "DS_TRANSPORT__HTTP__VERSIONS": "http2,http1",
            "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "9",
            "DS_TRANSPORT__CONNECTION__SSE_RECONNECT_INTERVAL_SECS": "0",
            "DS_TRANSPORT__CONNECTION__SSE_KEEP_ALIVE_SECS": "20",
            "DS_TRANSPORT__CONNECTION__SSE_RETRY_MILLIS": "0", "DS_TRANSPORT__TLS__CERT_PATH": "/c",
            "DS_TRANSPORT__TLS__KEY_PATH": "/k", "DS_TRANSPORT__TLS__CLIENT_CA_PATH": "/ca",
            "DS_TRANSPORT__TLS__MIN_VERSION": "1.2", "DS_TRANSPORT__TLS__MAX_VERSION": "1.3",
            "DS_TRANSPORT__TLS__ALPN_PROTOCOLS": "http/1.1,h2", "DS_PROXY__ENABLED": "1",
            "DS_PROXY__FORWARDED_HEADERS": "forwarded", "DS_PROXY__TRUSTED_PROXIES": "10.0.0.0/8, ::ffff:192.0.2.7",
            "DS_PROXY__IDENTITY__MODE": "header", "DS_PROXY__IDENTITY__HEADER_NAME": "X-User",
            "DS_PROXY__IDENTITY__REQUIRE_TLS": "false", "DS_OBSERVABILITY__RUST_LOG": "warn,http=trace",
            "DS_OBSERVABILITY__LOG_FORMAT": "json", "DS_OBSERVABILITY__REQUEST_LOG": "true",
        ])
        #expect(streams.bindAddress == ListenAddress(host: "::1", port: 5000))
        #expect(streams.limits.maximumMemory.bytes == 1)
        #expect(streams.limits.maximumMemoryStream.bytes == 2)
        #expect(streams.limits.maximumRequestBody.bytes == 3)
        #expect(streams.limits.maximumNameBytes == 4)
        #expect(streams.limits.maximumNameSegments == 5)
        #expect(streams.limits.maximumProducers == 7)
        #expect(streams.limits.maximumStorageJobs == 6)
        #expect(streams.limits.maximumDisk?.bytes == 7)
        #expect(streams.retention.maximumBytes == 9 && streams.retention.maximumAgeSeconds == 10)
        #expect(streams.retention.prefixes == ["logs/", "m"])
        #expect(streams.limits.maximumDiskStream?.bytes == 8)
        #expect(streams.limits.payload(in: .memory).total?.bytes == 1)
        #expect(streams.limits.payload(in: .fileFast).stream?.bytes == 8)
        #expect(streams.limits.payload(in: .acid(.memory, shards: 1)).stream?.bytes == 2)
        #expect(streams.http.origins == .listed(["https://a.example", "http://localhost:3000"]))
        #expect(streams.http.basePath == "/streams")
        #expect(streams.http.allowsInsecureWebhooks)
        #expect(streams.http.cache == .private)
        #expect(streams.http.cacheMaximumAge == .zero)
        #expect(streams.http.cacheStaleWhileRevalidate == .seconds(11))
        #expect(streams.http.cacheSealedMaximumAge == .seconds(12))
        #expect(streams.http.compressionMinimum == 13)
        #expect(streams.admin.isEnabled)
        #expect(streams.admin.basePath == "/ops")
        #expect(streams.storage.mode == .acid(.memory, shards: 4))
        #expect(streams.storage.dataDirectory == "/data")
        #expect(streams.transport.mode == .mtls)
        #expect(streams.transport.versions == [.http2, .http1])
        #expect(streams.transport.longPollTimeout == .seconds(9))
        #expect(streams.transport.sseReconnectInterval == nil)
        #expect(streams.transport.sseKeepAlive == .seconds(20))
        #expect(streams.transport.sseRetry == nil)
        var tls = StreamServerSettings.Transport.TLS(
            certificatePath: "/c", keyPath: "/k", clientAuthorityPath: "/ca", protocols: ["http/1.1", "h2"])
        tls.minimumVersion = .v12
        #expect(streams.transport.tls == tls)
        #expect(streams.proxy.family == .forwarded)
        #expect(streams.proxy.trusted == ["10.0.0.0/8", "192.0.2.7"].compactMap { IPNetwork($0) })
        #expect(streams.proxy.identity == .init(header: "X-User", requiresTLS: false))
        #expect(streams.logFilter == LogFilter(level: .warn, targets: ["http": .trace]))
        #expect(streams.logFormat == .json)
        #expect(streams.logsRequests)
        #expect(streams.warnings.count == 2)
        #expect(streams.warnings.contains { $0.hasPrefix("Who DS_PROXY__IDENTITY__HEADER_NAME names") })
        #expect(streams.warnings.contains { $0.contains("DS_STORAGE__DATA_DIR") })
    }

    @Test func olderNamesMeanTheSame() throws {
        let streams = try Streams.load([
            "DS_SERVER__PORT": "5001", "DS_SERVER__LONG_POLL_TIMEOUT_SECS": "7",
            "DS_SERVER__SSE_RECONNECT_INTERVAL_SECS": "8", "DS_TLS__CERT_PATH": "/c", "DS_TLS__KEY_PATH": "/k",
            "DS_LOG__RUST_LOG": "error",
        ])
        #expect(streams.bindAddress == ListenAddress(host: "0.0.0.0", port: 5001))
        #expect(streams.transport.longPollTimeout == .seconds(7))
        #expect(streams.transport.sseReconnectInterval == .seconds(8))
        // Paths of the older versions alone switch TLS on.
        #expect(streams.transport.mode == .tls)
        #expect(streams.transport.tls?.certificatePath == "/c")
        #expect(streams.transport.tls?.protocols == ["http/1.1"])
        #expect(streams.logFilter.level == .error)
        // The present name comes before the older one, and RUST_LOG before both.
        let both = try Streams.load([
            "DS_SERVER__LONG_POLL_TIMEOUT_SECS": "7", "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "9",
            "DS_LOG__RUST_LOG": "error", "DS_OBSERVABILITY__RUST_LOG": "warn", "RUST_LOG": "trace",
        ])
        #expect(both.transport.longPollTimeout == .seconds(9))
        #expect(both.logFilter.level == .trace)
    }

    @Test func namesWithoutAPrefixAreReadByAStreamServerAlone() throws {
        let oldest = [
            "PORT": "5002", "LONG_POLL_TIMEOUT_SECS": "7", "SSE_IDLE_CLOSE_SECS": "8", "MAX_MEMORY_BYTES": "9",
            "MAX_STREAM_BYTES": "10", "CORS_ORIGINS": "https://a.example", "STORAGE_MODE": "fast",
        ]
        let alone = try Streams.load(oldest)
        #expect(alone.bindAddress?.port == 5002)
        #expect(alone.transport.longPollTimeout == .seconds(7))
        #expect(alone.transport.sseReconnectInterval == .seconds(8))
        #expect(alone.limits.maximumMemory.bytes == 9)
        #expect(alone.limits.maximumMemoryStream.bytes == 10)
        #expect(alone.http.origins == .listed(["https://a.example"]))
        #expect(alone.storage.mode == .fileFast)
        #expect(
            try Streams.load(["SSE_IDLE_CLOSE_SECS": "8", "SSE_RECONNECT_INTERVAL_SECS": "9"])
                .transport.sseReconnectInterval == .seconds(9))
        #expect(try Streams.load(oldest.merging(["DS_STORAGE__MODE": "memory"]) { $1 }).storage.mode == .memory)
        // Beside a database they are somebody else's, and not even looked at.
        let beside = oldest.merging(["DATABASE_URL": "postgresql://u@h/d", "PENSTOCK_FRONTS": "streams"]) { $1 }
        #expect(try Streams.load(beside.merging(["STORAGE_MODE": "nonsense"]) { $1 }).storage.mode == .memory)
        #expect(try Streams.load(beside).bindAddress?.port == 4437)
        #expect(
            Streams.problems(["PORT": "x"]) == [
                #"PORT has invalid value: "x". Must be a port number from 1 to 65535"#
            ])
    }

    @Test func aRetentionOfZeroIsNone() throws {
        let none = try Streams.load(["DS_RETENTION__MAX_BYTES": "0", "DS_RETENTION__MAX_AGE_SECS": "0"])
        #expect(!none.retention.isOn)
        let warned = try Streams.load(["DS_RETENTION__PREFIXES": "a/"])
        #expect(warned.warnings.contains { $0.contains("DS_RETENTION__PREFIXES") })
        #expect(try Streams.load(["DS_RETENTION__MAX_AGE_SECS": "60"]).retention.isOn)
    }

    @Test(arguments: [
        ("memory", StreamServerSettings.Storage.Mode.memory), ("file-fast", .fileFast), ("fast", .fileFast),
        ("file-durable", .fileDurable), ("file", .fileDurable), ("durable", .fileDurable),
        ("acid", .acid(.file, shards: 16)), ("redb", .acid(.file, shards: 16)),
    ])
    func storageModesHaveManyNames(text: String, mode: StreamServerSettings.Storage.Mode) throws {
        #expect(try Streams.load(["DS_STORAGE__MODE": text]).storage.mode == mode)
    }

    @Test(arguments: [
        (["DS_SERVER__BIND_ADDRESS": "localhost:1"], "DS_SERVER__BIND_ADDRESS"),
        (["DS_SERVER__BIND_ADDRESS": "::1:80"], "DS_SERVER__BIND_ADDRESS"),
        (["DS_SERVER__BIND_ADDRESS": "[127.0.0.1]:80"], "DS_SERVER__BIND_ADDRESS"),
        (["DS_SERVER__BIND_ADDRESS": "0.0.0.0"], "DS_SERVER__BIND_ADDRESS"),
        (["DS_SERVER__BIND_ADDRESS": "0.0.0.0:70000"], "DS_SERVER__BIND_ADDRESS"),
        (["DS_SERVER__PORT": "0"], "DS_SERVER__PORT"),
        (["DS_LIMITS__MAX_MEMORY_BYTES": "0"], "DS_LIMITS__MAX_MEMORY_BYTES"),
        (["DS_LIMITS__MAX_STREAM_BYTES": "-1"], "DS_LIMITS__MAX_STREAM_BYTES"),
        (["DS_LIMITS__MAX_STREAM_BYTES": "10MB"], "DS_LIMITS__MAX_STREAM_BYTES"),
        (["DS_LIMITS__MAX_STORAGE_JOBS": "0"], "DS_LIMITS__MAX_STORAGE_JOBS"),
        (["DS_LIMITS__MAX_DISK_BYTES": "99999999999999999999"], "DS_LIMITS__MAX_DISK_BYTES"),
        (["DS_RETENTION__MAX_BYTES": "-1"], "DS_RETENTION__MAX_BYTES"),
        (["DS_RETENTION__MAX_BYTES": "1GB"], "DS_RETENTION__MAX_BYTES"),
        (["DS_RETENTION__MAX_AGE_SECS": "9007199254741"], "DS_RETENTION__MAX_AGE_SECS"),
        (["DS_RETENTION__PREFIXES": "a,,b"], "DS_RETENTION__PREFIXES"),
        (["DS_RETENTION__PREFIXES": "/a"], "DS_RETENTION__PREFIXES"),
        (["DS_HTTP__CORS_ORIGINS": "https://a.example,,https://b.example"], "DS_HTTP__CORS_ORIGINS"),
        (["DS_HTTP__CORS_ORIGINS": "https://a.example,*"], "DS_HTTP__CORS_ORIGINS"),
        (["DS_HTTP__CORS_ORIGINS": "https://a.example/path"], "DS_HTTP__CORS_ORIGINS"),
        (["DS_HTTP__CORS_ORIGINS": "a.example"], "DS_HTTP__CORS_ORIGINS"),
        (["DS_HTTP__ALLOW_WILDCARD_CORS": "perhaps"], "DS_HTTP__ALLOW_WILDCARD_CORS"),
        (["DS_HTTP__STREAM_BASE_PATH": "v1"], "DS_HTTP__STREAM_BASE_PATH"),
        (["DS_HTTP__STREAM_BASE_PATH": "/"], "DS_HTTP__STREAM_BASE_PATH"),
        (["DS_HTTP__STREAM_BASE_PATH": "/a//b"], "DS_HTTP__STREAM_BASE_PATH"),
        (["DS_HTTP__STREAM_BASE_PATH": "/a/../b"], "DS_HTTP__STREAM_BASE_PATH"),
        (["DS_HTTP__STREAM_BASE_PATH": "/a b"], "DS_HTTP__STREAM_BASE_PATH"),
        (["DS_HTTP__STREAM_BASE_PATH": "/{x}"], "DS_HTTP__STREAM_BASE_PATH"),
        (["DS_HTTP__STREAM_BASE_PATH": "/a?b"], "DS_HTTP__STREAM_BASE_PATH"),
        (["DS_HTTP__STREAM_BASE_PATH": "/healthz"], "DS_HTTP__STREAM_BASE_PATH"),
        (["DS_HTTP__CACHE": "Public"], "DS_HTTP__CACHE"),
        (["DS_OBSERVABILITY__LOG_FORMAT": "xml"], "DS_OBSERVABILITY__LOG_FORMAT"),
        (["DS_OBSERVABILITY__REQUEST_LOG": "json"], "DS_OBSERVABILITY__REQUEST_LOG"),
        (
            ["DS_HTTP__CACHE": "no-store", "DS_HTTP__CACHE_SEALED_MAX_AGE_SECS": "9"],
            "DS_HTTP__CACHE_SEALED_MAX_AGE_SECS"
        ),
        (["DS_HTTP__CACHE_MAX_AGE_SECS": "-1"], "DS_HTTP__CACHE_MAX_AGE_SECS"),
        (["DS_HTTP__COMPRESSION": "gzip"], "DS_HTTP__COMPRESSION"),
        (["DS_HTTP__COMPRESSION_MIN_BYTES": "9"], "DS_HTTP__COMPRESSION_MIN_BYTES"),
        (["DS_ADMIN__BASE_PATH": "/v1"], "DS_ADMIN__BASE_PATH"),
        (["DS_ADMIN__ENABLED": "true", "DS_HTTP__STREAM_BASE_PATH": "/admin/s"], "DS_ADMIN__BASE_PATH"),
        (["DS_STORAGE__MODE": "disk"], "DS_STORAGE__MODE"),
        (["DS_STORAGE__MODE": "file", "DS_STORAGE__DATA_DIR": " "], "DS_STORAGE__DATA_DIR"),
        (["DS_STORAGE__ACID_SHARD_COUNT": "3"], "DS_STORAGE__ACID_SHARD_COUNT"),
        (["DS_STORAGE__ACID_SHARD_COUNT": "512"], "DS_STORAGE__ACID_SHARD_COUNT"),
        (["DS_STORAGE__ACID_BACKEND": "disk"], "DS_STORAGE__ACID_BACKEND"),
        (["DS_TRANSPORT__MODE": "https"], "DS_TRANSPORT__MODE"),
        (["DS_TRANSPORT__HTTP__VERSIONS": "http2"], "DS_TRANSPORT__HTTP__VERSIONS"),
        (["DS_TRANSPORT__HTTP__VERSIONS": "http1,http3"], "DS_TRANSPORT__HTTP__VERSIONS"),
        (["DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS": "0"], "DS_TRANSPORT__CONNECTION__LONG_POLL_TIMEOUT_SECS"),
        (["DS_SERVER__SSE_RECONNECT_INTERVAL_SECS": "x"], "DS_SERVER__SSE_RECONNECT_INTERVAL_SECS"),
        (["DS_TRANSPORT__TLS__MIN_VERSION": "1.1"], "DS_TRANSPORT__TLS__MIN_VERSION"),
        (["DS_TRANSPORT__TLS__MAX_VERSION": "1.2"], "DS_TRANSPORT__TLS__MIN_VERSION"),
        (["DS_TRANSPORT__TLS__ALPN_PROTOCOLS": "http/1.1"], "DS_TRANSPORT__TLS__ALPN_PROTOCOLS"),
        (["DS_TRANSPORT__TLS__CLIENT_CA_PATH": "/ca"], "DS_TRANSPORT__TLS__CLIENT_CA_PATH"),
        (["DS_PROXY__FORWARDED_HEADERS": "forwarded"], "DS_PROXY__FORWARDED_HEADERS"),
        (["DS_PROXY__TRUSTED_PROXIES": "10.0.0.1"], "DS_PROXY__TRUSTED_PROXIES"),
        (["DS_PROXY__IDENTITY__HEADER_NAME": "X-User"], "DS_PROXY__IDENTITY__HEADER_NAME"),
        (["DS_PROXY__IDENTITY__REQUIRE_TLS": "false"], "DS_PROXY__IDENTITY__REQUIRE_TLS"),
        (["RUST_LOG": "loud=quiet"], "RUST_LOG"),
        (["DS_LOG__RUST_LOG": "a b"], "DS_LOG__RUST_LOG"),
        (["DS_AUTH__MODE": "basic"], "DS_AUTH__MODE"),
    ])
    func aWrongValueIsReportedUnderItsName(environment: [String: String], name: String) {
        #expect(Streams.names(environment) == [name])
        #expect(Streams.names([:]) == [])
    }

    @Test(
        arguments: [
            (
                ["DS_TRANSPORT__TLS__CERT_PATH": "/c", "DS_TRANSPORT__TLS__KEY_PATH": "/k"],
                ["DS_TRANSPORT__TLS__CERT_PATH", "DS_TRANSPORT__TLS__KEY_PATH"]
            ),
            (["DS_TRANSPORT__MODE": "http", "DS_TLS__CERT_PATH": "/c"], ["DS_TLS__CERT_PATH"]),
            (["DS_TLS__CERT_PATH": "/c"], ["DS_TRANSPORT__TLS__KEY_PATH"]),
            (["DS_TRANSPORT__MODE": "tls"], ["DS_TRANSPORT__TLS__CERT_PATH", "DS_TRANSPORT__TLS__KEY_PATH"]),
            (
                ["DS_TRANSPORT__MODE": "mtls", "DS_TLS__CERT_PATH": "/c", "DS_TLS__KEY_PATH": "/k"],
                ["DS_TRANSPORT__TLS__CLIENT_CA_PATH"]
            ),
            (
                [
                    "DS_TRANSPORT__MODE": "tls", "DS_TLS__CERT_PATH": "/c", "DS_TLS__KEY_PATH": "/k",
                    "DS_TRANSPORT__TLS__CLIENT_CA_PATH": "/ca",
                ], ["DS_TRANSPORT__TLS__CLIENT_CA_PATH"]
            ),
            (
                [
                    "DS_TRANSPORT__MODE": "tls", "DS_TLS__CERT_PATH": "/c", "DS_TLS__KEY_PATH": "/k",
                    "DS_TRANSPORT__TLS__ALPN_PROTOCOLS": "h2",
                ], ["DS_TRANSPORT__TLS__ALPN_PROTOCOLS"]
            ),
            (
                [
                    "DS_TRANSPORT__MODE": "tls", "DS_TLS__CERT_PATH": "/c", "DS_TLS__KEY_PATH": "/k",
                    "DS_TRANSPORT__HTTP__VERSIONS": "http1,http2", "DS_TRANSPORT__TLS__ALPN_PROTOCOLS": "h2",
                ],
                ["DS_TRANSPORT__TLS__ALPN_PROTOCOLS"]
            ),
            (["DS_PROXY__ENABLED": "true"], ["DS_PROXY__FORWARDED_HEADERS", "DS_PROXY__TRUSTED_PROXIES"]),
            (
                [
                    "DS_PROXY__ENABLED": "true", "DS_PROXY__FORWARDED_HEADERS": "x-forwarded",
                    "DS_PROXY__TRUSTED_PROXIES": "10.0.0.0/33",
                ], ["DS_PROXY__TRUSTED_PROXIES"]
            ),
            (
                [
                    "DS_PROXY__ENABLED": "true", "DS_PROXY__FORWARDED_HEADERS": "x-forwarded",
                    "DS_PROXY__TRUSTED_PROXIES": "10.0.0.1", "DS_PROXY__IDENTITY__MODE": "header",
                ],
                ["DS_PROXY__IDENTITY__HEADER_NAME", "DS_PROXY__IDENTITY__MODE"]
            ),
            (
                [
                    "DS_PROXY__ENABLED": "true", "DS_PROXY__FORWARDED_HEADERS": "x-forwarded",
                    "DS_PROXY__TRUSTED_PROXIES": "10.0.0.1", "DS_PROXY__IDENTITY__HEADER_NAME": "X-User",
                ],
                ["DS_PROXY__IDENTITY__HEADER_NAME"]
            ),
        ] as [([String: String], [String])])
    func whatDoesNotGoTogetherIsReported(environment: [String: String], names: [String]) {
        #expect(Streams.names(environment) == names)
    }

    @Test func profilesBringTheirValues() throws {
        let dev = try Streams.load(profile: "dev")
        #expect(dev.bindAddress == ListenAddress(host: "127.0.0.1", port: 4437))
        #expect(dev.logFilter.level == .debug)
        let origins = ["DS_HTTP__CORS_ORIGINS": "https://a.example"]
        let prod = try Streams.load(origins, profile: "prod")
        #expect(prod.limits.maximumMemory.bytes == 512 << 20)
        #expect(prod.limits.maximumMemoryStream.bytes == 256 << 20)
        #expect(prod.storage.mode == .fileDurable)
        #expect(prod.storage.dataDirectory == "/var/lib/durable-streams")
        #expect(prod.transport.mode == .http)
        let paths = ["DS_TRANSPORT__TLS__CERT_PATH": "/c", "DS_TRANSPORT__TLS__KEY_PATH": "/k"].merging(origins) { $1 }
        let tls = try Streams.load(paths, profile: "prod-tls")
        #expect(tls.transport.mode == .tls)
        #expect(tls.transport.versions == [.http1, .http2])
        #expect(tls.transport.tls?.protocols == ["h2", "http/1.1"])
        let mtls = try Streams.load(
            paths.merging(["DS_TRANSPORT__TLS__CLIENT_CA_PATH": "/ca", "PENSTOCK_PROFILE": "prod-mtls"]) { $1 })
        #expect(mtls.transport.mode == .mtls)
        #expect(mtls.profile == "prod-mtls")
    }

    @Test(arguments: ["prod", "prod-tls", "prod-mtls"])
    func productionRefusesTheWildcardUnlessItIsAllowed(profile: String) {
        let paths = [
            "DS_TRANSPORT__TLS__CERT_PATH": "/c", "DS_TRANSPORT__TLS__KEY_PATH": "/k",
            "DS_TRANSPORT__TLS__CLIENT_CA_PATH": "/ca",
        ]
        let fitting = paths.filter { key, _ in
            profile == "prod-mtls" || (profile == "prod-tls" && !key.contains("CLIENT"))
        }
        #expect(Streams.names(fitting, profile: profile) == ["DS_HTTP__CORS_ORIGINS"])
        #expect(Streams.names(fitting.merging(["DS_HTTP__ALLOW_WILDCARD_CORS": "true"]) { $1 }, profile: profile) == [])
    }

    @Test func thePortOfALaterPlaceReplacesThePortAlone() throws {
        let address = try Streams.load(["DS_SERVER__PORT": "5000"], profile: "dev").bindAddress
        #expect(address == ListenAddress(host: "127.0.0.1", port: 5000))
        let files = ["config/default.toml": "[server]\nport = 7000\n"]
        #expect(try Streams.load(files: files).bindAddress == ListenAddress(host: "0.0.0.0", port: 7000))
        let bound = try Streams.load(["DS_SERVER__BIND_ADDRESS": "127.0.0.1:0"], files: files).bindAddress
        #expect(bound == ListenAddress(host: "127.0.0.1", port: 0))
    }

    @Test func anotherFrontKeepsItsListener() throws {
        let beside = try Environments.load(["DS_STORAGE__MODE": "memory"])
        #expect(beside.streams?.bindAddress == nil)
        #expect(beside.listeners.streams == nil)
        let own = try Environments.load(["DS_SERVER__BIND_ADDRESS": "127.0.0.1:9000"])
        #expect(own.streams?.bindAddress == ListenAddress(host: "127.0.0.1", port: 9000))
        #expect(own.listeners.streams == own.streams?.bindAddress)
    }

    @Test func theLogLevelFollowsTheFilterUnlessItIsSet() throws {
        #expect(try Settings.load(environment: ["RUST_LOG": "warn,http=debug"]).log.level == .warning)
        let filtered = try Settings.load(
            environment: ["RUST_LOG": "warn,penstock.requests=info", "DS_OBSERVABILITY__LOG_FORMAT": "json"])
        #expect(filtered.log.level(of: "penstock") == .warning)
        #expect(filtered.log.level(of: "penstock.requests") == .info)
        #expect(filtered.log.format == .json)
        let plain = try Settings.load(environment: ["RUST_LOG": "warn,penstock=info", "LOG_LEVEL": "error"])
        #expect(plain.log.level(of: "penstock") == .error)
        #expect(try Settings.load(environment: ["RUST_LOG": "off"]).log.level == .emergency)
        #expect(try Settings.load(environment: ["RUST_LOG": "trace"]).log.level == .debug)
        #expect(try Settings.load(environment: ["RUST_LOG": "trace", "LOG_LEVEL": "error"]).log.level == .error)
        // Without the front the filter is nobody's.
        #expect(try Environments.load(["RUST_LOG": "not a filter"]).log.level == .info)
    }

    @Test func warningsNameWhatIsAllowedButOdd() throws {
        let streams = try Streams.load([
            "DS_ADMIN__ENABLED": "true", "DS_HTTP__STREAM_BASE_PATH": "/s/", "DS_LIMITS__MAX_STREM_BYTES": "1",
            "DS_SERVER_URL": "http://x",
        ])
        #expect(streams.http.basePath == "/s")
        #expect(streams.warnings.count == 4)
        #expect(streams.warnings[0].contains("DS_LIMITS__MAX_STREM_BYTES"))
        #expect(streams.warnings[0].contains("Did you mean DS_LIMITS__MAX_STREAM_BYTES?"))
        #expect(try Streams.load(["DS_ADMIN__ENABLED": "true"], profile: "dev").warnings.count == 1)
    }
}
