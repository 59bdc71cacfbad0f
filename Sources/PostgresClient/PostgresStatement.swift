package import NIOCore

/// One value bound to a parameter (`$1`, `$2`, ...) of a statement.
///
/// The server infers the parameter's type from where it stands; text is parsed by the input function of that type.
package struct PostgresParameter: Sendable, Hashable {
    enum Storage: Sendable, Hashable {
        case null
        case text(String)
        /// UTF-8 text that was never made a `String`.
        case textBytes(ByteBuffer)
        case binary(ByteBuffer)
    }

    var storage: Storage

    package static let null = PostgresParameter(storage: .null)

    package static func text(_ value: String?) -> PostgresParameter {
        PostgresParameter(storage: value.map { .text($0) } ?? .null)
    }

    /// UTF-8 bytes of a value's text form.
    package static func text(bytes: [UInt8]?) -> PostgresParameter {
        PostgresParameter(storage: bytes.map { .textBytes(ByteBuffer(bytes: $0)) } ?? .null)
    }

    package static func text(buffer: ByteBuffer?) -> PostgresParameter {
        PostgresParameter(storage: buffer.map { .textBytes($0) } ?? .null)
    }

    /// A value in the binary form of its type: for `bytea` the bytes themselves.
    package static func binary(_ bytes: [UInt8]?) -> PostgresParameter {
        PostgresParameter(storage: bytes.map { .binary(ByteBuffer(bytes: $0)) } ?? .null)
    }

    var isBinary: Bool {
        if case .binary = self.storage { true } else { false }
    }

    var byteCount: Int {
        switch self.storage {
        case .null: 0
        case .text(let text): text.utf8.count
        case .textBytes(let buffer), .binary(let buffer): buffer.readableBytes
        }
    }
}

extension PostgresParameter: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByNilLiteral
{
    package init(stringLiteral value: String) { self.storage = .text(value) }
    package init(integerLiteral value: Int) { self.storage = .text(String(value)) }
    package init(booleanLiteral value: Bool) { self.storage = .text(value ? "t" : "f") }
    package init(nilLiteral: ()) { self.storage = .null }
}

/// One SQL statement with its parameters.
package struct PostgresStatement: Sendable, Hashable {
    package var sql: String
    package var parameters: [PostgresParameter]
    /// Whether the connection may keep the parsed statement and use it again for the same text.
    package var isReusable: Bool

    package init(_ sql: String, _ parameters: [PostgresParameter] = [], isReusable: Bool = false) {
        self.sql = sql
        self.parameters = parameters
        self.isReusable = isReusable
    }

    package var byteCount: Int {
        self.parameters.reduce(self.sql.utf8.count) { $0 + $1.byteCount }
    }
}

extension PostgresStatement: ExpressibleByStringLiteral {
    package init(stringLiteral value: String) { self.init(value) }
}

/// What became of the statements of a pipeline.
package struct PipelineOutcome: Sendable {
    /// Results of the statements that succeeded, in order; their number is the index of the failed one, if any.
    package var results: [QueryResult]
    /// The first error. The server skipped everything behind it.
    package var error: PostgresError?

    package init(results: [QueryResult], error: PostgresError? = nil) {
        self.results = results
        self.error = error
    }

    /// Index of the statement that failed, or whose answer was awaited when the connection was lost; nil when all went
    /// well.
    package var failedIndex: Int? { self.error == nil ? nil : self.results.count }

    /// All results, or the error.
    package func get() throws -> [QueryResult] {
        if let error = self.error { throw error }
        return self.results
    }
}

/// Quoting for the few places where a name or a value has to be part of the SQL text.
package enum SQLText {
    /// A quoted identifier.
    package static func identifier(_ name: String) -> String {
        "\"\(Self.doubled("\"", in: name))\""
    }

    /// A schema-qualified quoted identifier.
    package static func identifier(_ schema: String, _ name: String) -> String {
        "\(Self.identifier(schema)).\(Self.identifier(name))"
    }

    /// A string literal (`standard_conforming_strings` is on in every session of ours).
    package static func literal(_ value: String) -> String {
        "'\(Self.doubled("'", in: value))'"
    }

    private static func doubled(_ quote: Unicode.Scalar, in text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            if scalar == quote { result.unicodeScalars.append(quote) }
            result.unicodeScalars.append(scalar)
        }
        return result
    }
}
