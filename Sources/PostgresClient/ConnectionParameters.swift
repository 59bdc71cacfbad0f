/// How much of TLS a connection to Postgres demands.
package enum TLSRequirement: String, Sendable, Hashable {
    /// Plain text only.
    case disable
    /// TLS is tried first; a server without it gets plain text, and a warning is logged.
    case prefer
    /// TLS or nothing; the server's certificate is not examined.
    case require
    /// TLS with a certificate signed by a trusted authority.
    case verifyCA = "verify-ca"
    /// The same, and the certificate must bear the name of the host.
    case verifyFull = "verify-full"
}

/// Which addresses of a host name are dialled.
package enum AddressChoice: Sendable, Hashable {
    /// As the system's resolver orders them.
    case any
    case ipv4Only
    /// IPv6 addresses; IPv4 only for a name that has no other.
    case ipv6First
}

/// Everything needed to open a connection. Its description holds neither the password nor the user's options.
package struct ConnectionParameters: Sendable, Hashable {
    /// A name, an address, or the directory of a Unix socket (it begins with `/`).
    package var host: String
    package var port: Int
    package var user: String
    package var password: String?
    package var database: String
    package var tls: TLSRequirement
    /// File with the certificates of trusted authorities, or `system` for those of the operating system.
    package var tlsRootCertificate: String?
    package var addressChoice: AddressChoice
    /// Shown in `pg_stat_activity`; also the name by which a subscription knows its publisher.
    package var applicationName: String
    package var connectTimeoutSeconds: Int
    /// Additional settings for the session, such as `electric.session_replication_role`.
    package var settings: [String: String]

    package init(
        host: String, port: Int = 5432, user: String, password: String? = nil, database: String,
        tls: TLSRequirement = .prefer, tlsRootCertificate: String? = nil, addressChoice: AddressChoice = .any,
        applicationName: String = "penstock", connectTimeoutSeconds: Int = 5, settings: [String: String] = [:]
    ) {
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self.database = database
        self.tls = tls
        self.tlsRootCertificate = tlsRootCertificate
        self.addressChoice = addressChoice
        self.applicationName = applicationName
        self.connectTimeoutSeconds = connectTimeoutSeconds
        self.settings = settings
    }

    package var isUnixSocket: Bool { self.host.hasPrefix("/") || self.host.hasPrefix("@") }

    /// The same parameters with further session settings, which win over present ones.
    package func adding(settings: [String: String]) -> ConnectionParameters {
        var copy = self
        copy.settings.merge(settings) { $1 }
        return copy
    }

    /// Settings that make the text of values independent of the server's, the database's and the role's configuration.
    package static let displaySettings: [(name: String, value: String)] = [
        ("bytea_output", "hex"),
        ("DateStyle", "ISO,DMY"),
        ("TimeZone", "UTC"),
        ("extra_float_digits", "1"),
        ("IntervalStyle", "iso_8601"),
        ("search_path", ""),
        ("standard_conforming_strings", "on"),
        ("statement_timeout", "0"),
        ("idle_in_transaction_session_timeout", "0"),
    ]

    /// The `options` startup parameter: one `-c name=value` for each setting, with blanks and backslashes escaped.
    var startupOptions: String {
        let own = Self.displaySettings.filter { self.settings[$0.name] == nil }
        let extra = self.settings.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
        return (own + extra).map { "-c \($0.name)=\(Self.escapedOption($0.value))" }.joined(separator: " ")
    }

    private static func escapedOption(_ value: String) -> String {
        var text = ""
        for character in value.unicodeScalars {
            if character == "\\" || character.properties.isWhitespace { text += "\\" }
            text.unicodeScalars.append(character)
        }
        return text
    }

    /// Keywords and values for libpq.
    func keywords(replication: Bool, addresses: [String]) -> [(String, String)] {
        // libpq wants one host for each address, and the name for TLS.
        let hosts = addresses.isEmpty ? self.host : addresses.map { _ in self.host }.joined(separator: ",")
        var list: [(String, String)] = [
            ("host", hosts),
            ("port", String(self.port)),
            ("user", self.user),
            ("dbname", self.database),
            ("application_name", self.applicationName),
            ("client_encoding", "UTF8"),
            ("connect_timeout", String(max(2, self.connectTimeoutSeconds))),
            ("sslmode", self.tls.rawValue),
            ("gssencmode", "disable"),
            ("keepalives", "1"),
            ("keepalives_idle", "30"),
            ("keepalives_interval", "10"),
            ("keepalives_count", "3"),
            ("tcp_user_timeout", "60000"),
            ("options", self.startupOptions),
        ]
        if !addresses.isEmpty { list.append(("hostaddr", addresses.joined(separator: ","))) }
        if let password = self.password { list.append(("password", password)) }
        if let certificate = self.tlsRootCertificate { list.append(("sslrootcert", certificate)) }
        if replication { list.append(("replication", "database")) }
        return list
    }
}

extension ConnectionParameters: CustomStringConvertible, CustomDebugStringConvertible {
    package var description: String {
        "\(self.user)@\(self.host):\(self.port)/\(self.database) (tls \(self.tls.rawValue))"
    }
    package var debugDescription: String { self.description }
}

extension ConnectionParameters: CustomReflectable {
    // Why: the default mirror, which `dump` and some loggers use, would show the password.
    package var customMirror: Mirror {
        Mirror(self, children: ["connection": self.description])
    }
}
