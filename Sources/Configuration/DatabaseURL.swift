/// A parsed `DATABASE_URL`, before it meets the variables that speak about TLS.
package struct DatabaseURL: Hashable, Sendable {
    /// Why a URL was refused: the text behind the name of the variable. It holds no password.
    package struct Invalid: Error, Hashable, Sendable {
        package let text: String
    }

    /// The values of `sslmode`.
    package enum SSLMode: String, Hashable, Sendable {
        case disable, allow, prefer, require
        case verifyCA = "verify-ca"
        case verifyFull = "verify-full"

        /// Whether the certificate of the server is to be verified.
        package var verifies: Bool { self == .verifyCA || self == .verifyFull }
    }

    /// Where the database listens.
    package enum Host: Hashable, Sendable {
        /// A host name or address; IPv6 addresses are without brackets.
        case network(String)
        /// The directory of a Unix socket.
        case socketDirectory(String)
    }

    package var host: Host
    package var port: UInt16
    package var user: String
    package var password: Secret?
    package var database: String
    package var sslMode: SSLMode?
    package var sslRootCertificate: String?
    /// `channel_binding` as libpq takes it: `disable`, `prefer` or `require`.
    package var channelBinding: String?

    /// Parses the text of the variable.
    package init(_ text: String) throws(Invalid) {
        var parts = Parts(text)
        guard parts.scheme == "postgres" || parts.scheme == "postgresql" else {
            throw Invalid(text: "has invalid URL scheme: \(ValueParsing.quoted(parts.scheme))")
        }
        let options = try Self.options(of: parts.query)
        self.host = try Self.host(parts.host, option: options["host"])
        let (user, password) = try Self.user(of: parts.userInfo)
        self.user = user
        self.password = password
        if parts.port.isEmpty {
            self.port = 5432
        } else if let port = ValueParsing.port(parts.port) {
            self.port = port
        } else {
            throw Invalid(text: "has invalid port: \(ValueParsing.quoted(parts.port))")
        }
        while parts.path.first == "/" { parts.path.removeFirst() }
        guard let database = ValueParsing.percentDecoded(parts.path) else { throw Self.invalidEncoding }
        self.database = database.isEmpty ? user : database

        self.sslMode = try options["sslmode"].map { value throws(Invalid) in
            guard let mode = SSLMode(rawValue: value) else {
                throw Invalid(text: "has invalid \"sslmode\" value: \(ValueParsing.quoted(value))")
            }
            return mode
        }
        if options["replication"] != nil {
            throw Invalid(
                text: """
                    has unsupported "replication" query option. Electric opens both a replication connection \
                    and regular connections to Postgres as needed
                    """)
        }
        let known: Set = ["sslmode", "sslrootcert", "channel_binding", "host"]
        let unknown = options.keys.filter { !known.contains($0) }.sorted()
        guard unknown.isEmpty else {
            let names = unknown.map(ValueParsing.quoted).joined(separator: ", ")
            throw Invalid(text: "has unsupported query options: \(names)")
        }
        self.sslRootCertificate = options["sslrootcert"].flatMap { $0.isEmpty ? nil : $0 }
        self.channelBinding = options["channel_binding"]
        if let binding = self.channelBinding, !["disable", "prefer", "require"].contains(binding) {
            throw Invalid(text: "has invalid \"channel_binding\" value: \(ValueParsing.quoted(binding))")
        }
    }

    private static let invalidEncoding = Invalid(text: "has invalid percent-encoding")

    /// The parts of a URL as RFC 3986 cuts them, before anything is decoded.
    private struct Parts {
        var scheme = ""
        var userInfo: Substring?
        var host: Substring = ""
        var port = ""
        var path: Substring = ""
        var query: Substring?

        init(_ text: String) {
            var rest = Substring(text)
            if let hash = rest.firstIndex(of: "#") { rest = rest[..<hash] }
            if let mark = rest.firstIndex(of: "?") {
                self.query = rest[rest.index(after: mark)...]
                rest = rest[..<mark]
            }
            if let colon = rest.firstIndex(of: ":"), Self.isScheme(rest[..<colon]) {
                self.scheme = rest[..<colon].lowercased()
                rest = rest[rest.index(after: colon)...]
            }
            guard rest.hasPrefix("//") else {
                self.path = rest
                return
            }
            rest = rest.dropFirst(2)
            var authority = rest.prefix { $0 != "/" }
            self.path = rest[authority.endIndex...]
            if let at = authority.lastIndex(of: "@") {
                self.userInfo = authority[..<at]
                authority = authority[authority.index(after: at)...]
            }
            if authority.first == "[", let bracket = authority.firstIndex(of: "]") {
                self.host = authority[authority.index(after: authority.startIndex)..<bracket]
                let tail = authority[authority.index(after: bracket)...]
                self.port = String(tail.first == ":" ? tail.dropFirst() : tail)
            } else if let colon = authority.firstIndex(of: ":") {
                self.host = authority[..<colon]
                self.port = String(authority[authority.index(after: colon)...])
            } else {
                self.host = authority
            }
        }

        private static func isScheme(_ text: Substring) -> Bool {
            guard let first = text.first, first.isASCII, first.isLetter else { return false }
            return text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "+-.".contains($0)) }
        }
    }

    private static func options(of query: Substring?) throws(Invalid) -> [String: String] {
        var options: [String: String] = [:]
        for pair in (query ?? "").split(separator: "&") {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = ValueParsing.percentDecoded(halves[0]),
                let value = ValueParsing.percentDecoded(halves.count > 1 ? halves[1] : "")
            else { throw Self.invalidEncoding }
            options[name] = value
        }
        return options
    }

    /// A host in the place of a host, or the directory of a socket there (percent-encoded) or in the `host` option.
    private static func host(_ text: Substring, option: String?) throws(Invalid) -> Host {
        guard let host = ValueParsing.percentDecoded(text) else { throw Self.invalidEncoding }
        if host.first == "/" { return .socketDirectory(host) }
        if !ValueParsing.isBlank(host) {
            guard option == nil else { throw Invalid(text: "has unsupported query options: \"host\"") }
            return .network(host)
        }
        guard let option, !ValueParsing.isBlank(option) else { throw Invalid(text: "missing host") }
        return option.first == "/" ? .socketDirectory(option) : .network(option)
    }

    private static func user(of userInfo: Substring?) throws(Invalid) -> (String, Secret?) {
        let invalid = Invalid(text: "has invalid or missing username")
        guard let userInfo else { throw invalid }
        let halves = userInfo.split(separator: ":", omittingEmptySubsequences: false)
        guard halves.count <= 2 else { throw invalid }
        guard let user = ValueParsing.percentDecoded(halves[0]) else { throw Self.invalidEncoding }
        guard !ValueParsing.isBlank(user) else { throw invalid }
        guard halves.count == 2, !halves[1].isEmpty else { return (user, nil) }
        guard let password = ValueParsing.percentDecoded(halves[1]) else { throw Self.invalidEncoding }
        return (user, Secret(password))
    }
}
