import Identity

extension Settings {
    /// The settings of `penstock dev`: everything on this machine alone, tokens unsigned, writes made directly.
    ///
    /// - Parameters:
    ///   - database: The private database.
    ///   - dataDirectory: Where the change log lives.
    ///   - socketPath: The socket for the extension; by default in the data directory.
    ///   - host: The address to listen on. Nothing here is protected, so it is the loopback address.
    ///   - httpPort: Port of the HTTP listener.
    ///   - proxyPort: Port of the migrations proxy.
    ///   - transport: How changes come out of the database.
    ///   - logLevel: Lowest level that is logged.
    package static func development(
        database: DatabaseSettings,
        dataDirectory: String = "./penstock-data",
        socketPath: String? = nil,
        host: String = "127.0.0.1",
        httpPort: UInt16 = 5133,
        proxyPort: UInt16 = 65432,
        proxyPassword: Secret = Secret("proxy_password"),
        fronts: Set<Front> = [.satellite],
        transport: FeedSettings.Transport = .auto,
        logLevel: LogSettings.Level = .info,
        builtParts: Set<Part> = Settings.builtParts
    ) -> Settings {
        let hasSatellite = fronts.contains(.satellite)
        var settings = Settings(
            fronts: FrontSelection(
                reasons: Dictionary(uniqueKeysWithValues: fronts.map { ($0, "development") })),
            database: database,
            listeners: ListenerSettings(http: ListenAddress(host: host, port: httpPort)),
            tokenPolicy: hasSatellite ? TokenPolicy(mode: .insecure) : nil,
            writeMode: hasSatellite ? .directWrites : nil,
            proxy: hasSatellite
                ? ProxySettings(password: proxyPassword, listen: ListenAddress(host: host, port: proxyPort)) : nil,
            shapeAccess: fronts.contains(.shapes) ? .everybody : nil,
            retention: RetentionSettings(),
            feed: FeedSettings(
                transport: transport, socketPath: socketPath ?? dataDirectory + "/penstock.sock",
                dataDirectory: dataDirectory),
            log: LogSettings(level: logLevel),
            telemetry: TelemetrySettings(),
            features: FeatureFlags(),
            instanceID: "development",
            unavailable: [])
        if fronts.contains(.streams) {
            settings.streams = .development(address: nil, dataDirectory: dataDirectory + "/streams")
        }
        settings.unavailable = settings.missing(from: builtParts)
        return settings
    }
}
