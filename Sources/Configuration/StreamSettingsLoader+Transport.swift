extension StreamSettingsLoader {
    private typealias Transport = StreamServerSettings.Transport

    mutating func transport() -> StreamServerSettings.Transport {
        var transport = Transport()
        transport.mode = self.transportMode()
        transport.versions = self.versions(mode: transport.mode)
        let longest = 1_000_000
        if let seconds = self.reader.integer(.transportConnectionLongPollTimeoutSecs, in: 1...longest) {
            transport.longPollTimeout = .seconds(seconds)
        }
        if let seconds = self.reader.integer(.transportConnectionSSEReconnectIntervalSecs, in: 0...longest) {
            transport.sseReconnectInterval = seconds == 0 ? nil : .seconds(seconds)
        }
        if let seconds = self.reader.integer(.transportConnectionSSEKeepAliveSecs, in: 0...longest) {
            transport.sseKeepAlive = seconds == 0 ? nil : .seconds(seconds)
        }
        if let milliseconds = self.reader.integer(.transportConnectionSSERetryMillis, in: 0...60_000) {
            transport.sseRetry = milliseconds == 0 ? nil : .milliseconds(milliseconds)
        }
        transport.tls = self.tls(mode: transport.mode, versions: transport.versions)
        return transport
    }

    /// The mode, or `tls` where only the paths of the versions before the mode are set.
    private mutating func transportMode() -> Transport.Mode {
        if self.reader.find(.transportMode) == nil {
            let older = [StreamKey.transportTLSCertPath, .transportTLSKeyPath].contains { key in
                self.reader.find(key).map { key.olderPaths.contains($0.path) } ?? false
            }
            return older ? .tls : .http
        }
        return self.reader.choice(.transportMode) ?? .http
    }

    private mutating func versions(mode: Transport.Mode) -> [Transport.Version] {
        guard let found = self.reader.find(.transportHTTPVersions), let names = self.reader.list(.transportHTTPVersions)
        else { return [.http1] }
        let versions = names.compactMap(Transport.Version.init(rawValue:))
        guard !versions.isEmpty, versions.count == names.count, Set(versions).count == versions.count else {
            self.reader.invalid(
                found, "Must be a list of \(ValueParsing.list(Transport.Version.allCases.map(\.rawValue))), each once")
            return [.http1]
        }
        if mode == .http, versions.contains(.http2) {
            self.reader.report(
                found.label,
                "names http2, which needs TLS. Set \(StreamKey.transportMode.environmentName)=tls or take http1")
        }
        return versions
    }

    private mutating func tls(mode: Transport.Mode, versions: [Transport.Version]) -> Transport.TLS? {
        let certificate = self.reader.text(.transportTLSCertPath)
        let key = self.reader.text(.transportTLSKeyPath)
        let authority = self.reader.text(.transportTLSClientCAPath)
        let minimum: Transport.TLSVersion = self.reader.choice(.transportTLSMinVersion) ?? .v13
        let maximum: Transport.TLSVersion = self.reader.choice(.transportTLSMaxVersion) ?? .v13
        if minimum > maximum {
            self.reader.report(
                .transportTLSMinVersion, "is \(minimum.rawValue), above the highest version \(maximum.rawValue)")
        }
        let names = self.reader.list(.transportTLSALPNProtocols)
        guard mode != .http else {
            let set: [(StreamKey, Bool)] = [
                (.transportTLSCertPath, certificate != nil), (.transportTLSKeyPath, key != nil),
                (.transportTLSClientCAPath, authority != nil), (.transportTLSALPNProtocols, names?.isEmpty == false),
            ]
            for (key, isSet) in set where isSet {
                self.reader.report(
                    key,
                    "is set, while the transport is http. Set \(StreamKey.transportMode.environmentName)=tls or remove it"
                )
            }
            return nil
        }
        if certificate == nil {
            self.reader.report(.transportTLSCertPath, "not set. The transport \(mode.rawValue) needs it")
        }
        if key == nil { self.reader.report(.transportTLSKeyPath, "not set. The transport \(mode.rawValue) needs it") }
        if mode == .mtls, authority == nil {
            self.reader.report(.transportTLSClientCAPath, "not set. The transport mtls needs it")
        }
        if mode == .tls, authority != nil {
            self.reader.report(
                .transportTLSClientCAPath,
                "is set, while clients show no certificates. Set \(StreamKey.transportMode.environmentName)=mtls or remove it"
            )
        }
        var tls = Transport.TLS(
            certificatePath: certificate ?? "", keyPath: key ?? "", clientAuthorityPath: authority,
            protocols: self.protocols(names, versions: versions))
        tls.minimumVersion = minimum
        tls.maximumVersion = maximum
        return tls
    }

    private mutating func protocols(_ names: [String]?, versions: [Transport.Version]) -> [String] {
        let own = [Transport.Version.http2, .http1].filter(versions.contains).map(\.alpn)
        guard let names, !names.isEmpty, let found = self.reader.find(.transportTLSALPNProtocols) else { return own }
        guard Set(names) == Set(own), names.count == own.count else {
            self.reader.invalid(
                found,
                """
                The HTTP versions are \(versions.map(\.rawValue).joined(separator: ", ")): \
                must name each of \(ValueParsing.list(own)) once and nothing else
                """)
            return own
        }
        return names
    }
}
