import Foundation
import PostgresClient
import Testing
import TestSupport

@Suite("TLS to Postgres", .timeLimit(.minutes(2)))
struct TLSTests {
    @Test func eachRequirementAcceptsAndRefusesWhatItShould() async throws {
        let cluster = try await TestCluster.start()
        let directory = cluster.directory
        for name in ["trusted", "other"] {
            try await ChildProcess.check([
                "openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-newkey", "rsa:2048", "-subj",
                "/CN=db.example",
                "-addext", "subjectAltName=DNS:db.example", "-keyout", "\(directory)/\(name).key", "-out",
                "\(directory)/\(name).crt",
            ])
        }
        func connect(_ tls: TLSRequirement, certificate: String? = nil) async throws -> Bool {
            var parameters = cluster.parameters()
            parameters.tls = tls
            parameters.tlsRootCertificate = certificate.map { "\(directory)/\($0).crt" }
            let connection = try await PostgresConnection.connect(parameters)
            let isEncrypted = await connection.isEncrypted
            await connection.close()
            return isEncrypted
        }

        // A server without TLS.
        #expect(try await connect(.prefer) == false)
        await #expect(throws: PostgresError.self) { try await connect(.require) }

        try await ChildProcess.check([
            "cp", "\(directory)/trusted.key", "\(directory)/trusted.crt", cluster.dataDirectory,
        ])
        try await ChildProcess.check(["chmod", "600", "\(cluster.dataDirectory)/trusted.key"])
        if geteuid() == 0 {
            try await ChildProcess.check(["chown", "postgres", "\(cluster.dataDirectory)/trusted.key"])
        }
        try await cluster.configure(["ssl": "on", "ssl_cert_file": "trusted.crt", "ssl_key_file": "trusted.key"])
        try await cluster.restart()

        #expect(try await connect(.prefer))
        #expect(try await connect(.require))
        #expect(try await connect(.disable) == false)
        #expect(try await connect(.verifyCA, certificate: "trusted"))
        await #expect(throws: PostgresError.self) { try await connect(.verifyCA, certificate: "other") }
        // The certificate is for another name than the address we dial.
        await #expect(throws: PostgresError.self) { try await connect(.verifyFull, certificate: "trusted") }
        await cluster.destroy()
    }
}
