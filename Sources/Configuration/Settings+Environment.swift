import Identity

extension Settings {
    /// Makes settings of environment variables alone. No file is read but one that `PENSTOCK_CONFIG` names.
    ///
    /// - Parameters:
    ///   - environment: The variables; names that are not ours are ignored.
    ///   - makeInstanceID: Names the instance when `ELECTRIC_INSTANCE_ID` does not.
    ///   - builtParts: The parts that exist; see ``unavailable``.
    /// - Throws: A report of everything that is wrong at once.
    package static func load(
        environment: [String: String],
        makeInstanceID: () -> String = { Settings.randomUUID() },
        builtParts: Set<Part> = Settings.builtParts
    ) throws(ConfigurationReport) -> Settings {
        try Self.load(
            sources: ConfigurationSources(environment: environment, directory: nil), makeInstanceID: makeInstanceID,
            builtParts: builtParts)
    }

    /// Makes settings of environment variables and, for the stream server, of files.
    ///
    /// - Parameters:
    ///   - sources: The variables, the options of the command line and the files.
    ///   - makeInstanceID: Names the instance when `ELECTRIC_INSTANCE_ID` does not.
    ///   - builtParts: The parts that exist; see ``unavailable``.
    /// - Throws: A report of everything that is wrong at once.
    package static func load(
        sources: ConfigurationSources,
        makeInstanceID: () -> String = { Settings.randomUUID() },
        builtParts: Set<Part> = Settings.builtParts
    ) throws(ConfigurationReport) -> Settings {
        var loader = SettingsLoader(sources: sources)
        var settings = loader.load(makeInstanceID: makeInstanceID)
        guard loader.problems.isEmpty else { throw ConfigurationReport(problems: loader.problems) }
        settings.unavailable = settings.missing(from: builtParts)
        return settings
    }

    /// A random UUID of version 4.
    package static func randomUUID() -> String {
        var bytes = (0..<16).map { _ in UInt8.random(in: .min ... .max) }
        bytes[6] = bytes[6] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        let hex = bytes.map { String($0 >> 4, radix: 16) + String($0 & 0xf, radix: 16) }
        let groups = [hex[0..<4], hex[4..<6], hex[6..<8], hex[8..<10], hex[10..<16]]
        return groups.map { $0.joined() }.joined(separator: "-")
    }
}

/// Turns an environment into settings. Values that are wrong are noted and stand in as their defaults, so that the
/// whole environment is looked at; the settings count only if nothing was noted.
private struct SettingsLoader {
    private var reader: EnvironmentReader
    private let sources: ConfigurationSources
    private let namesInUse: Set<String>
    /// What is wrong with the stream server and the mirror.
    private var streamProblems: [ConfigurationReport.Problem] = []

    var problems: [ConfigurationReport.Problem] {
        // A variable that is read for both is told about once.
        let names = Set(self.reader.problems.map(\.variable))
        return self.reader.problems + self.streamProblems.filter { !names.contains($0.variable) }
    }

    init(sources: ConfigurationSources) {
        self.sources = sources
        self.reader = EnvironmentReader(environment: sources.environment)
        self.namesInUse = Set(sources.environment.filter { !ValueParsing.isBlank($0.value) }.keys)
    }

    mutating func load(makeInstanceID: () -> String) -> Settings {
        let fronts = self.fronts()
        let hasSatellite = fronts.contains(.satellite)
        let usesIPv6 = self.reader.boolean(.electricUseIPv6) ?? true
        let wildcard = usesIPv6 ? "::" : "0.0.0.0"

        // The order of the report: authentication first, then the database, then the rest.
        let tokenPolicy = hasSatellite ? self.tokenPolicy() : nil
        let database = self.database(isRequired: hasSatellite || fronts.contains(.shapes))
        let writeMode = self.writeMode(wildcard: wildcard, isOn: hasSatellite)
        let level = self.reader.choice(
            .logLevel, listed: LogSettings.Level.documented.map(\.rawValue), default: LogSettings.Level.info)
        let proxy = self.proxy(wildcard: wildcard, isOn: hasSatellite)
        let stream = fronts.contains(.streams) ? self.streams(isAlone: fronts.enabled == [.streams]) : nil
        let listeners = self.listeners(wildcard: wildcard, fronts: fronts, streams: stream?.streams.bindAddress)
        let shapeAccess = self.shapeAccess(isOn: fronts.contains(.shapes))
        let features = self.features()
        let telemetry = self.telemetry()
        let feed = self.feed()
        let standard = RetentionSettings()
        let retention = RetentionSettings(
            resumableWALWindow: self.reader.size(.resumableWALWindow, default: standard.resumableWALWindow),
            transactionCache: self.reader.size(.txnCacheSize, default: standard.transactionCache))

        if stream == nil, let name = self.namesInUse.filter({ $0.hasPrefix("PENSTOCK_MIRROR_") }).min() {
            self.reader.report(name: name, "is set, while the streams front is off. Add streams to PENSTOCK_FRONTS")
        }
        if stream?.mirror != nil, database == nil { self.reader.report(.databaseURL, "not set. The mirror needs it") }
        var settings = Settings(
            fronts: fronts, database: database, listeners: listeners, tokenPolicy: tokenPolicy, writeMode: writeMode,
            proxy: proxy, shapeAccess: shapeAccess, retention: retention, feed: feed, log: LogSettings(level: level),
            telemetry: telemetry, features: features,
            instanceID: self.reader.text(.electricInstanceID) ?? makeInstanceID(), unavailable: [])
        if let stream {
            settings.streams = stream.streams
            settings.streams?.bindAddress = listeners.streams
            settings.mirror = stream.mirror
            if self.reader.text(.logLevel) == nil {
                settings.log.level = stream.streams.logFilter.level.logLevel
                settings.log.filter = stream.streams.logFilter
            }
            settings.log.format = stream.streams.logFormat
            settings.log.logsRequests = stream.streams.logsRequests
        }
        return settings
    }

    private mutating func streams(isAlone: Bool) -> StreamConfiguration {
        let hasDatabase = self.namesInUse.contains(Variable.databaseURL.rawValue)
        let configuration = StreamConfiguration(self.sources, isAlone: isAlone && !hasDatabase)
        self.streamProblems = configuration.problems
        return configuration
    }

    private mutating func fronts() -> FrontSelection {
        let isShapeAPIOpen = self.reader.boolean(.electricInsecure) ?? false
        guard let text = self.reader.text(.penstockFronts) else {
            let option = self.sources.file != nil ? "--config" : self.sources.profile != nil ? "--profile" : nil
            return .inferred(from: self.namesInUse, isShapeAPIOpen: isShapeAPIOpen, streamOption: option)
        }
        let names = ValueParsing.commaSeparated(text)
        let fronts = names.compactMap(Front.init(rawValue:))
        if fronts.isEmpty || fronts.count < names.count {
            let list = ValueParsing.list(Front.allCases.map(\.rawValue))
            self.reader.report(
                .penstockFronts, "has invalid value: \(ValueParsing.quoted(text)). Must be a list of \(list)")
        }
        return FrontSelection(
            reasons: Dictionary(fronts.map { ($0, "PENSTOCK_FRONTS") }) { first, _ in first })
    }

    // MARK: Authentication

    private enum AuthMode: String {
        case secure, insecure
    }

    private mutating func tokenPolicy() -> TokenPolicy? {
        let mode: AuthMode = self.reader.choice(.authMode, listed: ["secure", "insecure"], default: .secure)
        if self.reader.problems.contains(where: { $0.variable == Variable.authMode.rawValue }) { return nil }
        let namespace = self.reader.text(.authJWTNamespace)
        switch mode {
        case .insecure:
            let foreign: [Variable] = [
                .authJWTAlg, .authJWTKey, .authJWTKeyIsBase64Encoded, .authJWTIss, .authJWTAud,
            ]
            for variable in foreign where self.reader.text(variable) != nil {
                self.reader.report(
                    variable, "is not valid in Insecure auth mode. Did you forget to set AUTH_MODE=secure?")
            }
            return TokenPolicy(mode: .insecure, namespace: namespace)
        case .secure:
            guard let key = self.verificationKey() else { return nil }
            return TokenPolicy(
                mode: .secure(
                    key: key, issuer: self.reader.text(.authJWTIss), audience: self.reader.text(.authJWTAud)),
                namespace: namespace)
        }
    }

    private mutating func verificationKey() -> VerificationKey? {
        let name = self.reader.required(.authJWTAlg)
        let text = self.reader.required(.authJWTKey)
        let isBase64Encoded = self.reader.boolean(.authJWTKeyIsBase64Encoded) ?? false
        guard let name else { return nil }
        guard let algorithm = SigningAlgorithm(rawValue: name), SigningAlgorithm.satellite.contains(algorithm) else {
            self.reader.reportChoice(.authJWTAlg, name, listed: SigningAlgorithm.satellite.map(\.rawValue))
            return nil
        }
        guard let text else { return nil }
        do throws(VerificationKey.KeyError) {
            return try VerificationKey(algorithm: algorithm, text: text, isBase64Encoded: isBase64Encoded)
        } catch {
            var details: [String] = []
            if case .unusable = error { details = Self.publicKeyOutline }
            self.reader.report(.authJWTKey, error.text, details: details)
            return nil
        }
    }

    private static let publicKeyOutline = [
        "It has to be the public key in PEM, its first and last line included:",
        "-----BEGIN PUBLIC KEY-----",
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE...",
        "-----END PUBLIC KEY-----",
    ]

    // MARK: Database

    private mutating func database(isRequired: Bool) -> DatabaseSettings? {
        let mustEncrypt = self.reader.boolean(.databaseRequireSSL)
        let usesIPv6 = self.reader.boolean(.databaseUseIPv6) ?? false
        guard let text = self.reader.required(.databaseURL, when: isRequired) else { return nil }
        do throws(DatabaseURL.Invalid) {
            let url = try DatabaseURL(text)
            return DatabaseSettings(
                host: url.host, port: url.port, user: url.user, password: url.password, database: url.database,
                tls: try Self.tls(of: url, mustEncrypt: mustEncrypt), rootCertificatePath: url.sslRootCertificate,
                channelBinding: url.channelBinding, usesIPv6: usesIPv6)
        } catch {
            self.reader.report(.databaseURL, error.text)
            return nil
        }
    }

    /// The variable decides over the URL, except that it cannot quietly switch off a verification the URL asks for.
    private static func tls(
        of url: DatabaseURL, mustEncrypt: Bool?
    ) throws(DatabaseURL.Invalid) -> DatabaseSettings.TLS {
        if case .socketDirectory = url.host { return .local }
        switch (url.sslMode, mustEncrypt) {
        case (.verifyCA?, true?), (.verifyCA?, nil): return .verifiedAuthority
        case (.verifyFull?, true?), (.verifyFull?, nil): return .verifiedHost
        case (.verifyCA?, false?), (.verifyFull?, false?):
            let mode = url.sslMode?.rawValue ?? ""
            throw DatabaseURL.Invalid(text: "has \"sslmode\" value \"\(mode)\" while DATABASE_REQUIRE_SSL is false")
        case (_, true?), (.require?, nil), (nil, nil): return .required
        default: return .preferred
        }
    }

    private mutating func writeMode(wildcard: String, isOn: Bool) -> WriteMode? {
        var isDirect = false
        switch self.reader.raw(.writeToPgMode) {
        case nil, "logical_replication": break
        case "direct_writes": isDirect = true
        case "": self.reader.report(.writeToPgMode, "erroneously set to an empty value")
        case let text?:
            self.reader.reportChoice(.writeToPgMode, text, listed: ["direct_writes", "logical_replication"])
        }
        guard isOn else { return nil }
        if isDirect { return .directWrites }
        let host = self.reader.required(.logicalPublisherHost)
        let port = self.reader.port(.logicalPublisherPort) ?? 5433
        return .logicalReplication(
            publisherHost: host ?? "", listen: ListenAddress(host: wildcard, port: port))
    }

    private mutating func proxy(wildcard: String, isOn: Bool) -> ProxySettings? {
        let password = self.reader.required(.pgProxyPassword, when: isOn)
        var port: UInt16? = 65432
        var isTunnelEnabled = false
        if let text = self.reader.text(.pgProxyPort) {
            var rest = text.lowercased()
            if rest == "http" {
                isTunnelEnabled = true
                port = nil
            } else {
                if rest.hasPrefix("http:") {
                    isTunnelEnabled = true
                    rest.removeFirst("http:".count)
                }
                port = ValueParsing.port(rest)
                if port == nil {
                    self.reader.report(.pgProxyPort, "has invalid value: \(ValueParsing.quoted(rest))")
                }
            }
        }
        let isTracing = self.reader.boolean(.proxyTracingEnable) ?? false
        guard isOn, let password else { return nil }
        return ProxySettings(
            password: Secret(password), listen: port.map { ListenAddress(host: wildcard, port: $0) },
            isTunnelEnabled: isTunnelEnabled, isTracing: isTracing)
    }

    // MARK: Listeners

    private mutating func listeners(wildcard: String, fronts: FrontSelection, streams address: ListenAddress?)
        -> ListenerSettings
    {
        let http = self.reader.port(.httpPort)
        let shapes = self.reader.port(.electricPort)
        // Read with the other keys of the stream server; here only for the message.
        _ = self.reader.port(.streamServerPort)
        // A stream server alone keeps the address its clients know, and opens the other port only on request.
        let isStreamServer = fronts.enabled == [.streams]
        return ListenerSettings(
            http: isStreamServer && http == nil ? nil : ListenAddress(host: wildcard, port: http ?? 5133),
            shapes: fronts.contains(.shapes) ? shapes.map { ListenAddress(host: wildcard, port: $0) } : nil,
            streams: address ?? (isStreamServer ? ListenAddress(host: "0.0.0.0", port: 4437) : nil))
    }

    private mutating func shapeAccess(isOn: Bool) -> ShapeAccess? {
        guard isOn else { return nil }
        let isOpen = self.reader.boolean(.electricInsecure) ?? false
        switch (self.reader.text(.electricSecret), isOpen) {
        case (nil, true): return .everybody
        case (let secret?, false): return .secret(Secret(secret))
        case (.some, true):
            self.reader.report(.electricSecret, "is not valid together with ELECTRIC_INSECURE=true")
        case (nil, false):
            self.reader.report(.electricSecret, "not set, and neither is ELECTRIC_INSECURE=true")
        }
        return nil
    }

    // MARK: The rest

    private mutating func features() -> FeatureFlags {
        guard let text = self.reader.text(.electricFeatures) else { return FeatureFlags() }
        if let flags = FeatureFlags(parsing: text) { return flags }
        self.reader.report(
            .electricFeatures,
            "has invalid value: \(ValueParsing.quoted(text)). Must be flag=true or flag=false, joined by \":\"")
        return FeatureFlags()
    }

    private mutating func telemetry() -> TelemetrySettings {
        var telemetry = TelemetrySettings()
        telemetry.wantsUsageReports = self.reader.boolean(.electricTelemetry) ?? false
        telemetry.statsdHost = self.reader.text(.statsdHost)
        if let text = self.reader.text(.metricsMeasurementPeriod) {
            if let period = ValueParsing.integer(text), (1...86_400_000).contains(period) {
                telemetry.measurementPeriod = .milliseconds(period)
            } else {
                self.reader.report(
                    .metricsMeasurementPeriod,
                    "has invalid value: \(ValueParsing.quoted(text)). Must be a number of milliseconds above 0")
            }
        }
        switch self.reader.text(.otelExport) {
        case "otlp": telemetry.traceExport = .otlp(endpoint: self.reader.text(.otlpEndpoint))
        case "honeycomb":
            telemetry.traceExport = .honeycomb(apiKey: Secret(self.reader.text(.honeycombAPIKey) ?? ""))
        case "debug": telemetry.traceExport = .debug
        default: break
        }
        return telemetry
    }

    private mutating func feed() -> FeedSettings {
        var feed = FeedSettings()
        feed.transport = self.reader.choice(
            .penstockTransport, listed: FeedSettings.Transport.allCases.map(\.rawValue), default: .auto)
        if let path = self.reader.text(.penstockSocket) {
            feed.socketPath = path
            // The path has to fit the address structure of every system that we run on, its terminator included.
            if path.utf8.count > 103 {
                self.reader.report(.penstockSocket, "is longer than 103 bytes")
            } else if path.first != "/" {
                self.reader.report(.penstockSocket, "has to be an absolute path")
            }
        }
        if let directory = self.reader.raw(.penstockDataDir) {
            feed.dataDirectory = ValueParsing.isBlank(directory) ? nil : directory
        }
        if feed.dataDirectory == nil {
            // Why: the slot is held back then, and the worker takes a sidecar that does not acknowledge for a stalled one.
            if feed.transport == .extension {
                self.reader.report(
                    .penstockTransport, "has to be replication or auto where PENSTOCK_DATA_DIR is empty")
            }
            feed.transport = .replication
        }
        for name in ValueParsing.commaSeparated(self.reader.text(.penstockSocketPeers) ?? "") {
            if let number = ValueParsing.integer(name), let userID = UInt32(exactly: number) {
                feed.socketPeers.append(.userID(userID))
            } else if name.utf8.first.map({ !(0x30...0x39).contains($0) && $0 != UInt8(ascii: "-") }) == true,
                !name.contains(where: { $0.isWhitespace || $0 == ":" || $0 == "/" })
            {
                feed.socketPeers.append(.userName(name))
            } else {
                self.reader.report(
                    .penstockSocketPeers,
                    "has invalid value: \(ValueParsing.quoted(name)). Must be a list of user names or numbers")
            }
        }
        return feed
    }
}
