import NIOCore

/// What `GET /api/migrations` was asked for.
package struct MigrationsRequest: Hashable, Sendable {
    package enum Dialect: String, Hashable, Sendable, CaseIterable {
        case sqlite
        case postgresql
    }

    package var dialect: Dialect
    /// Only migrations committed after the one with this label are wanted. Labels are looked up, not compared: of an
    /// unknown one there is nothing later.
    package var after: String?

    /// From the query parameters, decoded.
    ///
    /// - Throws: What is to be answered instead of migrations.
    package init(dialect: String?, version: String?) throws(MigrationsResponse) {
        guard let dialect else {
            throw MigrationsResponse.refusal("missing required parameter 'dialect'")
        }
        guard let known = Dialect(rawValue: dialect) else {
            throw MigrationsResponse.refusal("unsupported dialect \"\(dialect.prefix(64))\"")
        }
        self.dialect = known
        self.after = version.flatMap { $0.isEmpty ? nil : $0 }
    }
}

/// The answer to `GET /api/migrations`, apart from HTTP.
package struct MigrationsResponse: Error, Hashable, Sendable {
    package var status: Int
    package var contentType: String?
    package var body: ByteBuffer

    /// The archive, or 204 when there is nothing to put into it.
    package static func migrations(_ entries: [MigrationBundle.Entry]) throws(MigrationsError) -> MigrationsResponse {
        guard !entries.isEmpty else { return MigrationsResponse(status: 204, contentType: nil, body: ByteBuffer()) }
        return MigrationsResponse(
            status: 200, contentType: "application/zip", body: try MigrationBundle.archive(entries))
    }

    static func refusal(_ message: String) -> MigrationsResponse {
        MigrationsResponse(
            status: 403, contentType: "application/json",
            body: ByteBuffer(string: "{\"error\":\"\(self.escaped(message))\"}"))
    }

    /// The inside of a JSON string.
    private static func escaped(_ text: String) -> String {
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
            case 0..<0x20:
                let digits = String(byte, radix: 16)
                bytes += Array("\\u00\(digits.count == 1 ? "0" : "")\(digits)".utf8)
            default: bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
