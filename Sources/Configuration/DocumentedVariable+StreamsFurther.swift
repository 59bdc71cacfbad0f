extension DocumentedVariable {
    /// The second half of the keys, apart for the length of the files.
    static func furtherText(of key: StreamKey) -> (defaultValue: String?, summary: String) {
        switch key {
        case .httpCacheMaxAgeSecs:
            (
                "60",
                "Seconds for which caches may keep answers of reads."
            )
        case .httpCacheStaleWhileRevalidateSecs:
            (
                "300",
                "Seconds for which a cache may still give out an older answer while it asks for a new one. 0 is never."
            )
        case .httpCacheSealedMaxAgeSecs:
            (
                "0",
                """
                Seconds for which caches may keep ranges that do not change any more, before the tail or of a closed \
                stream, marked immutable. For services that never reuse the name of a deleted stream. 0 treats them as others.
                """
            )
        case .httpCompression:
            (
                "false",
                """
                Whether answers of catch-up reads and long-polls are compressed (gzip, deflate) for clients that ask for it. \
                Event streams are not.
                """
            )
        case .httpCompressionMinBytes:
            (
                "1024",
                "Bytes from which on they are."
            )
        case .transportTLSCertPath:
            (
                nil,
                "Certificate chain in PEM. Required by tls and mtls."
            )
        case .transportTLSKeyPath:
            (
                nil,
                "Private key in PEM. Required by tls and mtls."
            )
        case .transportTLSClientCAPath:
            (
                nil,
                "Authorities of client certificates, in PEM. Required by mtls, and for it alone."
            )
        case .transportTLSMinVersion:
            (
                "1.3",
                "Lowest version of TLS: 1.2 or 1.3."
            )
        case .transportTLSMaxVersion:
            (
                "1.3",
                "Highest version of TLS: 1.2 or 1.3."
            )
        case .transportTLSALPNProtocols:
            (
                "from the versions, h2 first",
                """
                A list of h2 and http/1.1 in order of preference. It must name the protocols of the HTTP \
                versions, all of them and no others.
                """
            )
        case .proxyEnabled:
            (
                "false",
                """
                Whether a proxy in front is trusted to say where requests come from. If false, its headers are \
                removed.
                """
            )
        case .proxyForwardedHeaders:
            (
                "none",
                "Which headers it sets: x-forwarded or forwarded."
            )
        case .proxyTrustedProxies:
            (
                "",
                "A list of addresses and networks of proxies: 10.0.0.0/8, 192.0.2.7, fd00::/8."
            )
        case .proxyIdentityMode:
            (
                "none",
                "header: the header below is let through from a proxy with a client certificate. Needs mtls."
            )
        case .proxyIdentityHeaderName:
            (
                nil,
                "Name of that header, in which the proxy names the user. From others it is taken away."
            )
        case .proxyIdentityRequireTLS:
            (
                "true",
                "Whether it is let through only on connections with TLS."
            )
        case .observabilityRustLog:
            (
                "info",
                """
                Lowest level that is logged, as a filter: info, or info,penstock.requests=error. Targets are the labels of \
                loggers; the longest one that a label begins with counts. RUST_LOG comes before it, LOG_LEVEL before both.
                """
            )
        case .observabilityLogFormat:
            (
                "text",
                "How a line of the log looks: text, or json for one object a line."
            )
        case .observabilityRequestLog:
            (
                "false",
                """
                Whether each request gets a line of the log, under the names of OpenTelemetry. Its label is \
                penstock.requests, its level info, or error where the service failed.
                """
            )
        case .authMode:
            (
                "none",
                "Whether requests need a token: none or jwt."
            )
        case .authIssuer:
            (
                nil,
                "Values of iss that are taken, a list. Not checked where it is not set."
            )
        case .authAudiences:
            (
                nil,
                "Values of aud of which a token must have one, a list. Not checked where it is not set."
            )
        case .authAlgorithms:
            (
                "RS256,ES256,EdDSA",
                """
                Signing algorithms that are taken: HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384, \
                ES512, EdDSA. HS needs a static key. With a static key in PEM the default is the one that fits \
                it.
                """
            )
        case .authStaticKey:
            (
                nil,
                """
                The key of tokens: a public key in PEM, a key or key set in JSON, or the secret for HS. Never \
                shown.
                """
            )
        case .authJWKSFile:
            (
                nil,
                "File with the key set of the issuer. It is read again when it changes."
            )
        case .authJWKSURL:
            (
                nil,
                "https URL of the key set of the issuer."
            )
        case .authAllowInsecureJWKS:
            (
                "false",
                "Whether the URL of the key set may be plain HTTP to this machine. For tests."
            )
        case .authClockSkewSecs:
            (
                "60",
                "Seconds by which the clocks of issuer and server may differ, 0 to 600."
            )
        case .authScopeClaim:
            (
                "scope",
                """
                Claim that holds the scopes: a text with blanks between them, or a list. Dots lead into nested \
                claims.
                """
            )
        case .authScopes:
            (
                nil,
                """
                Rules, separated by semicolons: read,append:/orders=orders.read|orders.write. Classes are \
                read, append, create, delete, admin or *; the longest path decides; one of the scopes is \
                enough, * is any valid token. Without rules every valid token may do everything.
                """
            )
        case .authClaimHeaders:
            (
                nil,
                """
                Claims that become header fields, such as sub=X-JWT-Sub,org.id=X-Org: set on the request before anything \
                else looks at it (what a client sends under these names is dropped), in the log of requests, and on the \
                answer, for proxies in front. With sub=Producer-Id nobody writes as another one's producer. Claims that \
                are no text, number or boolean, or do not fit a header, are left out.
                """
            )
        case .authTokenCookie:
            (
                nil,
                """
                Name of a cookie that may hold the token of reads, for browsers' EventSource. Browsers send it from \
                pages of other origins only where DS_HTTP__CORS_ORIGINS lists these.
                """
            )
        case .authTokenQuery:
            (
                nil,
                "Name of a query parameter that may hold the token of reads. It is left out of the log."
            )
        default:
            // Every other key has its text above; the tests walk the list.
            (nil, "")
        }
    }
}
