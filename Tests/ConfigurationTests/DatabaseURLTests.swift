import Testing

@testable import Configuration

@Suite("DATABASE_URL")
struct DatabaseURLTests {
    struct Good: Sendable {
        var url: String
        var host: DatabaseURL.Host
        var port: UInt16 = 5432
        var user: String
        var password: String?
        var database: String
    }

    @Test(arguments: [
        Good(
            url: "postgresql://user%2Btesting%40gmail.com:weird%2Fpassword@localhost:5433/my%2Bdb%2Bname",
            host: .network("localhost"), port: 5433, user: "user+testing@gmail.com", password: "weird/password",
            database: "my+db+name"),
        Good(
            url: "postgres://u:p@[2001:db8::1234]:4321/db", host: .network("2001:db8::1234"), port: 4321, user: "u",
            password: "p", database: "db"),
        Good(url: "postgres://u@[::1]", host: .network("::1"), user: "u", database: "u"),
        Good(url: "postgresql://u@host", host: .network("host"), user: "u", database: "u"),
        Good(url: "postgresql://u@host/", host: .network("host"), user: "u", database: "u"),
        Good(url: "postgresql://u:@host:/db", host: .network("host"), user: "u", database: "db"),
        Good(url: "POSTGRESQL://u:p@10.0.0.1/db", host: .network("10.0.0.1"), user: "u", password: "p", database: "db"),
        Good(url: "postgresql://u:a@b@host/db", host: .network("host"), user: "u", password: "a@b", database: "db"),
        Good(
            url: "postgresql://u:p@h/db?sslmode=require", host: .network("h"), user: "u", password: "p",
            database: "db"),
        Good(
            url: "postgresql://u@%2Fvar%2Frun%2Fpostgresql/db", host: .socketDirectory("/var/run/postgresql"),
            user: "u", database: "db"),
        Good(
            url: "postgresql://u:p@%2Ftmp%2Fpg:5433/db", host: .socketDirectory("/tmp/pg"), port: 5433, user: "u",
            password: "p", database: "db"),
        Good(
            url: "postgresql://u@/db?host=/var/run/postgresql", host: .socketDirectory("/var/run/postgresql"),
            user: "u", database: "db"),
    ])
    func partsAreFoundAndDecoded(good: Good) throws {
        let url = try DatabaseURL(good.url)
        #expect(url.host == good.host)
        #expect(url.port == good.port)
        #expect(url.user == good.user)
        #expect(url.password?.reveal() == good.password)
        #expect(url.database == good.database)
    }

    @Test(arguments: [
        ("foobar", #"has invalid URL scheme: """#),
        ("", #"has invalid URL scheme: """#),
        ("localhost:5432/db", #"has invalid URL scheme: "localhost""#),
        ("mysql://u:p@host/db", #"has invalid URL scheme: "mysql""#),
        ("https://u:p@host/db", #"has invalid URL scheme: "https""#),
        ("postgresql://", "missing host"),
        ("postgresql:///db", "missing host"),
        ("postgresql://u:p@/db", "missing host"),
        ("postgresql://%20/db", "missing host"),
        ("postgres:u@host/db", "missing host"),
        ("postgresql://localhost/db", "has invalid or missing username"),
        ("postgresql://localhost", "has invalid or missing username"),
        ("postgresql://:@localhost/db", "has invalid or missing username"),
        ("postgresql://:p@localhost/db", "has invalid or missing username"),
        ("postgresql://%20:p@localhost/db", "has invalid or missing username"),
        ("postgresql://a:b:c@localhost/db", "has invalid or missing username"),
        ("postgresql://u:pa#ss@host/db", "has invalid or missing username"),
        ("postgresql://u@host:port/db", #"has invalid port: "port""#),
        ("postgresql://u@host:0/db", #"has invalid port: "0""#),
        ("postgresql://u@host:65536/db", #"has invalid port: "65536""#),
        ("postgresql://u@[::1]x/db", #"has invalid port: "x""#),
        ("postgresql://u:%zz@host/db", "has invalid percent-encoding"),
        ("postgresql://u%00@host/db", "has invalid percent-encoding"),
        ("postgresql://u@host/%ff", "has invalid percent-encoding"),
        ("postgresql://u@host/db%4", "has invalid percent-encoding"),
        ("postgresql://u@host?sslmode=verify", #"has invalid "sslmode" value: "verify""#),
        ("postgresql://u@host?sslmode=", #"has invalid "sslmode" value: """#),
        ("postgresql://u@host?sslmode=bad&replication=database&x=1", #"has invalid "sslmode" value: "bad""#),
        (
            "postgresql://u@host?replication=database&opt=1",
            """
            has unsupported "replication" query option. Electric opens both a replication connection and regular \
            connections to Postgres as needed
            """
        ),
        (
            "postgresql://u@host?sslmode=require&replication=database",
            """
            has unsupported "replication" query option. Electric opens both a replication connection and regular \
            connections to Postgres as needed
            """
        ),
        (
            "postgresql://u@host?foo=bar&application_name=x",
            #"has unsupported query options: "application_name", "foo""#
        ),
        ("postgresql://u@host?sslmode=require&foo=bar", #"has unsupported query options: "foo""#),
        ("postgresql://u@host?host=/tmp", #"has unsupported query options: "host""#),
        ("postgresql://u@host?channel_binding=maybe", #"has invalid "channel_binding" value: "maybe""#),
    ])
    func mistakesAreNamed(url: String, text: String) {
        #expect(throws: DatabaseURL.Invalid(text: text)) { try DatabaseURL(url) }
    }

    @Test func theErrorOfAURLHoldsNoPassword() {
        for url in [
            "postgresql://u:hunter2@/db", "mysql://u:hunter2@host", "postgresql://u:hunter2:x@host",
            "postgresql://u:hunter2@host?x=1", "postgresql://u:hunter2%@host", "u:hunter2@host/db",
        ] {
            let error = #expect(throws: DatabaseURL.Invalid.self) { try DatabaseURL(url) }
            #expect(error?.text.contains("hunter2") == false)
        }
    }

    @Test func optionsAreTakenOver() throws {
        let url = try DatabaseURL(
            "postgresql://u@host/db?sslmode=verify-full&sslrootcert=/etc/ca%20s.pem&channel_binding=require")
        #expect(url.sslMode == .verifyFull)
        #expect(url.sslRootCertificate == "/etc/ca s.pem")
        #expect(url.channelBinding == "require")
        let plain = try DatabaseURL("postgresql://u@host/db?")
        #expect(plain.sslMode == nil)
        #expect(plain.sslRootCertificate == nil)
        #expect(plain.channelBinding == nil)
    }

    @Test(
        arguments: [
            ("true", "disable", .required), ("true", "allow", .required), ("true", "prefer", .required),
            ("true", "require", .required), ("true", nil, .required), ("true", "verify-ca", .verifiedAuthority),
            ("true", "verify-full", .verifiedHost), (nil, "require", .required), (nil, nil, .required),
            (nil, "disable", .preferred), (nil, "allow", .preferred), (nil, "prefer", .preferred),
            (nil, "verify-ca", .verifiedAuthority), (nil, "verify-full", .verifiedHost),
            ("false", "require", .preferred),
            ("false", "disable", .preferred), ("false", nil, .preferred), ("", "prefer", .preferred),
            ("", nil, .required),
        ] as [(String?, String?, DatabaseSettings.TLS)])
    func theVariableDecidesOverTheURL(variable: String?, mode: String?, tls: DatabaseSettings.TLS) throws {
        let query = mode.map { "?sslmode=\($0)" } ?? ""
        let settings = try Environments.load([
            "DATABASE_URL": "postgresql://u@host/db\(query)", "DATABASE_REQUIRE_SSL": variable,
        ])
        #expect(settings.database?.tls == tls)
    }

    @Test func verificationIsNotSwitchedOffQuietly() {
        #expect(
            Environments.problems([
                "DATABASE_URL": "postgresql://u@host/db?sslmode=verify-full", "DATABASE_REQUIRE_SSL": "false",
            ]) == [#"DATABASE_URL has "sslmode" value "verify-full" while DATABASE_REQUIRE_SSL is false"#])
    }

    @Test(arguments: ["true", "false", nil])
    func aSocketNeedsNoEncryption(variable: String?) throws {
        let settings = try Environments.load([
            "DATABASE_URL": "postgresql://u@%2Ftmp/db", "DATABASE_REQUIRE_SSL": variable,
        ])
        #expect(settings.database?.tls == .local)
        #expect(settings.database?.displayName == "/tmp:5432/db")
    }

    @Test func theDisplayNameHoldsNoCredentials() throws {
        let settings = try Environments.load(["DATABASE_URL": "postgresql://user:hunter2@[::1]:5433/db"])
        #expect(settings.database?.displayName == "[::1]:5433/db")
    }
}
