import Identity
import WebAddresses

/// Turns layers into the settings of the stream server. Values that are wrong are noted and stand in as their defaults,
/// so that everything is looked at.
struct StreamSettingsLoader {
    static let builtInProfiles: Set<String> = ["default", "dev", "prod", "prod-tls", "prod-mtls"]

    var reader: LayeredReader
    let profile: String
    var warnings: [String] = []

    init(layers: [ConfigurationLayer], profile: String) {
        self.reader = LayeredReader(layers: layers)
        self.profile = profile
    }

    /// What a profile brings along.
    static func builtInLayer(profile: String) -> ConfigurationLayer {
        let production: [StreamKey: ConfigurationLayer.Content] = [
            .limitsMaxMemoryBytes: .text("536870912"), .limitsMaxStreamBytes: .text("268435456"),
            .storageMode: .text("file-durable"), .storageDataDir: .text("/var/lib/durable-streams"),
        ]
        let versions: ConfigurationLayer.Content = .list(["http1", "http2"])
        let values: [StreamKey: ConfigurationLayer.Content] =
            switch profile {
            case "dev": [.serverBindAddress: .text("127.0.0.1:4437"), .observabilityRustLog: .text("debug")]
            case "prod": production
            case "prod-tls", "prod-mtls":
                production.merging([
                    .transportMode: .text(String(profile.dropFirst("prod-".count))), .transportHTTPVersions: versions,
                ]) { $1 }
            default: [:]
            }
        return ConfigurationLayer(profile: profile, values)
    }

    mutating func load() -> StreamServerSettings {
        let address = self.bindAddress()
        let limits = self.limits()
        let retention = self.retention()
        let storage = self.storage()
        let transport = self.transport()
        let auth = self.auth()
        let http = self.http()
        let admin = self.admin(streams: http.basePath, address: address, isProtected: auth != nil)
        let proxy = self.proxy(transport: transport.mode)
        let filter = self.logFilter()
        let format: LogSettings.Format = self.reader.choice(.observabilityLogFormat) ?? .text
        let logsRequests = self.reader.boolean(.observabilityRequestLog) ?? false
        return StreamServerSettings(
            profile: self.profile, bindAddress: address, limits: limits, retention: retention, http: http,
            admin: admin, storage: storage, transport: transport, proxy: proxy, logFilter: filter, logFormat: format,
            logsRequests: logsRequests, auth: auth, warnings: self.warnings)
    }

    // MARK: Address and limits

    /// The bind address, or the older port where that is set in a later layer. Nil if neither is set.
    private mutating func bindAddress() -> ListenAddress? {
        let address = self.reader.find(.serverBindAddress)
        var result: ListenAddress?
        if let address, !ValueParsing.isBlank(address.text) {
            result = Self.socketAddress(address.text)
            if result == nil {
                self.reader.invalid(
                    address, "Must be an IP address and a port, such as 0.0.0.0:4437 or [::]:4437")
            }
        }
        guard let port = self.reader.find(.serverPort), !ValueParsing.isBlank(port.text) else { return result }
        guard let number = ValueParsing.port(port.text) else {
            self.reader.invalid(port, "Must be a port number from 1 to 65535")
            return result
        }
        if let address, address.layer >= port.layer { return result }
        return ListenAddress(host: result?.host ?? "0.0.0.0", port: number)
    }

    static func socketAddress(_ text: String) -> ListenAddress? {
        guard let colon = text.lastIndex(of: ":"),
            let number = ValueParsing.integer(String(text[text.index(after: colon)...])),
            let port = UInt16(exactly: number)
        else { return nil }
        var host = text[..<colon]
        if host.first == "[", host.last == "]" {
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { return nil }
        } else if host.contains(":") {
            return nil
        }
        return IPAddress(host) == nil ? nil : ListenAddress(host: String(host), port: port)
    }

    private mutating func limits() -> StreamServerSettings.Limits {
        var limits = StreamServerSettings.Limits()
        func bytes(_ number: Int?) -> ByteCount? { number.map { ByteCount(bytes: Int64($0)) } }
        let positive = 1...Int.max
        limits.maximumMemory = bytes(self.reader.integer(.limitsMaxMemoryBytes, in: positive)) ?? limits.maximumMemory
        limits.maximumMemoryStream =
            bytes(self.reader.integer(.limitsMaxStreamBytes, in: positive)) ?? limits.maximumMemoryStream
        limits.maximumRequestBody =
            bytes(self.reader.integer(.limitsMaxRequestBodyBytes, in: positive)) ?? limits.maximumRequestBody
        limits.maximumBufferedBodies =
            bytes(self.reader.integer(.limitsMaxBufferedBodyBytes, in: positive))
            ?? max(limits.maximumBufferedBodies, limits.maximumRequestBody)
        if limits.maximumBufferedBodies < limits.maximumRequestBody {
            self.reader.report(
                .limitsMaxBufferedBodyBytes,
                "is less than one request may bring. Set it to at least \(limits.maximumRequestBody.bytes)")
        }
        limits.maximumDisk = bytes(
            self.reader.integer(.limitsMaxDiskBytes, in: 0...Int.max).flatMap { $0 > 0 ? $0 : nil })
        limits.maximumDiskStream = bytes(
            self.reader.integer(.limitsMaxDiskStreamBytes, in: 0...Int.max).flatMap { $0 > 0 ? $0 : nil })
        limits.maximumNameBytes =
            self.reader.integer(.limitsMaxStreamNameBytes, in: positive) ?? limits.maximumNameBytes
        limits.maximumNameSegments =
            self.reader.integer(.limitsMaxStreamNameSegments, in: positive) ?? limits.maximumNameSegments
        limits.maximumProducers =
            self.reader.integer(.limitsMaxProducersPerStream, in: positive) ?? limits.maximumProducers
        limits.maximumStorageJobs =
            self.reader.integer(.limitsMaxStorageJobs, in: positive) ?? limits.maximumStorageJobs
        return limits
    }

    private mutating func retention() -> StreamServerSettings.Retention {
        var retention = StreamServerSettings.Retention()
        let range = 0...Int(StreamServerSettings.Retention.maximumNumber)
        func bound(_ number: Int?) -> UInt64? { number.flatMap { $0 > 0 ? UInt64($0) : nil } }
        retention.maximumBytes = bound(self.reader.integer(.retentionMaxBytes, in: range))
        retention.maximumAgeSeconds = bound(self.reader.integer(.retentionMaxAgeSecs, in: range))
        if let prefixes = self.reader.list(.retentionPrefixes), let found = self.reader.find(.retentionPrefixes) {
            if prefixes.contains(where: { $0.isEmpty || $0.hasPrefix("/") }) {
                self.reader.invalid(
                    found, "Must be a list of beginnings of names, such as logs/,metrics/, without a slash in front")
            } else {
                retention.prefixes = prefixes
            }
            if !prefixes.isEmpty, !retention.isOn {
                self.warnings.append(
                    "\(found.label) has no effect: neither \(StreamKey.retentionMaxBytes.environmentName) nor "
                        + "\(StreamKey.retentionMaxAgeSecs.environmentName) is set.")
            }
        }
        return retention
    }

    // MARK: HTTP

    private mutating func http() -> StreamServerSettings.HTTP {
        var http = StreamServerSettings.HTTP()
        let origins = self.reader.list(.httpCORSOrigins) ?? ["*"]
        let allowsWildcard = self.reader.boolean(.httpAllowWildcardCORS) ?? false
        if origins == ["*"] {
            if !allowsWildcard, self.profile.hasPrefix("prod") {
                self.reader.report(
                    .httpCORSOrigins,
                    """
                    is "*", which the profile \(self.profile) refuses. Name the origins of your sites, or set \
                    \(StreamKey.httpAllowWildcardCORS.environmentName)=true
                    """)
            } else if !allowsWildcard {
                self.warnings.append(
                    "Pages of every origin may call the stream server (\(StreamKey.httpCORSOrigins.environmentName) is *)."
                )
            }
        } else if let found = self.reader.find(.httpCORSOrigins) {
            if origins.isEmpty || origins.contains("") {
                self.reader.invalid(found, "No entry of the list may be empty")
            } else if let wrong = origins.first(where: { !Self.isOrigin($0) }) {
                self.reader.report(
                    found.label,
                    """
                    has invalid value: \(ValueParsing.quoted(wrong)). Must be * alone, or a list of origins \
                    such as https://app.example
                    """)
            } else {
                http.origins = .listed(origins)
            }
        }
        if let found = self.reader.find(.httpStreamBasePath) {
            if let path = self.path(found) { http.basePath = path }
        }
        for reserved in ["/healthz", "/readyz", "/metrics"] where Self.overlap(http.basePath, reserved) {
            self.reader.report(.httpStreamBasePath, "overlaps \(reserved). Choose another path")
        }
        http.allowsInsecureWebhooks = self.reader.boolean(.httpAllowInsecureWebhooks) ?? false
        if let days = self.reader.integer(.httpWebhookKeyDays, in: 0...36_500) {
            http.webhookKeyAge = days == 0 ? nil : .seconds(days * 86_400)
        }
        http.outgoingAuthorityPath = self.reader.text(.httpOutgoingCAPath)
        self.caching(&http)
        return http
    }

    private mutating func caching(_ http: inout StreamServerSettings.HTTP) {
        http.cache = self.reader.choice(.httpCache) ?? .public
        let year = 31_536_000
        if let seconds = self.reader.integer(.httpCacheMaxAgeSecs, in: 0...year) {
            http.cacheMaximumAge = .seconds(seconds)
        }
        if let seconds = self.reader.integer(.httpCacheStaleWhileRevalidateSecs, in: 0...year) {
            http.cacheStaleWhileRevalidate = .seconds(seconds)
        }
        if let seconds = self.reader.integer(.httpCacheSealedMaxAgeSecs, in: 0...year) {
            http.cacheSealedMaximumAge = seconds == 0 ? nil : .seconds(seconds)
        }
        if http.cache == .noStore {
            for key in [
                StreamKey.httpCacheMaxAgeSecs, .httpCacheStaleWhileRevalidateSecs, .httpCacheSealedMaxAgeSecs,
            ] where self.reader.find(key) != nil {
                self.reader.report(
                    key, "is set, while nothing may be kept. Set \(StreamKey.httpCache.environmentName) or remove it")
            }
        }
        let minimum = self.reader.integer(.httpCompressionMinBytes, in: 1...(1 << 30))
        if self.reader.boolean(.httpCompression) ?? false {
            http.compressionMinimum = minimum ?? 1024
        } else if minimum != nil {
            self.reader.report(
                .httpCompressionMinBytes,
                "is set, while nothing is compressed. Set \(StreamKey.httpCompression.environmentName)=true or remove it"
            )
        }
    }

    private static func isOrigin(_ text: String) -> Bool {
        guard let range = text.firstRange(of: "://"), range.lowerBound > text.startIndex else { return false }
        let host = text[range.upperBound...]
        return !host.isEmpty
            && text.utf8.allSatisfy { (0x21...0x7e).contains($0) && $0 != 0x2a && $0 != 0x22 && $0 != 0x2c }
            && !host.contains("/") && !host.contains("?") && !host.contains("#") && !host.contains("@")
    }

    /// A literal absolute path. A slash at its end is cut off, as older versions did.
    private mutating func path(_ found: LayeredReader.Found) -> String? {
        var text = found.text
        if text.count > 1, text.last == "/" {
            text.removeLast()
            self.warnings.append("The slash at the end of \(found.label) is left out.")
        }
        let segments = text.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
        let isLiteral = text.utf8.allSatisfy { byte in
            (0x21...0x7e).contains(byte) && !"*?#{}%\\\"<>^`|:".utf8.contains(byte)
        }
        guard text.first == "/", isLiteral, !segments.contains(where: { ["", ".", ".."].contains($0) }) else {
            self.reader.invalid(
                found, "Must be an absolute path such as /v1/stream, without wildcards, blanks and query")
            return nil
        }
        return text
    }

    /// Whether one path is the other or lies below it.
    static func overlap(_ left: String, _ right: String) -> Bool {
        left == right || left.hasPrefix(right + "/") || right.hasPrefix(left + "/")
    }

    private mutating func admin(
        streams: String, address: ListenAddress?, isProtected: Bool
    ) -> StreamServerSettings.Admin {
        var admin = StreamServerSettings.Admin()
        admin.isEnabled = self.reader.boolean(.adminEnabled) ?? false
        let found = self.reader.find(.adminBasePath)
        if let found, let path = self.path(found) { admin.basePath = path }
        if found != nil || admin.isEnabled, Self.overlap(admin.basePath, streams) {
            self.reader.report(
                .adminBasePath,
                "overlaps the path of the streams, \(ValueParsing.quoted(streams)). Choose paths apart from each other")
        }
        let isLocal = address.flatMap { IPAddress($0.host) }?.isLoopback ?? false
        if admin.isEnabled, !isLocal, !isProtected {
            self.warnings.append(
                "The listing of streams (\(admin.basePath)) is open to everybody who reaches the server.")
        }
        return admin
    }

    // MARK: Storage

    private enum StorageName: String, CaseIterable {
        case memory
        case fileFast = "file-fast"
        case fileDurable = "file-durable"
        case acid
    }

    private mutating func storage() -> StreamServerSettings.Storage {
        var storage = StreamServerSettings.Storage()
        let shards = self.reader.integer(.storageAcidShardCount, in: 1...256) ?? 16
        if shards & (shards - 1) != 0, let found = self.reader.find(.storageAcidShardCount) {
            self.reader.invalid(found, "Must be a power of two from 1 to 256")
        }
        let backend: StreamServerSettings.Storage.Backend =
            self.reader.choice(.storageAcidBackend, also: ["memory": .memory]) ?? .file
        let aliases: [String: StorageName] = [
            "fast": .fileFast, "file": .fileDurable, "durable": .fileDurable, "redb": .acid,
        ]
        switch self.reader.choice(.storageMode, also: aliases) ?? StorageName.memory {
        case .memory: storage.mode = .memory
        case .fileFast: storage.mode = .fileFast
        case .fileDurable: storage.mode = .fileDurable
        case .acid: storage.mode = .acid(backend, shards: shards)
        }
        if let found = self.reader.find(.storageDataDir) {
            if !ValueParsing.isBlank(found.text) {
                storage.dataDirectory = found.text
            } else if storage.mode.usesDisk {
                self.reader.report(found.label, "is empty. The storage mode \(storage.mode.name) needs a directory")
            }
            if !storage.mode.usesDisk, !found.isBuiltIn, !ValueParsing.isBlank(found.text) {
                self.warnings.append(
                    "\(found.label) has no effect: the streams are in memory and end with the process. Set DS_STORAGE__MODE."
                )
            }
        }
        return storage
    }
}
