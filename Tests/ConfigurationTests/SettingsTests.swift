import Identity
import Testing

@testable import Configuration

@Suite("Settings from the environment")
struct SettingsTests {
    @Test func defaultsAreTheDocumentedOnes() throws {
        let settings = try Environments.load()
        #expect(settings.listeners == ListenerSettings(http: ListenAddress(host: "::", port: 5133)))
        #expect(settings.writeMode == .directWrites)
        #expect(settings.proxy?.listen == ListenAddress(host: "::", port: 65432))
        #expect(settings.proxy?.isTunnelEnabled == false)
        #expect(settings.proxy?.isTracing == false)
        #expect(settings.proxy?.password.reveal() == "proxy-password")
        #expect(settings.retention.resumableWALWindow.bytes == 2_147_483_648)
        #expect(settings.retention.transactionCache.bytes == 268_435_456)
        #expect(settings.log.level == .info)
        #expect(settings.tokenPolicy?.isInsecure == true)
        #expect(settings.tokenPolicy?.namespace == nil)
        #expect(settings.database?.tls == .required)
        #expect(settings.database?.usesIPv6 == false)
        #expect(settings.feed == FeedSettings())
        #expect(settings.feed.socketPath == "/var/run/penstock/penstock.sock")
        #expect(settings.feed.dataDirectory == "/var/lib/penstock")
        #expect(settings.feed.transport == .auto)
        #expect(settings.telemetry == TelemetrySettings())
        #expect(settings.features == FeatureFlags())
        #expect(settings.shapeAccess == nil)
        #expect(settings.unavailable.isEmpty)
    }

    @Test func blankCountsAsNotSet() throws {
        let names: [Variable] = [
            .databaseRequireSSL, .databaseUseIPv6, .electricUseIPv6, .httpPort, .logicalPublisherHost,
            .logicalPublisherPort, .pgProxyPort, .logLevel, .authJWTAlg, .authJWTKey, .authJWTKeyIsBase64Encoded,
            .authJWTNamespace, .authJWTIss, .authJWTAud, .electricTelemetry, .electricFeatures, .electricInstanceID,
            .statsdHost, .metricsMeasurementPeriod, .otelExport, .proxyTracingEnable, .penstockFronts, .penstockSocket,
            .penstockSocketPeers, .penstockTransport, .electricSecret, .electricInsecure, .electricPort,
            .streamServerPort,
        ]
        for blank in ["", "  \t"] {
            var settings = try Environments.load(
                Dictionary(uniqueKeysWithValues: names.map { ($0.rawValue, blank) }))
            var plain = try Environments.load()
            settings.instanceID = ""
            plain.instanceID = ""
            #expect("\(settings)" == "\(plain)")
        }
    }

    @Test(arguments: ["5133x", "0", "65536", "-1", "http", " 5133"])
    func portsAreStrict(text: String) {
        for name in ["HTTP_PORT", "ELECTRIC_PORT", "DS_SERVER__PORT"] {
            #expect(
                Environments.problems([name: text]) == [
                    "\(name) has invalid value: \"\(text)\". Must be a port number from 1 to 65535"
                ])
        }
    }

    @Test(arguments: [
        "DATABASE_REQUIRE_SSL", "DATABASE_USE_IPV6", "ELECTRIC_USE_IPV6", "ELECTRIC_TELEMETRY", "PROXY_TRACING_ENABLE",
        "ELECTRIC_INSECURE",
    ])
    func booleansAreStrict(name: String) {
        #expect(
            Environments.problems([name: "maybe"]) == [
                #"\#(name) has invalid value: "maybe". Must be one of ["true", "false"]"#
            ])
    }

    @Test func listenersFollowElectricUseIPv6() throws {
        let settings = try Environments.load([
            "ELECTRIC_USE_IPV6": "no", "HTTP_PORT": "8080", "DATABASE_USE_IPV6": "Yes",
            "ELECTRIC_WRITE_TO_PG_MODE": nil, "LOGICAL_PUBLISHER_HOST": "sidecar", "LOGICAL_PUBLISHER_PORT": "5555",
        ])
        #expect(settings.listeners.http == ListenAddress(host: "0.0.0.0", port: 8080))
        #expect(settings.proxy?.listen?.host == "0.0.0.0")
        #expect(settings.database?.usesIPv6 == true)
        #expect(
            settings.writeMode
                == .logicalReplication(
                    publisherHost: "sidecar", listen: ListenAddress(host: "0.0.0.0", port: 5555)))
    }

    @Test func theWriteModeKeepsItsDefaultAndItsTexts() throws {
        let settings = try Environments.load(["ELECTRIC_WRITE_TO_PG_MODE": nil, "LOGICAL_PUBLISHER_HOST": "h"])
        #expect(settings.writeMode?.name == "logical_replication")
        #expect(
            settings.writeMode
                == .logicalReplication(publisherHost: "h", listen: ListenAddress(host: "::", port: 5433)))

        for value in [nil, "logical_replication"] {
            #expect(
                Environments.problems(["ELECTRIC_WRITE_TO_PG_MODE": value]) == ["LOGICAL_PUBLISHER_HOST not set"])
        }
        #expect(
            Environments.problems(["ELECTRIC_WRITE_TO_PG_MODE": ""]) == [
                "ELECTRIC_WRITE_TO_PG_MODE erroneously set to an empty value", "LOGICAL_PUBLISHER_HOST not set",
            ])
        #expect(
            Environments.problems(["ELECTRIC_WRITE_TO_PG_MODE": "Direct"]) == [
                "ELECTRIC_WRITE_TO_PG_MODE has invalid value: \"Direct\". "
                    + "Must be one of [\"direct_writes\", \"logical_replication\"]",
                "LOGICAL_PUBLISHER_HOST not set",
            ])
        // The publisher's variables are ignored in the direct mode.
        #expect(Environments.problems(["LOGICAL_PUBLISHER_PORT": "x"]) == [])
        #expect(
            Environments.problems([
                "ELECTRIC_WRITE_TO_PG_MODE": nil, "LOGICAL_PUBLISHER_HOST": "h", "LOGICAL_PUBLISHER_PORT": "x",
            ]).count == 1)
    }

    @Test(arguments: [nil, "", "   "])
    func theProxyPasswordIsRequired(value: String?) {
        #expect(Environments.problems(["PG_PROXY_PASSWORD": value]) == ["PG_PROXY_PASSWORD not set"])
    }

    @Test func theProxyPasswordIsUsedAsItIs() throws {
        #expect(try Environments.load(["PG_PROXY_PASSWORD": " p w "]).proxy?.password.reveal() == " p w ")
    }

    @Test(
        arguments: [
            ("65432", 65432, false), ("1", 1, false), ("http", nil, true), ("HTTP", nil, true),
            ("http:5000", 5000, true),
            ("Http:65535", 65535, true),
        ] as [(String, UInt16?, Bool)])
    func theProxyPortHasThreeForms(text: String, port: UInt16?, isTunnelEnabled: Bool) throws {
        let proxy = try Environments.load(["PG_PROXY_PORT": text]).proxy
        #expect(proxy?.listen?.port == port)
        #expect(proxy?.isTunnelEnabled == isTunnelEnabled)
    }

    @Test(arguments: [
        ("foo", "foo"), ("HTTP:ABC", "abc"), ("http:", ""), ("https", "https"), ("0", "0"), ("70000", "70000"),
        ("http:0", "0"), ("5000x", "5000x"), ("Foo:1", "foo:1"), ("http:http:1", "http:1"),
    ])
    func aWrongProxyPortIsEchoedWithoutItsPrefix(text: String, echo: String) {
        #expect(Environments.problems(["PG_PROXY_PORT": text]) == ["PG_PROXY_PORT has invalid value: \"\(echo)\""])
    }

    @Test func logLevelsAreCaseSensitive() throws {
        for level in LogSettings.Level.allCases {
            #expect(try Environments.load(["LOG_LEVEL": level.rawValue]).log.level == level)
        }
        for value in ["INFO", "trace", "verbose", "info "] {
            #expect(
                Environments.problems(["LOG_LEVEL": value]) == [
                    "LOG_LEVEL has invalid value: \"\(value)\". "
                        + "Must be one of [\"error\", \"warning\", \"info\", \"debug\"]"
                ])
        }
    }

    @Test func sizesReplaceTheirDefaults() throws {
        let settings = try Environments.load([
            "ELECTRIC_RESUMABLE_WAL_WINDOW": "2.23g", "ELECTRIC_TXN_CACHE_SIZE": "430K",
        ])
        #expect(settings.retention.resumableWALWindow.bytes == 2_230_000_000)
        #expect(settings.retention.transactionCache.bytes == 440_320)
    }

    @Test func earlierFeatureFlagsWin() throws {
        let settings = try Environments.load(["ELECTRIC_FEATURES": "a=true:b=false:a=false:proxy_ddlx_grant=true"])
        #expect(settings.features.flags == ["a": true, "b": false, "proxy_ddlx_grant": true])
        #expect(settings.features.isEnabled("a"))
        #expect(!settings.features.isEnabled("b"))
        #expect(!settings.features.isEnabled("unheard_of"))
    }

    @Test(arguments: ["a", "a=", "a=1", "=true", "a=true=false", "a=True", "a=true;b=true"])
    func malformedFeatureFlagsAreReported(text: String) {
        #expect(
            Environments.problems(["ELECTRIC_FEATURES": text]) == [
                "ELECTRIC_FEATURES has invalid value: \"\(text)\". Must be flag=true or flag=false, joined by \":\""
            ])
    }

    @Test func telemetryIsReadButOffByDefault() throws {
        #expect(try Environments.load().telemetry.wantsUsageReports == false)
        let settings = try Environments.load([
            "ELECTRIC_TELEMETRY": "Enabled", "STATSD_HOST": "statsd.local", "METRICS_MEASUREMENT_PERIOD": "500",
            "OTEL_EXPORT": "otlp", "OTLP_ENDPOINT": "http://otel:4318",
        ])
        #expect(
            settings.telemetry
                == TelemetrySettings(
                    wantsUsageReports: true, statsdHost: "statsd.local", measurementPeriod: .milliseconds(500),
                    traceExport: .otlp(endpoint: "http://otel:4318")))
        #expect(try Environments.load(["OTEL_EXPORT": "debug"]).telemetry.traceExport == .debug)
        #expect(try Environments.load(["OTEL_EXPORT": "zipkin"]).telemetry.traceExport == nil)
        #expect(
            try Environments.load(["OTEL_EXPORT": "honeycomb", "HONEYCOMB_API_KEY": "k"]).telemetry.traceExport
                == .honeycomb(apiKey: Secret("k")))
        for value in ["0", "2s", "-5", "99999999999"] {
            #expect(
                Environments.problems(["METRICS_MEASUREMENT_PERIOD": value]) == [
                    "METRICS_MEASUREMENT_PERIOD has invalid value: \"\(value)\". "
                        + "Must be a number of milliseconds above 0"
                ])
        }
    }

    @Test func instanceNamesAreGivenOrRandom() throws {
        #expect(try Environments.load(["ELECTRIC_INSTANCE_ID": "blue"]).instanceID == "blue")
        let first = try Environments.load().instanceID
        #expect(first != (try Environments.load().instanceID))
        let version4 = /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/
        #expect(first.wholeMatch(of: version4) != nil, "\(first)")
    }

    @Test func ownVariablesAreReadAndChecked() throws {
        let settings = try Environments.load([
            "PENSTOCK_DATA_DIR": "/data", "PENSTOCK_SOCKET": "/run/p.sock", "PENSTOCK_SOCKET_PEERS": "postgres, 999 ,",
            "PENSTOCK_TRANSPORT": "replication",
        ])
        #expect(settings.feed.dataDirectory == "/data")
        #expect(settings.feed.socketPath == "/run/p.sock")
        #expect(settings.feed.socketPeers == [.userName("postgres"), .userID(999)])
        #expect(settings.feed.transport == .replication)
        #expect(try Environments.load(["PENSTOCK_DATA_DIR": ""]).feed.dataDirectory == nil)
        #expect(try Environments.load(["PENSTOCK_TRANSPORT": "extension"]).feed.transport == .extension)

        let long = "/" + String(repeating: "x", count: 103)
        #expect(Environments.problems(["PENSTOCK_SOCKET": long]) == ["PENSTOCK_SOCKET is longer than 103 bytes"])
        #expect(Environments.problems(["PENSTOCK_SOCKET": String(long.dropLast())]) == [])
        #expect(Environments.problems(["PENSTOCK_SOCKET": "p.sock"]) == ["PENSTOCK_SOCKET has to be an absolute path"])
        for peer in ["-1", "4294967296", "a b", "1a", "x:y"] {
            #expect(
                Environments.problems(["PENSTOCK_SOCKET_PEERS": "postgres,\(peer)"]) == [
                    "PENSTOCK_SOCKET_PEERS has invalid value: \"\(peer)\". Must be a list of user names or numbers"
                ])
        }
        #expect(
            Environments.problems(["PENSTOCK_TRANSPORT": "Extension"]) == [
                "PENSTOCK_TRANSPORT has invalid value: \"Extension\". "
                    + "Must be one of [\"auto\", \"extension\", \"replication\"]"
            ])
    }

    @Test func secretsNeverPrint() throws {
        let settings = try Environments.load([
            "AUTH_MODE": nil, "AUTH_JWT_ALG": "HS256", "AUTH_JWT_KEY": String(repeating: "jwt-secret-", count: 4),
            "ELECTRIC_SECRET": "shape-secret", "OTEL_EXPORT": "honeycomb", "HONEYCOMB_API_KEY": "honey-secret",
            "DS_SERVER__PORT": "4437",
        ])
        var dumped = ""
        dump(settings, to: &dumped)
        for text in [dumped, "\(settings)", String(reflecting: settings)] {
            for secret in ["db-password", "proxy-password", "jwt-secret", "shape-secret", "honey-secret"] {
                #expect(!text.contains(secret))
            }
        }
        #expect(dumped.contains("localhost"))
    }

    @Test func everyVariableIsDocumentedOnce() {
        let documented = DocumentedVariable.all.map(\.name)
        #expect(Set(documented).count == documented.count)
        #expect(Set(documented).isSuperset(of: Variable.allCases.map(\.rawValue)))
        #expect(Set(documented).isSuperset(of: StreamKey.allCases.map(\.environmentName)))
        #expect(DocumentedVariable.all.filter(\.isSecret).map(\.name).contains("DS_AUTH__STATIC_KEY"))
        for documented in DocumentedVariable.all {
            #expect(documented.summary.count > 15, "\(documented.name)")
            #expect(documented.summary.hasSuffix("."), "\(documented.name)")
        }
    }

    @Test func developmentNeedsNoEnvironment() {
        let settings = Settings.development(
            database: DatabaseSettings(host: .socketDirectory("/tmp/pg"), user: "u", database: "d", tls: .local),
            dataDirectory: "/tmp/data", httpPort: 5999, fronts: [.satellite, .shapes], builtParts: [.migrationsProxy])
        #expect(settings.tokenPolicy?.isInsecure == true)
        #expect(settings.writeMode == .directWrites)
        #expect(settings.listeners.http == ListenAddress(host: "127.0.0.1", port: 5999))
        #expect(settings.proxy?.listen?.host == "127.0.0.1")
        #expect(settings.feed.socketPath == "/tmp/data/penstock.sock")
        #expect(settings.feed.dataDirectory == "/tmp/data")
        #expect(settings.shapeAccess == .everybody)
        #expect(settings.unavailable == ["The shapes front is not built yet: /v1/shape is not served."])
    }
}
