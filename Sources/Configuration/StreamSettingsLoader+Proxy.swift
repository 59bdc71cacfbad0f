import WebAddresses

/// Proxies that are believed, and the log.
extension StreamSettingsLoader {
    private enum IdentityMode: String, CaseIterable {
        case none, header
    }

    mutating func proxy(transport: StreamServerSettings.Transport.Mode) -> StreamServerSettings.Proxy {
        var proxy = StreamServerSettings.Proxy()
        proxy.isEnabled = self.reader.boolean(.proxyEnabled) ?? false
        proxy.family = self.reader.choice(.proxyForwardedHeaders) ?? .none
        for text in self.reader.list(.proxyTrustedProxies) ?? [] {
            if let network = IPNetwork(text) {
                proxy.trusted.append(network)
            } else {
                self.reader.report(
                    .proxyTrustedProxies,
                    """
                    has invalid value: \(ValueParsing.quoted(text)). Must be a list of addresses and networks, \
                    such as 10.0.0.0/8
                    """)
            }
        }
        let mode: IdentityMode = self.reader.choice(.proxyIdentityMode) ?? .none
        let header = self.reader.text(.proxyIdentityHeaderName)
        let requiresTLS = self.reader.boolean(.proxyIdentityRequireTLS) ?? true

        guard proxy.isEnabled else {
            let set: [(StreamKey, Bool)] = [
                (.proxyForwardedHeaders, proxy.family != .none), (.proxyTrustedProxies, !proxy.trusted.isEmpty),
                (.proxyIdentityMode, mode != .none), (.proxyIdentityHeaderName, header != nil),
                (.proxyIdentityRequireTLS, !requiresTLS),
            ]
            for (key, isSet) in set where isSet {
                self.reader.report(
                    key,
                    "is set, while no proxy is trusted. Set \(StreamKey.proxyEnabled.environmentName)=true or remove it"
                )
            }
            return proxy
        }
        if proxy.family == .none {
            self.reader.report(.proxyForwardedHeaders, "not set. Name what the proxy sets: x-forwarded or forwarded")
        }
        if proxy.trusted.isEmpty {
            self.reader.report(.proxyTrustedProxies, "not set. Name at least one address or network of the proxy")
        }
        switch (mode, header) {
        case (.none, nil): break
        case (.none, .some):
            self.reader.report(
                .proxyIdentityHeaderName, "is set without \(StreamKey.proxyIdentityMode.environmentName)=header")
        case (.header, nil): self.reader.report(.proxyIdentityHeaderName, "not set. The identity mode header needs it")
        case (.header, let name?):
            self.warnings.append(
                "Who \(StreamKey.proxyIdentityHeaderName.environmentName) names decides nothing here: access is by tokens alone."
            )
            if !Self.isHeaderName(name), let found = self.reader.find(.proxyIdentityHeaderName) {
                self.reader.invalid(found, "Must be the name of a header")
            }
            proxy.identity = .init(header: name, requiresTLS: requiresTLS)
        }
        if mode == .header, transport != .mtls {
            self.reader.report(
                .proxyIdentityMode,
                "is header, which needs \(StreamKey.transportMode.environmentName)=mtls: nobody else may speak for users"
            )
        }
        return proxy
    }

    /// A token of RFC 9110.
    static func isHeaderName(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
                }
            }
    }

    mutating func logFilter() -> LogFilter {
        guard let found = self.reader.find(.observabilityRustLog), !ValueParsing.isBlank(found.text) else {
            return LogFilter()
        }
        if let filter = LogFilter(parsing: found.text) { return filter }
        self.reader.invalid(
            found, "Must be a level (off, error, warn, info, debug, trace) or a list such as info,http=debug")
        return LogFilter()
    }
}
