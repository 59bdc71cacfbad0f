import Catalog
import HTTPServer
import Logging
import MigrationsAPI
import NIOCore
import NIOHTTP1
import PostgresClient
import SatelliteEndpoint

/// `GET /api/migrations`: the migrations that generators of clients bundle into apps.
enum MigrationsRoute {
    static func answer(_ request: HTTPRequest, parts: SidecarParts) async -> HTTPAnswer {
        do {
            let asked = try MigrationsRequest(
                dialect: request.queryValue("dialect"), version: request.queryValue("version"))
            guard parts.isReady else {
                return .reply(.text("Postgres connection is not ready", status: .serviceUnavailable))
            }
            return .reply(Self.reply(try await Self.migrations(asked, parts)))
        } catch let refusal as MigrationsResponse {
            return .reply(Self.reply(refusal))
        } catch {
            parts.logger.error("cannot make the bundle of migrations", metadata: ["error": "\(error)"])
            return .reply(.text("The migrations cannot be read", status: .internalServerError))
        }
    }

    private static func migrations(
        _ asked: MigrationsRequest, _ parts: SidecarParts
    ) async throws -> MigrationsResponse {
        let dialect: SQLDialect = asked.dialect == .sqlite ? .sqlite : .postgresql
        var bundle = try await parts.schemaSource.bundle(dialect: dialect)
        if let after = asked.after {
            guard let index = bundle.firstIndex(where: { $0.version == after }) else {
                return try MigrationsResponse.migrations([])
            }
            bundle.removeFirst(index + 1)
        }
        return try MigrationsResponse.migrations(
            try bundle.map {
                try MigrationBundle.Entry(version: $0.version, script: $0.script, operations: $0.operations)
            })
    }

    private static func reply(_ response: MigrationsResponse) -> HTTPReply {
        var headers = HTTPHeaders()
        if let type = response.contentType { headers.add(name: "content-type", value: type) }
        return HTTPReply(
            status: HTTPResponseStatus(statusCode: response.status), headers: headers, body: response.body)
    }
}
